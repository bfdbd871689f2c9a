"""Files whose checksums are right and whose contents are anything: what an attacker writes, who can compute a CRC.

Written from docs/format.md, not by the package's own writer, so that each field can be wrong.
"""

import io
import struct
import zlib
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.codec import bundled
from pixelpyramids.codec.container import Content, read_index, read_part
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.errors import BitstreamError

AXIS, WIDE, WEBP, PNG, GREY, VALUES, METADATA, UNKNOWN = 1, 2, 4, 8, 16, 32, 64, 128
MODEL, CONSTANT, STORED = range(3)


def varint(number):
    """LEB128 in its shortest form."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def packed(data, length=None, unpacked=None):
    """As the header holds packed bytes; the lengths may be told wrong."""
    stream = zlib.compress(data, 9)
    told = len(stream) if length is None else length
    return varint(told) + varint(len(data) if unpacked is None else unpacked) + stream


def blobs(pairs):
    """Metadata before they are packed."""
    return b"".join(varint(len(tag)) + tag + varint(len(data)) + data for tag, data in pairs)


@dataclass(frozen=True)
class File:
    """Every field of a file; `fields` is all between the width and the index, `size` the bytes of height and width."""

    height: int
    width: int
    flags: int = 0
    depth: int = 8
    channels: int = 1
    version: int = 0
    magic: bytes = b"\x8fPPY"
    size: bytes | None = None
    model: bytes | None = None
    fields: bytes = b""
    parts: tuple[tuple[int, bytes], ...] = field(default=())
    index: bytes | None = None
    behind: bytes = b""

    @staticmethod
    def of(data):
        """The fields of a sound file without values and metadata."""
        index = read_index(MemorySource(data), 2**28)
        header = index.header
        flags = header.has_axis | header.is_wide << 1 | header.content << 2 | header.grey << 4
        parts = tuple(
            (int(entry.kind), read_part(MemorySource(data), index, number, offset))
            for number, (entry, offset) in enumerate(zip(index.entries, index.offsets(), strict=True))
        )
        gains = bytes(gain for plane in header.gains for gain in plane)
        model = header.model if header.content == Content.MODEL else b""
        return File(
            header.height, header.width, flags, header.depth, header.channels, model=model, fields=gains, parts=parts
        )

    def with_part(self, number, kind, data):
        """The same, but for a part."""
        parts = list(self.parts)
        parts[number] = kind, data
        return replace(self, parts=tuple(parts))

    def written(self):
        """The bytes."""
        front = self.magic + bytes([self.version, self.flags, self.depth, self.channels])
        front += varint(self.height) + varint(self.width) if self.size is None else self.size
        front += next(iter(bundled.model_names())) if self.model is None else self.model
        front += self.fields
        if self.index is None:
            for kind, data in self.parts:
                front += varint(len(data) << 2 | kind) + zlib.crc32(data).to_bytes(4, "little")
        else:
            front += self.index
        front += zlib.crc32(front).to_bytes(4, "little")
        return front + b"".join(data for _, data in self.parts) + self.behind


def smooth(height=20, width=9, channels=3, depth=8):
    """A small image, which the model codes well."""
    y, x = np.mgrid[:height, :width]
    image = (2**depth - 1) * (0.5 + 0.4 * np.sin(y[..., None] / 5 + np.arange(channels)) * np.cos(x[..., None] / 7))
    return image.astype(np.uint8 if depth <= 8 else np.uint16)


def refused(file, match, **options):
    """See that it is refused with these words."""
    with pytest.raises(BitstreamError, match=match):
        pp.decode(file if isinstance(file, bytes) else file.written(), **options)


def saved(image, kind="PNG", **options):
    """What Pillow writes of an array."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, **options)
    return out.getvalue()


def stream(image, content, data, flags=AXIS):
    """A file that holds a library's stream."""
    height, width, channels = image.shape
    return File(height, width, flags | content, channels=channels, model=b"", parts=((STORED, data),))


def png_of(chunks):
    """A PNG of chunks (name, data)."""
    out = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        out += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return out


def assert_only_refused(data, **options):
    """It is refused, or gives an image of the header's shape, type and depth."""
    try:
        found = pp.decode(data, max_pixels=2**16, **options)
    except BitstreamError:
        return
    header = read_index(MemorySource(data), 2**28).header
    assert found.dtype == (np.uint16 if header.is_wide else np.uint8)
    assert found.ndim == 2 + header.has_axis and int(found.max()) >> header.depth == 0
    if options.get("scale", 1) == 1 and not options.get("salvage"):
        assert found.shape == (header.height, header.width, header.channels)[: found.ndim]
