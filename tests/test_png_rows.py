"""PNGs are read completely or refused. What is not kept is named, and every PNG that is read can be written."""

import struct
import subprocess
import sys
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
from image_samples import RNG, SIGNATURE, chunk, own_file, png, read
from pictures import encode
from PIL import Image

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import widen
from pixelpyramids.image_files.png_reader import unpacked_size


def random_rows(count, size):
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
    data = encode(Image.new(mode, (9, 7), 1 if mode in ("1", "L", "P", "I;16") else None), "PNG")
    assert read(data).array.shape[:2] == (7, 9)
    for height in (8, 64):
        header = data[16:20] + struct.pack(">I", height) + data[24:29]
        with pytest.raises(DataError, match="bytes of rows in the PNG, as its header says, got"):
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
    subprocess.run([sys.executable, "-W", "error", "-c", code, path], check=True)  # pytest would take the message


PALETTE, KEY, ALPHA = chunk(b"PLTE", bytes(range(12))), chunk(b"tRNS", b"\0\3"), chunk(b"tRNS", b"\0\x80")
KEY_OF_COLOURS = chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
END = chunk(b"IEND", b"")
ANIMATION = (
    chunk(b"acTL", struct.pack(">II", 1, 0)), chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 4, 0, 0, 1, 1, 0, 0)),
)  # fmt: skip
TWO_GAMMAS = [chunk(b"gAMA", struct.pack(">I", gamma)) for gamma in (45455, 100000)]


def header(*fields):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))


def grey_png(*chunks, count=4):
    return png(8, 4, 8, 0, random_rows(count, 8), *chunks)


def palette_png(*chunks):
    return png(8, 4, 2, 3, random_rows(4, 2), *chunks)


def colour_png(*chunks):
    return png(8, 4, 8, 2, random_rows(4, 24), *chunks)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (grey_png(), ()),
        (grey_png() + b"trailer", ("7 bytes after the PNG's end",)),
        (grey_png(count=6), ("data after the PNG's last row",)),
        (grey_png(chunk(b"pHYs", struct.pack(">IIB", 1, 1, 2))), ("PNG chunk pHYs",)),
        (palette_png(PALETTE, chunk(b"hIST", struct.pack(">4H", 1, 2, 3, 4))), ("PNG chunk hIST",)),
        (grey_png(*ANIMATION), ("PNG chunk acTL", "PNG chunk fcTL")),
        (grey_png(*TWO_GAMMAS), ("all PNG chunks gAMA except the first one",)),
        (grey_png(chunk(b"sPLT", b"x\0"), chunk(b"prVt", b"x")), ("PNG chunk prVt", "PNG chunk sPLT")),
        (palette_png(chunk(b"sBIT", b"\5\6\5"), PALETTE), ()),
        (palette_png(chunk(b"sBIT", b"\5\6\5"), PALETTE, chunk(b"tRNS", b"\0")), ("PNG chunk sBIT",)),
        (colour_png(chunk(b"sBIT", b"\5\6\5"), KEY_OF_COLOURS), ("PNG chunk sBIT",)),
        (colour_png(chunk(b"sBIT", b"\4\4\4"), KEY_OF_COLOURS), ("PNG chunk sBIT",)),
        (colour_png(chunk(b"sBIT", b"\10\10\10"), KEY_OF_COLOURS), ()),
    ],
)
def test_what_is_not_kept_is_named(data, names):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read(data)
    assert picture.not_kept == names
    assert [str(warning.message) for warning in caught] == [f"not kept: {', '.join(names)}"] * bool(names)


CUT = SIGNATURE + header(8, 4, 8, 0, 0, 0, 0) + chunk(b"IDAT", zlib.compress(random_rows(4, 8))[:-2]) + END
BROKEN = {
    "cut short|checksum": [grey_png().replace(END, b"") + SIGNATURE + END],
    "checksum of the PNG's chunk b'tEXt'": [grey_png(chunk(b"tEXt", b"a\0b")[:-4] + bytes(4))],
    "bytes of rows": [CUT],
    "expected the PNG's chunks IHDR, PLTE and tRNS": [
        grey_png(header(8, 2, 8, 0, 0, 0, 0)),
        grey_png(KEY, KEY),
        grey_png().replace(END, KEY + END),
        palette_png(PALETTE).replace(END, ALPHA + END),
        palette_png(),
        palette_png(ALPHA, PALETTE),
        palette_png(PALETTE, PALETTE),
        palette_png().replace(END, PALETTE + END),
    ],
    "with known methods": [
        *(SIGNATURE + header(8, 4, 8, 0, *method) + grey_png()[33:] for method in ((1, 0, 0), (0, 64, 0), (0, 0, 2))),
        png(8, 4, 4, 0, random_rows(4, 4), chunk(b"tRNS", b"\0\x10")),
        palette_png(PALETTE, chunk(b"tRNS", bytes(5))),
        palette_png(PALETTE, chunk(b"tRNS", b"")),
    ],
}


@pytest.mark.parametrize(("data", "message"), [(data, message) for message, files in BROKEN.items() for data in files])
def test_damaged_and_ambiguous_chunks_are_refused(data, message, imagecodecs_or_not):
    with pytest.raises(DataError, match=message):
        read(data)


def test_significant_bits_are_written_only_for_the_same_number_of_channels():
    assert read(palette_png(chunk(b"sBIT", b"\5\6\5"), PALETTE)).metadata["sBIT"] == b"\5\6\5"
    with pytest.warns(UserWarning, match="PNG cannot hold the metadata sBIT"):
        own_file(np.zeros((2, 2), np.uint8), 8, "png", {"sBIT": b"\5\6\5"})


def test_a_second_xmp_packet_comes_back():
    packets = [chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text) for text in (b"one", b"two")]
    picture = read(grey_png(*packets))
    assert picture.metadata == {"XMP": b"one", "text:XML:com.adobe.xmp": b"two"}
    assert read(own_file(*picture[:2], "png", picture.metadata)).metadata == picture.metadata


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_colour_is_written_without_the_extra(channels, monkeypatch):
    array = RNG.integers(0, 1 << 16, (300, 401, channels), dtype=np.uint16) >> RNG.integers(0, 16, (300, 401, 1))
    array = array.astype(np.uint16)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "imagecodecs", None)
        data = own_file(array, 16, "png")
    assert np.array_equal(imagecodecs.png_decode(data), array)


@pytest.mark.parametrize("depth", [8, 16])
def test_files_that_two_readers_read_differently_are_refused(depth, monkeypatch):
    array = RNG.integers(0, 1 << depth, (9, 7, 3)).astype(np.uint8 if depth == 8 else np.uint16)
    data = imagecodecs.png_encode(array)
    decode = imagecodecs.png_decode
    monkeypatch.setattr(imagecodecs, "png_decode", lambda data: decode(data) ^ (1 << depth - 1))
    with pytest.raises(DataError, match="two libraries read different pixels from this PNG"):
        read(data)


def test_every_kind_is_read_as_libpng_reads_it():
    kinds = [(depth, 0, depth) for depth in (1, 2, 4, 8, 16)] + [(8, 4, 16), (16, 4, 32), (16, 2, 48), (8, 6, 32)]
    for depth, kind, size in kinds:
        for extra in ((), (chunk(b"tRNS", b"\0\1"),)) if kind == 0 else ((),):
            data = png(8, 4, depth, kind, random_rows(4, size), *extra)
            assert np.array_equal(widen(read(data).array, depth, max(depth, 8)), imagecodecs.png_decode(data))
