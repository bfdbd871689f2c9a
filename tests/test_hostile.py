"""Files with right checksums and hostile contents: refused, in little time and memory, and by BitstreamError alone."""

import io
import struct
import time
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hostile_files import (
    AXIS,
    CONSTANT,
    GREY,
    METADATA,
    MODEL,
    PNG,
    STORED,
    UNKNOWN,
    VALUES,
    WEBP,
    WIDE,
    File,
    blobs,
    packed,
    varint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.codec import bundled, fallback
from pixelpyramids.codec.container import MAX_BLOBS, MAX_METADATA, Bytes, Content, Header, read_index
from pixelpyramids.codec.image import decode_source
from pixelpyramids.codec.parts import part_count, parts
from pixelpyramids.errors import BitstreamError, DataError


def smooth(height=20, width=9, channels=3, depth=8):
    y, x = np.mgrid[:height, :width]
    image = (2**depth - 1) * (0.5 + 0.4 * np.sin(y[..., None] / 5 + np.arange(channels)) * np.cos(x[..., None] / 7))
    return image.astype(np.uint8 if depth <= 8 else np.uint16)


@pytest.fixture(scope="module")
def colour():
    return File.of(pp.encode(smooth(), effort="fast"))


@pytest.fixture(scope="module")
def tiled():
    return File.of(pp.encode(smooth(70, 24), effort="fast"))


@pytest.fixture(scope="module")
def deep():
    return File.of(pp.encode(smooth(20, 9, 4, 12), depth=12, effort="fast"))


def refused(file, match, **options):
    with pytest.raises(BitstreamError, match=match):
        pp.decode(file if isinstance(file, bytes) else file.written(), **options)


def saved(image, kind="PNG", **options):
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, **options)
    return out.getvalue()


def stream(image, content, data, flags=AXIS):
    height, width, channels = image.shape
    return File(height, width, flags | content, channels=channels, model=b"", parts=((STORED, data),))


def test_the_writer_of_this_file_writes_what_ours_does(colour, deep):
    assert colour.written() == pp.encode(smooth(), effort="fast")
    assert deep.written() == pp.encode(smooth(20, 9, 4, 12), depth=12, effort="fast")


# The header


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"magic": b"\x89PNG"}, "expected a .ppyr file"),
        ({"version": 1}, "expected a file of version 0, got 1; install"),
        ({"flags": AXIS | UNKNOWN}, "contradicts itself"),
        ({"flags": AXIS | WEBP | PNG}, "contradicts itself"),
        ({"flags": 0}, "contradicts itself"),
        ({"flags": AXIS | WEBP | GREY}, "contradicts itself"),
        ({"flags": AXIS | PNG | VALUES}, "contradicts itself"),
        ({"flags": GREY, "channels": 1}, "contradicts itself"),
        ({"flags": AXIS | GREY, "channels": 2}, "contradicts itself"),
        ({"depth": 0}, "contradicts itself"),
        ({"depth": 9}, "contradicts itself"),
        ({"depth": 17, "flags": AXIS | WIDE}, "contradicts itself"),
        ({"depth": 255}, "contradicts itself"),
        ({"channels": 0}, "contradicts itself"),
        ({"channels": 5}, "contradicts itself"),
        ({"height": 0}, "contradicts itself"),
        ({"width": 0}, "contradicts itself"),
        ({"height": 2**30 + 1}, "out of its range"),
        ({"height": 2**30, "width": 2**30}, "more than the limit"),
        ({"size": b"\x94\x00" + varint(9)}, "shortest form"),
        ({"size": b"\x94\x80\x80\x00" + varint(9)}, "shortest form"),
        ({"size": b"\x80" * 30}, "out of its range|contradicts|shortest"),
        ({"size": b"\xff" * 4000}, "out of its range"),
        ({"model": bytes(8)}, "needs the model 0000000000000000, which this pixelpyramids does not have"),
        ({"model": b"\1" * 3}, "."),
        ({"index": b"", "parts": ()}, "cut short"),
        ({"index": varint(3) + bytes(4)}, "no known kind"),
        ({"index": varint(2**40 + 1) + bytes(4)}, "out of its range"),
        ({"index": varint(2**40 - 4) + bytes(4)}, "part 1 of 1 is cut short"),
        ({"behind": b"\0"}, "1 bytes follow"),
    ],
    ids=str,
)
def test_wrong_fields_are_refused(colour, changes, match):
    refused(replace(colour, **changes), match)


