"""The file: a header, an index of the parts, and the parts, octave by octave. Specified in docs/reference/format.md.

One CRC-32 covers header and index; each part has its own. Numbers are little-endian; a varint is LEB128 in its shortest
form.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from pixelpyramids.codec.fields import ByteSource, FieldReader, MemorySource, encode_varint, pack_bytes
from pixelpyramids.codec.integer_network import CHANNELS
from pixelpyramids.codec.memory import ALL_CHANNELS, YCBCR
from pixelpyramids.codec.parts import Part, list_parts, part_count
from pixelpyramids.errors import BitstreamError, DataError
from pixelpyramids.pyramid.octaves import octave_sizes

MAGIC = b"\x8fPPY"
VERSION = 1
NAME_BYTES = 8
MAX_METADATA = 2**24  # bytes, uncompressed
MAX_BLOBS = 2**12
MAX_NAME = 255  # bytes
MAX_SIDE = 2**30
MAX_CHANNELS = 64
VALUES_PER_PIXEL = 4  # a limit of pixels also limits the values, to so many for each pixel
_SOURCE_FORMAT = "source_format"  # the metadata entry that holds it
_DEFAULT_FORMAT = "png"  # not written, to keep small files small


class Content(IntEnum):
    """How the image is coded."""

    MODEL = 0
    WEBP = 1
    PNG = 2


class Kind(IntEnum):
    """How a part is coded."""

    MODEL = 0
    CONSTANT = 1
    STORED = 2


class Entry(NamedTuple):
    """How a part is coded, its bytes' number and CRC-32, and the offset of the first of them in the file."""

    kind: Kind
    length: int
    crc: int
    offset: int


