"""Files with correct checksums and hostile contents: both decoders refuse them, quickly and with little memory."""

import os
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from command_line import at_most
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import encode
from ppyr_files import (
    AXIS,
    CONSTANT,
    GREY,
    METADATA,
    MODEL,
    NAME,
    PNG,
    STORED,
    UNKNOWN,
    VALUES,
    WEBP,
    WIDE,
    File,
    assert_alike,
    assert_decoded,
    assert_refused,
    chunks_of,
    decode_as_specified,
    decoder,
    encode_mixed,
    join_metadata,
    pack,
    png_of,
    smooth,
    stream_file,
    varint,
)

import pixelpyramids as pp
from pixelpyramids.codec.container import MAX_BLOBS, MAX_METADATA, read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.codec.memory import YCBCR
from pixelpyramids.codec.parts import list_parts, part_count
from pixelpyramids.errors import BitstreamError, DataError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
PALETTE = np.array([[1, 2, 3, 4], [9, 8, 7, 255]], np.uint8)[np.eye(6, 7, dtype=np.uint8)]


SOUND = File(2, 2, parts=((CONSTANT, b"\5\0"),))
DEEP = File.of(pp.encode(smooth(20, 9, 4, 12), depth=12, effort="fast"))
COLOUR = File.of(pp.encode(smooth(), effort="fast"))
SIX = File.of(pp.encode(smooth(channels=6), effort="fast"))
PNG_OF_COLOURS, WEBP_OF_COLOURS = encode(PALETTE[..., :3]), encode(PALETTE[..., :3], "WEBP", lossless=True)
GREY_LINE = File(1, 3, depth=3, parts=((STORED, b"\xff\x80"),))


def value_file(depth, fields, data=b"\0\0"):
    """A constant image with a list of values."""
    return File(4, 2, AXIS | VALUES | (WIDE if depth > 8 else 0), depth, fields=fields, parts=((CONSTANT, data),))


def with_metadata(data, **lengths):
    return replace(SOUND, flags=AXIS | METADATA, fields=pack(data, **lengths))


def code_file(data):
    return SOUND.with_part(0, MODEL, data)


