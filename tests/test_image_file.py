"""Image files come in at their own depth and go out as they came; what would lose a bit is refused by name."""

import io
import os
import struct
import sys
import tempfile
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

import pixelpyramids as pp
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.image_files import pillow_plugin
from pixelpyramids.image_files.bit_depth import narrow, widen
from pixelpyramids.image_files.opening import read_picture
from pixelpyramids.image_files.saving import FORMATS, write_image

RNG = np.random.default_rng(0)


def noise(depth, channels=1, height=11, width=13):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return RNG.integers(0, 1 << depth, shape).astype(np.uint8 if depth <= 8 else np.uint16)


def read(data, **options):
    return read_picture(io.BytesIO(data), **options)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def written(array, depth, kind, metadata=None):
    file = io.BytesIO()
    write_image(file, array, depth, metadata or {}, kind)
    return file.getvalue()


def without_imagecodecs(monkeypatch):
    """Have imagecodecs missing, for tifffile too."""
    for name in ("tifffile", "tifffile.tifffile"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(depth, kind, lines, *chunks):
    """A PNG of lines of packed pixels, with chunks before them."""
    header = struct.pack(">IIBBBBB", 8 * len(lines[0]) // depth, len(lines), depth, kind, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + line for line in lines))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def assert_same(picture, array, depth):
    assert picture.array.dtype == array.dtype
    assert np.array_equal(picture.array, array)
    assert picture.depth == depth


@pytest.mark.parametrize("depth", range(1, 17))
def test_depths_are_deepened_as_png_says_and_flattened_back(depth):
    for bits in range(depth, 17):
        values = np.arange(1 << depth, dtype=np.uint16)
        deep = widen(values, depth, bits)
        assert deep[0] == 0 and deep[-1] == (1 << bits) - 1
        exact = values.astype(float) * ((1 << bits) - 1) / ((1 << depth) - 1)
        assert np.abs(deep - exact).max() < 1  # repeated bits are within one of exact scaling
        assert np.array_equal(narrow(deep, bits, depth), values)
    if depth < 16:
        assert narrow(np.array([1 << (15 - depth)], np.uint16), 16, depth) is None


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8, 10, 12, 16])
def test_png_holds_every_depth(depth, channels):
    array = noise(depth, channels)
    data = written(array, depth, "png")
    assert_same(read(data), array, depth)
    bits, shown = data[24], np.squeeze(imagecodecs.png_decode(data))
    assert np.array_equal(shown, widen(array, depth, max(bits, 8)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 12, 16])
def test_tiff_holds_its_depths_and_refuses_others(depth, channels):
    array = noise(depth, channels)
    if channels > 1 and depth not in (8, 16):
        with pytest.raises(DataError, match=f"got {depth}; write a PNG"):
            written(array, depth, "tiff")
        return
    data = written(array, depth, "tiff")
    assert_same(read(data), array, depth)
    assert np.array_equal(tifffile.imread(io.BytesIO(data)).astype(array.dtype), array)


def test_a_tiff_of_many_strips():
    array = noise(16, 3, 301, 299)
    data = written(array, 16, "tiff")
    assert len(tifffile.TiffFile(io.BytesIO(data)).pages[0].dataoffsets) > 1
    assert_same(read(data), array, 16)
    grey = noise(8, 1, 1000, 999)
    with Image.open(io.BytesIO(written(grey, 8, "tiff"))) as image:
        assert np.array_equal(np.asarray(image), grey)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [1, 5, 8, 10, 16])
def test_netpbm_holds_every_depth(depth, channels):
    array = noise(depth, channels)
    data = written(array, depth, "ppm")
    assert_same(read(data), array, depth)
    if depth == 8:
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.asarray(image), array)


