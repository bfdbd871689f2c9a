"""What a TIFF says beside its pixels goes through a .ppyr file and back into a TIFF, or a warning names it."""

import io
import struct
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

import pixelpyramids as pp
from pixelpyramids.codec.container import read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.image_files.opening import read_picture
from pixelpyramids.image_files.picture import Picture
from pixelpyramids.image_files.saving import write_image

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
TAGS = {  # type, count, value
    264: (3, 1, 4),
    285: (2, 0, b"a page"),
    291: (3, 4, (0, 100, 1000, 65535)),
    532: (5, 6, (15, 1, 235, 1, 15, 1, 235, 1, 15, 1, 235, 1)),
    33550: (12, 3, (0.5, 0.5, 0.0)),
    33723: (7, 12, b"\x1c\2\5\0\7caption"),
    33922: (12, 6, (0.0, 0.0, 0.0, 4.4e5, 5.5e6, 0.0)),
    34377: (1, 8, b"8BIM\4\4\0\0"),
    34735: (3, 4, (1, 1, 0, 0)),
    34737: (2, 0, b"WGS 84|"),
    40001: (4, 2, (7, 2**32 - 1)),
    40002: (9, 2, (-7, 2**31 - 1)),
    40003: (11, 1, 1.5),
    40004: (16, 1, 2**40),
    42113: (2, 0, b"255"),
}


def tiff(tags=TAGS, order="<", big=False, **options):
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=order, bigtiff=big) as writer:
        extra = [(number, kind, count, value, True) for number, (kind, count, value) in tags.items()]
        writer.write(PIXELS, photometric="rgb", metadata=None, software=False, extratags=extra, **options)
    return file.getvalue()


def values(data):
    """Each tag's value in a file, and its type, as tifffile reads them."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        return {number: (int(tags[number].dtype), tags[number].value) for number in TAGS if number in tags}


def through_ppyr(picture):
    data = pp.encode(picture.array, depth=picture.depth, metadata=picture.metadata, effort="fast")
    header = read_index(MemorySource(data), 2**20).header
    file = io.BytesIO()
    write_image(file, pp.decode(data), header.depth, dict(header.metadata), "tiff")
    return file.getvalue()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_tag_comes_back(order, big):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = tiff(order=order, big=big)
        again = through_ppyr(read_picture(io.BytesIO(data)))
    assert values(again) == values(data) and len(values(data)) == len(TAGS)
    assert np.array_equal(tifffile.imread(io.BytesIO(again)), PIXELS)


@pytest.mark.parametrize("tag", [270, 285, 315])
def test_text_that_is_no_ascii_comes_back(tag):
    text = "Größe 5 µm, 山".encode()
    again = through_ppyr(read_picture(io.BytesIO(tiff({tag: (2, 0, text)}))))
    with tifffile.TiffFile(io.BytesIO(again)) as file:
        assert file.pages[0].tags[tag].value == text.decode()


@pytest.mark.parametrize("order", ["<", ">"])
def test_iptc_that_is_said_to_be_of_numbers_comes_back(order):
    numbers = struct.unpack(f"{order}3I", TAGS[33723][2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = read_picture(io.BytesIO(tiff({33723: (4, 3, numbers)}, order)))
    with tifffile.TiffFile(io.BytesIO(through_ppyr(picture))) as file:
        assert file.pages[0].tags[33723].value == TAGS[33723][2]


def test_a_packet_of_an_odd_type_comes_back():
    for kind, count, value in ((2, 0, "<x>Ü</x>".encode()), (4, 2, (1, 2))):
        picture = read_picture(io.BytesIO(tiff({700: (kind, count, value)})))
        with tifffile.TiffFile(io.BytesIO(through_ppyr(picture))) as file:
            again = file.pages[0].tags[700].value
        assert (again.encode() if isinstance(again, str) else again) == value


def test_a_resolution_of_floats_is_kept():
    tags, file = ImageFileDirectory_v2(), io.BytesIO()
    for number, value in ((282, 300.5), (283, 72.0)):
        tags.tagtype[number] = 12
        tags[number] = value
    Image.fromarray(PIXELS).save(file, "TIFF", tiffinfo=tags)
    file.seek(0)
    assert read_picture(file).metadata["resolution"] == b"601/2 72 inch"


def test_what_another_format_has_no_place_for_is_named():
    picture = read_picture(io.BytesIO(tiff()))
    with pytest.warns(UserWarning, match="PNG has no place for the metadata .*TIFF:33550, .*TIFF:34735"):
        write_image(io.BytesIO(), *picture[:3], "png")


def test_pictures_within_the_picture_are_named():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(PIXELS, photometric="rgb", subifds=1, metadata=None)
        writer.write(PIXELS[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    with pytest.warns(UserWarning, match="not kept: pictures in the TIFF's SubIFDs"):
        picture = read_picture(io.BytesIO(file.getvalue()))
    assert np.array_equal(picture.array, PIXELS) and not any(name.startswith("TIFF:") for name in picture.metadata)


def test_blobs_cannot_say_how_the_pixels_are_stored():
    tags = read_picture(io.BytesIO(tiff())).metadata
    width = tags["TIFF:34735"].replace(struct.pack("<H", 34735), struct.pack("<H", 256))
    for name, blob in (("TIFF:256", width), ("TIFF:285", b"nothing"), ("TIFF:x", tags["TIFF:285"])):
        file = io.BytesIO()
        with pytest.warns(UserWarning, match=f"TIFF has no place for the metadata {name}"):
            write_image(file, PIXELS, 8, {name: blob}, "tiff")
        assert np.array_equal(tifffile.imread(io.BytesIO(file.getvalue())), PIXELS)


def test_tags_of_unknown_types_are_named():
    data = tiff({40005: (17, 1, -(2**40))})
    with pytest.warns(UserWarning, match="not kept: TIFF tag 40005"):
        read_picture(io.BytesIO(data))


def test_the_directory_within_exif_comes_back():
    exif = Image.Exif()
    exif.get_ifd(34665).update({36867: "2026:01:02 03:04:05", 40965: {1: "R98"}})
    picture = Picture(np.zeros((8, 8), np.uint8), 8, {"EXIF": exif.tobytes().removeprefix(b"Exif\0\0")}, "", False)
    file = io.BytesIO()
    write_image(file, *picture[:3], "tiff")
    again = read_picture(io.BytesIO(file.getvalue()))
    assert again.metadata["EXIF"] == picture.metadata["EXIF"]
    found = Image.Exif()
    found.load(again.metadata["EXIF"])
    assert found.get_ifd(40965) == {1: "R98"}
    place = file.getvalue().index(struct.pack("<HHI", 40965, 4, 1)) + 8
    for wrong in (3, 2**32 - 1):
        damaged = bytearray(file.getvalue())
        struct.pack_into("<I", damaged, place, wrong)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert "EXIF" in read_picture(io.BytesIO(damaged)).metadata