CONTRADICTIONS = {
    "flag bit 7": {"flags": AXIS | UNKNOWN},
    "content 3": {"flags": AXIS | WEBP | PNG},
    "two channels without an axis": {"flags": 0, "channels": 2},
    "a grey WebP": {"flags": AXIS | WEBP | GREY},
    "a listed PNG": {"flags": AXIS | PNG | VALUES},
    "grey of one channel": {"flags": GREY},
    "grey of two channels": {"flags": AXIS | GREY, "channels": 2},
    "depth 0": {"depth": 0},
    "depth 9 of bytes": {"depth": 9},
    "depth 17": {"depth": 17, "flags": AXIS | WIDE},
    "depth 255": {"depth": 255},
    "grey of five channels": {"flags": AXIS | GREY, "channels": 5},
    "grey of six channels": {"flags": AXIS | GREY, "channels": 6},
    "no channel": {"channels": 0},
    "65 channels": {"channels": 65},
    "255 channels": {"channels": 255},
    "height 0": {"height": 0},
    "width 0": {"width": 0},
}
WRONG = {name: (replace(SOUND, **changes), "contradicts itself") for name, changes in CONTRADICTIONS.items()} | {
    "another magic": (replace(SOUND, magic=b"\x89PNG"), "expected a .ppyr file"),
    "a newer version": (replace(SOUND, version=2), "expected a file of version 1, got 2; install"),
    "a draft": (replace(SOUND, version=0), "got version 0, a draft"),
    "a side above the limit": (replace(SOUND, height=2**30 + 1), "out of range"),
    "more pixels than the limit": (replace(SOUND, height=2**30, width=2**30), "more than the limit"),
    "more values than the limit": (replace(SOUND, height=2**14, width=2**14, channels=5), "more than the limit"),
    "a long number": (replace(SOUND, size=b"\x94\x00\2"), "shortest form"),
    "a longer number": (replace(SOUND, size=b"\x94\x80\x80\x00\2"), "shortest form"),
    "an endless number": (replace(SOUND, size=b"\x80" * 30), "out of range|contradicts|shortest"),
    "an endless large number": (replace(SOUND, size=b"\xff" * 4000), "out of range"),
    "an unknown model": (replace(SOUND, model=bytes(8)), "needs the model 0000000000000000, which this version"),
    "a short model": (replace(SOUND, model=NAME[:3]), "."),
    "a mixed channel beyond a grey one": (replace(SOUND, mixed=b"\2"), "contradicts itself"),
    "a mixed channel beyond equal ones": (replace(SOUND, flags=AXIS | GREY, channels=3, mixed=b"\3"), "contradicts"),
    "a mixed channel beyond two planes": (replace(DEEP, mixed=b"\7\2"), "contradicts itself"),
    "bits beyond the channels": (replace(COLOUR, mixed=b"\x87"), "contradicts itself"),
    "far, but nothing is mixed": (replace(COLOUR, mixed=b"\x08"), "contradicts itself"),
    "YCbCr, but its last channel is not mixed": (replace(COLOUR, mixed=b"\x13"), "contradicts itself"),
    "YCbCr in a grey image": (replace(SOUND, mixed=b"\x11"), "contradicts itself"),
    "YCbCr of fewer bits": (replace(COLOUR, depth=7, mixed=b"\x16"), "contradicts itself"),
    "colours of YCbCr in six channels": (replace(SIX, mixed=bytes([4 | YCBCR, 0])), "contradicts itself"),
    "a PNG of six channels": (stream_file(np.zeros((6, 7, 6)), PNG, PNG_OF_COLOURS), "not a plain PNG"),
    "a WebP of six channels": (stream_file(np.zeros((6, 7, 6)), WEBP, WEBP_OF_COLOURS), "not a lossless WebP"),
    "no index": (replace(SOUND, index=b"", parts=()), "cut short"),
    "an unknown kind": (replace(SOUND, index=varint(3) + bytes(4)), "unknown kind"),
    "a length above the limit": (replace(SOUND, index=varint(2**40 + 1) + bytes(4)), "out of range"),
    "a length beyond the file": (replace(SOUND, index=varint(2**40 - 4) + bytes(4)), "the file is cut short"),
    "a byte behind": (replace(SOUND, behind=b"\0"), "1 bytes follow"),
    "a value above the depth": (value_file(2, pack(b"\x10")), "impossible values"),
    "a list that cannot be unpacked": (value_file(8, varint(20) + varint(32) + b"\xff" * 20), "cannot be unpacked"),
    "a number beyond the list": (value_file(8, pack(b"\7" + bytes(31)), b"\3\0"), "does not list"),
    "stored beyond it": (value_file(8, pack(b"\7" + bytes(31))).with_part(0, STORED, b"\xff\xff"), "does not list"),
    "metadata of zeros": (with_metadata(bytes(MAX_METADATA)), "twice, or too many"),
    "metadata twice": (with_metadata(join_metadata([(b"ICC", b"a"), (b"ICC", b"b")])), "twice, or too many"),
    "too many metadata": (
        with_metadata(join_metadata((b"%d" % i, b"") for i in range(MAX_BLOBS + 1))),
        "twice, or too many",
    ),
    "half a name": (with_metadata(b"\x03IC"), "cut short"),
    "half a content": (with_metadata(b"\x03ICC\x05abc"), "cut short"),
    "a long name": (with_metadata(b"\xff\xff\x03"), "out of range"),
    "a long length": (with_metadata(b"\x80\x00"), "shortest form"),
    "a constant of one byte": (SOUND.with_part(0, CONSTANT, b"\5"), "expected a part of 2 bytes, got 1"),
    "a constant above the depth": (SOUND.with_part(0, CONSTANT, b"\5\1"), "above the image's depth"),
    "padding of ones": (GREY_LINE.with_part(0, STORED, b"\xff\x81"), "bits that are not zero"),
    "padding of a byte": (GREY_LINE.with_part(0, STORED, b"\xff\xff"), "bits that are not zero"),
    "padding that begins with one": (GREY_LINE.with_part(0, STORED, b"\0\x40"), "bits that are not zero"),
    "no state": (code_file(b"\1\0\0\0"), "at least 5 bytes"),
    "a state below 2**32": (code_file(b"\0\x80\0\0\0"), "invalid state"),
    "a state of too many bytes": (code_file(b"\0\1\0\0\0\0"), "invalid state"),
    "words that are left": (code_file(b"\1\0\0\0\0" + bytes(40)), "does not end where"),
    "too few words": (code_file(b"\1\0\0\0\0"), "part"),
}
for _length in (0, 1, 3):
    WRONG[f"{_length} stored bytes"] = (GREY_LINE.with_part(0, STORED, bytes(_length)), f"2 bytes, got {_length}")
