"""PNGs are read whole or refused, what is not kept of them is named, and every one that is read can be written."""

import struct
import subprocess
import sys
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
from image_samples import RNG, SIGNATURE, chunk, png, read, saved, written
from PIL import Image

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import widen
from pixelpyramids.image_files.png_reader import unpacked_size


def rows(count, size):
    return b"".join(b"\0" + RNG.bytes(size) for _ in range(count))


@pytest.fixture(params=["with imagecodecs", "without it"])
def imagecodecs_or_not(request, monkeypatch):
    if request.param == "without it":
        monkeypatch.setitem(sys.modules, "imagecodecs", None)


def test_the_rows_of_large_chunks_are_counted():
    data = RNG.bytes(2**18)
    packed = zlib.compress(data + bytes(2**23))
    for pieces in ([packed], [packed[:100], packed[100:]], [packed + b"surplus"], [packed, b"surplus"]):
        assert unpacked_size(pieces, 2**24) == 2**18 + 2**23
        assert 2**20 < unpacked_size(pieces, 2**20) <= 2**21
    assert unpacked_size([packed[:-1]], 2**24) == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_fewer_rows_than_the_header_says_are_refused(mode, imagecodecs_or_not):
    data = saved(Image.new(mode, (9, 7), 1 if mode in ("1", "L", "P", "I;16") else None), "PNG")
    assert read(data).array.shape[:2] == (7, 9)
    for height in (8, 64):
        header = data[16:20] + struct.pack(">I", height) + data[24:29]
        with pytest.raises(DataError, match="bytes of rows in the PNG by its header, got"):
            read(SIGNATURE + chunk(b"IHDR", header) + data[33:])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 1), (1, 2), (3, 4), (5, 8), (9, 11), (9, 1), (1, 11)])
def test_interlaced_rows_are_counted(width, height):
    array = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    lines = b""
    for x, y, step_x, step_y in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
    ):  # fmt: skip
        part = array[y::step_y, x::step_x]
        lines += b"".join(b"\0" + row.tobytes() for row in part if row.size)
    assert np.array_equal(read(png(width, height, 8, 2, lines, interlaced=1)).array, array)
    with pytest.raises(DataError):
        read(png(width, height, 8, 2, lines[:-1], interlaced=1))


