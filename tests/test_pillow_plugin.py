"""Pillow opens and saves .ppyr files: lazily, at smaller scales, with metadata. It refuses what it cannot hold."""

import copy
import io
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from command_line import ROOT
from image_samples import noise, read
from pictures import encode
from PIL import Image, ImageOps, PngImagePlugin
from test_metadata import CHUNKS, PROFILE

import pixelpyramids as pp
import pixelpyramids.image_files.pillow_plugin
from pixelpyramids.codec.container import build_file, read_index
from pixelpyramids.codec.fields import MemorySource


def image_of(mode, width=21, height=17):
    array = noise({"1": 1, "I;16": 16}.get(mode, 8), {"LA": 2, "RGB": 3, "RGBA": 4}.get(mode, 1), height, width)
    return Image.fromarray(array > 0 if mode == "1" else array)


def open_bytes(data):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16"])
def test_every_mode_comes_back(mode, tmp_path):
    image = image_of(mode)
    for effort in ("fast", "max"):
        image.save(tmp_path / "a.ppyr", effort=effort)
        with Image.open(tmp_path / "a.ppyr") as again:
            assert (again.format, again.mode, again.size) == ("PPYR", mode, image.size)
            assert again.get_format_mimetype() is None
            assert np.array_equal(np.asarray(again), np.asarray(image))
    data = (tmp_path / "a.ppyr").read_bytes()
    assert read_index(MemorySource(data), 999).header.depth == {"1": 1, "I;16": 16}.get(mode, 8)


def test_palettes_and_transparent_colours_are_saved_as_what_they_show():
    palette, colours = image_of("RGB").quantize(5), image_of("RGB")
    images = [(palette, None), (palette, 2), (colours, (5, 6, 7)), (colours, colours.getpixel((3, 4)))]
    for image, key in images + [(image_of("1"), key) for key in (0, 1, 255)]:
        image.info |= {} if key is None else {"transparency": key}
        with open_bytes(encode(image, "PPYR")) as again:
            assert again.has_transparency_data == (key is not None)
            assert np.array_equal(np.asarray(again.convert("RGBA")), np.asarray(image.convert("RGBA")))


@pytest.mark.parametrize("copy_of", [copy.copy, copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))])
@pytest.mark.parametrize("mode", ["1", "RGB", "I;16"])
def test_images_are_copied_and_pickled_before_and_after_their_pixels_are_loaded(mode, copy_of):
    image = image_of(mode)
    for is_loaded in (False, True):
        with open_bytes(encode(image, "PPYR")) as again:
            if is_loaded:
                again.load()
            other = copy_of(again)
            assert other.size == image.size and np.array_equal(np.asarray(other), np.asarray(image))


def test_files_that_return_less_than_requested_are_read_completely():
    class Hesitant(io.BytesIO):
        def read(self, count=-1):
            return super().read(min(count, 100))

    image = image_of("RGB", 70, 60)
    assert np.array_equal(np.asarray(Image.open(Hesitant(encode(image, "PPYR")))), np.asarray(image))


def test_only_the_header_is_read_until_pixels_are_needed():
    data = pp.encode(noise(8, 3, 300, 300), effort="fast")
    file = io.BytesIO(data)
    with Image.open(file) as image:
        assert (image.size, image.mode) == ((300, 300), "RGB")
        assert file.tell() < 10_000 < len(data)
        for _ in range(2):
            assert np.array_equal(np.asarray(image), pp.decode(data))


def test_draft_decodes_a_smaller_scale_from_the_start_of_the_file():
    data = pp.encode(noise(8, 3, 300, 420), effort="fast")
    for size, scale in {(420, 300): 1, (211, 100): 1, (210, 150): 2, (105, 75): 4, (100, 75): 4, (3, 2): 128}.items():
        with open_bytes(data) as image:
            drafted = image.draft("RGB", size)
            assert drafted == (None if scale == 1 else ("RGB", (0, 0, *image.size)))
            expected = pp.decode(data, scale=scale)
            assert image.size == expected.shape[1::-1]
            assert np.array_equal(np.asarray(image), expected)
            assert image.draft("RGB", (1, 1)) is None  # it is loaded
    front = read_index(MemorySource(data), 2**20)
    with open_bytes(data[: front.entries[-1].offset]) as image:
        image.draft(None, (100, 70))
        assert np.array_equal(np.asarray(image), pp.decode(data, scale=4))
    with open_bytes(data) as image:
        assert image.draft(None, None) is None
        image.thumbnail((64, 64))
        assert image.size == (64, 46)


@pytest.mark.parametrize(("width", "height"), [(603, 401), (602, 400), (400, 301)])
def test_thumbnails_of_every_size_resemble_the_image(width, height):
    whole = Image.linear_gradient("L").resize((width, height))
    with open_bytes(encode(whole, "PPYR")) as image:
        image.thumbnail((50, 50))
    whole.thumbnail((50, 50))
    assert image.size == whole.size
    assert np.abs(np.asarray(image, int) - np.asarray(whole, int)).max() <= 8


def test_depths_that_pillow_has_no_mode_for_are_widened_or_refused():
    two, twelve, wide = noise(2), noise(12)[..., None], noise(8, 3).astype(np.uint16)
    shown = {2: two * 85, 12: twelve[..., 0], 8: wide}
    for array, depth, mode in (two, 2, "L"), (twelve, 12, "I;16"), (wide, 8, "RGB"):
        with open_bytes(pp.encode(array, depth=depth)) as image:
            assert image.info["depth"] == depth and image.mode == mode
            assert np.array_equal(np.asarray(image), shown[depth])
    for channels in (2, 3, 4):
        with pytest.raises(OSError, match=r"at most 8 bits of colour or alpha.*got 16 bits; use pixelpyramids\.decode"):
            open_bytes(pp.encode(noise(16, channels)))
    with pytest.raises(OSError, match=r"at most 4 channels.*got 5; use pixelpyramids\.decode"):
        open_bytes(pp.encode(noise(8, 5)))