@dataclass(frozen=True)
class FileHeader:
    """The header of a file: the array's shape (H, W) or (H, W, C), its depth in bits, and how it is coded.

    `values`, if not None, lists the values that occur, in ascending order: the planes hold indices into it. `grey`
    means that the colours of each pixel are equal, so only one is coded. `gains` holds the gain of each octave of each
    plane, finest first; `mixed` has a bit for each channel of a plane that is coded with mixing, and FAR
    and YCBCR (`codec.memory`). `source_format` is the format of the file that the image came from, in lower case; "png"
    if it is unknown.
    """

    height: int
    width: int
    channels: int
    has_axis: bool
    is_wide: bool
    depth: int
    content: Content
    model: bytes = b""
    grey: bool = False
    values: tuple[int, ...] | None = None
    gains: tuple[tuple[int, ...], ...] = ()
    mixed: tuple[int, ...] = ()
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    source_format: str = _DEFAULT_FORMAT

    @property
    def bits(self) -> int:
        """The number of bits of the coded values."""
        return self.depth if self.values is None else max((len(self.values) - 1).bit_length(), 1)

    @property
    def planes(self) -> tuple[int, ...]:
        """The number of channels that each plane holds: three, and one for each of the channels that are left."""
        return (CHANNELS,) * (self.channels // CHANNELS) + (1,) * (self.channels % CHANNELS)

    @property
    def coded(self) -> tuple[int, ...]:
        """The number of coded channels of each plane: all of them, but one of equal colours."""
        first, *others = self.planes
        return (1 if self.grey else first, *others)

    def can_mix(self, mixed: int, coded: int) -> bool:
        """Whether a plane with so many coded channels can be mixed like this."""
        channels = mixed & ALL_CHANNELS
        if channels >> coded or mixed >= 2 * YCBCR or (mixed and not channels):
            return False
        has_colours = self.channels <= 4 and self.depth == 8 and self.values is None
        return not mixed & YCBCR or (has_colours and channels >= 1 << (CHANNELS - 1))

    @property
    def octaves(self) -> int:
        """The number of octaves."""
        return len(octave_sizes(self.height, self.width)) - 1

    def parts(self) -> list[Part]:
        """The parts of each plane, in file order."""
        return list_parts(self.height, self.width)

    def layout(self) -> list[tuple[Part, int]]:
        """The parts in file order, each with the number of its plane."""
        return [(part, plane) for part in self.parts() for plane in range(len(self.coded))]


@dataclass(frozen=True)
class FileIndex:
    """The header of a file, the entries of its parts, and the offset of the first part."""

    header: FileHeader
    entries: tuple[Entry, ...]
    begin: int

    @property
    def size(self) -> int:
        """The size of the whole file in bytes."""
        return self.entries[-1].offset + self.entries[-1].length

    def finest_within(self, size: int) -> int | None:
        """The finest octave that is complete in the first `size` bytes, which are not all; None if the base is not."""
        if self.header.content == Content.MODEL:
            for (part, _), entry in zip(self.header.layout(), self.entries, strict=True):
                if entry.offset + entry.length > size:
                    return None if part.is_base else part.finest + 1
        return None


def build_file(header: FileHeader, contents: list[tuple[Kind, bytes]]) -> bytes:
    """Return the bytes of a file with these parts."""
    front = build_front(header, [(kind, len(data), zlib.crc32(data)) for kind, data in contents])
    return front + b"".join(data for _, data in contents)


def build_front(header: FileHeader, parts: Iterable[tuple[Kind, int, int]]) -> bytes:
    """Return all bytes before the parts, of which the kinds, lengths and CRC-32 are given."""
    entries = b"".join(encode_varint(length << 2 | kind) + crc.to_bytes(4, "little") for kind, length, crc in parts)
    front = _build_header(header) + entries
    return front + zlib.crc32(front).to_bytes(4, "little")


def read_index(source: ByteSource, max_pixels: int, names: Mapping[bytes, object] | None = None) -> FileIndex:
    """Read header and index. Raises BitstreamError if the file is damaged, not .ppyr, too new, or above a limit.

    The limits are checked before anything is allocated. If `names` is given, other models are refused.
    """
    reader = FieldReader(source)
    header = _parse_header(reader, max_pixels, names)
    is_model = header.content == Content.MODEL
    count = part_count(header.height, header.width) * len(header.coded) if is_model else 1
    if reader.left < 5 * count:
        raise BitstreamError(f"expected an index of {count} parts, got {reader.left} bytes; the file is cut short")
    parsed = [_parse_entry(reader) for _ in range(count)]
    expected = zlib.crc32(reader.taken_bytes())
    if int.from_bytes(reader.take(4), "little") != expected:
        raise BitstreamError("the header's checksum does not match; the file is damaged")
    offsets = accumulate((length for _, length, _ in parsed), initial=reader.position)
    entries = tuple(Entry(*fields, offset) for fields, offset in zip(parsed, offsets, strict=False))
    if not is_model and entries[0].kind != Kind.STORED:
        raise BitstreamError("the header contradicts itself; the file is damaged")
    return FileIndex(header, entries, reader.position)


def read_part(source: ByteSource, index: FileIndex, number: int) -> bytes:
    """Read the bytes of a part. Raises BitstreamError if they are damaged or incomplete."""
    entry, name = index.entries[number], f"part {number + 1} of {len(index.entries)}"
    data = source.read(entry.offset, entry.length) if entry.offset + entry.length <= source.size else b""
    if len(data) < entry.length:
        raise BitstreamError(f"{name} is cut short; the file is incomplete")
    if zlib.crc32(data) != entry.crc:
        raise BitstreamError(f"the checksum of {name} does not match; the file is damaged")
    return data


def describe_excess(shape: Sequence[int], max_pixels: int) -> str:
    """Say that an image (H, W) or (H, W, C) has more than `max_pixels` pixels of four channels; "" if it has not."""
    height, width, channels = (*shape, 1)[:3]
    if height * width > max_pixels:
        return f"the image has {height} x {width} pixels, more than the limit of {max_pixels}"
    if height * width * channels > VALUES_PER_PIXEL * max_pixels:
        most = f"{max_pixels} pixels of {VALUES_PER_PIXEL} channels"
        return f"the image has {height} x {width} pixels of {channels} channels, more than the limit of {most}"
    return ""


def check_metadata(metadata: Mapping[str, bytes]) -> None:
    """Raise DataError unless the metadata map str of a length and alphabet that files hold to bytes."""
    if not isinstance(metadata, Mapping):
        raise DataError(f"expected metadata as a dictionary of str to bytes, got {type(metadata).__name__}")
    for tag, blob in metadata.items():
        if not isinstance(tag, str) or not isinstance(blob, bytes):
            got = f"{type(blob).__name__} under {tag!r}"
            raise DataError(f"expected metadata that maps str to bytes, got {got}; encode text as bytes")
        if len(tag) > MAX_NAME or max(map(ord, tag), default=0) > 255:
            raise DataError(f"expected metadata names of at most {MAX_NAME} Latin-1 characters, got {tag!r}")


def _build_header(header: FileHeader) -> bytes:
    flags = header.has_axis | header.is_wide << 1 | header.content << 2 | header.grey << 4
    metadata = _serialise_metadata(header)
    flags |= (header.values is not None) << 5 | bool(metadata) << 6
    out = bytearray(MAGIC + bytes([VERSION, flags, header.depth, header.channels]))
    out += encode_varint(header.height) + encode_varint(header.width)
    if header.content == Content.MODEL:
        out += header.model + bytes(header.mixed)
        if header.values is not None:
            out += pack_values(header.values, header.depth)
        if header.bits > 8:
            out += bytes(gain for plane in header.gains for gain in plane)
    if metadata:
        out += pack_bytes(metadata)
    return bytes(out)


def _serialise_metadata(header: FileHeader) -> bytes:
    """Serialise the metadata and the source's format. Raises DataError if they could not be read again."""
    check_metadata(header.metadata)
    if not isinstance(header.source_format, str) or not header.source_format.isascii():
        raise DataError(f"expected the source's format as ASCII text, got {header.source_format!r}")
    if _SOURCE_FORMAT in header.metadata:
        raise DataError(f"expected no metadata named {_SOURCE_FORMAT}; pass the argument {_SOURCE_FORMAT} instead")
    metadata = dict(header.metadata)
    if header.source_format != _DEFAULT_FORMAT:
        metadata[_SOURCE_FORMAT] = header.source_format.encode()
    data = b"".join(
        encode_varint(len(tag)) + tag.encode("latin-1") + encode_varint(len(blob)) + blob
        for tag, blob in metadata.items()
    )
    if len(data) > MAX_METADATA or len(metadata) > MAX_BLOBS:
        largest = max(metadata, key=lambda tag: len(metadata[tag]))
        raise DataError(
            f"expected at most {MAX_BLOBS} metadata entries of {MAX_METADATA} bytes in total, got {len(metadata)} of "
            f"{len(data)} bytes; remove some, the largest is {largest}"
        )
    return data


def _parse_header(reader: FieldReader, max_pixels: int, names: Mapping[bytes, object] | None) -> FileHeader:
    if reader.take(len(MAGIC)) != MAGIC:
        raise BitstreamError("expected a .ppyr file, got another kind of file; check the name")
    version, flags, depth, channels = reader.take(4)
    if version == 0:
        raise BitstreamError(
            "expected a file of version 1, got version 0, a draft; decompress it with the development version of "
            "pixelpyramids that made it"
        )
    if version != VERSION:
        raise BitstreamError(
            f"expected a file of version {VERSION}, got {version}; install a version of pixelpyramids that reads it"
        )
    height, width = reader.read_varint(MAX_SIDE), reader.read_varint(MAX_SIDE)
    content = flags >> 2 & 3
    is_wide = bool(flags & 2)
    grey, has_values = bool(flags & 16), bool(flags & 32)
    sound = 1 <= depth <= (16 if is_wide else 8) and 1 <= channels <= MAX_CHANNELS and height and width and content < 3
    sound = sound and not flags & 128 and (channels == 1 or bool(flags & 1)) and (channels in (3, 4) or not grey)
    if not sound or (content != Content.MODEL and (grey or has_values)):
        raise BitstreamError("the header contradicts itself; the file is damaged")
    if excess := describe_excess((height, width, channels), max_pixels):
        raise BitstreamError(f"{excess}; raise the limit (max_pixels, --max-pixels) if you trust the file")
    header = FileHeader(height, width, channels, bool(flags & 1), is_wide, depth, Content(content), grey=grey)
    if content == Content.MODEL:
        header = replace(header, model=reader.take(NAME_BYTES), mixed=tuple(reader.take(len(header.coded))))
        if names is not None and header.model not in names:
            raise BitstreamError(
                f"the file needs the model {header.model.hex()}, which this version of pixelpyramids does not have; "
                "install a newer one"
            )
        if has_values:
            header = replace(header, values=_parse_values(reader.read_packed(max(1 << depth, 8) // 8), depth))
        if not all(header.can_mix(mixed, coded) for mixed, coded in zip(header.mixed, header.coded, strict=True)):
            raise BitstreamError("the header contradicts itself; the file is damaged")
        if header.bits > 8:
            header = replace(header, gains=tuple(tuple(reader.take(header.octaves)) for _ in header.coded))
            if any(gain > header.bits - 8 for plane in header.gains for gain in plane):
                raise BitstreamError("the header contradicts itself; the file is damaged")
    if flags & 64:
        metadata = _parse_metadata(reader.read_packed(MAX_METADATA))
        source_format = metadata.pop(_SOURCE_FORMAT, _DEFAULT_FORMAT.encode()).decode("latin-1")
        header = replace(header, metadata=metadata, source_format=source_format)
    return header


def _parse_entry(reader: FieldReader) -> tuple[Kind, int, int]:
    number = reader.read_varint(1 << 40)
    if number & 3 == 3:
        raise BitstreamError("a part has an unknown kind; the file is damaged")
    return Kind(number & 3), number >> 2, int.from_bytes(reader.take(4), "little")


def pack_values(values: Sequence[int], depth: int) -> bytes:
    """Pack the list of occurring values for the header: a bit for each value below 2**depth."""
    occurs = np.zeros(max(1 << depth, 8), dtype=bool)
    occurs[list(values)] = True
    return pack_bytes(np.packbits(occurs, bitorder="little").tobytes())


def _parse_values(bitmap: bytes, depth: int) -> tuple[int, ...]:
    values = tuple(8 * i + bit for i, byte in enumerate(bitmap) if byte for bit in range(8) if byte >> bit & 1)
    if len(bitmap) != max(1 << depth, 8) // 8 or not values or values[-1] >> depth:
        raise BitstreamError("the header lists impossible values; the file is damaged")
    return values


def _parse_metadata(data: bytes) -> dict[str, bytes]:
    reader, blobs = FieldReader(MemorySource(data)), dict[str, bytes]()
    while reader.left:
        tag = reader.take(reader.read_varint(MAX_NAME)).decode("latin-1")
        if tag in blobs or len(blobs) == MAX_BLOBS:
            raise BitstreamError("the header holds a metadata entry twice, or too many; the file is damaged")
        blobs[tag] = reader.take(reader.read_varint(MAX_METADATA))
    return blobs
