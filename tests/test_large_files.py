"""Image files that are large are read and written in bands of rows, or strip by strip and tile by tile, on disk."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
import zarr
from command_line import status
from image_samples import SIGNATURE, chunk
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.codec import disk_array, image
from pixelpyramids.codec.disk_array import DiskArray
from pixelpyramids.errors import DataError
from pixelpyramids.image_files import opening, png_rows, saving, tiff_pieces

RNG = np.random.default_rng(0)
BANDS = 3000  # bytes


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch):
    """Even a few pixels are kept on disk, and bands are a few rows."""
    monkeypatch.setattr(disk_array, "LARGE", 1000)
    for module in (disk_array, png_rows, tiff_pieces):
        monkeypatch.setattr(module, "AT_ONCE", BANDS)


def colours(channels, dtype=np.uint8, height=70, width=90):
    """Smooth colours, so that a PNG uses several filters."""
    steps = RNG.integers(0, 2 ** (8 * np.dtype(dtype).itemsize) // 16, (height, width, channels))
    array = np.cumsum(steps, axis=1).astype(dtype)
    return array[..., 0] if channels == 1 else array


def on_disk(array):
    copy = DiskArray(array.shape, array.dtype)
    copy[:, :] = array
    return copy


def read(data):
    """The pixels of a file, which must be on disk."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "not kept: ")
        found = opening.read_picture(io.BytesIO(data)).array
    assert isinstance(found, DiskArray)
    return found[:, :]


def assert_same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


LAYOUTS = [
    {},
    {"tile": (32, 48)},
    {"rowsperstrip": 7},
    {"bigtiff": True, "tile": (16, 16)},
    {"byteorder": ">"},
    {"predictor": True},
    {"ome": True, "metadata": {"axes": "YXS"}},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(layout) or "one strip")
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits", "lzma"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_of_every_layout_are_read_on_disk(layout, compression, dtype):
    if "predictor" in layout and compression not in ("zlib", "lzw"):
        layout = {}
    for channels in (1, 3, 4, 6):
        array = colours(channels, dtype)
        options = {"photometric": "rgb" if channels in (3, 4) else "minisblack", "compression": compression} | layout
        if channels == 1:
            options.pop("metadata", None)
        if channels in (4, 6):
            options |= {"extrasamples": ["unassalpha"]} if channels == 4 else {"planarconfig": "contig"}
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        assert_same(read(file.getvalue()), array)
        if channels > 1 and "ome" not in layout:
            file = io.BytesIO()
            tifffile.imwrite(file, np.moveaxis(array, -1, 0), **options | {"planarconfig": "separate"})
            assert_same(read(file.getvalue()), array)


def test_the_names_of_channels_in_an_ome_tiff_come_back(tmp_path):
    names, source = ["DAPI", "GFP", "Cy3", "Cy5", "Cy7"], tmp_path / "a.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": names}}
    tifffile.imwrite(tmp_path / "pages.tif", np.zeros((5, 9, 9), np.uint8), ome=True, metadata=metadata)
    with tifffile.TiffFile(tmp_path / "pages.tif") as file:
        description = file.pages[0].description
    options = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None}
    tifffile.imwrite(source, colours(5), description=description, **options)
    assert status("compress", source, "--effort", "fast") == 0
    assert status("decompress", tmp_path / "a.ppyr", "--out", tmp_path / "back", "--format", "tiff") == 0
    with tifffile.TiffFile(tmp_path / "back" / "a.tif") as file:
        assert file.pages[0].description == description and all(name in description for name in names)
    with pytest.raises(DataError, match="expected one picture, got 5 pages"):
        opening.read_picture(tmp_path / "pages.tif")


def test_tiffs_with_other_values_are_read_on_disk():
    numbers = RNG.integers(0, 256, (60, 70), dtype=np.uint8)
    for palette in (RNG.integers(0, 256, (3, 256)), np.tile(np.arange(256)[::-1], (3, 1))):
        file = io.BytesIO()
        tifffile.imwrite(file, numbers, photometric="palette", colormap=(palette * 257).astype(np.uint16))
        expected = palette.T[numbers].astype(np.uint8)
        assert_same(read(file.getvalue()), expected[..., 0] if palette[0, 0] == 255 else expected)
    file = io.BytesIO()
    tifffile.imwrite(file, numbers, photometric="miniswhite", compression="zlib")
    assert_same(read(file.getvalue()), 255 - numbers)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_files_are_written_from_disk_and_read_on_disk(channels, dtype):
    array = colours(channels, dtype)
    for depth in (8 * array.itemsize, 8 * array.itemsize - 3):
        values = array >> (8 * array.itemsize - depth)
        for format in ("png", "tiff", "npy", "ppm"):
            if depth in saving._HELD[format].get(channels, ()):
                file, plain = io.BytesIO(), io.BytesIO()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # npy does not hold the depth
                    saving.write_image(file, on_disk(values), depth, {}, format)
                    saving.write_image(plain, values, depth, {}, format)
                if format == "ppm":
                    assert file.getvalue() == plain.getvalue()
                    continue
                assert_same(read(file.getvalue()), values)
                assert_same(read(plain.getvalue()), values)