@pytest.mark.parametrize("depth", [4, 8, 12])
def test_lists_of_values_that_cannot_be_are_refused(depth):
    size = max(1 << depth, 8) // 8
    flags = VALUES | (WIDE if depth > 8 else 0)
    of = File(4, 2, flags, depth, parts=((CONSTANT, bytes(2)),))
    lists = {"none": bytes(size), "short": b"\1" * (size - 1), "long": b"\1" * (size + 1)}
    for what in lists.values():
        refused(replace(of, fields=packed(what)), "lists values that cannot be|out of its range")
    refused(replace(of, fields=packed(b"\1" * size, unpacked=size - 1)), "not as long")
    refused(replace(of, fields=packed(b"\1" * size, length=3)), "packed bytes|not as long")
    refused(replace(of, fields=packed(b"\1" * size, length=10**6)), "cut short|out of its range")
    refused(replace(of, fields=varint(20) + varint(size) + b"\xff" * 20), "cannot be unpacked")
    found = pp.decode(replace(of, fields=packed(b"\2" + bytes(size - 1))).written())
    assert (found == 1).all() and found.dtype == (np.uint16 if depth > 8 else np.uint8)


def test_values_above_a_small_depth_and_numbers_that_are_not_listed_are_refused():
    refused(File(4, 2, VALUES, 2, fields=packed(b"\x10"), parts=((CONSTANT, bytes(2)),)), "values that cannot be")
    three = File(4, 2, VALUES, 8, fields=packed(b"\x07" + bytes(31)), parts=((CONSTANT, b"\2\0"),))
    assert (pp.decode(three.written()) == 2).all()
    refused(three.with_part(0, CONSTANT, b"\3\0"), "does not list")
    refused(three.with_part(0, CONSTANT, b"\4\0"), "above the image's depth")
    refused(three.with_part(0, STORED, b"\xff\xff"), "does not list")


def test_gains_beyond_the_depth_are_refused(deep):
    assert deep.fields
    for place in range(len(deep.fields)):
        for gain in (5, 255):
            wrong = bytearray(deep.fields)
            wrong[place] = gain
            refused(replace(deep, fields=bytes(wrong)), "contradicts itself")


def test_gains_within_it_are_only_other_contents(deep):
    for gain in range(5):
        at = replace(deep, fields=bytes([gain]) * len(deep.fields))
        assert_only_refused(at.written())


# Metadata


def with_metadata(data, **told):
    return File(1, 1, METADATA, fields=packed(data, **told), parts=((CONSTANT, bytes(2)),)).written()


def test_metadata_that_unpack_to_more_than_the_limit_are_refused_at_once():
    bomb = bytes(2**26)
    tracemalloc.start()
    for told in ({}, {"unpacked": MAX_METADATA}, {"unpacked": 5}):
        refused(with_metadata(bomb, **told), "out of its range|not as long")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2.5 * MAX_METADATA


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (bytes(MAX_METADATA), "twice, or too many"),
        (blobs([(b"ICC", b"a"), (b"ICC", b"b")]), "twice, or too many"),
        (blobs([(b"%d" % i, b"") for i in range(MAX_BLOBS + 1)]), "twice, or too many"),
        (b"\x03IC", "cut short"),
        (b"\x03ICC\x05abc", "cut short"),
        (b"\xff\xff\x03", "out of its range"),
        (b"\x80\x00", "shortest form"),
    ],
    ids=["zeros", "twice", "many", "name", "data", "long", "varint"],
)
def test_metadata_that_cannot_be_are_refused_at_once(data, match):
    began = time.monotonic()
    refused(with_metadata(data), match)
    assert time.monotonic() < began + 2


