"""Image files in folders."""

from collections.abc import Sequence
from pathlib import Path

from pixelpyramids.errors import DataError


class FileEntries:
    """The contents of files, in the order they are given."""

    format = ""

    def __init__(self, files: Sequence[Path]) -> None:
        self.names = files

    def read(self, index: int) -> bytes:
        """The content of file `index`. Raises DataError where it cannot be read."""
        try:
            return self.names[index].read_bytes()
        except OSError as error:
            raise DataError(f"{self.names[index]}: expected a file that can be read, got {error.strerror}") from error
