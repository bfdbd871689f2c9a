"""Read only the needed bytes of a file (a `ByteSource`). Special files are refused."""

import io
import os
import stat
import struct
import tokenize
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from pixelpyramids.codec.fields import ByteSource
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
"""The exceptions that libraries raise for damaged image files and for other files."""

_PIECE = 2**20  # bytes
_SPECIAL = "expected a regular file, got a folder, a pipe or a device; to read standard input, pass -"


class NotAFileError(DataError):
    """A folder, a pipe or a device in the place of a file."""


class FileSource(ByteSource):
    """The bytes of an open, seekable file. Threads may share it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self._lock = file, Lock()
        self.size = file.seek(0, os.SEEK_END)

    def read(self, offset: int, count: int) -> bytes:
        """Like `ByteSource.read`. A count far beyond the end of the file costs nothing."""
        left, pieces = max(min(count, self.size - offset), 0), []
        with self._lock:
            self.file.seek(offset)
            while left and (piece := self.file.read(left)):  # the system may return less than requested
                pieces.append(piece)
                left -= len(piece)
        return b"".join(pieces)

    def pieces(self, offset: int, count: int) -> Iterator[bytes]:
        """Yield those bytes in pieces."""
        for begin in range(offset, offset + count, _PIECE):
            yield self.read(begin, min(_PIECE, offset + count - begin))


def as_path(path_or_file: str | PathLike[str] | BinaryIO) -> Path | None:
    """Return a path as `Path`, or None for an open binary file. Raises DataError for anything else."""
    if isinstance(path_or_file, str | PathLike):
        return Path(path_or_file)
    if not hasattr(path_or_file, "read") or isinstance(path_or_file, io.TextIOBase):
        kind = type(path_or_file).__name__
        raise DataError(f"expected a path, or a file opened in binary mode, got {kind}; open it with 'rb' or 'wb'")
    return None


def read_head(file: BinaryIO, count: int) -> bytes:
    """The first bytes of a file; the next read returns them again."""
    file.seek(0)
    head = file.read(count)
    file.seek(0)
    return head


@contextmanager
def open_source(path: Path) -> Iterator[FileSource]:
    """Open the file at `path` as a source. Raises the errors of `open_regular`."""
    with open_regular(path) as file:
        yield FileSource(file)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises NotAFileError, or OSError as `open` does."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    except IsADirectoryError:
        pass
    raise NotAFileError(f"{path}: {_SPECIAL}")


def check_regular(path: Path) -> None:
    """Raise NotAFileError if a folder, a pipe or a device is at `path`. Opening a pipe would wait for a writer."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise NotAFileError(f"{path}: {_SPECIAL}")
