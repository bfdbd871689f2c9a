"""The parts of a file that is being made: in memory or, once they are many bytes, in a temporary file."""

import tempfile
import zlib
from threading import Lock
from typing import IO, Self

from pixelpyramids.codec.container import Entry, FileHeader, Kind, build_front
from pixelpyramids.codec.disk_array import LARGE, report_a_full_disk


class PartStore:
    """Takes parts in any order, from threads that share it, and writes the file. Use it in a `with` block."""

    def __init__(self, header: FileHeader) -> None:
        self._header, self._entries, self._lock = header, dict[int, Entry](), Lock()
        self._file = tempfile.SpooledTemporaryFile(LARGE)  # noqa: SIM115

    def add(self, number: int, kind: Kind, data: bytes) -> None:
        """Take the content of part `number`."""
        with self._lock, report_a_full_disk():
            self._entries[number] = Entry(kind, len(data), zlib.crc32(data), self._file.tell())
            self._file.write(data)

    @property
    def size(self) -> int:
        """The bytes of the whole file."""
        return len(self._front()) + sum(entry.length for entry in self._entries.values())

    def write(self, target: IO[bytes]) -> None:
        """Write the file, once all parts are there."""
        target.write(self._front())
        for _, entry in sorted(self._entries.items()):
            self._file.seek(entry.offset)
            target.write(self._file.read(entry.length))

    def _front(self) -> bytes:
        return build_front(self._header, (entry[:3] for _, entry in sorted(self._entries.items())))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
