"""pp.open and pp.save: saved files open unchanged, and scale and region give what the .ppyr file gives."""

import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from image_samples import noise
from pictures import encode
from PIL import ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

import pixelpyramids as pp
from pixelpyramids.errors import DataError
from pixelpyramids.image_files import opening
from pixelpyramids.image_files.bit_depth import widen
from pixelpyramids.image_files.saving import FORMATS

DEPTHS = {  # the depths that each format holds, by the number of channels
    "ppyr": dict.fromkeys(range(1, 65), range(1, 17)),
    "png": dict.fromkeys((1, 2, 3, 4), range(1, 17)),
    "tiff": {1: (1, 2, 4, 8, 12, 16)} | dict.fromkeys(range(2, 65), (8, 16)),
    "webp": {3: (8,), 4: (8,)},
    "ppm": {1: range(1, 17), 3: range(1, 17)},
    "bmp": {1: (1, 8), 3: (8,)},
    "npy": dict.fromkeys(range(1, 65), (8, 16)),
}
OTHERS = {  # other libraries that read the file, as 8 bits or more
    "png": imagecodecs.png_decode,
    "tiff": lambda data: tifffile.imread(io.BytesIO(data)),
    "webp": imagecodecs.webp_decode,
    "npy": lambda data: np.load(io.BytesIO(data)),
}


@st.composite
def images(draw, formats=tuple(DEPTHS), most=20):
    """A format, and an array with its depth, which the format may not be able to hold."""
    channels = draw(st.one_of(st.integers(1, 4), st.integers(1, 64)))
    depth = draw(st.sampled_from((1, 2, 3, 4, 5, 8, 8, 10, 12, 16, 16)))
    sides = st.integers(1, most)
    shape = (draw(sides), draw(sides)) + (channels,) * (channels > 1 or draw(st.booleans()))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    array = generator.integers(0, 1 << depth, shape).astype(np.uint8 if depth <= 8 else np.uint16)
    return draw(st.sampled_from(formats)), array, depth


def save(array, depth, format, **options):
    file = io.BytesIO()
    pp.save(file, array, depth, format=format, **options)
    return file.getvalue()


@settings(max_examples=150, deadline=None)
@given(images())
def test_what_is_saved_is_opened_the_same_or_refused(image):
    format, array, depth = image
    channels = array.shape[2] if array.ndim == 3 else 1
    if format == "npy" and depth not in (8, 16):
        with pytest.warns(UserWarning, match=rf"npy cannot hold the metadata depth \({depth} bits\)"):
            save(array, depth, format)
        return
    if depth not in DEPTHS[format].get(channels, ()):
        with pytest.raises(
            DataError, match=rf"expected .* for {format}, got ({depth}|{channels}); choose (png|tiff|npy)"
        ):
            save(array, depth, format)
        return
    data = save(array, depth, format)
    kept = array if format in ("ppyr", "npy") or channels > 1 else array.reshape(array.shape[:2])
    with pp.open(io.BytesIO(data)) as opened:
        facts = opened.shape, opened.dtype, opened.depth, opened.metadata
        again = opened.read()
        assert again.dtype == kept.dtype and np.array_equal(again, kept)
        assert facts[:3] == (kept.shape, kept.dtype, depth) and facts[3] == opened.metadata
        assert facts[3] == {} or format == "bmp"  # which always has a resolution
        assert opened.format.lower() == format and not opened.is_lossy
    if format in OTHERS:
        shown = widen(kept, depth, 8 if depth <= 8 else 16) if format == "png" else kept
        assert np.array_equal(np.squeeze(OTHERS[format](data)), np.squeeze(shown))


