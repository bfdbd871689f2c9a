"""Fields of a file's header, written and read: numbers, packed bytes. Numbers are LEB128 in its shortest form.

A source is read in small pieces, so that the front of a large file costs little.
"""

import zlib
from typing import Protocol

from pixelpyramids.errors import BitstreamError, DataError

READ_AHEAD = 2**12  # bytes of a header that are read at once


class ByteSource(Protocol):
    """Bytes, read where they are wanted; `size` of them."""

    size: int

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset` on."""


class MemorySource:
    """Bytes in memory as a `Source`."""

    def __init__(self, data: bytes) -> None:
        """Raises DataError if `data` are not contiguous bytes."""
        try:
            self._data = memoryview(data)
            self._data = self._data.cast("B") if self._data.nbytes else memoryview(b"")
        except TypeError as error:
            got = type(data).__name__
            raise DataError(f"expected the bytes of a .ppyr file, got {got}; read the file first") from error
        self.size = len(self._data)

    def read(self, offset: int, count: int) -> bytes:
        """As of `Source`."""
        return bytes(self._data[offset : offset + count])


class FieldReader:
    """Takes fields from the front of a source, which is read in small pieces."""

    def __init__(self, source: ByteSource) -> None:
        self._source, self._front, self.position = source, bytearray(), 0

    @property
    def left(self) -> int:
        """Bytes of the source behind what was taken."""
        return self._source.size - self.position

    def taken_bytes(self) -> bytes:
        """All that was taken."""
        return bytes(self._front[: self.position])

    def take(self, count: int) -> bytes:
        """The next bytes. Raises BitstreamError where there are not so many."""
        if count > self.left:
            raise BitstreamError("the file ends within its header; it is cut short")
        while len(self._front) < self.position + count:
            more = self._source.read(len(self._front), max(READ_AHEAD, self.position + count - len(self._front)))
            if not more:
                raise BitstreamError("the file ends within its header; it is cut short")
            self._front += more
        self.position += count
        return bytes(self._front[self.position - count : self.position])

    def read_varint(self, limit: int) -> int:
        """A number. Raises BitstreamError where it is above the limit, or not in its shortest form."""
        number, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            shift += 7
            if number > limit or shift > 63:
                raise BitstreamError("a number of the header is out of its range; the file is damaged")
            if byte < 128:
                if byte == 0 and shift > 7:
                    raise BitstreamError("a number of the header is not in its shortest form; the file is damaged")
                return number

    def read_packed(self, limit: int) -> bytes:
        """Bytes that zlib packed, preceded by both lengths: at most `limit` of them."""
        length, unpacked = self.read_varint(2 * limit + 64), self.read_varint(limit)
        packer = zlib.decompressobj()
        try:
            data = packer.decompress(self.take(length), unpacked + 1)
        except zlib.error as error:
            raise BitstreamError(f"packed bytes of the header cannot be unpacked: {error}; damaged") from error
        if len(data) != unpacked or not packer.eof or packer.unused_data:
            raise BitstreamError("packed bytes of the header are not as long as they should be; damaged")
        return data


def encode_varint(number: int) -> bytes:
    """A number in LEB128."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def pack(data: bytes) -> bytes:
    """Bytes that zlib packs, preceded by both lengths."""
    short = zlib.compress(data, 9)
    return encode_varint(len(short)) + encode_varint(len(data)) + short