for _depth in (4, 8, 12):
    _size = max(1 << _depth, 8) // 8
    for _name, _fields in {
        "an empty list": pack(bytes(_size)),
        "a short list": pack(b"\1" * (_size - 1)),
        "a long list": pack(b"\1" * (_size + 1)),
        "a list of another length": pack(b"\1" * _size, unpacked=_size - 1),
        "a list in fewer bytes": pack(b"\1" * _size, length=3),
        "a list in more bytes than there are": pack(b"\1" * _size, length=10**6),
    }.items():
        WRONG[f"{_name}, {_depth} bits"] = (
            value_file(_depth, _fields),
            "impossible values|out of range|packed bytes|cut",
        )
for _depth in (1, 7, 9, 12, 15):
    for _value in (2**_depth, 2**15, 2**16 - 1):
        _file = File(2, 2, AXIS | WIDE, _depth, parts=((CONSTANT, struct.pack("<H", _value)),))
        WRONG[f"a constant {_value} of {_depth} bits"] = _file, "above the image's depth"
for _place in range(len(DEEP.fields)):
    for _gain in (5, 255):
        _gains = DEEP.fields[:_place] + bytes([_gain]) + DEEP.fields[_place + 1 :]
        WRONG[f"gain {_place} of {_gain}"] = (replace(DEEP, fields=_gains), "contradicts itself")


@pytest.mark.parametrize("name", WRONG)
def test_wrong_fields_are_refused(name):
    assert_refused(*WRONG[name])


