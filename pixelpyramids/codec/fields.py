"""Read and write the fields of a file's header: numbers (LEB128 in its shortest form) and compressed bytes.

A source is read in small pieces, so that reading the front of a large file is cheap.
"""

import zlib
from abc import ABC, abstractmethod

from pixelpyramids.errors import BitstreamError, DataError

READ_AHEAD = 2**12  # bytes of a header to read at once


class ByteSource(ABC):
    """`size` bytes that can be read at any offset."""

    size: int

    @abstractmethod
    def read(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes, starting at `offset`."""


class MemorySource(ByteSource):
    """Bytes in memory, as a `ByteSource`."""

    def __init__(self, data: bytes) -> None:
        """Raises DataError if `data` is not a contiguous buffer."""
        try:
            self._data = memoryview(data)
            self._data = self._data.cast("B") if self._data.nbytes else memoryview(b"")
        except TypeError as error:
            got = type(data).__name__
            raise DataError(f"expected the bytes of a .ppyr file, got {got}; read the file first") from error
        self.size = len(self._data)

    def read(self, offset: int, count: int) -> bytes:
        """See `ByteSource`."""
        return bytes(self._data[offset : offset + count])


class FieldReader:
    """Takes fields from the front of a source, reading it in small pieces."""

    def __init__(self, source: ByteSource) -> None:
        self._source, self._front, self.position = source, bytearray(), 0

    @property
    def left(self) -> int:
        """The number of bytes that have not been taken."""
        return self._source.size - self.position

    def taken_bytes(self) -> bytes:
        """Return all bytes taken so far."""
        return bytes(self._front[: self.position])

    def take(self, count: int) -> bytes:
        """Take the next `count` bytes. Raises BitstreamError if the source ends before."""
        missing = self.position + count - len(self._front)
        if missing > 0 and count <= self.left:
            self._front += self._source.read(len(self._front), max(READ_AHEAD, missing))
        self.position += count
        if self.position > len(self._front):
            raise BitstreamError("the file ends within its header; it is cut short")
        return bytes(self._front[self.position - count : self.position])

    def read_varint(self, limit: int) -> int:
        """Take a number. Raises BitstreamError if it is above the limit or not in its shortest form."""
        number, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            shift += 7
            if number > limit or shift > 63:
                raise BitstreamError("a number in the header is out of range; the file is damaged")
            if byte < 128:
                if byte == 0 and shift > 7:
                    raise BitstreamError("a number in the header is not in its shortest form; the file is damaged")
                return number

    def read_packed(self, limit: int) -> bytes:
        """Take bytes compressed by zlib, preceded by both lengths. They unpack to at most `limit` bytes."""
        length, unpacked = self.read_varint(2 * limit + 64), self.read_varint(limit)
        packer = zlib.decompressobj()
        try:
            data = packer.decompress(self.take(length), unpacked + 1)
        except zlib.error as error:
            raise BitstreamError(
                f"packed bytes in the header cannot be unpacked: {error}; the file is damaged"
            ) from error
        if len(data) != unpacked or not packer.eof or packer.unused_data:
            raise BitstreamError("packed bytes in the header have the wrong length; the file is damaged")
        return data


def encode_varint(number: int) -> bytes:
    """Encode a number as LEB128."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def pack_bytes(data: bytes) -> bytes:
    """Compress bytes by zlib, and put both lengths before them."""
    short = zlib.compress(data, 9)
    return encode_varint(len(short)) + encode_varint(len(data)) + short
