"""PNG and WebP streams within .ppyr files: both decoders refuse all but images of the header's size and type."""

import struct
import zlib
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from command_line import at_most
from pictures import encode
from PIL import Image
from ppyr_files import (
    AXIS,
    CONSTANT,
    MODEL,
    PNG,
    WEBP,
    WIDE,
    File,
    assert_decoded,
    assert_refused,
    chunks_of,
    png_of,
    smooth,
    stream_file,
)

import pixelpyramids as pp
from pixelpyramids.codec import fallback
from pixelpyramids.codec.container import Content, FileHeader, read_index
from pixelpyramids.codec.fields import MemorySource

IMAGE = smooth()
LOSSLESS = {"lossless": True, "exact": True}
SOUND_PNG = encode(IMAGE)
SOUND_WEBP = encode(IMAGE, "WEBP", **LOSSLESS)


def animation(kind, **options):
    frames = [Image.fromarray(IMAGE), Image.fromarray(255 - IMAGE)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


CANVAS = b"VP8X" + struct.pack("<IB3x", 10, 2) + (16382).to_bytes(3, "little") * 2
NO_PNG = "not a plain PNG of the image"
NO_WEBP = "not a lossless WebP of the image"
WRONG = {
    **{f"a {kind} as PNG": (PNG, encode(IMAGE, kind), NO_PNG) for kind in ("WEBP", "GIF", "BMP")},
    **{f"a {kind} as WebP": (WEBP, encode(IMAGE, kind), NO_WEBP) for kind in ("PNG", "JPEG")},
    "an animated PNG": (PNG, animation("PNG"), NO_PNG),
    "a PNG and a byte": (PNG, SOUND_PNG + b"\0", NO_PNG),
    "a PNG and a chunk's length": (PNG, SOUND_PNG + bytes(12), NO_PNG),
    "a large canvas": (WEBP, b"RIFF" + struct.pack("<I", 4 + len(CANVAS)) + b"WEBP" + CANVAS, NO_WEBP),
    "an animated WebP": (WEBP, animation("WEBP", lossless=True), NO_WEBP),
    "a lossy WebP": (WEBP, encode(IMAGE, "WEBP", lossless=False), NO_WEBP),
    "a WebP with metadata": (WEBP, encode(IMAGE, "WEBP", lossless=True, xmp=b"<x/>"), NO_WEBP),
    "a larger WebP": (WEBP, encode(smooth(21), "WEBP", lossless=True), NO_WEBP),
    "no WebP": (WEBP, b"", NO_WEBP),
    "the beginning of a WebP": (WEBP, SOUND_WEBP[:20], NO_WEBP),
    "RIFF": (WEBP, b"RIFF", NO_WEBP),
}
for _cut in range(25, len(SOUND_WEBP)):
    WRONG[f"a WebP of {_cut} bytes"] = (WEBP, SOUND_WEBP[:_cut], NO_WEBP)
for _cut in range(len(SOUND_PNG) - 60, len(SOUND_PNG)):
    WRONG[f"a PNG of {_cut} bytes"] = (PNG, SOUND_PNG[:_cut], NO_PNG)


@pytest.mark.parametrize("name", WRONG)
def test_streams_of_another_kind_are_refused(name):
    content, data, match = WRONG[name]
    assert_refused(stream_file(IMAGE, content, data), match)


def test_a_stream_is_a_stored_part():
    sound = stream_file(IMAGE, PNG, SOUND_PNG)
    assert_decoded(sound, IMAGE)
    assert_decoded(stream_file(IMAGE, WEBP, SOUND_WEBP), IMAGE)
    for kind in (MODEL, CONSTANT):
        assert_refused(sound.with_part(0, kind, SOUND_PNG), "contradicts itself")


def test_a_png_with_transparency_which_pillow_would_convert_is_refused():
    grey, colours = Image.fromarray(smooth(channels=1)[..., 0]), Image.fromarray(IMAGE)
    palette = encode(colours.quantize(8), transparency=bytes(range(8)))
    transparent = encode(grey, transparency=3), encode(colours, transparency=(1, 2, 3))
    for data, channels in zip((palette, *transparent), (3, 1, 3), strict=True):
        assert_refused(replace(stream_file(IMAGE, PNG, data), channels=channels))


@pytest.mark.parametrize("shape", [(20, 10), (9, 20), (1, 1), (20000, 10000)])
def test_a_stream_of_another_size_is_refused_before_it_is_decoded(shape):
    file = stream_file(IMAGE, PNG, encode(Image.new("1", shape[::-1]))).to_bytes()
    with at_most(60, 2**24):
        assert_refused(file, NO_PNG)


def test_a_webp_with_more_pixels_than_the_limit_is_refused_and_never_written(monkeypatch):
    size = ((16382 << 14) + 16382).to_bytes(5, "little")
    webp = b"RIFF" + bytes(4) + b"WEBPVP8L" + bytes(4) + b"\x2f" + size
    assert_refused(replace(stream_file(IMAGE, WEBP, webp), height=16383, width=16383), NO_WEBP)
    small = stream_file(IMAGE, WEBP, SOUND_WEBP)
    header = replace(read_index(MemorySource(small.to_bytes()), 2**28).header, content=Content.MODEL)
    assert {content for content, _ in fallback._library_streams(IMAGE, header, 0)} == {Content.PNG, Content.WEBP}

    def refuse(_):
        raise Image.DecompressionBombError("too large")  # as Pillow 13 does, by a limit that a program can set

    monkeypatch.setattr(fallback.WebPImagePlugin, "WebPImageFile", refuse)
    assert_refused(small, "cannot be decoded: too large")
    monkeypatch.setattr(fallback, "MOST_PIXELS", IMAGE[..., 0].size - 1)
    assert {content for content, _ in fallback._library_streams(IMAGE, header, 0)} == {Content.PNG}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_streams_that_are_written_are_read(channels):
    """PNGs are written if WebP, which is mostly smaller, cannot hold a side of 16384 pixels."""
    rng = np.random.default_rng(0)
    for colours in (1, 2, 4, 16, 200, 1000):
        few = rng.integers(0, 256, (colours, channels), dtype=np.uint8)
        image = few[np.arange(20000) % 7 * 143 % colours][None]
        for some, depth in ((image, 8), (image >> 7, 1), (image.astype(np.uint16), 16)):
            if depth < 16 or channels == 1:
                header = FileHeader(1, 20000, channels, True, depth == 16, depth, Content.MODEL)
                data = fallback.smaller_file(some, header, 2**20, always=True)
                assert read_index(MemorySource(data), 2**28).header.content == Content.PNG
                assert_decoded(data, some)
    comb = smooth(20, 31, channels) // 16 * 16
    opaque = comb.copy()
    opaque[..., -1] = 255
    for image in (comb, opaque):
        streams = fallback._library_streams(image, FileHeader(20, 31, channels, True, False, 8, Content.MODEL), 2**20)
        assert {content for content, _ in streams} == {Content.PNG, Content.WEBP}
        for content, stream in streams:
            assert_decoded(stream_file(image, content << 2, stream), image)


def test_a_png_with_any_other_chunk_is_refused():
    chunks = chunks_of(SOUND_PNG)
    assert_decoded(stream_file(IMAGE, PNG, png_of(chunks)), IMAGE)
    for name, data in [(b"iCCP", b""), (b"acTL", bytes(8)), (b"zTXt", b"a\0\0"), (b"abCd", b""), (b"tRNS", b"")]:
        for at in range(len(chunks) + 1):
            wrong = png_of([*chunks[:at], (name, data), *chunks[at:]])
            assert_refused(stream_file(IMAGE, PNG, wrong), "PNG|cannot be decoded")
    for without in range(len(chunks)):
        assert_refused(stream_file(IMAGE, PNG, png_of(chunks[:without] + chunks[without + 1 :])), "not a plain PNG")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_webp_of_other_channels_is_refused(channels):
    """WebP only has colours, with alpha or without; those of a grey image are equal."""
    image = smooth(channels=channels)
    file = stream_file(image, WEBP, encode(image, "WEBP", **LOSSLESS))
    assert_decoded(file, image)
    for other in {1: (), 2: (1, 3), 3: (1, 2), 4: (1, 2, 3)}[channels]:
        match = ": expected equal colours" if channels == 3 else ""
        assert_refused(replace(file, channels=other), f"cannot be decoded{match}")
    assert_refused(replace(file, flags=file.flags | WIDE, depth=16), "of the image that the header describes")


def test_the_values_of_a_stream_are_below_the_headers_depth():
    wide, grey = smooth(channels=1, depth=16), smooth(channels=1)
    file = stream_file(wide, PNG, encode(wide), AXIS | WIDE, depth=16)
    assert_decoded(file, wide)
    assert_refused(replace(file, depth=12), "above the image's depth")
    assert_refused(stream_file(grey, PNG, encode(grey), depth=4), "above the image's depth")
    bilevel = np.zeros((20, 9, 1), bool)
    assert_decoded(stream_file(bilevel, PNG, encode(bilevel)), bilevel.astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("is_wide", [False, True])
def test_a_png_of_another_bit_depth_or_colour_type_is_refused(is_wide, channels):
    """Pillow would read these: the upper 8 of 16 bits, and multiples for 2 and 4 bits."""
    palettes = [(1, 3), (2, 3), (4, 3), (8, 3)]
    allowed = {1: [(1, 0), (8, 0)], 2: [(8, 4)], 3: [(8, 2), *palettes], 4: [(8, 6), *palettes]}[channels]
    if is_wide:
        allowed = [(16, 0)] if channels == 1 else []
    for bits, (colours, samples) in product((1, 2, 4, 8, 16), {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.items()):
        lines = zlib.compress(bytes(3 * (1 + -(-5 * samples * bits // 8))))
        palette = [(b"PLTE", bytes(6))] if colours == 3 else []
        size = struct.pack(">IIBB3x", 5, 3, bits, colours)
        stream = png_of([(b"IHDR", size), *palette, (b"IDAT", lines), (b"IEND", b"")])
        image = np.zeros((3, 5, channels), np.uint16 if is_wide else np.uint8)
        file = stream_file(image, PNG, stream, AXIS | (WIDE if is_wide else 0), depth=16 if is_wide else 8)
        if (bits, colours) in allowed:
            image[..., 3:] = 255 if colours == 3 else 0
            assert_decoded(file, image)
        else:
            assert_refused(file, NO_PNG)


@pytest.mark.parametrize("colours, index", [(2, 1), (1, 1), (0, 0), (None, 0), (100, 200)])
def test_an_index_beyond_the_palette_is_refused(colours, index):
    size = struct.pack(">IIBB3x", 2, 1, 8, 3)
    palette = [] if colours is None else [(b"PLTE", bytes(range(3))[::-1] * colours)]
    stream = png_of([(b"IHDR", size), *palette, (b"IDAT", zlib.compress(bytes([0, index, 0]))), (b"IEND", b"")])
    file = stream_file(np.zeros((1, 2, 3)), PNG, stream)
    if index < (colours or 0):
        assert_decoded(file, np.array([[[2, 1, 0]] * 2], np.uint8))
    else:
        assert_refused(file, "beyond the end of the palette")


def test_streams_are_chosen_for_drawings_that_repeat_themselves():
    tile = np.random.default_rng(0).integers(0, 2, (12, 18), dtype=np.uint8)
    for depth, channels in product([1, 8], [None, 1, 2, 3, 4]):
        drawing = np.tile(tile, (5, 5)) * np.uint8((1 << depth) - 1)
        drawing = drawing if channels is None else drawing[..., None].repeat(channels, axis=2)
        drawing[:30, :30, ...] = 1
        for effort in ("default", "max"):
            data = pp.encode(drawing, depth=depth, effort=effort)
            assert File.of(data).flags & (PNG | WEBP)
            assert_decoded(data, drawing)
        assert np.array_equal(pp.decode(data, scale=4), drawing[3::4, 3::4])
        if channels in (None, 1):
            for wide_depth in (depth, 16):
                wide = drawing.astype(np.uint16) << (wide_depth - depth)
                data = pp.encode(wide, depth=wide_depth, effort="max")
                assert File.of(data).flags & PNG
                assert_decoded(data, wide)


def png_with(chunks, signature=SOUND_PNG[:8]):
    """A PNG of these chunks (name, data), with correct checksums."""
    return signature + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def test_a_png_is_whole_and_holds_nothing_else():
    """Readers that check more than Pillow accept and refuse the same streams."""
    head, *_, end = chunks_of(SOUND_PNG)
    packed = b"".join(data for name, data in chunks_of(SOUND_PNG) if name == b"IDAT")
    rows = zlib.decompress(packed)

    def with_rows(data):
        return png_with([head, (b"IDAT", data), end])

    assert_decoded(stream_file(IMAGE, PNG, with_rows(packed)), IMAGE)
    pieces = [(b"IDAT", packed[i : i + 5]) for i in range(0, len(packed), 5)]
    assert_decoded(stream_file(IMAGE, PNG, png_with([head, *pieces, (b"IDAT", b""), end])), IMAGE)
    interlaced = (b"IHDR", head[1][:-1] + b"\1")
    for wrong in (
        with_rows(packed + b"\0"),
        with_rows(zlib.compress(rows + rows[:31])),
        with_rows(zlib.compress(rows[:-1])),
        with_rows(packed[:-1]),
        with_rows(packed + packed),
        png_with([head, (b"IDAT", packed), (b"IDAT", b"\0"), end]),
        png_with([head, (b"IDAT", packed), (b"IEND", b"\0")]),
        png_with([interlaced, (b"IDAT", packed), end]),
        SOUND_PNG[:-1] + b"\0",
        SOUND_PNG.replace(packed[-4:], bytes(4)),
        SOUND_PNG[:-16] + bytes(4) + SOUND_PNG[-12:],
    ):
        assert_refused(stream_file(IMAGE, PNG, wrong), NO_PNG)


def test_a_webp_holds_nothing_else():
    more = b"EXIF" + struct.pack("<I", 2) + b"ab"
    longer = SOUND_WEBP[:4] + struct.pack("<I", len(SOUND_WEBP) - 8 + len(more)) + SOUND_WEBP[8:] + more
    for wrong in (SOUND_WEBP + b"\0", SOUND_WEBP + more, longer, b"RIFX" + SOUND_WEBP[4:]):
        assert_refused(stream_file(IMAGE, WEBP, wrong), NO_WEBP)


def test_streams_that_unpack_to_much_are_refused_without_being_unpacked():
    head, *_, end = chunks_of(SOUND_PNG)
    file = stream_file(IMAGE, PNG, png_with([head, (b"IDAT", zlib.compress(bytes(2**27))), end]))
    with at_most(60, 2**24):
        assert_refused(file, NO_PNG)
