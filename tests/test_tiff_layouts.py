"""TIFFs of every layout that tifffile writes: the pixels are those that tifffile reads, or the file is refused."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from test_image_file import without_imagecodecs

import pixelpyramids as pp
from pixelpyramids.errors import DataError
from pixelpyramids.image_files import tiff_reader
from pixelpyramids.image_files.bit_depth import pack_bits
from pixelpyramids.image_files.opening import read_picture
from pixelpyramids.image_files.saving import write_image

RNG = np.random.default_rng(0)
KINDS = [
    ("minisblack", 1, None),
    ("miniswhite", 1, None),
    ("minisblack", 2, "unassalpha"),
    ("rgb", 3, None),
    ("rgb", 4, "unassalpha"),
    ("palette", 1, None),
]
LAYOUTS = [  # planes, tiles, predictor, order of bytes, BigTIFF
    ("contig", None, False, "<", False),
    ("separate", None, False, "<", False),
    ("contig", (16, 16), False, "<", False),
    ("separate", (16, 16), True, ">", False),
    ("contig", None, True, "<", False),
    ("contig", None, True, ">", False),
    ("contig", None, False, ">", False),
    ("contig", None, False, "<", True),
    ("contig", (16, 16), False, ">", True),
]
COMPRESSIONS = [None, "lzw", "zlib", "packbits", "zstd", "lzma", "png", "jpeg2000"]


def noise(depth, channels=1, height=21, width=23):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return RNG.integers(0, 1 << depth, shape).astype(np.uint8 if depth <= 8 else np.uint16)


def tiff(array, order="<", big=False, **options):
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=order, bigtiff=big) as writer:
        writer.write(array, metadata=None, **options)
    return file.getvalue()


def read(data):
    return read_picture(io.BytesIO(data))


def layouts(kind, depth):
    """Every file of that kind and depth that tifffile writes, with the pixels that it is to give."""
    photometric, channels, extra = kind
    for compression, (planes, tile, predictor, order, big) in itertools.product(COMPRESSIONS, LAYOUTS):
        if channels == 1 and planes == "separate":
            continue
        array = noise(depth, channels)
        options = {"photometric": photometric, "compression": compression, "tile": tile, "predictor": predictor}
        options |= {} if tile else {"rowsperstrip": 8}
        options |= {"planarconfig": planes} if channels > 1 else {}
        options |= {"extrasamples": [extra]} if extra else {}
        options |= {"bitspersample": depth} if depth not in (8, 16) else {}
        colours = RNG.integers(0, 1 << 16, (3, 1 << depth)).astype(np.uint16)
        options |= {"colormap": colours} if photometric == "palette" else {}
        try:
            data = tiff(np.moveaxis(array, -1, 0) if planes == "separate" else array, order, big, **options)
            stored = tifffile.imread(io.BytesIO(data)).astype(array.dtype)
        except (ValueError, NotImplementedError):  # there is no such file
            continue
        stored = np.moveaxis(stored, 0, -1) if planes == "separate" else stored
        if photometric == "miniswhite":
            stored = (1 << depth) - 1 - stored
        yield data, colours.T[stored] if photometric == "palette" else stored, (compression, planes, tile, order, big)


@pytest.mark.parametrize("depth", range(1, 17))
@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_is_read_exactly(kind, depth):
    if kind[0] == "palette" and depth != 8:
        return
    count = 0
    for data, expected, layout in layouts(kind, depth):
        if layout[0] == "packbits" and tifffile.TiffFile(io.BytesIO(data)).pages[0].predictor != 1:
            with pytest.raises(DataError, match="predictor 2 with compression 32773"):  # which libtiff ignores
                read(data)
            continue
        picture = read(data)
        assert picture.array.dtype == expected.dtype and np.array_equal(picture.array, expected), layout
        assert picture.depth == (16 if kind[0] == "palette" else depth)
        count += 1
    assert count > 5


def test_the_alpha_of_compressed_planes_is_kept():
    array = noise(8, 2, 64, 64)
    planes = {"photometric": "minisblack", "planarconfig": "separate", "extrasamples": ["unassalpha"]}
    picture = read(tiff(np.moveaxis(array, -1, 0), compression="lzw", **planes))
    assert np.array_equal(picture.array, array)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_keep_the_bits_of_their_colours(depth):
    numbers = noise(depth)
    eight = RNG.integers(0, 256, (3, 1 << depth)).astype(np.uint16)
    for colours, expected in (
        (eight * 257, eight.astype(np.uint8)),
        (eight * 256, eight.astype(np.uint8)),
        (eight * 255 + 3, eight * 255 + 3),
    ):
        data = indexed(numbers, depth, colours)
        picture = read(data)
        assert picture.array.dtype == expected.dtype and picture.depth == 8 * expected.itemsize
        assert np.array_equal(picture.array, expected.T[numbers])
    greys = np.repeat(eight[:1] * 257, 3, axis=0)
    assert np.array_equal(read(indexed(numbers, depth, greys)).array, eight[0].astype(np.uint8)[numbers])


def indexed(numbers, depth, colours):
    """A TIFF with a palette, which tifffile writes of 8 bits alone."""
    grey = io.BytesIO()
    write_image(grey, numbers, depth, {}, "tiff")
    data = bytearray(grey.getvalue())
    (count,) = struct.unpack_from("<H", data, 8)
    entries = {}
    for place in range(10, 10 + 12 * count, 12):
        tag, kind, length, value = struct.unpack_from("<HHI4s", data, place)
        entries[tag] = (kind, length, value)
    entries[262] = (3, 1, struct.pack("<I", 3))
    entries[320] = (3, colours.size, struct.pack("<I", len(data)))
    data += colours.astype("<u2").tobytes()
    struct.pack_into("<I", data, 4, len(data))
    data += struct.pack("<H", len(entries))
    for tag in sorted(entries):
        data += struct.pack("<HHI4s", tag, *entries[tag])
    return bytes(data + bytes(4))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_order_of_bits_does_not_matter(depth, compression):
    array = noise(depth, 1, 8, 16)
    strip = pack_bits(array, depth).tobytes()
    strip = zlib.compress(strip) if compression else strip
    turned = np.packbits(np.unpackbits(np.frombuffer(strip, np.uint8), bitorder="little")).tobytes()
    tags = {256: 16, 257: 8, 258: depth, 259: 8 if compression else 1, 262: 1, 266: 2, 273: 8, 278: 8, 279: len(turned)}
    data = b"II*\0" + struct.pack("<I", 8 + len(turned)) + turned + struct.pack("<H", len(tags))
    data += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())) + bytes(4)
    assert np.array_equal(read(data).array, array)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_not_turned(orientation, depth, channels):
    array = noise(depth, channels, 6, 9)
    data = tiff(array, compression="lzw", photometric="minisblack" if channels == 1 else "rgb",
                extratags=[(274, 3, 1, orientation, True)])  # fmt: skip
    assert np.array_equal(read(data).array, array)


def test_pixels_are_not_turned_by_what_the_packet_says(monkeypatch):
    monkeypatch.setattr(tiff_reader, "_by_tifffile", tiff_reader._by_pillow)
    array = noise(8, 3, 6, 9)
    packet = b'<rdf:Description tiff:Orientation="6"/>'
    data = tiff(array, photometric="rgb", extratags=[(700, 1, len(packet), packet, True)])
    assert np.array_equal(read(data).array, array)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (noise(8, 2), {"photometric": "minisblack", "extrasamples": ["assocalpha"]}, "alpha multiplied"),
        (noise(8, 2), {"photometric": "miniswhite", "extrasamples": ["unassalpha"]}, "got it with other pixels"),
        (noise(8, 4), {"photometric": "rgb", "extrasamples": ["unspecified"]}, "other channels"),
        (noise(8, 5), {"photometric": "rgb", "extrasamples": ["unassalpha", "unspecified"]}, "other channels"),
        (noise(8, 4), {"photometric": "separated"}, "four inks"),
        (noise(8, 3), {"photometric": "cielab"}, r"L\*a\*b\*"),
        (noise(8, 3), {"photometric": "ycbcr"}, "luma and chroma"),
        (noise(8).astype(np.int8), {"photometric": "minisblack"}, "signed values"),
        (noise(8).astype(np.float32), {"photometric": "minisblack", "predictor": 3, "compression": "lzw"}, "float"),
        (noise(16).astype(np.uint32), {"photometric": "minisblack"}, "got 32 bits"),
        (noise(12, 1, 32, 32), {"compression": "jpeg", "bitspersample": 12}, "JPEG inside"),
        (np.stack([noise(8)] * 3), {"photometric": "minisblack"}, "got 3 pages"),
    ],
)  # fmt: skip
def test_other_pixels_are_refused_by_name(array, options, message):
    with pytest.raises(DataError, match=message):
        read(tiff(array, **options))


def test_a_jpeg_of_a_kind_that_is_not_read_is_still_known_as_lossy():
    array = np.moveaxis(noise(8, 3, 32, 32), -1, 0)
    data = tiff(array, photometric="rgb", planarconfig="separate", compression="jpeg")
    assert pp.open(io.BytesIO(data)).is_lossy
    with pytest.raises(DataError, match="JPEG inside the TIFF, got another"):
        read(data)


@pytest.mark.parametrize("extra", ["with", "without"])
@pytest.mark.parametrize("options", [{"imagej": True}, {"metadata": {"axes": "ZYX"}}, {}])
def test_a_stack_of_one_directory_is_refused(options, extra, monkeypatch):
    file, stack = io.BytesIO(), np.stack([noise(8)] * 3)
    if options:
        tifffile.imwrite(file, stack, truncate=True, photometric="minisblack", **options)
    else:  # as MetaMorph writes it
        planes = (33629, 5, 3, (1, 2) * 3, True)
        file.write(tiff(stack[0], photometric="minisblack", extratags=[planes]) + stack[1:].tobytes())
    if extra == "without":
        without_imagecodecs(monkeypatch)
    with pytest.raises(DataError, match="got 3 pages"):
        read(file.getvalue())


def test_a_single_picture_with_the_description_of_a_stack_is_read_without_the_extra(monkeypatch):
    without_imagecodecs(monkeypatch)
    array = noise(8)
    for description in ("ImageJ=1.53t\nimages=3\n", '{"shape": [3, 21, 23]}'):
        data = tiff(array, photometric="minisblack", description=description)
        assert np.array_equal(read(data).array, array)


@pytest.mark.parametrize("depth", [8, 16])
def test_missing_strips_are_refused(depth):
    data = bytearray(tiff(noise(depth, 1, 64, 64), photometric="minisblack", rowsperstrip=8))
    directory = tifffile.TiffFile(io.BytesIO(bytes(data))).pages[0].tags
    struct.pack_into("<Q" if directory[273].dtype == 16 else "<I", data, directory[273].offset + 4, 7)
    struct.pack_into("<I", data, directory[279].offset + 4, 7)
    with pytest.raises(DataError, match="without some of its pixels"):
        read(bytes(data))


@pytest.mark.parametrize("extra", ["with", "without"])
def test_damage_that_deflate_s_checksum_shows_is_refused(extra, monkeypatch):
    if extra == "without":
        without_imagecodecs(monkeypatch)
    array = np.zeros((64, 64), np.uint8)
    data = bytearray(tiff(array, photometric="minisblack", compression="zlib"))
    place = data.index(b"\x78")
    refused = 0
    for at in range(place + 2, place + 20):
        damaged = bytes(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])
        try:
            assert np.array_equal(read(damaged).array, array)
        except DataError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("tag", [256, 257, 273, 278])
def test_a_tiff_without_size_or_offsets_is_refused(tag):
    data = bytearray(tiff(noise(8), photometric="minisblack"))
    entry = tifffile.TiffFile(io.BytesIO(bytes(data))).pages[0].tags[tag].offset
    struct.pack_into("<I", data, entry + 8, 0)
    struct.pack_into("<H", data, entry, 60000 if tag == 273 else tag)
    with pytest.raises(DataError, match="expected a TIFF with its size and the offsets of its pixels"):
        read(bytes(data))


def test_strips_shorter_than_their_rows_are_refused():
    data = bytearray(tiff(noise(8, 1, 64, 64), photometric="minisblack", rowsperstrip=64))
    size = tifffile.TiffFile(io.BytesIO(bytes(data))).pages[0].tags[279]
    struct.pack_into("<I", data, size.offset + 8, 63 * 64)
    with pytest.raises(DataError, match="without some of its pixels"):
        read(bytes(data))


def test_files_that_two_readers_read_differently_are_refused(monkeypatch):
    array = noise(8, 3)
    data = tiff(array, photometric="rgb")
    monkeypatch.setattr(tiff_reader, "_by_pillow", lambda data, tiff: array ^ 1)
    with pytest.raises(DataError, match="two libraries read different pixels"):
        read(data)


def test_a_damaged_tiff_is_refused_with_its_librarys_message(capfd):
    data = bytearray(tiff(noise(8, 3, 64, 64), photometric="rgb", compression="lzw", rowsperstrip=64))
    place = tifffile.TiffFile(io.BytesIO(bytes(data))).pages[0].dataoffsets[0]
    data[place + 20 : place + 200] = b"\xff" * 180
    with pytest.raises(DataError, match=r"the image: .*; Using code not yet in table"):
        read(bytes(data))
    assert "not yet in table" not in capfd.readouterr().err


def test_pillow_reads_what_is_written_with_every_tag():
    array = noise(8, 3)
    data = tiff(
        array,
        photometric="rgb",
        extratags=[(285, 2, 0, "Seite Ü".encode(), True), (33550, 12, 3, (1.5, 2.5, 0.0), True)],
    )
    picture = read(data)
    file = io.BytesIO()
    write_image(file, *picture[:3], "tiff")
    with Image.open(io.BytesIO(file.getvalue())) as image:
        assert image.tag_v2[33550] == (1.5, 2.5, 0.0)
        assert np.array_equal(np.asarray(image), array)
