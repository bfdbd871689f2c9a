"""Images of a stream, stored in a temporary file so that they can be read in any order."""

import os
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pixelpyramids.errors import DataError


class SpooledEntries:
    """The (name, content) pairs of an iterable, written to a file in the temporary folder.

    The process that wrote the file removes it when it ends or no longer needs it. Raises DataError if the file cannot
    be written.
    """

    format = ""

    def __init__(self, items: Iterable[tuple[Path, bytes]]) -> None:
        self._names: list[Path] = []
        ends = [0]
        descriptor, self._path = tempfile.mkstemp(prefix="pixelpyramids-")
        weakref.finalize(self, _remove, self._path, os.getpid())
        try:
            with os.fdopen(descriptor, "wb") as file:
                for name, content in items:
                    self._names.append(name)
                    ends.append(ends[-1] + file.write(content))
        except OSError as error:
            raise DataError(
                f"{self._path}: expected room for the images of a stream in the temporary folder, got {error}; "
                "set the environment variable TMPDIR to a folder with more space"
            ) from error
        self._ends = np.array(ends, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> Path:
        return self._names[index]

    def read(self, index: int) -> bytes:
        with open(self._path, "rb", buffering=0) as file:
            file.seek(int(self._ends[index]))
            return file.read(int(self._ends[index + 1] - self._ends[index]))


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked worker
        Path(path).unlink(missing_ok=True)
