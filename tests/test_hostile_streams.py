"""A library's stream inside a file, checksums right: refused, or an image of the header's; nothing large is opened."""

import io
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hostile_files import (
    AXIS,
    CONSTANT,
    MODEL,
    PNG,
    WEBP,
    WIDE,
    assert_only_refused,
    png_of,
    refused,
    saved,
    smooth,
    stream,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.codec import fallback
from pixelpyramids.codec.container import Content, FileHeader, read_index
from pixelpyramids.codec.fields import MemorySource


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


def test_a_webp_of_more_pixels_than_are_taken_is_refused_and_never_written(monkeypatch):
    image = smooth()
    small = stream(image, WEBP, saved(image, "WEBP", lossless=True, exact=True))
    header = replace(read_index(MemorySource(small.written()), 2**28).header, content=Content.MODEL)
    assert {content for content, _ in fallback._library_streams(image, header)} == {Content.PNG, Content.WEBP}

    def refuses(_):
        raise Image.DecompressionBombError("too large")  # as Pillow 13 does, by a limit that a program can set

    monkeypatch.setattr(fallback.WebPImagePlugin, "WebPImageFile", refuses)
    refused(small, "cannot be decoded: too large")
    monkeypatch.setattr(fallback, "WEBP_PIXELS", image[..., 0].size - 1)
    assert {content for content, _ in fallback._library_streams(image, header)} == {Content.PNG}


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
                header = FileHeader(1, 20000, channels, True, depth == 16, depth, Content.MODEL)
                data = fallback.smallest_file(at, header, bytes(2**20), always=True)
                assert read_index(MemorySource(data), 2**28).header.content == Content.PNG
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
        refused(replace(of, channels=other), "no plain PNG" if kind == "PNG" else "cannot be decoded")
    refused(replace(of, flags=of.flags | WIDE, depth=16), "of the image that the header describes")


def test_a_coloured_webp_is_no_grey_image():
    image = smooth()
    data = saved(image, "WEBP", lossless=True, exact=True)
    refused(replace(stream(image, WEBP, data), channels=1), "expected equal colours")
    refused(replace(stream(image, WEBP, data), channels=2), "expected equal colours")


def test_a_stream_of_one_bit_or_sixteen_is_held_to_the_header():
    wide = smooth(channels=1, depth=16)
    of = stream(wide, PNG, saved(wide[..., 0]), AXIS | WIDE)
    assert np.array_equal(pp.decode(replace(of, depth=16).written()), wide)
    refused(replace(of, depth=12), "above the image's depth")
    for channels in (2, 3, 4):
        refused(replace(of, depth=16, channels=channels), "no plain PNG")
    bilevel = np.zeros((20, 9, 1), bool)
    one = stream(bilevel, PNG, saved(bilevel[..., 0]))
    assert not pp.decode(one.written()).any()
    for channels in (2, 3, 4):
        refused(replace(one, channels=channels), "no plain PNG")
    grey = smooth(channels=1)
    refused(replace(stream(grey, PNG, saved(grey[..., 0])), depth=4), "above the image's depth")


def chunks_of(png):
    place = 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += 12 + length


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
