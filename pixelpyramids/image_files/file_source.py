"""A file as a `Source`: only what is asked for is read."""

import os
import stat
import struct
import tokenize
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO

from pixelpyramids.errors import DataError

DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    AttributeError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
)
"""The exceptions that libraries raise on damaged and foreign image files."""


class FileSource:
    """The bytes of an open file that can be sought in; `taken` counts those that were read. Threads may share it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._lock, self.taken = file, Lock(), 0
        self.size = file.seek(0, os.SEEK_END)

    def read(self, offset: int, count: int) -> bytes:
        """As of `Source`. A count far beyond the file's end costs nothing."""
        left, pieces = max(min(count, self.size - offset), 0), []
        with self._lock:
            self._file.seek(offset)
            while left and (piece := self._file.read(left)):  # the system may give less than was asked for
                pieces.append(piece)
                left -= len(piece)
                self.taken += len(piece)
        return b"".join(pieces)


@contextmanager
def opened(path: Path) -> Iterator[FileSource]:
    """The file at `path` as a source. Raises as `require_regular` and `open`."""
    require_regular(path)
    with open(path, "rb", buffering=0) as file:
        yield FileSource(file)


def require_regular(path: Path) -> None:
    """Raise DataError where `path` is a folder, a pipe, which would be waited for, or a device; OSError as `stat`."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(
            f"{path}: expected a regular file, got a folder, a pipe or a device; to read standard input, pass -"
        )