def png_of(rows, width, height):
    """A PNG of RGB with 8 bits whose filtered rows are given."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_pngs_with_every_filter_and_a_transparent_colour_are_read_on_disk():
    array = colours(3, height=200)
    for options in ({"optimize": True}, {"compress_level": 1}):
        file = io.BytesIO()
        Image.fromarray(array).save(file, "PNG", **options)
        assert_same(read(file.getvalue()), array)
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", transparency=tuple(array[3, 4].tolist()))
    alpha = 255 * (array != array[3, 4]).any(axis=-1, keepdims=True)
    assert_same(read(file.getvalue()), np.concatenate([array, alpha.astype(np.uint8)], axis=-1))
    with pp.open(file) as opened:
        assert_same(opened.read(2), read(file.getvalue())[1::2, 1::2])
        assert_same(opened.read(1, (3, 4, 10, 20)), read(file.getvalue())[4:24, 3:13])


def test_damaged_rows_are_refused():
    rows = bytearray(RNG.integers(0, 256, (50, 1 + 40 * 3), dtype=np.uint8).tobytes())
    rows[:: 1 + 40 * 3] = bytes(number % 5 for number in range(50))
    whole = png_of(bytes(rows), 40, 50)
    with Image.open(io.BytesIO(whole)) as opened:
        assert_same(read(whole), np.array(opened))
    rows[30 * (1 + 40 * 3)] = 5
    with pytest.raises(DataError, match="one of PNG's five filters in each row"):
        read(png_of(bytes(rows), 40, 50))
    with pytest.raises(DataError, match="bytes of rows in the PNG"):
        read(png_of(bytes(rows[:-1]), 40, 50))


def test_a_large_zarr_array_is_saved_and_its_regions_are_read(tmp_path):
    array = colours(3, np.uint16, 300, 200)
    stored = zarr.create_array(tmp_path / "a.zarr", shape=array.shape, chunks=(64, 50, 3), dtype="uint16")
    stored[:] = array
    pp.save(tmp_path / "a.ppyr", stored, effort="fast")
    assert (tmp_path / "a.ppyr").read_bytes() == pp.encode(array, effort="fast")
    with pp.open(tmp_path / "a.ppyr") as opened:
        assert_same(opened.read(region=(20, 30, 100, 50)), array[30:80, 20:120])


@pytest.mark.parametrize("format", ["png", "tiff", "npy"])
def test_commands_keep_large_images_on_disk(format, tmp_path, monkeypatch):
    array, source = colours(3, np.uint16, 150, 170), tmp_path / f"a.{'tif' if format == 'tiff' else format}"
    pp.save(source, array)
    assert status("compress", source, "--effort", "fast") == 0
    packed = (tmp_path / "a.ppyr").read_bytes()
    assert packed == pp.encode(array, effort="fast", source_format=format)
    seen = []
    monkeypatch.setattr(image.planes, "allocate", lambda *of: seen.append(of) or disk_array.allocate(*of))
    assert status("decompress", tmp_path / "a.ppyr", "--out", tmp_path / "back", "--format", format) == 0
    assert_same(opening.read_picture(tmp_path / "back" / source.name).array[:, :], array)
    assert seen and status("verify", tmp_path / "a.ppyr", source) == 0
    assert status("compress", source) == 0  # it is there already
    other = array.copy()
    other[99, 100, 1] ^= 1
    pp.save(source, other, overwrite=True)
    assert status("verify", tmp_path / "a.ppyr", source) == 1


def test_a_full_disk_is_named(monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_array.tempfile, "TemporaryFile", refuse)
    with pytest.raises(DataError, match=r"room for a temporary file in .*No space left on device; make room there"):
        on_disk(colours(3))
