"""Image files are read at their own depth, or an error names the reason. Parts that are not kept are named."""

import io
import struct
import sys
import tempfile

import imagecodecs
import numpy as np
import pytest
from image_samples import RNG, assert_read, chunk, insert_chunks, noise, own_file, png, read, tiff
from pictures import encode, pixels
from PIL import Image, ImageFile

from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.image_files.bit_depth import narrow, widen


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def jpeg_2000(array, **options):
    return imagecodecs.jpeg2k_encode(array, reversible=True, **options)


def indexed(colours, numbers):
    image = Image.fromarray(numbers)
    image.putpalette(colours.tobytes(), "RGB")
    return image


def readable():
    """Files, the pixels that they hold, and the depth."""
    eight, bits, sixteen = noise(8, 4), noise(1), noise(16)
    for array in (eight, eight[..., :3], eight[..., :2], eight[..., 0], sixteen):
        array = np.ascontiguousarray(array)
        for kind in ("PNG", "TIFF"):
            yield encode(array, kind), array, 8 * array.itemsize
    for kind, options in (("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "group4"}), ("BMP", {}), ("PPM", {})):
        yield encode(bits > 0, kind, **options), bits, 1
    numbers, colours = noise(2, 1, 6, 7), noise(8, 3, 1, 4)[0]
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        yield encode(indexed(colours, numbers), kind), colours[numbers], 8
    yield encode(indexed(colours[:, [0, 0, 0]], numbers), "PNG"), colours[numbers][..., 0], 8
    alpha = np.array([0, 9, 255, 255], np.uint8)
    with_alpha = np.concatenate([colours, alpha[:, None]], axis=1)
    yield encode(indexed(colours, numbers), "PNG", transparency=bytes([0, 9, 255])), with_alpha[numbers], 8
    yield b"P1 # a comment\n3 2\n101\n0 1 0\n", 1 - np.array([[1, 0, 1], [0, 1, 0]], np.uint8), 1
    yield b"P2\n2 2 # size\n15\n0 3\n15 7\n", np.array([[0, 3], [15, 7]], np.uint8), 4
    yield b"P3 1 1 1023 1 2 1023", np.array([[[1, 2, 1023]]], np.uint16), 10
    yield b"P4 8 1\n\xaa", np.array([[0, 1] * 4], np.uint8), 1
    for channels in (2, 3, 4):
        array = noise(16, channels)
        yield imagecodecs.png_encode(array), array, 16
    yield npy(sixteen.astype(">u2")), sixteen, 16
    yield npy(np.asfortranarray(sixteen)), sixteen, 16
    for depth in range(1, 9):
        for channels in (1, 3):
            array = noise(depth, channels, 40, 40)
            yield jpeg_2000(array, bitspersample=depth), array, depth
    yield jpeg_2000(noise(16, 1, 40, 40) & 0, bitspersample=16), np.zeros((40, 40), np.uint16), 16
    for image in (Image.fromarray(noise(8)), indexed(noise(8, 3, 1, 256)[0], noise(8)), Image.fromarray(noise(8, 3))):
        yield encode(image, "PCX"), np.array(image.convert("RGB") if image.mode == "P" else image), 8
    for kind in ("TGA", "QOI", "DIB"):
        yield encode(eight[..., :3].copy(), kind), eight[..., :3], 8


@pytest.mark.parametrize(("data", "array", "depth"), list(readable()), ids=lambda value: repr(value)[:20])
def test_files_are_read_exactly(data, array, depth):
    assert_read(data, array, depth)


def with_byte(data, place, value):
    return data[:place] + bytes([value]) + data[place + 1 :]


def unreadable():
    """Files, and why they are refused."""
    yield from (
        (b"P5 2 2 200 abcd", "one less than a power of two, got 200"),
        (b"P5 2 2 255 abc", "expected 4 bytes of pixels, got 3"),
        (b"P5 2 2 255 abcdefgh", "got 8; replace a file that is cut short, split one of several"),
        (b"P4 8 1\n\xaaP4 8 1\n\xaa", "expected 1 bytes of pixels, got 9"),
        (b"P5 2 2 0 abcd", "from 1 to 65535"),
        (b"P5 0 2 255 ", "at least one pixel"),
        (b"P2 1 1 255 x", "expected numbers"),
        (b"P2 1 1 15 16", "at most 15"),
        (b"P2 2 1 15 1", "expected 2 values"),
        (b"P5 99999 99999 255 ", "more than the limit"),
        (b"P6 x", "with its size"),
        (b"", "got an empty file"),
        (b"x", "got something else"),
        (b"\xff\xd8\xff", "JPEG that is damaged"),
        (b"RIFF....WEBP", "expected"),
        (b"II*\0", "expected an image that can be read"),
    )
    data = npy(noise(8))
    huge = data.replace(b"(11, 13)", b"(99999, 99999)").replace(b"    \n", b"\n", 1)
    for damaged in (data[:-1], data[:40], data.replace(b"(11", b"((1"), huge, data.replace(b"'|u1'", b"'|O1'")):
        yield damaged, "expected|more than the limit"
    yield npy(np.zeros((2, 2), np.float32)), "uint8 or uint16, got float32"
    yield npy(np.zeros((3, 9, 65), np.uint8)), r"C from 1 to 64, .* got uint8 of shape \(3, 9, 65\)"
    for mode in ("CMYK", "YCbCr", "LAB", "F", "I"):
        yield encode(Image.new(mode, (5, 4)), "TIFF"), r"four inks|\(YCbCr\)|got L\*a\*b|got float values|signed"
    frames = [Image.fromarray(noise(8, 3)) for _ in range(2)]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        yield encode(frames[0], kind, save_all=True, append_images=frames[1:]), "expected one picture, got 2"
    yield imagecodecs.jpeg2k_encode(noise(12, 3, 40, 40)), "expected 8 bits, got 16"
    yield imagecodecs.avif_encode(noise(12, 3, 40, 40), bitspersample=12), "expected 8 bits, got 12"
    yield jpeg_2000(noise(12, 1, 40, 40), bitspersample=12), "expected 8 bits, got 12 bits in the JPEG2000"
    for kind in (np.int8, np.int16):
        yield jpeg_2000(noise(7).astype(kind)), "expected unsigned channels of one depth in the JPEG 2000"
    data = encode(noise(8, 4), "JPEG2000")
    yield with_byte(data, data.index(b"colr") + 10, 18), "got colour space 18"
    yield with_byte(data, data.index(b"cdef") + 9 + 3 * 6, 2), "got premultiplied alpha"
    for image in (Image.fromarray(noise(8)), indexed(noise(8, 3, 1, 256)[0], noise(8))):
        data = encode(image, "PCX")
        cut = data[:-300], data[:-1], data[:140] + data[-769:]
        for damaged in (*cut, data[:10] + struct.pack("<H", 14) + data[12:]):
            yield damaged, "expected a (complete )?PCX"
    colours, colour = struct.pack("<HH", 0x7FFF, 0xFFFF), struct.pack("<HHBB", 2, 1, 16, 1)
    for tga in (
        struct.pack("<BBBHHBHH", 0, 0, 2, 0, 0, 0, 0, 0) + colour + colours,
        struct.pack("<BBBHHBHHHHBB", 0, 1, 1, 0, 2, 16, 0, 0, 2, 1, 8, 0) + colours + b"\0\1",
    ):
        yield tga, "expected 8 bits, got 5 bits in the TGA"
    for kind in ("GIF", "BMP", "JPEG2000", "WEBP", "QOI"):
        yield encode(noise(8, 3), kind)[:20], "^(?!.*something else)"


@pytest.mark.parametrize(("data", "message"), list(unreadable()), ids=lambda value: repr(value)[:30])
def test_unsupported_and_damaged_files_are_refused_with_the_reason(data, message):
    with pytest.raises(DataError, match=message):
        read(data)


@pytest.mark.parametrize("depth", range(1, 17))
def test_depths_are_widened_as_png_says_and_narrowed_back(depth):
    for bits in range(depth, 17):
        values = np.arange(1 << depth, dtype=np.uint16)
        wide = widen(values, depth, bits)
        assert wide[0] == 0 and wide[-1] == (1 << bits) - 1
        exact = values.astype(float) * ((1 << bits) - 1) / ((1 << depth) - 1)
        assert np.abs(wide - exact).max() < 1  # repeated bits are within one of exact scaling
        assert np.array_equal(narrow(wide, bits, depth), values)
    if depth < 16:
        assert narrow(np.array([1 << (15 - depth)], np.uint16), 16, depth) is None


def test_a_transparent_colour_becomes_alpha_at_the_depth_of_the_source():
    for depth, values in ((2, noise(2, 1, 4, 8)), (1, noise(1, 1, 4, 8))):
        digits = values[..., None] >> np.arange(depth - 1, -1, -1) & 1
        rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in digits.astype(np.uint8))
        data = png(8, 4, depth, 0, rows, chunk(b"tRNS", b"\0\1"))
        expected = np.stack([values, (values != 1) * np.uint8((1 << depth) - 1)], axis=2)
        assert_read(data, expected, depth)
        assert_read(own_file(expected, depth, "png"), expected, depth)
    colours = noise(8, 3)
    rgba = read(encode(colours, "PNG", transparency=tuple(map(int, colours[3, 4])))).array
    assert np.array_equal(rgba[..., :3], colours) and (rgba[..., 3] == 0).sum() == 1 and rgba[3, 4, 3] == 0


def test_significant_bits_are_the_depth_if_nothing_is_lost():
    twelve = noise(12, 3)
    said = chunk(b"sBIT", bytes([12] * 3))
    for array, expected in ((widen(twelve, 12, 16), (twelve, 12)), (twelve << 4, (twelve << 4, 16))):
        data = insert_chunks(imagecodecs.png_encode(array), said)
        assert_read(data, *expected)
        again = own_file(*read(data)[:2], "png", read(data).metadata)
        assert np.array_equal(imagecodecs.png_decode(again), array) and said in again


def test_without_the_extra_sixteen_bit_colour_is_read_or_refused_with_its_name(monkeypatch):
    array = noise(16, 3)
    plain, deflated, lzw = (tiff(array, photometric="rgb", compression=kind) for kind in (None, "zlib", "lzw"))
    deep = imagecodecs.png_encode(array)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    for name in ("tifffile", "tifffile.tifffile"):  # which has imported it already
        monkeypatch.delitem(sys.modules, name)
    for data in (plain, deflated, own_file(array, 16, "tiff")):
        assert_read(data, array, 16)
    for data in (deep, lzw):
        with pytest.raises(PixelPyramidsError, match=r"imagecodecs is not installed.*pixelpyramids\[images\]"):
            read(data)


@pytest.mark.parametrize("kind", ["png", "tiff", "ppm", "webp"])
def test_shallow_pixels_in_a_wide_type_are_written_at_their_depth(kind):
    array = noise(8, 3)
    assert_read(own_file(array.astype(np.uint16), 8, kind), array, 8)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_not_rotated(orientation, kind):
    array, exif = noise(8, 3, 6, 9), Image.Exif()
    exif[274] = orientation
    data = encode(array, kind, exif=exif, **(LOSSLESS if kind == "WEBP" else {}))
    assert_read(data, array, 8)
    exif.load(read(data).metadata["EXIF"])
    assert exif[274] == orientation


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_our_limit_of_pixels_applies_and_not_pillows(kind, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)  # it cannot be set for one call
    for array, depth in ((noise(8), 8), (noise(8, 3), 8), (noise(8, 4), 8), (noise(16), 16)):
        data = own_file(array, depth, kind)
        assert_read(data, array, depth)
        with pytest.raises(DataError, match=r"the image: .*11 x 13 pixels, more than the limit of 142.*--max-p"):
            read(data, max_pixels=142)


@pytest.mark.parametrize("kind", ["BMP", "DIB"])
def test_the_fourth_byte_of_a_bmp_is_named_unless_it_is_zero(kind):
    colours = noise(8, 4)
    for fourth, named in ((0, ()), (200, ("the fourth byte of the BMP's pixels",))):
        colours[..., 3] = fourth
        picture = read(encode(colours, kind))
        assert np.array_equal(picture.array, colours[..., :3]) and picture.not_kept == named


def test_alpha_of_a_sixteen_bit_bmp_is_named_unless_it_is_zero():
    fives = RNG.integers(0, 32, (2, 3, 3))
    colours = (fives * 255 // 31).astype(np.uint8)
    for alpha, named in ((0, ()), (1, ("the sixteenth bit of the BMP's pixels",))):
        pixels = (fives << (10, 5, 0)).sum(axis=2) | alpha << 15
        rows = np.pad(pixels, ((0, 0), (0, 1)), constant_values=0xFFFF)[::-1].astype("<u2").tobytes()
        header = struct.pack("<IiiHHIIiiII", 40, 3, 2, 1, 16, 0, len(rows), 0, 0, 0, 0)
        picture = read(struct.pack("<2sI4xI", b"BM", 54 + len(rows), 54) + header + rows)
        assert np.array_equal(picture.array, colours) and picture.not_kept == named


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "JPEG2000", "TGA", "PNG", "TIFF"])
def test_cut_files_are_refused_even_if_the_program_lets_pillow_fill_them(kind, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(noise(8, 3), kind)
    assert read(data).array.shape == (11, 13, 3)
    with pytest.raises(DataError):
        read(data[: len(data) * 2 // 3])
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_files_are_read_if_no_temporary_file_can_be_created(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open(tmp_path / "no" / "place"))  # noqa: SIM115
    array = RNG.integers(0, 256, (3, 4), dtype=np.uint8)
    assert_read(encode(array, "PNG"), array, 8)


SURPLUS = b"a film behind it\0"
LOSSLESS = {"lossless": True}


@pytest.mark.filterwarnings("ignore:not kept")
@pytest.mark.parametrize(
    ("kind", "options"),
    [("WEBP", LOSSLESS), ("JPEG2000", {"no_jp2": True})]
    + [(kind, {}) for kind in ("TGA", "PCX", "GIF", "BMP", "QOI", "JPEG", "JPEG2000", "AVIF")],
)
def test_bytes_after_the_end_are_named(kind, options):
    data = encode(pixels(), kind, **options)
    assert read(data).not_kept == ()
    if kind == "TGA":
        data = data[:-26]  # without the footer that marks its end
    (name,) = read(data + SURPLUS).not_kept
    assert f"{len(SURPLUS)} bytes after" in name or "instead of the QOI's end marker" in name


def put_in(data, place, more):
    return data[:place] + more + data[place:]


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_parts():
    webp = encode(pixels(), "WEBP", icc_profile=b"abc", **LOSSLESS) + b"MINE" + struct.pack("<I", 2) + b"ab"
    yield webp[:4] + struct.pack("<I", len(webp) - 8) + webp[8:], "WebP chunk MINE"
    gif = encode(pixels(), "GIF", comment=b"hello")
    place = gif.index(b"!\xfe")
    yield put_in(gif, place, b"!\xff\x0bXMP DataXMP\x02ab\0"), "GIF extension XMP DataXMP"
    yield put_in(gif, place, b"!\x01\x0c" + bytes(12) + b"\x02ab\0"), "GIF text"
    jpeg = encode(pixels(), "JPEG")
    yield put_in(jpeg, 2, segment(0xED, b"Photoshop 3.0\0")), "JPEG segment APP13"
    yield put_in(jpeg, 2, segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0")), "JPEG segment APP1"
    yield put_in(jpeg, 2, segment(0xFE, b"one") + segment(0xFE, b"two")), "all JPEG comments except the last one"
    yield encode(pixels(), "JPEG2000") + struct.pack(">I4s", 10, b"xml ") + b"ab", "JPEG 2000 box xml"
    boxes = encode(pixels(), "JPEG2000")
    place = boxes.index(b"jp2h") - 4
    end = place + struct.unpack_from(">I", boxes, place)[0]
    for box, name in (
        (struct.pack(">I4sBBB", 15, b"colr", 2, 0, 0) + b"icc!", "colr (a colour profile)"),
        (struct.pack(">I4sI4s4H2B", 26, b"res ", 18, b"resd", 300, 1, 300, 1, 2, 2), "resd"),
    ):
        size = struct.pack(">I", end - place + len(box))
        yield boxes[:place] + size + boxes[place + 4 : end] + box + boxes[end:], f"JPEG 2000 box {name}"
    yield encode(pixels(), "TGA", id_section=b"mine"), "the TGA's image ID"
    tga = encode(pixels(), "TGA")
    places = struct.pack("<II", len(tga) - 26, 0)
    yield tga[:-26] + SURPLUS + places + tga[-18:], "the TGA's extension or developer area"
    bmp = encode(pixels(), "BMP")
    header = struct.pack("<I", 124) + bmp[18:54] + bytes(72) + struct.pack("<IIII", 124, 4, 0, 0)
    yield b"BM" + struct.pack("<III", 0, 0, 138) + header[:124] + bmp[54:], "the BMP's colour profile"


@pytest.mark.filterwarnings("ignore:not kept")
@pytest.mark.parametrize(("data", "name"), list(with_parts()))
def test_parts_that_are_not_kept_are_named(data, name):
    assert name in read(data).not_kept


def test_comments_are_kept_in_any_encoding():
    for comment, kept in ((b"caf\xc3\xa9", "café"), (b"caf\xe9", "café")):
        for kind in ("GIF", "JPEG"):
            assert read(encode(pixels(), kind, comment=comment)).metadata["text:Comment"] == kept.encode()
    for data in (b"P5\n# by me\n2 1 # and you\n255\nab", b"P2 # by me\n2 1\n255 1 # and you\n2"):
        assert read(data).metadata == {"text:Comment": b"by me\nand you"}
    assert read(b"P5\n2 1\n255\n#a").metadata == {}
