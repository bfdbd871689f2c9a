"""Build .ppyr files field by field, with correct checksums and any content, and decode them in two independent ways.

The writer follows docs/reference/format.md and shares nothing with the package's writer, so every field can be wrong,
as in the file of an attacker.
"""

import importlib.util
import struct
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from unittest import mock

import numpy as np
import pytest
from command_line import ROOT
from image_samples import SIGNATURE, chunk

import pixelpyramids as pp
from pixelpyramids.codec import bundled, image
from pixelpyramids.codec.container import read_index, read_part
from pixelpyramids.codec.fields import FieldReader, MemorySource
from pixelpyramids.codec.memory import FAR, YCBCR
from pixelpyramids.errors import BitstreamError

AXIS, WIDE, WEBP, PNG, GREY, VALUES, METADATA, UNKNOWN = 1, 2, 4, 8, 16, 32, 64, 128
MODEL, CONSTANT, STORED = range(3)

DECODER = ROOT / "docs" / "reference" / "ppyr_decoder.py"
WEIGHTS = bundled.ASSETS / bundled.MODELS["compact"]
NAME = next(iter(bundled.model_names()))  # the identifier of the model in files


SPEC = importlib.util.spec_from_file_location("ppyr_decoder", DECODER)
decoder = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(decoder)
decoder.Network = lru_cache(decoder.Network)
WEIGHT_BYTES = WEIGHTS.read_bytes()