def test_an_interlaced_png_is_read_without_a_warning(tmp_path):
    path = tmp_path / "interlaced.png"
    path.write_bytes(png(1, 1, 8, 0, b"\0\7", interlaced=1))
    code = "import sys, pixelpyramids as pp; assert pp.open(sys.argv[1]).read().tolist() == [[7]]"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code, path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_stream_cut_before_its_checksum_is_refused():
    packed = zlib.compress(rows(4, 8))[:-2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 4, 8, 0, 0, 0, 0))
    with pytest.raises(DataError, match="bytes of rows"):
        read(SIGNATURE + header + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


def named(data):
    """What of a PNG is said not to be kept, in the warning and in the picture."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = read(data).not_kept
    assert any(str(warning.message) == f"not kept: {', '.join(names)}" for warning in caught) == bool(names)
    return names


def test_what_is_not_kept_is_named():
    plain = png(8, 4, 8, 0, rows(4, 8))
    assert named(plain) == ()
    assert named(plain + b"trailer") == ("7 bytes after the PNG's end",)
    assert named(png(8, 4, 8, 0, rows(6, 8))) == ("data after the PNG's last row",)
    unknown_unit = chunk(b"pHYs", struct.pack(">IIB", 1, 1, 2))
    assert named(png(8, 4, 8, 0, rows(4, 8), unknown_unit)) == ("PNG chunk pHYs",)
    palette = chunk(b"PLTE", bytes(range(12)))
    hist = chunk(b"hIST", struct.pack(">4H", 1, 2, 3, 4))
    assert named(png(8, 4, 2, 3, rows(4, 2), palette, hist)) == ("PNG chunk hIST",)
    animation = (
        chunk(b"acTL", struct.pack(">II", 1, 0)),
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 4, 0, 0, 1, 1, 0, 0)),
    )
    assert named(png(8, 4, 8, 0, rows(4, 8), *animation)) == ("PNG chunk acTL", "PNG chunk fcTL")


def test_a_second_chunk_of_a_name_is_named():
    twice = [chunk(b"gAMA", struct.pack(">I", gamma)) for gamma in (45455, 100000)]
    assert named(png(8, 4, 8, 0, rows(4, 8), *twice)) == ("PNG chunk gAMA but the first one",)


def test_a_second_packet_comes_back():
    packets = [chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text) for text in (b"one", b"two")]
    picture = read(png(8, 4, 8, 0, rows(4, 8), *packets))
    assert picture.metadata == {"XMP": b"one", "text:XML:com.adobe.xmp": b"two"}
    assert read(written(*picture[:2], "png", picture.metadata)).metadata == picture.metadata


def test_chunks_of_the_pixels_out_of_order_are_refused(imagecodecs_or_not):
    palette, key, alpha = chunk(b"PLTE", bytes(range(12))), chunk(b"tRNS", b"\0\3"), chunk(b"tRNS", b"\0\x80")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 2, 8, 0, 0, 0, 0))
    grey, indexed = png(8, 4, 8, 0, rows(4, 8)), png(8, 4, 2, 3, rows(4, 2), palette)
    end = chunk(b"IEND", b"")
    for data in (
        png(8, 4, 8, 0, rows(4, 8), header),
        png(8, 4, 8, 0, rows(4, 8), key, key),
        grey.replace(end, key + end),
        indexed.replace(end, alpha + end),
        png(8, 4, 2, 3, rows(4, 2)),
        png(8, 4, 2, 3, rows(4, 2), alpha, palette),
        png(8, 4, 2, 3, rows(4, 2), palette, palette),
        png(8, 4, 2, 3, rows(4, 2)).replace(end, palette + end),
    ):
        with pytest.raises(DataError, match="expected each of a PNG's chunks"):
            read(data)


def test_unknown_methods_and_transparent_colours_out_of_range_are_refused(imagecodecs_or_not):
    palette = chunk(b"PLTE", bytes(range(12)))
    methods = (struct.pack(">IIBBBBB", 8, 4, 8, 0, *method) for method in ((1, 0, 0), (0, 64, 0), (0, 0, 2)))
    plain = png(8, 4, 8, 0, rows(4, 8))
    for data in (
        *(plain[:8] + chunk(b"IHDR", header) + plain[33:] for header in methods),
        png(8, 4, 4, 0, rows(4, 4), chunk(b"tRNS", b"\0\x10")),
        png(8, 4, 2, 3, rows(4, 2), palette, chunk(b"tRNS", bytes(5))),
        png(8, 4, 2, 3, rows(4, 2), palette, chunk(b"tRNS", b"")),
    ):
        with pytest.raises(DataError, match="whose methods are known"):
            read(data)


def test_significant_bits_that_cannot_be_kept_are_named():
    palette, few = chunk(b"PLTE", bytes(range(12))), chunk(b"sBIT", b"\5\6\5")
    picture = read(png(8, 4, 2, 3, rows(4, 2), few, palette))
    assert picture.metadata["sBIT"] == b"\5\6\5" and picture.not_kept == ()
    assert named(png(8, 4, 2, 3, rows(4, 2), few, palette, chunk(b"tRNS", b"\0"))) == ("PNG chunk sBIT",)
    key = chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
    assert named(png(8, 4, 8, 2, rows(4, 24), few, key)) == ("PNG chunk sBIT",)
    assert named(png(8, 4, 8, 2, rows(4, 24), chunk(b"sBIT", b"\4\4\4"), key)) == ("PNG chunk sBIT",)
    assert named(png(8, 4, 8, 2, rows(4, 24), chunk(b"sBIT", b"\10\10\10"), key)) == ()
    with pytest.warns(UserWarning, match="PNG has no place for the metadata sBIT"):
        written(np.zeros((2, 2), np.uint8), 8, "png", {"sBIT": b"\5\6\5"})


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_colour_is_written_without_the_extra(channels, monkeypatch):
    array = RNG.integers(0, 1 << 16, (300, 401, channels), dtype=np.uint16) >> RNG.integers(0, 16, (300, 401, 1))
    array = array.astype(np.uint16)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "imagecodecs", None)
        data = written(array, 16, "png")
    assert np.array_equal(imagecodecs.png_decode(data), array)


def test_deep_grey_with_a_transparent_colour_comes_back_without_the_extra(monkeypatch):
    data = png(4, 4, 16, 0, rows(4, 8), chunk(b"tRNS", b"\0\2"))
    shown = imagecodecs.png_decode(data)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    picture = read(data)
    assert np.array_equal(picture.array, shown)
    again = written(*picture[:2], "png")
    monkeypatch.undo()
    assert np.array_equal(imagecodecs.png_decode(again), shown)


@pytest.mark.parametrize("depth", [8, 16])
def test_files_that_two_readers_read_differently_are_refused(depth, monkeypatch):
    array = RNG.integers(0, 1 << depth, (9, 7, 3)).astype(np.uint8 if depth == 8 else np.uint16)
    data = imagecodecs.png_encode(array)
    decode = imagecodecs.png_decode
    monkeypatch.setattr(imagecodecs, "png_decode", lambda data: decode(data) ^ (1 << depth - 1))
    with pytest.raises(DataError, match="two libraries read different pixels from this PNG"):
        read(data)


def test_every_kind_is_what_libpng_reads():
    for depth, kind, size in (
        (1, 0, 1),
        (2, 0, 2),
        (4, 0, 4),
        (8, 0, 8),
        (16, 0, 16),
        (8, 4, 16),
        (16, 4, 32),
        (16, 2, 48),
        (8, 6, 32),
    ):
        for extra in ((), (chunk(b"tRNS", b"\0\1"),)) if kind == 0 else ((),):
            data = png(8, 4, depth, kind, rows(4, size), *extra)
            picture = read(data)
            assert np.array_equal(widen(picture.array, depth, max(depth, 8)), imagecodecs.png_decode(data))