@pytest.mark.parametrize("format", ["png", "tiff", "ppm"])
def test_deep_colours_of_which_pillow_reads_8_bits_are_refused(format, tmp_path):
    deep, target = tmp_path / "deep", tmp_path / "a.ppyr"
    pp.save(deep, noise(16, 3), format=format)
    with Image.open(deep) as image:
        assert image.mode == "RGB"
        with pytest.raises(OSError, match=r"at most 8 bits, got 16 bits in .*deep, of which Pillow reads 8"):
            image.save(target)
        assert not target.exists()
        image.copy().save(target)
    with Image.open(target) as image:
        image.save(target)
    grey = noise(16)
    pp.save(deep, grey, format="png", overwrite=True)
    with Image.open(deep) as image:
        image.save(target)
    assert np.array_equal(pp.open(target).read(), grey)


def test_metadata_is_in_info_and_is_saved():
    exif = Image.Exif()
    exif[274] = 6
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "Ä")
    texts.add_itxt("Comment", "雪", "ja", "注")
    for name in ("gamma", "transparency", "chromaticity", "srgb"):
        texts.add_text(name, "a text")
    image = image_of("RGB")
    options = {"pnginfo": texts, "icc_profile": PROFILE, "exif": exif, "dpi": (300, 300)}
    with open_bytes(encode(image, "PNG", **options)) as png:
        png.load()
        data = encode(png, "PPYR")
    for _ in range(2):
        with open_bytes(data) as again:
            assert again.info["icc_profile"] == PROFILE
            assert again.getexif()[274] == 6
            assert again.info["dpi"] == pytest.approx((300, 300), abs=0.01)
            assert again.text["Author"] == "Ä" and again.text["Comment"] == "雪" and again.text["gamma"] == "a text"
            assert ImageOps.exif_transpose(again).size == image.size[::-1]
            data = encode(again, "PPYR")  # and from a .ppyr to a .ppyr
    with open_bytes(encode(image, "PPYR", exif=exif, icc_profile=PROFILE, xmp=b"<x/>", dpi=(72, 72))) as given:
        assert given.info["exif"] == exif.tobytes() and given.info["xmp"] == b"<x/>"
        assert given.info["icc_profile"] == PROFILE and given.info["dpi"] == (72, 72)


def test_the_colour_chunks_of_png_are_in_info_under_pillows_names():
    blobs = {name: CHUNKS[name] for name in ("gAMA", "cHRM", "sRGB", "cICP")} | {"resolution": b"2 1 ratio"}
    data = pp.encode(np.asarray(image_of("RGB")), metadata=blobs)
    with open_bytes(data) as image:
        assert image.info["gamma"] == 0.45455 and image.info["srgb"] == 1 and image.info["aspect"] == (2, 1)
        assert image.info["chromaticity"] == (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
        assert dict(read_index(MemorySource(encode(image, "PPYR")), 999).header.metadata) == blobs


def test_verify_compares_every_checksum():
    data = pp.encode(noise(8, 1, 150, 150), effort="fast")
    with open_bytes(data) as image:
        image.verify()
    for damaged in (data[:-1], data + b"\0", data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]):
        with open_bytes(damaged) as image, pytest.raises(OSError, match=r"damaged|cut short|does not match"):
            image.verify()
        with open_bytes(damaged) as image, pytest.raises(OSError, match=r"damaged|cut short|does not match|follow"):
            image.load()


def test_files_above_the_limits_are_refused_at_once(monkeypatch):
    data = pp.encode(np.zeros((50, 50), np.uint8))
    header = read_index(MemorySource(data), 9999).header
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        open_bytes(data)
    with pytest.raises(OSError, match="more than the limit"):
        open_bytes(build_file(replace(header, height=2**30, width=2**30), []))


def test_animations_and_other_modes_are_refused(tmp_path):
    first, second = image_of("RGB"), image_of("RGB")
    for options in ({"save_all": True, "append_images": [second]}, {"append_images": [second]}):
        with pytest.raises(OSError, match="expected one picture, because a PPYR file holds no more, got 2"):
            first.save(tmp_path / "a.ppyr", **options)
        assert not (tmp_path / "a.ppyr").exists()
    first.save(tmp_path / "a.ppyr", save_all=True)
    for mode in ("CMYK", "F", "I", "YCbCr", "LAB", "HSV"):
        with pytest.raises(OSError, match=f"cannot write mode {mode} as PPYR: .*got mode {mode}"):
            encode(Image.new(mode, (4, 4)), "PPYR")


def test_the_format_is_not_registered_before_the_import():
    code = "import pixelpyramids as pp; from PIL import Image; Image.init(); assert 'PPYR' not in Image.OPEN"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "PPYR" in Image.OPEN and Image.registered_extensions()[".ppyr"] == "PPYR"


def test_the_examples_of_the_docs_run(tmp_path, monkeypatch):
    page = ROOT / "docs" / "howto" / "where_images_live.md"
    image = image_of("RGB", 420, 300)
    image.save(tmp_path / "photograph.png", icc_profile=PROFILE)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.+?)```", page.read_text(encoding="utf-8"), re.S):
        exec(block, names)
    assert np.array_equal(read(names["file"].getvalue()).array, np.asarray(image))
    assert names["small"].size == (105, 75)
    with Image.open("again.ppyr") as again:
        assert again.info["icc_profile"] == PROFILE and np.array_equal(np.asarray(again), np.asarray(image))
    assert names["zarr"].open_array("stack.zarr")[2, 1, 5] == 69 and (names["older"][:] == 7).all()