@settings(max_examples=60, deadline=None)
@given(images(most=70), st.data())
def test_scale_and_region_are_those_of_the_ppyr_file(image, data):
    format, array, depth = image
    channels = array.shape[2] if array.ndim == 3 else 1
    if depth not in DEPTHS[format].get(channels, ()):
        format = "png" if channels <= 4 else "ppyr"
    packed = pp.encode(array if format in ("ppyr", "npy") or channels > 1 else array.reshape(array.shape[:2]), depth)
    height, width = array.shape[:2]
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    region = x, y, data.draw(st.integers(1, width - x + 1)), data.draw(st.integers(1, height - y + 1))
    for options in ({"scale": data.draw(st.sampled_from((1, 2, 3, 4, 8)))}, {"region": region}):
        options |= {"region": region} if data.draw(st.booleans()) else {}
        with pp.open(io.BytesIO(save(array, depth, format))) as opened:
            try:
                expected = pp.decode(packed, **options)
            except DataError as error:
                with pytest.raises(DataError) as caught:
                    opened.read(**options)
                assert str(error) in str(caught.value)
            else:
                found = opened.read(**options)
                assert found.dtype == expected.dtype and np.array_equal(found, expected)


def test_each_file_that_loses_something_is_named_in_a_warning(tmp_path):
    texts = encode(noise(8, 3), "PNG")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(texts + b"more")
    expected = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # which shows warnings with the same text only once
        for name in "ab":
            with pp.open(tmp_path / f"{name}.png") as opened:
                array = opened.read()
            expected.append(f"{tmp_path / name}.png: not kept: 4 bytes after the PNG's end")
            for format, suffix in (("PNG", "2.png"), ("TIFF", "tif"), ("WEBP", "webp"), ("PPM", "ppm"), ("npy", "npy")):
                pp.save(tmp_path / f"{name}.{suffix}", array, 8, {"other": b""})
                expected.append(f"{tmp_path / name}.{suffix}: {format} cannot hold the metadata other; left out")
    assert [str(one.message) for one in caught if one.category is UserWarning] == expected


def test_the_suffix_decides_the_format_and_nothing_is_replaced(tmp_path):
    array = noise(8, 3)
    for format, suffixes in FORMATS.items():
        for suffix in suffixes:
            pp.save(tmp_path / f"a{suffix.upper()}", array)
            with pp.open(tmp_path / f"a{suffix.upper()}") as opened:
                assert opened.format.lower() == format and np.array_equal(opened.read(), array)
    path = tmp_path / "a.ppyr"
    pp.save(path, array, effort="fast")
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"a\.ppyr: exists already; choose another name, or pass overwrite=True"):
        pp.save(path, array[:3])
    assert path.read_bytes() == before
    pp.save(path, array[:3], overwrite=True)
    assert np.array_equal(pp.decode(path.read_bytes()), array[:3])
    with open(tmp_path / "b.png", "wb") as file:
        pp.save(file, array)
    assert pp.open(tmp_path / "b.png").format == "PNG"