def test_the_files_that_wrong_ones_are_made_of_are_sound():
    assert COLOUR.to_bytes() == pp.encode(smooth(), effort="fast")
    assert SIX.to_bytes() == pp.encode(smooth(channels=6), effort="fast")
    assert DEEP.to_bytes() == pp.encode(smooth(20, 9, 4, 12), depth=12, effort="fast")
    assert_decoded(SOUND, np.full((2, 2, 1), 5, np.uint8))
    assert_decoded(GREY_LINE, np.full((1, 3, 1), 7, np.uint8))
    for depth in (4, 8, 12):
        image = np.ones((4, 2, 1), np.uint16 if depth > 8 else np.uint8)
        assert_decoded(value_file(depth, pack(b"\2" + bytes((1 << depth) // 8 - 1))), image)
    assert_decoded(value_file(8, pack(b"\7" + bytes(31)), b"\2\0"), np.full((4, 2, 1), 2, np.uint8))


@pytest.mark.parametrize("kind", ["colour", "constant", "alpha", "mixed", "PNG"])
def test_every_bit_flip_every_cut_and_bytes_behind_are_refused(kind):
    image = {"colour": smooth(20, 9), "constant": np.full((5, 7, 4), 255, np.uint8), "alpha": smooth(9, 7, 2)}.get(kind)
    data = None if image is None else pp.encode(image, effort="fast")
    if kind == "mixed":
        data = encode_mixed(smooth(9, 7, 4), 7)
    elif kind == "PNG":
        data = stream_file(PALETTE[..., :3], PNG, encode(PALETTE[..., :3])).to_bytes()
    for bit in range(8 * len(data)):
        assert_refused(data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :])
    for length in range(len(data)):
        assert_refused(data[:length])
    assert_refused(data + b"\0", "1 bytes follow")


def test_metadata_that_unpack_to_more_than_the_limit_are_refused_at_once():
    bomb = bytes(2**26)
    for lengths in ({}, {"unpacked": MAX_METADATA}, {"unpacked": 5}):
        data = with_metadata(bomb, **lengths).to_bytes()
        with at_most(2, 2.5 * MAX_METADATA):
            assert_refused(data, "out of range|wrong length")


def test_what_no_reader_accepts_is_not_written():
    image = smooth()
    for metadata, match in [
        ({"ICC": bytes(MAX_METADATA)}, "in total, got 1 of 16777"),
        ({str(number): b"" for number in range(MAX_BLOBS + 1)}, "got 4097"),
        ({"a" * 256: b""}, "Latin-1"),
        ({"text:日": b""}, "Latin-1"),
    ]:
        with pytest.raises(DataError, match=match):
            pp.encode(image, metadata=metadata)
    most = {str(number): b"" for number in range(MAX_BLOBS)}
    assert read_index(MemorySource(pp.encode(image, metadata=most)), 2**28).header.metadata == most


@pytest.mark.parametrize("height, width", [(1, 2**28), (3, 2**26), (2**8, 2**20), (2**14, 2**14), (2**28, 1)])
@pytest.mark.parametrize("channels", [1, 4])
def test_a_large_image_in_a_short_file_is_refused_before_anything_is_allocated(height, width, channels):
    parts = ((CONSTANT, bytes(6)),) * 3
    data = File(height, width, channels=channels, parts=parts).to_bytes()
    assert_refused(File(2**12, 2**12, parts=parts), "expected an index")  # the first refusal imports modules
    with at_most(1, 2**20):
        assert_refused(data, "expected an index of .* parts")


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_parts_are_counted_without_listing_them(height, width):
    count = len(list_parts(height, width))
    assert part_count(height, width) == decoder.part_count(height, width) == count
    assert len(decoder.part_tiles(height, width)) == count


def test_an_image_of_eight_pixels_has_no_octaves_and_no_gains():
    rng = np.random.default_rng(0)
    for shape, octaves in [((2, 4), 0), ((1, 8), 0), ((3, 3), 1), ((1, 9), 1)]:
        image = rng.integers(0, 2**16, shape, dtype=np.uint16)
        data = pp.encode(image, effort="fast")
        assert read_index(MemorySource(data), 2**28).header.octaves == len(decoder.octave_sizes(*shape)) - 1 == octaves
        assert_decoded(data, image)


def test_a_source_is_never_asked_for_more_than_it_has():
    class Careful(MemorySource):
        def read(self, offset, count):
            assert count <= max(4096, self.size) and offset <= self.size
            return super().read(offset, count)

    for length in (2**38 - 1, 2**20, len(COLOUR.parts[0][1]) + 1):
        data = replace(COLOUR, index=varint(length << 2) + bytes(4)).to_bytes()
        for salvage in (False, True):
            with pytest.raises(BitstreamError, match="cut short"):
                pp.decode(Careful(data), salvage=salvage)


def test_a_stored_tile_of_many_bits_takes_no_more_memory_than_its_digits():
    image = np.random.default_rng(0).integers(0, 2**16, (300, 300, 3), dtype=np.uint16)
    data = pp.encode(image, effort="fast")
    assert any(kind == STORED for kind, _ in File.of(data).parts)
    with at_most(60, 25 * image.nbytes):
        assert np.array_equal(pp.decode(data, threads=1), image)


def test_parts_in_another_order_or_of_another_kind_are_refused():
    tiled = File.of(pp.encode(smooth(70, 24), effort="fast"))
    (_, base), (_, tile) = tiled.parts[:2]
    assert_refused(tiled.with_part(0, MODEL, tile).with_part(1, MODEL, base), "part")
    for number, (_, data) in enumerate(tiled.parts):
        assert_refused(tiled.with_part(number, CONSTANT, data), "expected a part of 6 bytes")
        assert_refused(tiled.with_part(number, STORED, data), "expected a part of")
    damaged = tiled.with_part(len(tiled.parts) - 1, MODEL, base).to_bytes()
    assert np.array_equal(pp.decode(damaged, salvage=True), smooth(70, 24)[1::2, 1::2])


def small_files():
    """Small files of every content and kind of part."""
    rng = np.random.default_rng(0)
    comb = np.array([[1, 5], [7, 1]], np.uint16)[..., None]
    yield pp.encode(np.full((4, 4, 4), 4095, np.uint16), depth=12, effort="fast", metadata={"ICC": b"x", "text:a": b""})
    yield pp.encode(rng.integers(0, 32, (2, 2, 2), dtype=np.uint8), depth=5, effort="fast")
    yield pp.encode(smooth(3, 4, 1)[..., 0], effort="fast")
    yield value_file(12, pack(bytes([0b10100010]) + bytes(511))).with_part(0, STORED, b"\x24\x00").to_bytes()
    yield pp.encode(comb, depth=10, effort="fast")
    yield pp.encode(smooth(5, 7, 4, 12), depth=12, effort="fast")
    yield encode_mixed(smooth(5, 7, 4, 10), 5, depth=10)
    yield encode_mixed(smooth(8, 5, 1), 1)
    yield encode_mixed(smooth(5, 7, 7), 0)
    for channels in (1, 2, 3, 4):
        noise = rng.integers(0, 256, (6, 7, channels), dtype=np.uint8)
        for image in (noise, PALETTE[..., :channels]) if channels > 2 else (noise,):
            yield stream_file(image, PNG, encode(image)).to_bytes()
            colours = image if channels > 2 else image[..., [0, 0, 0, -1][: 2 + channels]]
            yield stream_file(image, WEBP, encode(colours, "WEBP", lossless=True, exact=True)).to_bytes()
    wide = rng.integers(0, 2**16, (6, 7, 1), dtype=np.uint16)
    yield stream_file(wide, PNG, encode(wide), AXIS | WIDE, depth=16).to_bytes()


SMALL = list(small_files())


@pytest.mark.parametrize("number", range(len(SMALL)))
def test_small_files_are_sound(number):
    assert File.of(SMALL[number]).to_bytes() == SMALL[number] and not assert_alike(SMALL[number])


def damage(draw, data):
    """Change, remove, insert or append bytes."""
    place = draw(st.integers(0, len(data)))
    some = draw(st.one_of(st.sampled_from([b"\0", b"\1", b"\4", b"\x7f", b"\x80", b"\xff"]), st.binary(max_size=8)))
    flipped = bytes([data[place] ^ 1 << draw(st.integers(0, 7))]) if place < len(data) else b""
    ends = flipped + data[place + 1 :], some + data[place + len(some) :], data[place + len(some) :], some + data[place:]
    return data[:place] + draw(st.sampled_from([*ends, b""]))


CHUNKS = b"acTL fcTL fdAT iCCP eXIf tRNS PLTE zTXt iTXt pHYs gAMA IDAT IHDR IEND cHRM sRGB abcd AbCd tEXt".split()


def damage_png(draw, png):
    """Change, remove, repeat or add a chunk, or change the pixels before they are compressed."""
    chunks = chunks_of(png)
    at = draw(st.integers(0, len(chunks) - 1))
    name, data = chunks[at]
    other = draw(st.sampled_from(CHUNKS)), draw(st.binary(max_size=40))
    ways = [(name, damage(draw, data))], [], [chunks[at], draw(st.sampled_from(chunks))], [other, chunks[at]]
    if name == b"IDAT":
        ways += ([(name, zlib.compress(damage(draw, zlib.decompress(data))))],) * 3
    chunks[at : at + 1] = draw(st.sampled_from(ways))
    return png_of(chunks)


OFTEN = (0, 1, 2, 3, 127, 128, 255, 2**14, 2**16, 2**30, 2**31, 2**32 - 1, 2**40)


@st.composite
def hostile_files(draw):
    """A small file with up to three wrong fields."""
    file = sound = File.of(draw(st.sampled_from(SMALL)))
    number = st.one_of(st.sampled_from(OFTEN), st.integers(0, 80))
    sizes = {
        "flags": st.integers(0, 255),
        "depth": st.integers(0, 20),
        "channels": st.sampled_from([*range(9), 64, 65]),
    }
    sizes |= {"height": number, "width": number, "mixed": st.binary(max_size=3)}
    header = None
    for what in draw(st.lists(st.sampled_from([1, *range(1, 7), 5, 5, 6, 6, 6]), min_size=1, max_size=3)):
        at = draw(st.integers(0, len(file.parts) - 1))
        kind, data = file.parts[at]
        if what == 1:
            name = draw(st.sampled_from(list(sizes)))
            file = replace(file, **{name: draw(sizes[name])})
        elif what == 2:
            file = replace(file, index=b"".join(varint(draw(number)) + draw(st.binary(max_size=4)) for _ in file.parts))
        elif what == 3:
            pairs = draw(st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=9)), max_size=3))
            packed = pack(join_metadata(pairs), draw(st.one_of(st.none(), number)))
            file = replace(file, flags=file.flags | METADATA, fields=file.fields + packed)
        elif what == 4:
            other = draw(st.sampled_from(File.of(draw(st.sampled_from(SMALL))).parts))
            file = file.with_part(at, draw(st.sampled_from([CONSTANT, STORED, other[0]])), other[1])
        elif what == 5:
            header = damage(draw, file.header())
        elif data.startswith(b"\x89PNG\r") and data == sound.parts[at][1] and draw(st.booleans()):
            file = file.with_part(at, kind, damage_png(draw, data))
        else:
            file = file.with_part(at, draw(st.sampled_from([kind, kind, 0, 1, 2, 3])), damage(draw, data))
    return file.to_bytes(header)


@settings(max_examples=EXAMPLES, deadline=20_000, suppress_health_check=list(HealthCheck))
@given(hostile_files(), st.booleans())
def test_both_decoders_accept_and_refuse_the_same_hostile_files(data, salvage):
    assert_alike(data)
    if salvage:
        try:
            found = pp.decode(data, max_pixels=2**12, salvage=True)
        except BitstreamError:
            return
        header = read_index(MemorySource(data), 2**12).header
        assert found.dtype == (np.uint16 if header.is_wide else np.uint8) and found.ndim == 2 + header.has_axis
        assert int(found.max()) >> header.depth == 0


def test_the_decoder_as_specified_has_a_limit_of_pixels():
    with pytest.raises(decoder.FormatError, match="over the limit of 3"):
        decode_as_specified(SOUND.to_bytes(), max_pixels=3)
    with pytest.raises(BitstreamError, match="2 x 2 pixels, more than the limit of 3"):
        pp.decode(SOUND.to_bytes(), max_pixels=3)