def test_what_no_reader_takes_is_not_written():
    image = smooth()
    for metadata, match in [
        ({"ICC": bytes(MAX_METADATA)}, "in all, got 1 of 16777"),
        ({str(number): b"" for number in range(MAX_BLOBS + 1)}, "got 4097"),
        ({"a" * 256: b""}, "Latin-1"),
        ({"text:日": b""}, "Latin-1"),
    ]:
        with pytest.raises(DataError, match=match):
            pp.encode(image, metadata=metadata)
    most = {str(number): b"" for number in range(MAX_BLOBS)}
    assert read_index(Bytes(pp.encode(image, metadata=most)), 2**28).header.metadata == most


# Limits before anything is allocated


@pytest.mark.parametrize("height", [1, 3, 2**8, 2**14])
@pytest.mark.parametrize("channels", [1, 4])
def test_a_large_image_in_a_short_file_costs_nothing(height, channels):
    of = File(height, 2**28 // height, AXIS, channels=channels, parts=((CONSTANT, bytes(6)),))
    data = of.written()
    bundled.names()
    tracemalloc.start()
    began = time.monotonic()
    refused(data, "expected an index of .* parts")
    assert time.monotonic() < began + 0.5
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_parts_are_counted_without_making_them(height, width):
    assert part_count(height, width) == len(parts(height, width))


def test_no_more_is_asked_of_a_source_than_it_has(colour):
    class Careful(Bytes):
        def read(self, offset, count):
            assert count <= max(4096, self.size) and offset <= self.size
            return super().read(offset, count)

    for length in (2**38 - 1, 2**20, len(colour.parts[0][1]) + 1):
        data = replace(colour, index=varint(length << 2) + bytes(4)).written()
        for salvage in (False, True):
            with pytest.raises(BitstreamError, match="cut short"):
                decode_source(Careful(data), salvage=salvage)


def test_a_stored_tile_of_many_bits_takes_no_more_memory_than_its_digits():
    side = 300
    image = np.random.default_rng(0).integers(0, 2**16, (side, side, 3), dtype=np.uint16)
    data = pp.encode(image, effort="fast")
    assert any(kind == STORED for kind, _ in File.of(data).parts)
    tracemalloc.start()
    assert np.array_equal(pp.decode(data, threads=1), image)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 25 * image.nbytes


# Parts


def assert_only_refused(data, **options):
    """It is refused, or gives an image of the header's shape, type and depth."""
    try:
        found = pp.decode(data, max_pixels=2**16, **options)
    except BitstreamError:
        return
    header = read_index(Bytes(data), 2**28).header
    assert found.dtype == (np.uint16 if header.is_wide else np.uint8)
    assert found.ndim == 2 + header.has_axis and int(found.max()) >> header.depth == 0
    if options.get("scale", 1) == 1 and not options.get("salvage"):
        assert found.shape == (header.height, header.width, header.channels)[: found.ndim]


def test_random_parts_are_refused(tiled, deep):
    rng = np.random.default_rng(0)
    for of in (tiled, deep):
        for number in range(len(of.parts)):
            for kind in (MODEL, CONSTANT, STORED):
                for length in (0, 1, 2, 5, 6, 7, len(of.parts[number][1])):
                    data = of.with_part(number, kind, rng.bytes(length)).written()
                    assert_only_refused(data, salvage=length % 2 == 0)


def test_parts_in_another_order_or_of_another_kind_are_refused(tiled):
    (_, base), (_, tile) = tiled.parts[:2]
    refused(tiled.with_part(0, MODEL, tile).with_part(1, MODEL, base), "part")
    for number in range(len(tiled.parts)):
        refused(tiled.with_part(number, CONSTANT, tiled.parts[number][1]), "expected a part of 6 bytes")
        refused(tiled.with_part(number, STORED, tiled.parts[number][1]), "expected a part of")
    assert pp.decode(tiled.with_part(len(tiled.parts) - 1, MODEL, base).written(), salvage=True).shape[0] == 35


@pytest.mark.parametrize("depth", [1, 7, 9, 12, 15])
def test_constant_parts_above_the_depth_are_refused(depth):
    of = File(2, 2, WIDE, depth, parts=((CONSTANT, struct.pack("<H", 2**depth - 1)),))
    assert (pp.decode(of.written()) == 2**depth - 1).all()
    for value in (2**depth, 2**15, 2**16 - 1):
        refused(of.with_part(0, CONSTANT, struct.pack("<H", value)), "above the image's depth")


def test_stored_parts_end_in_zeros():
    of = File(1, 3, depth=3, parts=((STORED, b"\xff\x80"),))
    assert (pp.decode(of.written()) == 7).all()
    for wrong in (b"\xff\x81", b"\xff\xff", b"\0\x40"):
        refused(of.with_part(0, STORED, wrong), "bits that mean nothing")
    for length in (0, 1, 3):
        refused(of.with_part(0, STORED, bytes(length)), f"expected a part of 2 bytes, got {length}")


# The libraries' streams


def test_a_stream_of_a_wrong_kind_is_refused():
    image = smooth()
    of = stream(image, PNG, saved(image))
    assert np.array_equal(pp.decode(of.written()), image)
    for kind in (MODEL, CONSTANT):
        refused(of.with_part(0, kind, of.parts[0][1]), "contradicts itself")
    for content, kind in ((PNG, "WEBP"), (PNG, "GIF"), (PNG, "BMP"), (WEBP, "PNG"), (WEBP, "JPEG")):
        refused(stream(image, content, saved(image, kind)), "stream")


@pytest.mark.parametrize("shape", [(20, 10), (9, 20), (1, 1), (20000, 10000)])
def test_a_stream_of_another_size_is_refused_before_it_is_decoded(shape):
    image = smooth()
    tracemalloc.start()
    one = Image.new("1", shape[::-1])
    out = io.BytesIO()
    one.save(out, "PNG")
    refused(stream(image, PNG, out.getvalue()), "no plain PNG of the image")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**24


def test_a_webp_of_a_large_canvas_animated_or_lossy_is_refused_before_it_is_opened():
    image = smooth()
    sound = saved(image, "WEBP", lossless=True, exact=True)
    assert np.array_equal(pp.decode(stream(image, WEBP, sound).written()), image)
    extended = b"VP8X" + struct.pack("<IB3x", 10, 2) + (16382).to_bytes(3, "little") * 2
    canvas = b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended
    out = io.BytesIO()
    frames = [Image.fromarray(image), Image.fromarray(255 - image)]
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    lossy = saved(image, "WEBP", lossless=False)
    noted = saved(image, "WEBP", lossless=True, xmp=b"<x/>")
    larger = saved(smooth(21), "WEBP", lossless=True)
    for wrong in (canvas, out.getvalue(), lossy, noted, larger, b"", sound[:20], b"RIFF"):
        refused(stream(image, WEBP, wrong), "no lossless WebP of the image")
    for cut in range(25, len(sound)):
        refused(stream(image, WEBP, sound[:cut]), "cannot be decoded")


def test_an_animated_png_is_refused():
    image = smooth()
    out = io.BytesIO()
    frames = [Image.fromarray(image), Image.fromarray(255 - image)]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    refused(stream(image, PNG, out.getvalue()), "no plain PNG of the image")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_pngs_that_are_written_are_read(channels):
    """Those that are written where WebP, which is mostly smaller, takes no side of 16384 pixels."""
    rng = np.random.default_rng(0)
    for colours in (1, 2, 4, 16, 200, 1000):
        few = rng.integers(0, 256, (colours, channels), dtype=np.uint8)
        image = few[np.arange(20000) % 7 * 143 % colours][None]
        for at, depth in ((image, 8), (image >> 7, 1), (image.astype(np.uint16), 16)):
            if depth < 16 or channels == 1:
                header = Header(1, 20000, channels, True, depth == 16, depth, Content.MODEL)
                data = fallback.smaller(at, header, bytes(2**20), always=True)
                assert read_index(Bytes(data), 2**28).header.content == Content.PNG
                assert np.array_equal(pp.decode(data), at)


def test_a_png_of_any_other_chunk_is_refused():
    image = smooth()
    chunks = list(chunks_of(saved(image)))
    assert np.array_equal(pp.decode(stream(image, PNG, png_of(chunks)).written()), image)
    for name, data in [(b"iCCP", b""), (b"acTL", bytes(8)), (b"zTXt", b"a\0\0"), (b"abCd", b""), (b"tRNS", b"")]:
        for at in range(len(chunks) + 1):
            refused(stream(image, PNG, png_of([*chunks[:at], (name, data), *chunks[at:]])), "PNG|cannot be decoded")
    for without in range(len(chunks)):
        refused(stream(image, PNG, png_of(chunks[:without] + chunks[without + 1 :])), "no plain PNG")
    refused(stream(image, PNG, png_of(chunks) + b"\0"), "no plain PNG")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_stream_of_other_channels_is_refused(channels, kind):
    content, options = (PNG, {}) if kind == "PNG" else (WEBP, {"lossless": True, "exact": True})
    image = smooth(channels=channels)
    of = stream(image, content, saved(image[..., 0] if channels == 1 else image, kind, **options))
    assert np.array_equal(pp.decode(of.written()), image)
    # WebP has colours only, with alpha or without: those of a grey image are equal
    others = {1, 2, 3, 4} - {channels} if kind == "PNG" else {1: (), 2: (1, 3), 3: (1, 2), 4: (1, 2, 3)}[channels]
    for other in others:
        refused(replace(of, channels=other), "cannot be decoded")
    refused(replace(of, flags=of.flags | WIDE, depth=16), "cannot be decoded")


def test_a_coloured_webp_is_no_grey_image():
    image = smooth()
    data = saved(image, "WEBP", lossless=True, exact=True)
    refused(replace(stream(image, WEBP, data), channels=1), "cannot be decoded: expected equal colours")
    refused(replace(stream(image, WEBP, data), channels=2), "cannot be decoded: expected equal colours")


def test_a_stream_of_one_bit_or_sixteen_is_held_to_the_header():
    wide = smooth(channels=1, depth=16)
    of = stream(wide, PNG, saved(wide[..., 0]), AXIS | WIDE)
    assert np.array_equal(pp.decode(replace(of, depth=16).written()), wide)
    refused(replace(of, depth=12), "above the image's depth")
    for channels in (2, 3, 4):
        refused(replace(of, depth=16, channels=channels), "cannot be decoded")
    bilevel = np.zeros((20, 9, 1), bool)
    one = stream(bilevel, PNG, saved(bilevel[..., 0]))
    assert not pp.decode(one.written()).any()
    for channels in (2, 3, 4):
        refused(replace(one, channels=channels), "cannot be decoded")
    grey = smooth(channels=1)
    refused(replace(stream(grey, PNG, saved(grey[..., 0])), depth=4), "above the image's depth")


def chunks_of(png):
    place = 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += 12 + length


def png_of(chunks):
    out = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        out += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return out


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_png_with_right_checksums_and_any_chunks_is_refused_or_an_image(data):
    image = smooth(channels=data.draw(st.sampled_from([1, 3, 4])))
    chunks = list(chunks_of(saved(image[..., 0] if image.shape[2] == 1 else image)))
    names = [b"acTL", b"fcTL", b"fdAT", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"zTXt", b"iTXt", b"pHYs", b"gAMA", b"IDAT"]
    names += [b"IHDR", b"IEND", b"cHRM", b"sRGB", b"abcd", b"AbCd", b"tEXt"]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(chunks)))
        if at < len(chunks) and data.draw(st.booleans()):
            name, old = chunks[at]
            new = bytearray(old)
            for place in data.draw(st.lists(st.integers(0, max(len(old) - 1, 0)), max_size=3)) if old else []:
                new[place] = data.draw(st.integers(0, 255))
            chunks[at] = name, bytes(new)
        else:
            chunks.insert(at, (data.draw(st.sampled_from(names)), data.draw(st.binary(max_size=40))))
    assert_only_refused(stream(image, PNG, png_of(chunks)).written())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_webp_is_refused_or_an_image(data):
    image = smooth(channels=data.draw(st.sampled_from([3, 4])))
    webp = bytearray(saved(image, "WEBP", lossless=True, exact=True))
    for place in data.draw(st.lists(st.integers(0, len(webp) - 1), min_size=1, max_size=4)):
        webp[place] = data.draw(st.integers(0, 255))
    assert_only_refused(stream(image, WEBP, bytes(webp)).written())
