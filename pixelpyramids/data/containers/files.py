"""Image files in folders."""

import os
from collections.abc import Sequence
from pathlib import Path

from pixelpyramids.data.index import make_index, pack
from pixelpyramids.data.splits import image_names
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


def files_below(folder: Path) -> FileEntries:
    """The image files below a folder that may hold millions, as `find_images` finds them; maybe none."""
    return FileEntries(make_index(pack(map(os.fsencode, image_names(folder)))).names(folder))