def test_netpbm_plain_and_bilevel():
    bits = noise(1, 1, 5, 11)
    assert_same(read(saved(Image.fromarray(bits > 0), "PPM")), bits, 1)  # P4
    assert_same(read(b"P1 # a comment\n3 2\n101\n0 1 0\n"), 1 - np.array([[1, 0, 1], [0, 1, 0]], np.uint8), 1)
    assert_same(read(b"P2\n2 2 # size\n15\n0 3\n15 7\n"), np.array([[0, 3], [15, 7]], np.uint8), 4)
    assert_same(read(b"P3 1 1 1023 1 2 1023"), np.array([[[1, 2, 1023]]], np.uint16), 10)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5 2 2 200 abcd", "power of two less one, got 200"),
        (b"P5 2 2 255 abc", "cut short"),
        (b"P5 2 2 255 abcdefgh", "perhaps several"),
        (b"P5 2 2 0 abcd", "from 1 to 65535"),
        (b"P5 0 2 255 ", "at least one pixel"),
        (b"P2 1 1 255 x", "expected numbers"),
        (b"P2 1 1 15 16", "at most 15"),
        (b"P2 2 1 15 1", "expected 2 values"),
        (b"P5 99999 99999 255 ", "more than the limit"),
        (b"P6 x", "with its size"),
    ],
)
def test_damaged_netpbm_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        read(data)


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_is_exact_also_under_transparent_pixels(channels):
    array = noise(8, channels)
    data = written(array, 8, "webp")
    picture = read(data)
    assert_same(picture, array, 8)
    assert not picture.is_lossy
    assert np.array_equal(imagecodecs.webp_decode(data), array)


def test_bmp_and_npy():
    for array, depth in ((noise(1), 1), (noise(8), 8), (noise(8, 3), 8)):
        assert_same(read(written(array, depth, "bmp")), array, depth)
    for array in (noise(8, 3), noise(16), noise(16, 4)):
        data = written(array, 8 * array.itemsize, "npy")
        assert_same(read(data), array, 8 * array.itemsize)
        assert np.array_equal(np.load(io.BytesIO(data)), array)
    with pytest.warns(UserWarning, match="npy has no place for the metadata ICC, depth of 12 bits"):
        written(noise(12), 12, "npy", {"ICC": b"x"})
    file = io.BytesIO()
    np.save(file, np.zeros((2, 2), np.float32))
    with pytest.raises(DataError, match="uint8 or uint16, got float32"):
        read(file.getvalue())
    file = io.BytesIO()
    np.save(file, noise(16).astype(">u2"))
    assert read(file.getvalue()).array.dtype == np.dtype("=u2")