@pytest.mark.parametrize(
    ("name", "array", "options", "message"),
    [
        ("a.gif", noise(8), {}, r"expected a name that ends in .png, .*\.ppyr, got .*a\.gif"),
        ("a", noise(8), {"format": "gif"}, "expected a format among png, tiff"),
        ("a.png", noise(8), {"depth": 1}, r"values below 2\*\*1"),
        ("a.png", noise(8, 64), {}, "expected 1, 2, 3 or 4 channels for png, got 64; choose tiff or npy"),
        ("a.tif", noise(12, 5), {"depth": 12}, "expected a depth of 8 or 16 bits for tiff, got 12; choose npy"),
        ("a.webp", np.zeros((1, 17000, 3), np.uint8), {}, "cannot write this picture as WEBP"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_no_file(name, array, options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        pp.save(tmp_path / name, array, **options)
    assert os.listdir(tmp_path) == []
    with pytest.raises(DataError, match="pass format="):
        pp.save(io.BytesIO(), noise(8))


def test_paths_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"here")
    for path, message in (
        (tmp_path / "a.png" / "b.png", r"a\.png: expected a folder, got a file; choose another folder"),
        (tmp_path / f"{'x' * 300}.png", "File name too long; shorten the name"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(DataError, match=message):
            pp.save(path, noise(8, 3), format="png", overwrite=True)
    assert os.listdir(tmp_path) == ["a.png"]


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
def test_a_source_is_opened_and_read_once(kind, options, is_lossy, tmp_path, monkeypatch):
    """Its facts, and whether it is lossy, are found without decoding pixels or reading the file again."""
    path = tmp_path / "a"
    path.write_bytes(encode(noise(8, 3, 40, 40), kind, **options))
    taken = []

    class Counted(io.BufferedReader):
        def read(self, size=-1):
            taken.append(super().read(size))
            return taken[-1]

    monkeypatch.setattr(opening, "open_regular", lambda path: Counted(io.FileIO(path)))
    with pp.open(path) as image:
        with monkeypatch.context() as without:
            for plugin in (ImageFile.ImageFile, WebPImageFile, AvifImageFile, Jpeg2KImageFile, TiffImageFile):
                without.setattr(plugin, "load", None)  # which decodes the pixels
            assert (image.format, image.is_lossy) == (kind, is_lossy)
            assert (image.shape, image.depth) == ((40, 40, 3), 8)
        assert image.read().shape == image.shape and image.is_lossy == is_lossy
        assert sum(map(len, taken)) <= path.stat().st_size + (2000 if kind == "JPEG" else 100)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", DEPTHS)
def test_arrays_are_new_and_facts_outlive_the_file(format, tmp_path):
    array = noise(8, 3)
    pp.save(tmp_path / "a", array, 8, {"XMP": b"<x/>"}, format=format)
    with pp.open(str(tmp_path / "a")) as opened:
        for options in ({}, {"scale": 2}, {"region": (0, 0, 2, 2)}):
            opened.read(**options)[...] = 7
        assert np.array_equal(opened.read(), array)
    assert opened.shape == array.shape and opened.depth == 8
    assert opened.metadata.get("XMP") == (b"<x/>" if format in ("ppyr", "png", "tiff", "webp") else None)


@pytest.mark.parametrize("format", ["ppyr", "png"])
def test_threads_share_an_open_file_and_a_closed_one_is_not_called_damaged(format, tmp_path):
    array = noise(8, 3)
    pp.save(tmp_path / "a", array, format=format)
    with pp.open(tmp_path / "a") as opened, ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(pixels, array) for pixels in pool.map(lambda _: opened.read(), range(40)))
    with pp.open(tmp_path / "a") as opened, open(tmp_path / "a", "rb") as file:
        pass
    for use in opened.read, lambda: pp.open(file):
        with pytest.raises(DataError, match="a: expected an open file, got a closed one; open it again"):
            use()


def test_what_a_program_prints_while_another_thread_reads_is_not_taken_for_a_librarys(capfd, recwarn):
    class Loud(io.BufferedReader):
        def read(self, *size):
            os.write(2, b"the program's own line\n")
            return super().read(*size)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: pp.open(Loud(io.BytesIO(encode(noise(8, 3))))).read()).result()
    assert not recwarn.list and "the program's own line" in capfd.readouterr().err


def test_only_the_start_of_a_jpeg_or_ppyr_file_is_read_for_its_facts():
    array = noise(8, 3, 900, 900)
    for data in (encode(array, "JPEG"), pp.encode(array[:300, :300], effort="fast")):
        file = io.BytesIO(data)
        with pp.open(file) as image:
            is_lossy = image.is_lossy
            assert file.tell() < 5000 < len(data) / 20
            assert image.format in ("JPEG", "PPYR") and is_lossy == (image.format == "JPEG")


def test_files_that_cannot_be_opened_are_named_once(tmp_path):
    (tmp_path / "a.png").write_text("no image at all, but words")
    for name, message in (
        ("none.png", "No such file or directory; check the name"),
        (".", "a regular file"),
        ("a.png", r"a\.png: expected an image \(PNG"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            pp.open(tmp_path / name)
        assert str(caught.value).count(str(tmp_path)) == 1
