"""TIFFs of every layout that tifffile writes are read as tifffile reads them, or refused."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
import tifffile
from image_samples import RNG, assert_read, noise, own_file, read, tiff, tiff_tags

import pixelpyramids as pp
from pixelpyramids.errors import DataError
from pixelpyramids.image_files import tiff_reader
from pixelpyramids.image_files.bit_depth import pack_bits

KINDS = [
    ("minisblack", 1, None),
    ("miniswhite", 1, None),
    ("minisblack", 2, "unassalpha"),
    ("rgb", 3, None),
    ("rgb", 4, "unassalpha"),
    ("palette", 1, None),
    ("minisblack", 5, "unspecified"),
    ("rgb", 64, "unspecified"),
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


def layouts(kind, depth):
    """Every file of that kind and depth that tifffile writes, with the pixels that must be read from it."""
    photometric, channels, extra = kind
    for compression, (planes, tile, predictor, order, big) in itertools.product(COMPRESSIONS, LAYOUTS):
        if channels == 1 and planes == "separate":
            continue
        array = noise(depth, channels, 21, 23)
        options = {"photometric": photometric, "compression": compression, "tile": tile, "predictor": predictor}
        options |= {} if tile else {"rowsperstrip": 8}
        options |= {"planarconfig": planes} if channels > 1 else {}
        options |= {"extrasamples": [extra] * (channels - (3 if photometric == "rgb" else 1))} if extra else {}
        options |= {"bitspersample": depth} if depth not in (8, 16) else {}
        colours = RNG.integers(0, 1 << 16, (3, 1 << depth)).astype(np.uint16)
        options |= {"colormap": colours} if photometric == "palette" else {}
        try:
            data = tiff(np.moveaxis(array, -1, 0) if planes == "separate" else array, order, big, **options)
            stored = tifffile.imread(io.BytesIO(data)).astype(array.dtype)
        except (ValueError, NotImplementedError):  # tifffile cannot write it
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


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_keep_the_bits_of_their_colours(depth):
    numbers = noise(depth)
    strip = pack_bits(numbers, depth).tobytes()
    eight = RNG.integers(0, 256, (3, 1 << depth)).astype(np.uint16)
    grey = np.repeat(eight[:1], 3, axis=0)
    for colours, expected in (
        (eight * 257, eight.astype(np.uint8).T),
        (eight * 256, eight.astype(np.uint8).T),
        (eight * 255 + 3, eight.T * 255 + 3),
        (grey * 257, grey[0].astype(np.uint8)),
    ):
        data = raw_tiff(numbers, depth, strip, {262: 3, 320: -1}, colours.astype("<u2").tobytes())
        assert_read(data, expected[numbers], 8 * expected.itemsize)


def raw_tiff(array, depth, strip, tags, colours=b""):
    """A TIFF of one strip. The tag whose value is -1 points to what follows the strip."""
    height, width = array.shape
    tags = {256: width, 257: height, 258: depth, 259: 1, 273: 8, 278: height, 279: len(strip)} | tags
    place = 8 + len(strip)
    data = b"II*\0" + struct.pack("<I", place + len(colours)) + strip + colours + struct.pack("<H", len(tags))
    for tag, value in sorted(tags.items()):
        kind = (3, len(colours) // 2, place) if value == -1 else (4, 1, value)
        data += struct.pack("<HHII", tag, *kind)
    return data + bytes(4)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_order_of_bits_does_not_matter(depth, compression):
    array = noise(depth, 1, 8, 16)
    strip = pack_bits(array, depth).tobytes()
    strip = zlib.compress(strip) if compression else strip
    turned = np.packbits(np.unpackbits(np.frombuffer(strip, np.uint8), bitorder="little")).tobytes()
    data = raw_tiff(array, depth, turned, {259: 8 if compression else 1, 262: 1, 266: 2})
    assert np.array_equal(read(data).array, array)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_not_rotated(orientation, depth, channels):
    array = noise(depth, channels, 6, 9)
    tags = {"extratags": [(274, 3, 1, orientation, True)], "photometric": "minisblack" if channels == 1 else "rgb"}
    assert_read(tiff(array, compression="lzw", **tags), array, depth)


def test_pixels_are_not_rotated_by_the_xmp_packet(monkeypatch):
    monkeypatch.setattr(tiff_reader, "_by_tifffile", tiff_reader._by_pillow)
    array = noise(8, 3, 6, 9)
    packet = b'<rdf:Description tiff:Orientation="6"/>'
    data = tiff(array, photometric="rgb", extratags=[(700, 1, len(packet), packet, True)])
    assert np.array_equal(read(data).array, array)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [5, 6, 64])
def test_many_channels_are_written_as_another_library_reads_them(channels, depth):
    array = noise(depth, channels, 33, 41)
    data = own_file(array, depth, "tiff")
    assert np.array_equal(tifffile.imread(io.BytesIO(data)), array)
    assert_read(data, array, depth)


def test_colours_among_many_channels_are_named():
    with pytest.warns(UserWarning, match="not kept: that the TIFF's first channels are red, green and blue"):
        pp.open(io.BytesIO(tiff(noise(8, 5), photometric="rgb"))).read()


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (noise(8, 65), {"photometric": "minisblack", "planarconfig": "contig"}, "at most 64 channels, got 65"),
        (noise(8, 2), {"photometric": "minisblack", "extrasamples": ["assocalpha"]}, "premultiplied alpha"),
        (noise(8, 2), {"photometric": "miniswhite", "extrasamples": ["unassalpha"]}, "grey .0 is black."),
        (noise(8, 4), {"photometric": "rgb", "extrasamples": ["unspecified"]}, "other channels"),
        (noise(8, 5), {"photometric": "rgb", "extrasamples": ["unassalpha", "unspecified"]}, "other channels"),
        (noise(8, 4), {"photometric": "separated"}, "four inks"),
        (noise(8, 3), {"photometric": "cielab"}, r"L\*a\*b\*"),
        (noise(8, 3), {"photometric": "ycbcr"}, "luma and chroma"),
        (noise(16).astype(np.int16), {}, "got signed values"),
        (noise(8).astype(np.float32), {"photometric": "minisblack", "predictor": 3, "compression": "lzw"}, "float"),
        (noise(16).astype(np.uint32), {"photometric": "minisblack"}, "got 32 bits"),
        (noise(12, 1, 32, 32), {"compression": "jpeg", "bitspersample": 12}, "JPEG inside"),
        (np.stack([noise(8)] * 3), {"photometric": "minisblack"}, "got 3 pages"),
        (np.stack([noise(16, 3)] * 2), {"photometric": "rgb"}, "expected one picture, got 2"),
        (np.moveaxis(noise(8, 3, 32, 32), -1, 0), {"photometric": "rgb", "planarconfig": "separate",
         "compression": "jpeg"}, "JPEG inside the TIFF, got another"),
    ],
)  # fmt: skip
def test_unsupported_pixels_are_refused_by_name(array, options, message):
    with pytest.raises(DataError, match=message):
        read(tiff(array, **options))
    is_jpeg = options.get("compression") == "jpeg"  # this is found even so
    assert pp.open(io.BytesIO(tiff(array, **options))).is_lossy == is_jpeg


@pytest.mark.parametrize("options", [{"imagej": True}, {"metadata": {"axes": "ZYX"}}, {}])
def test_a_stack_of_one_directory_is_refused(options):
    file, stack = io.BytesIO(), np.stack([noise(8, 1, 21, 23)] * 3)
    if options:
        tifffile.imwrite(file, stack, truncate=True, photometric="minisblack", **options)
    else:  # as MetaMorph writes it
        planes = (33629, 5, 3, (1, 2) * 3, True)
        file.write(tiff(stack[0], photometric="minisblack", extratags=[planes]) + stack[1:].tobytes())
    with pytest.raises(DataError, match="got 3 pages"):
        read(file.getvalue())


def test_a_single_picture_with_the_description_of_a_stack_is_read():
    array = noise(8, 1, 21, 23)
    for description in ("ImageJ=1.53t\nimages=3\n", '{"shape": [3, 21, 23]}'):
        assert_read(tiff(array, photometric="minisblack", description=description), array, 8)


def test_damage_found_by_the_checksum_of_deflate_is_refused():
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
    entry = tiff_tags(data)[tag].offset
    struct.pack_into("<I", data, entry + 8, 0)
    struct.pack_into("<H", data, entry, 60000 if tag == 273 else tag)
    with pytest.raises(DataError, match="expected a TIFF with its size and the offsets of its pixels"):
        read(bytes(data))


def changed_strips(rows, offsets, sizes):
    """A TIFF of 64 x 64 pixels in strips of `rows` rows, with changed offsets and sizes of the strips."""
    file = io.BytesIO(tiff(np.zeros((64, 64), np.uint8), photometric="minisblack", rowsperstrip=rows))
    with tifffile.TiffFile(file, mode="r+b") as changed:
        for tag, change in ((273, offsets), (279, sizes)):
            changed.pages[0].tags[tag].overwrite(change(changed.pages[0].tags[tag].value))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed_strips(8, lambda old: old[:7], lambda old: old[:7]), "without some of its pixels"),
        (changed_strips(64, list, lambda old: [63 * 64]), "without some of its pixels"),
        (changed_strips(1, lambda old: [8] * 64, lambda old: [4000] * 64), "share no bytes"),
        (own_file(noise(16, 3, 301, 299), 16, "tiff")[:270_000], "without some of its pixels"),
        (own_file(noise(8, 3, 301, 299), 8, "tiff")[:9999], "without some of its pixels"),
    ],
)
def test_missing_and_shared_strips_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        read(data)


def test_a_tiff_of_many_strips_is_read():
    for array, depth in ((noise(16, 3, 301, 299), 16), (noise(8, 1, 1000, 999), 8)):
        data = own_file(array, depth, "tiff")
        assert len(tiff_tags(data)[273].value) > 1
        assert_read(data, array, depth)
        assert np.array_equal(tifffile.imread(io.BytesIO(data)), array)


def test_files_that_two_readers_read_differently_are_refused(monkeypatch):
    array = noise(8, 3)
    data = tiff(array, photometric="rgb")
    monkeypatch.setattr(tiff_reader, "_by_pillow", lambda data, tiff: array ^ 1)
    with pytest.raises(DataError, match="two libraries read different pixels"):
        read(data)


def test_a_damaged_tiff_is_refused_with_the_librarys_message(capfd):
    data = bytearray(tiff(noise(8, 3, 64, 64), photometric="rgb", compression="lzw", rowsperstrip=64))
    place = tiff_tags(data)[273].value[0]
    data[place + 20 : place + 200] = b"\xff" * 180
    with pytest.raises(DataError, match=r"the image: .*; Using code not yet in table"):
        read(bytes(data))
    assert "not yet in table" not in capfd.readouterr().err