@pytest.mark.parametrize(
    ("kind", "depth", "channels", "message"),
    [
        ("webp", 16, 3, "expected 8 bits for webp, got 16 bits"),
        ("webp", 8, 1, "grey, which WebP stores as colour"),
        ("bmp", 8, 4, "no alpha for bmp"),
        ("bmp", 4, 1, "got 4 bits"),
        ("ppm", 8, 2, "no alpha for ppm"),
        ("gif", 8, 1, "expected a format among png, tiff"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(kind, depth, channels, message):
    with pytest.raises(DataError, match=message):
        written(noise(depth, channels), depth, kind)


def test_a_picture_too_large_for_webp_is_refused():
    with pytest.raises(DataError, match="cannot write this picture as WEBP"):
        written(np.zeros((1, 17000, 3), np.uint8), 8, "webp")


def test_every_format_writes_what_it_reads():
    for kind, suffixes in FORMATS.items():
        array = noise(8, 3)
        assert_same(read(written(array, 8, kind)), array, 8)
        assert all(suffix.startswith(".") for suffix in suffixes)


def test_modes_of_pillow():
    eight, bits = noise(8, 4), noise(1)
    assert_same(read(saved(Image.fromarray(bits > 0), "PNG")), bits, 1)
    assert_same(read(saved(Image.fromarray(bits > 0), "TIFF")), bits, 1)
    assert_same(read(saved(Image.fromarray(bits > 0), "TIFF", compression="group4")), bits, 1)
    for image in (eight, eight[..., :3], eight[..., :2], eight[..., 0]):
        array = np.ascontiguousarray(image)
        for kind in ("PNG", "TIFF"):
            assert_same(read(saved(Image.fromarray(array), kind)), array, 8)
    sixteen = noise(16)
    assert_same(read(saved(Image.fromarray(sixteen), "PNG")), sixteen, 16)
    assert_same(read(saved(Image.fromarray(sixteen), "TIFF")), sixteen, 16)


def test_palettes_become_the_colours_they_stand_for():
    numbers = RNG.integers(0, 5, (6, 7)).astype(np.uint8)
    colours = RNG.integers(0, 256, (5, 3)).astype(np.uint8)
    image = Image.fromarray(numbers)
    image.putpalette(colours.tobytes(), "RGB")
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert_same(read(saved(image, kind)), colours[numbers], 8)
    picture = read(saved(image, "PNG", transparency=bytes([0, 9, 255])))
    alpha = np.array([0, 9, 255, 255, 255], np.uint8)
    assert_same(picture, np.concatenate([colours[numbers], alpha[numbers][..., None]], axis=2), 8)
    greys = np.repeat(colours[:, :1], 3, axis=1)
    image.putpalette(greys.tobytes(), "RGB")
    assert_same(read(saved(image, "PNG")), greys[numbers][..., 0], 8)


def test_a_transparent_colour_becomes_alpha_at_the_source_s_depth():
    two = noise(2, 1, 4, 8)
    lines = [np.packbits((row[:, None] >> np.array([1, 0]) & 1).astype(np.uint8)).tobytes() for row in two]
    picture = read(raw_png(2, 0, lines, chunk(b"tRNS", struct.pack(">H", 2))))
    assert_same(picture, np.stack([two, (two != 2) * np.uint8(3)], axis=2), 2)
    bits = noise(1, 1, 4, 8)
    picture = read(raw_png(1, 0, [np.packbits(row).tobytes() for row in bits], chunk(b"tRNS", b"\0\1")))
    assert_same(picture, np.stack([bits, 1 - bits], axis=2), 1)
    colours = noise(8, 3)
    key = tuple(int(value) for value in colours[3, 4])
    rgba = read(saved(Image.fromarray(colours), "PNG", transparency=key)).array
    assert np.array_equal(rgba[..., :3], colours) and (rgba[..., 3] == 0).sum() == 1 and rgba[3, 4, 3] == 0
    for again in (picture, read(raw_png(2, 0, lines, chunk(b"tRNS", struct.pack(">H", 2))))):
        assert_same(read(written(again.array, again.depth, "png")), again.array, again.depth)


def test_significant_bits_are_the_depth_where_nothing_is_lost():
    twelve = noise(12, 3)
    repeated, shifted = widen(twelve, 12, 16), twelve << 4
    for array, expected in ((repeated, (twelve, 12)), (shifted, (shifted, 16))):
        data = imagecodecs.png_encode(array)
        picture = read(data[:33] + chunk(b"sBIT", bytes([12] * 3)) + data[33:])
        assert_same(picture, *expected)
        again = written(picture.array, picture.depth, "png", picture.metadata)
        assert np.array_equal(imagecodecs.png_decode(again), array)
        assert chunk(b"sBIT", bytes([12] * 3)) in again


def test_sixteen_bit_colour_is_read_in_full():
    for channels in (2, 3, 4):
        array = noise(16, channels)
        assert_same(read(imagecodecs.png_encode(array)), array, 16)
    for channels, photometric in ((3, "rgb"), (4, "rgb"), (2, "minisblack")):
        array = noise(16, channels, 40, 50)
        for options in (
            {},
            {"compression": "lzw", "predictor": True},
            {"planarconfig": "separate"},
            {"byteorder": ">"},
        ):
            file = io.BytesIO()
            extra = ["unassalpha"] if channels in (2, 4) else None
            stored = np.moveaxis(array, -1, 0) if "planarconfig" in options else array
            order = {k: v for k, v in options.items() if k == "byteorder"}
            rest = {k: v for k, v in options.items() if k != "byteorder"}
            if photometric == "minisblack":
                rest.setdefault("planarconfig", "contig")
            with tifffile.TiffWriter(file, **order) as writer:
                writer.write(stored, photometric=photometric, extrasamples=extra, **rest)
            assert_same(read(file.getvalue()), array, 16)


def test_without_the_extra_sixteen_bit_colour_is_refused_or_read(monkeypatch):
    array = noise(16, 3)
    png = imagecodecs.png_encode(array)
    tiffs = {}
    for compression in (None, "zlib", "lzw"):
        file = io.BytesIO()
        tifffile.imwrite(file, array, photometric="rgb", compression=compression)
        tiffs[compression] = file.getvalue()
    without_imagecodecs(monkeypatch)
    for data in (tiffs[None], tiffs["zlib"], written(array, 16, "tiff")):
        assert_same(read(data), array, 16)
    for data in (png, tiffs["lzw"]):
        with pytest.raises(PixelPyramidsError, match=r"imagecodecs is not installed.*pixelpyramids\[images\]"):
            read(data)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "F", "I"])
def test_pixels_of_other_kinds_are_refused_by_name(mode):
    with pytest.raises(DataError, match=r"four inks|\(YCbCr\)|got L\*a\*b|got float values|signed"):
        read(saved(Image.new(mode, (5, 4)), "TIFF"))


def test_other_tiffs_are_refused_by_name():
    cases = [
        (noise(16).astype(np.int16), {}, "got signed values"),
        (noise(16).astype(np.float16), {}, "got float values"),
        (noise(16).astype(np.uint32), {}, "got 32 bits"),
        (noise(16, 4), {"photometric": "rgb", "extrasamples": ["assocalpha"]}, "alpha multiplied into the colours"),
        (noise(8, 4), {"photometric": "rgb", "extrasamples": ["assocalpha"]}, "alpha multiplied into the colours"),
        (noise(16, 3), {"photometric": "cielab"}, r"got L\*a\*b\* values"),
        (np.stack([noise(16, 3)] * 2), {"photometric": "rgb"}, "expected one picture, got 2"),
        (noise(8, 4), {"photometric": "rgb", "extrasamples": ["unspecified"]}, "got other channels"),
    ]
    for array, options, message in cases:
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        with pytest.raises(DataError, match=message):
            read(file.getvalue())


def test_animations_and_pages_are_refused():
    frames = [Image.fromarray(noise(8, 3)) for _ in range(2)]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        with pytest.raises(DataError, match="expected one picture, got 2"):
            read(saved(frames[0], kind, save_all=True, append_images=frames[1:]))


KINDS = [
    ("JPEG", {}, True),
    ("WEBP", {"quality": 80}, True),
    ("WEBP", {"lossless": True}, False),
    ("WEBP", {"lossless": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}, False),
    ("AVIF", {}, True),
    ("JPEG2000", {"irreversible": True}, True),
    ("JPEG2000", {}, False),
    ("TIFF", {"compression": "jpeg"}, True),
    ("TIFF", {}, False),
    ("PNG", {}, False),
    ("PPM", {}, False),
]


@pytest.mark.parametrize(("kind", "options", "is_lossy"), KINDS)
def test_files_packed_with_loss_are_known_by_their_headers(kind, options, is_lossy, tmp_path, monkeypatch):
    data = saved(Image.fromarray(noise(8, 3, 40, 40)), kind, **options)
    assert read(data).is_lossy == is_lossy
    (tmp_path / "a").write_bytes(data)
    for plugin in (ImageFile.ImageFile, WebPImageFile, AvifImageFile, Jpeg2KImageFile, TiffImageFile):
        monkeypatch.setattr(plugin, "load", None)  # which decodes the pixels
    for source in (io.BytesIO(data), tmp_path / "a"):
        with pp.open(source) as image:
            assert image.is_lossy == is_lossy and image.format == kind


def test_of_a_jpeg_the_front_is_read_alone():
    file = io.BytesIO(saved(Image.fromarray(noise(8, 3, 900, 900)), "JPEG"))
    assert pp.open(file).is_lossy and file.tell() < 2000 < len(file.getvalue()) / 100


def test_what_cannot_be_opened_or_is_no_picture_is_left_to_reading_it():
    webp = saved(Image.fromarray(noise(8, 3)), "WEBP", save_all=True, append_images=[Image.fromarray(noise(8, 3))])
    for data in (b"", b"none", b"\xff\xd8\xff", b"RIFF....WEBP", b"II*\0", webp):
        with pytest.raises(DataError):
            read(data)


def test_deeper_jpeg_2000_and_avif_are_refused():
    for encode in (imagecodecs.jpeg2k_encode, imagecodecs.avif_encode):
        options = {"bitspersample": 12} if encode is imagecodecs.avif_encode else {}
        with pytest.raises(DataError, match=r"expected 8 bits, got 1[26]"):
            read(encode(noise(12, 3, 40, 40), **options))
    grey = noise(16, 1, 40, 40)
    assert_same(read(imagecodecs.jpeg2k_encode(grey, reversible=True)), grey, 16)
    with pytest.raises(DataError, match="expected 8 bits, got 12 of JPEG2000"):
        read(imagecodecs.jpeg2k_encode(noise(12, 1, 40, 40), bitspersample=12, reversible=True))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", range(1, 9))
def test_shallow_jpeg_2000_keeps_its_depth(depth, channels):
    array = noise(depth, channels, 40, 40)
    assert_same(read(imagecodecs.jpeg2k_encode(array, reversible=True, bitspersample=depth)), array, depth)


def test_jpeg_2000_of_other_colours_or_multiplied_alpha_is_refused():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)).save(file, "JPEG2000")
    data = file.getvalue()
    assert read_picture(io.BytesIO(data)).array.shape == (8, 8, 4)
    for place, value, message in (
        (data.index(b"colr") + 10, 18, "got colour space 18"),
        (data.index(b"cdef") + 9 + 3 * 6, 2, "got alpha multiplied into the colours"),
    ):
        damaged = data[:place] + bytes([value]) + data[place + 1 :]
        with pytest.raises(DataError, match=message):
            read_picture(io.BytesIO(damaged))


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_signed_jpeg_2000_is_refused(kind):
    with pytest.raises(DataError, match="unsigned channels of one depth in the JPEG 2000, got signed"):
        read(imagecodecs.jpeg2k_encode(noise(7).astype(kind), reversible=True))