def varint(number):
    """LEB128 in its shortest form."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def pack(data, length=None, unpacked=None):
    """Packed bytes as in the header; both lengths may be wrong."""
    stream = zlib.compress(data, 9)
    stated = len(stream) if length is None else length
    return varint(stated) + varint(len(data) if unpacked is None else unpacked) + stream


def join_metadata(pairs):
    """Metadata entries before they are packed."""
    return b"".join(varint(len(name)) + name + varint(len(data)) + data for name, data in pairs)


def plane_count(channels):
    """How many planes hold so many channels: three in each, and each that is left in its own."""
    return channels // 3 + channels % 3


@dataclass(frozen=True)
class File:
    """Every field of a file. `fields` is all between `mixed` and the index, `size` the bytes of height and width."""

    height: int
    width: int
    flags: int = AXIS
    depth: int = 8
    channels: int = 1
    version: int = 1
    magic: bytes = b"\x8fPPY"
    size: bytes | None = None
    model: bytes | None = None
    mixed: bytes | None = None
    fields: bytes = b""
    parts: tuple[tuple[int, bytes], ...] = ()
    index: bytes | None = None
    behind: bytes = b""

    @staticmethod
    def of(data):
        """Take a sound file apart."""
        index = read_index(MemorySource(data), 2**28)
        parts = tuple(
            (int(entry.kind), read_part(MemorySource(data), index, number))
            for number, entry in enumerate(index.entries)
        )
        reader = FieldReader(MemorySource(data))
        _, flags, depth, channels = reader.take(8)[4:]
        height, width = reader.read_varint(2**30), reader.read_varint(2**30)
        is_stream = flags & (WEBP | PNG)
        model, mixed = (b"", b"") if is_stream else (reader.take(8), reader.take(plane_count(channels)))
        entries = sum(len(varint(len(part) << 2)) + 4 for _, part in parts)
        fields = data[reader.position : index.begin - 4 - entries]
        return File(height, width, flags, depth, channels, model=model, mixed=mixed, fields=fields, parts=parts)

    def with_part(self, number, kind, data):
        """The same file with another part."""
        return replace(self, parts=(*self.parts[:number], (kind, data), *self.parts[number + 1 :]))

    def header(self):
        """The bytes before the index."""
        front = self.magic + bytes([self.version, self.flags, self.depth, self.channels])
        front += varint(self.height) + varint(self.width) if self.size is None else self.size
        model, mixed = (b"", b"") if self.flags & (WEBP | PNG) else (NAME, bytes(plane_count(self.channels)))
        model, mixed = model if self.model is None else self.model, mixed if self.mixed is None else self.mixed
        return front + model + mixed + self.fields

    def to_bytes(self, header=None):
        """The bytes of the file, by default with its own header."""
        front = self.header() if header is None else header
        if self.index is None:
            for kind, data in self.parts:
                front += varint(len(data) << 2 | kind) + zlib.crc32(data).to_bytes(4, "little")
        else:
            front += self.index
        front += zlib.crc32(front).to_bytes(4, "little")
        return front + b"".join(data for _, data in self.parts) + self.behind


def pixels(kind, shape, depth, wide=None, seed=0):
    """An image of a kind: noise, smooth (with noise), grey (equal colours), comb (few values), constant, corner."""
    rng, n = np.random.default_rng(seed), 1 << depth
    y, x = np.mgrid[: shape[0], : shape[1]].reshape(2, *shape[:2], *(1,) * (len(shape) - 2))
    smooth = (0.5 + 0.4 * np.sin(y / 5 + seed) * np.cos(x / 7)) * n
    smooth = smooth + rng.normal(0, 1 + n / 99, smooth.shape)
    array = np.broadcast_to(smooth, shape) + (rng.normal(0, 1, shape) if kind == "smooth" else 0)
    if kind == "noise":
        array = rng.integers(0, n, shape)
    elif kind == "comb":
        array = array // max(n // 16, 1) * max(n // 16, 1)
    elif kind == "constant":
        array = np.full(shape, n - 1)
    elif kind == "corner":
        array = np.where(x < 70, array, n // 2)
    wide = depth > 8 if wide is None else wide
    return array.clip(0, n - 1).astype(np.uint16 if wide else np.uint8)


def smooth(height=20, width=9, channels=3, depth=8):
    """A small image that the model codes well."""
    y, x = np.mgrid[:height, :width]
    array = (2**depth - 1) * (0.5 + 0.4 * np.sin(y[..., None] / 5 + np.arange(channels)) * np.cos(x[..., None] / 7))
    return array.astype(np.uint8 if depth <= 8 else np.uint16)


def interleave(fine, coarse):
    """The image whose pixels are `fine`, but whose next octave is `coarse`."""
    array = fine.copy()
    array[1::2, 1::2] = coarse
    return array


def encode_mixed(array, mixed, **options):
    """The file of an image, by default at effort fast, that is mixed as these bits say, as far as it can be."""

    def limit(header, coded):
        channels = mixed & ((1 << coded) - 1)
        bits = channels | (mixed & FAR if channels else 0)
        return bits | mixed & YCBCR if header.can_mix(bits | YCBCR, coded) else bits

    def choose(_, header, *others):
        return dict.fromkeys(image.EFFORTS, tuple(limit(header, coded) for coded in header.coded))

    with mock.patch.object(image, "choose_mixed", choose):
        return pp.encode(array, **{"effort": "fast"} | options)


def stream_file(array, content, data, flags=AXIS, **fields):
    """A file of an image's size that holds the stream of a library."""
    height, width, channels = array.shape
    return File(height, width, flags | content, channels=channels, parts=((STORED, data),), **fields)


def chunks_of(png):
    """The chunks (name, data) of a PNG."""
    place, chunks = 8, []
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        chunks.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def png_of(chunks):
    """A PNG with these chunks (name, data)."""
    return SIGNATURE + b"".join(chunk(name, data) for name, data in chunks)


decode_as_specified = partial(decoder.decode, weights=WEIGHT_BYTES)


def assert_refused(file, match=".", **options):
    """Both decoders refuse the file; the package with these words."""
    data = file.to_bytes() if isinstance(file, File) else file
    with pytest.raises(BitstreamError, match=match):
        pp.decode(data, **options)
    with pytest.raises(decoder.FormatError):
        decode_as_specified(data)


def assert_decoded(file, array):
    """Both decoders give exactly this image."""
    data = file.to_bytes() if isinstance(file, File) else file
    for found in (pp.decode(data), decode_as_specified(data)):
        assert found.dtype == array.dtype and found.shape == array.shape and np.array_equal(found, array)


def assert_alike(data):
    """Both decoders give the same array, or both refuse; return whether they refuse."""
    outcomes = []
    for decode, refusal in ((pp.decode, BitstreamError), (decode_as_specified, decoder.FormatError)):
        try:
            array = decode(data, max_pixels=2**12)
            outcomes.append((array.shape, array.dtype, array.tobytes()))
        except refusal:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]
    return outcomes[0] is None
