"""Read a large remote file piece by piece, and try a piece again if the network fails."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from pixelpyramids.archive.network import attempt

PIECE = 2**22  # bytes that are asked for at once


class _Retried(io.RawIOBase):
    """A file of fsspec, whose reads are tried again. A read that fails leaves the file at its place."""

    def __init__(self, file: Any, address: str) -> None:
        self._file, self._address = file, address

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        data = attempt(self._address, lambda: self._file.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def open_streaming(system: Any, path: str, address: str) -> Iterator[BinaryIO]:
    """Open a file of an fsspec file system.

    A web server that cannot send a part of a file sends all of it, into a temporary file.
    """
    with attempt(address, lambda: system.open(path, "rb", block_size=PIECE, cache_type="none")) as file:
        if attempt(address, lambda: _sends_parts(file)):
            yield io.BufferedReader(_Retried(file, address), PIECE)
            return
    with TemporaryFile() as copy:

        def fetch() -> None:
            copy.seek(0)
            copy.truncate()
            system.get_file(path, copy)

        attempt(address, fetch)
        copy.seek(0)
        yield copy


def _sends_parts(file: Any) -> bool:
    """Whether a file can be read from anywhere, found out by reading its last byte."""
    if file.size is None:
        return False
    try:
        file.seek(max(file.size - 1, 0))
        file.read(1)
    except ValueError:
        return False
    file.seek(0)
    return True