@pytest.mark.parametrize("kind", ["png", "tiff", "ppm", "webp"])
def test_shallow_pixels_in_a_wide_type_are_written_as_what_they_are(kind):
    array = noise(8, 3)
    assert_same(read(written(array.astype(np.uint16), 8, kind)), array, 8)
    assert_same(read(written(array[..., :1], 8, "png")), array[..., 0], 8)


def test_pixels_are_not_turned():
    array = noise(8, 3, 6, 9)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        for kind in ("TIFF", "PNG", "WEBP"):
            options = {"lossless": True} if kind == "WEBP" else {}
            picture = read(saved(Image.fromarray(array), kind, exif=exif, **options))
            assert_same(picture, array, 8)
            kept = Image.Exif()
            kept.load(picture.metadata["EXIF"])
            assert kept[274] == orientation
        wide = widen(array, 8, 16)
        picture = read(written(wide, 16, "tiff", {"EXIF": exif.tobytes()[6:]}))
        assert_same(picture, wide, 16)


def test_limits_and_damage():
    data = saved(Image.fromarray(noise(8, 3)), "PNG")
    with pytest.raises(DataError, match=r"the image: .*11 x 13 pixels, more than the limit of 99.*--max-pixels"):
        read(data, max_pixels=99)
    with warnings.catch_warnings():  # Pillow's own limit, which cannot be set for one call, is not asked
        warnings.simplefilter("error")
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, 9
        try:
            read(data)
        finally:
            Image.MAX_IMAGE_PIXELS = before
    for cut in (0, 5, 20, 40, len(data) - 1):
        with pytest.raises(DataError):
            read(data[:cut])
    for short, got in ((b"", "an empty file"), (b"x", "something else"), (b"xy", "something else")):
        with pytest.raises(DataError, match=f"got {got}"):
            read(short)
    for place in range(8, len(data), 7):
        flipped = bytearray(data)
        flipped[place] ^= 16
        with pytest.raises(DataError):
            read(bytes(flipped))


