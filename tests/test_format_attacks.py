"""The package and the decoder beside the format's text accept and refuse the same files, checksums right."""

import struct
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hostile_files import png_of, saved
from test_format import NAME, WEIGHTS, decoder, framed, pixels

import pixelpyramids as pp
from pixelpyramids.codec import fallback, fields
from pixelpyramids.codec.container import Content, FileHeader, Kind, build_file, read_index, read_part
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.errors import BitstreamError

PALETTE = np.array([[1, 2, 3, 4], [9, 8, 7, 255]], np.uint8)[np.eye(6, 7, dtype=np.uint8)]


@pytest.fixture(autouse=True)
def weights_read_once(monkeypatch):
    network = decoder.Network(WEIGHTS.read_bytes())
    monkeypatch.setattr(decoder, "Network", lambda weights: network)


def outcome(decode, refusal, data):
    try:
        array = decode(data)
    except refusal:
        return None
    return array.shape, array.dtype, array.tobytes()


def assert_alike(data):
    """See that both decoders give the same array, or both refuse; whether they refuse."""
    theirs = outcome(lambda data: decoder.decode(data, b"", 2**16), decoder.FormatError, data)
    ours = outcome(lambda data: pp.decode(data, max_pixels=2**16), BitstreamError, data)
    assert theirs == ours
    return ours is None


def taken_apart(data):
    """The header of a file, and the kind and the bytes of each part."""
    index = read_index(MemorySource(data), 2**28)
    offsets = index.offsets()
    parts = [(entry.kind, read_part(MemorySource(data), index, i, offsets[i])) for i, entry in enumerate(index.entries)]
    entries = sum(len(fields.encode_varint(len(part) << 2)) + 4 for _, part in parts)
    return data[: index.begin - 4 - entries], parts


def streams(channels, wide=False):
    """Files that hold a PNG or a WebP of these channels."""
    array = pixels("noise", (6, 7, channels), 16 if wide else 8)
    header = FileHeader(6, 7, channels, True, wide, 16 if wide else 8, Content.MODEL)
    for some in [array, PALETTE[..., :channels]] if channels > 2 else [array]:
        for content, stream in fallback._library_streams(some, header):
            yield build_file(replace(header, content=content), [(Kind.STORED, stream)])


def small_files():
    """Small files of every content and kind of part."""
    yield pp.encode(pixels("constant", (4, 4, 4), 12), depth=12, effort="fast", metadata={"ICC": b"x", "text:a": b"y"})
    yield pp.encode(pixels("noise", (2, 2, 2), 5), depth=5, effort="fast")
    yield pp.encode(pixels("smooth", (3, 4), 8), effort="fast")
    yield build_file(
        FileHeader(2, 2, 1, True, True, 12, Content.MODEL, NAME, values=(1, 5, 7)), [(Kind.STORED, b"\x24")]
    )
    for channels in (1, 2, 3, 4):
        yield from streams(channels)
    yield from streams(1, wide=True)


def mutated(data, rng):
    """With a bit flipped, a byte changed, some lost or added, or cut."""
    at = int(rng.integers(len(data) + 1))
    some = rng.choice([0, 1, 4, 127, 128, 255, rng.integers(256)], rng.integers(1, 4)).astype(np.uint8).tobytes()
    flipped = bytes([data[at] ^ 1 << int(rng.integers(8))]) if at < len(data) else b""
    behind = [flipped + data[at + 1 :], some + data[at + len(some) :], data[at + len(some) :], some + data[at:], b""]
    return data[:at] + behind[rng.integers(5)]


def mutated_png(png, rng):
    """With a chunk changed, lost, repeated or added, checksums right."""
    chunks, place = [], 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        chunks.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + length]))
        place += 12 + length
    at, kind = int(rng.integers(len(chunks))), rng.integers(5)
    name, data = chunks[at]
    if kind == 0:
        chunks[at] = name, mutated(data, rng)
    elif kind == 1:
        del chunks[at]
    elif kind == 2:
        chunks.insert(at, chunks[rng.integers(len(chunks))])
    elif kind == 3:
        names = [b"tRNS", b"PLTE", b"IDAT", b"IEND", b"gAMA", b"acTL", b"abCd"]
        chunks.insert(at, (names[rng.integers(7)], rng.bytes(rng.integers(7))))
    else:
        (at,) = (number for number, (name, _) in enumerate(chunks) if name == b"IDAT")
        chunks[at] = b"IDAT", zlib.compress(mutated(zlib.decompress(chunks[at][1]), rng))
    return png_of(chunks)


@pytest.fixture(scope="module")
def sound_files():
    return list(small_files())


@pytest.mark.parametrize("number", range(17))
def test_both_decoders_accept_and_refuse_the_same_mutated_files(number, sound_files):
    assert len(sound_files) == 17
    header, parts = taken_apart(sound_files[number])
    assert framed(header, parts) == sound_files[number] and not assert_alike(sound_files[number])
    rng, refused = np.random.default_rng(number), 0
    for _ in range(60):
        front, contents = header, list(parts)
        if rng.integers(2):
            front = mutated(header, rng)
        else:
            at = rng.integers(len(contents))
            kind, part = contents[at]
            is_png = header[5] >> 2 & 3 == Content.PNG and rng.integers(4)
            contents[at] = (
                rng.integers(4) if rng.integers(5) == 0 else kind,
                (mutated_png if is_png else mutated)(part, rng),
            )
        refused += assert_alike(framed(front, contents))
    assert refused > 20


def test_a_png_cut_anywhere_or_with_bytes_behind_is_refused_by_both():
    array = pixels("smooth", (20, 31, 3), 8)
    png, header = saved(array), FileHeader(20, 31, 3, True, False, 8, Content.PNG)
    assert not assert_alike(build_file(header, [(Kind.STORED, png)]))
    for other in [png[:length] for length in range(len(png) - 60, len(png))] + [png + b"\0", png + bytes(12)]:
        assert assert_alike(build_file(header, [(Kind.STORED, other)]))


@pytest.mark.parametrize("height, width", [(2**14, 2**14), (1, 2**28), (2**28, 1), (300, 2**19)])
@pytest.mark.parametrize("channels", [1, 4])
def test_a_large_image_in_a_short_file_is_refused_before_anything_is_allocated(height, width, channels):
    header = b"\x8fPPY\0\1\x08" + bytes([channels]) + fields.encode_varint(height) + fields.encode_varint(width) + NAME
    data = framed(header, [(Kind.CONSTANT, bytes(6))] * 3)
    tracemalloc.start()
    with pytest.raises(decoder.FormatError, match="cut short"):
        decoder.decode(data, b"")
    with pytest.raises(BitstreamError, match="cut short"):
        pp.decode(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20


@pytest.mark.parametrize("height, width", [(1, 1), (8, 1), (64, 64), (65, 3), (770, 1), (3, 1300), (1025, 2050)])
def test_parts_are_counted_as_they_are_listed(height, width):
    assert decoder.part_count(height, width) == len(decoder.part_tiles(height, width))


def test_an_image_of_eight_pixels_has_no_octaves_and_no_gains():
    for shape, octaves in [((2, 4), 0), ((1, 8), 0), ((3, 3), 1), ((1, 9), 1)]:
        data = pp.encode(pixels("noise", shape, 16), effort="fast")
        assert read_index(MemorySource(data), 2**28).header.octaves == octaves
        assert len(decoder.octave_sizes(*shape)) - 1 == octaves
        assert not assert_alike(data)