def test_a_tiff_above_pillow_s_limit_is_read_all_the_same(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    for array, depth in ((noise(8), 8), (noise(8, 3), 8), (noise(8, 4), 8), (noise(16), 16)):
        assert_same(read(written(array, depth, "tiff")), array, depth)


def test_a_tiff_without_some_of_its_pixels_is_refused():
    data = written(noise(16, 3, 301, 299), 16, "tiff")
    with pytest.raises(DataError, match="without some of its pixels"):
        read(data[: len(data) // 2])
    with pytest.raises(DataError, match="without some of its pixels"):
        read(written(noise(8, 3, 301, 299), 8, "tiff")[:9999])


def test_a_tiff_whose_strips_share_their_bytes_is_refused():
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((64, 64), np.uint8), rowsperstrip=1)
    file.seek(0)
    with tifffile.TiffFile(file, mode="r+b") as tiff:
        tags = tiff.pages[0].tags
        tags["StripOffsets"].overwrite([8] * 64)
        tags["StripByteCounts"].overwrite([4000] * 64)
    with pytest.raises(DataError, match="share no bytes"):
        read(file.getvalue())


def test_a_tga_of_5_bits_a_colour_is_refused():
    colours, colour = struct.pack("<HH", 0x7FFF, 0xFFFF), struct.pack("<HHBB", 2, 1, 16, 1)
    for data in (
        struct.pack("<BBBHHBHH", 0, 0, 2, 0, 0, 0, 0, 0) + colour + colours,
        struct.pack("<BBBHHBHHHHBB", 0, 1, 1, 0, 2, 16, 0, 0, 2, 1, 8, 0) + colours + b"\0\1",
    ):
        with pytest.raises(DataError, match="8 bits of each colour in the TGA, got 5"):
            read_picture(io.BytesIO(data))


@pytest.mark.parametrize("is_grey", [True, False])
def test_a_pcx_without_its_end_is_refused(is_grey):
    image = Image.fromarray(noise(8))
    if not is_grey:
        image.putpalette(RNG.integers(0, 256, 768).astype(np.uint8).tobytes(), "RGB")
    data = saved(image, "PCX")
    assert_same(read(data), np.array(image if is_grey else image.convert("RGB")), 8)
    taller = data[:10] + struct.pack("<H", 14) + data[12:]
    for damaged in (data[:-300], data[:-1], data[:140] + data[-769:], taller):
        with pytest.raises(DataError, match=r"expected a (complete )?PCX"):
            read(damaged)
    colours = noise(8, 3)
    data = saved(Image.fromarray(colours), "PCX")
    assert_same(read(data), colours, 8)


def test_the_fourth_byte_of_a_bmp_is_named_if_it_says_something():
    colours = noise(8, 4)
    for fourth, named in ((0, ()), (200, ("the fourth byte of the BMP's pixels",))):
        colours[..., 3] = fourth
        header = struct.pack("<2sIIIIiiHHIIIIII", b"BM", 54 + colours.size, 0, 54, 40, 13, -11, 1, 32, 0, 0, 0, 0, 0, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = read(header + colours[..., [2, 1, 0, 3]].tobytes())
        assert_same(picture, colours[..., :3], 8)
        assert picture.not_kept == named


def test_damaged_arrays_are_refused_before_anything_is_allocated():
    data = written(noise(8), 8, "npy")
    huge = data.replace(b"(11, 13)", b"(99999, 99999)").replace(b"    \n", b"\n", 1)
    for damaged in (data[:-1], data[:40], data.replace(b"(11", b"((1"), huge, data.replace(b"'|u1'", b"'|O1'")):
        with pytest.raises(DataError):
            read(damaged)
    file = io.BytesIO()
    turned = np.asfortranarray(noise(16))
    np.save(file, turned)
    assert_same(read(file.getvalue()), np.ascontiguousarray(turned), 16)


def test_paths_are_named_in_errors(tmp_path):
    with pytest.raises(DataError, match=r"no\.png: expected an image, but there is no such file"):
        read_picture(tmp_path / "no.png")
    (tmp_path / "text.png").write_text("no image at all, but words")
    with pytest.raises(DataError, match=r"text\.png: expected an image \(PNG"):
        read_picture(tmp_path / "text.png")
    path = tmp_path / "a.png"
    path.write_bytes(written(noise(8), 8, "png"))
    assert read_picture(path).format == "PNG"


def test_files_that_cannot_be_opened_are_named_once(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="expected a regular file") as caught:
        read_picture(tmp_path)
    assert str(caught.value).count(str(tmp_path)) == 1
    path = tmp_path / "a.png"
    path.write_bytes(written(noise(8), 8, "png"))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open(tmp_path / "no" / "place"))  # noqa: SIM115
    assert read_picture(path).format == "PNG"

    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DataError, match=r"a\.png: Permission denied; check its permissions") as caught:
        read_picture(path)
    assert str(caught.value).count("a.png") == 1


def test_images_of_pillow_s_own():
    for depth, mode in ((1, "1"), (3, "L"), (8, "L"), (12, "I;16")):
        assert pillow_plugin.image_of(noise(depth), depth).mode == mode
    with pytest.raises(DataError, match="no mode for 16-bit pixels of 3 channels"):
        pillow_plugin.image_of(noise(16, 3), 16)
