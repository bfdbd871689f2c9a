"""The tags of a TIFF survive in a .ppyr file and come back in a TIFF, or a warning names them."""

import io
import struct

import numpy as np
import pytest
import tifffile
from image_samples import own_file, read, tiff, tiff_tags
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

import pixelpyramids as pp

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


def tagged_tiff(tags=TAGS, order="<", big=False):
    extra = [(number, *rest, True) for number, rest in tags.items()]
    return tiff(PIXELS, order, big, photometric="rgb", software=False, extratags=extra)


def values(data):
    """Each tag's value in a file, and its type, as tifffile reads them."""
    return {number: (int(tag.dtype), tag.value) for number, tag in tiff_tags(data).items() if number in TAGS}


def through_ppyr(data):
    """Compress a TIFF to a .ppyr file, and decompress it to a TIFF again."""
    picture = read(data)
    with pp.open(io.BytesIO(pp.encode(picture.array, metadata=picture.metadata, effort="fast"))) as image:
        return own_file(image.read(), image.depth, "tiff", image.metadata)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_tag_comes_back(order, big):
    data = tagged_tiff(order=order, big=big)
    again = through_ppyr(data)
    assert values(again) == values(data) and len(values(data)) == len(TAGS)
    assert np.array_equal(tifffile.imread(io.BytesIO(again)), PIXELS)
    with Image.open(io.BytesIO(again)) as image:
        assert image.tag_v2[33550] == (0.5, 0.5, 0.0) and np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("tag", [270, 285, 315])
def test_non_ascii_text_comes_back(tag):
    text = "Größe 5 µm, 山".encode()
    assert tiff_tags(through_ppyr(tagged_tiff({tag: (2, 0, text)})))[tag].value == text.decode()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", ["<", ">"])
def test_iptc_labelled_as_numbers_comes_back(order):
    numbers = struct.unpack(f"{order}3I", TAGS[33723][2])
    again = through_ppyr(tagged_tiff({33723: (4, 3, numbers)}, order))
    assert tiff_tags(again)[33723].value == TAGS[33723][2]


def test_an_xmp_packet_of_an_unusual_type_comes_back():
    for kind, count, value in ((2, 0, "<x>Ü</x>".encode()), (4, 2, (1, 2))):
        again = tiff_tags(through_ppyr(tagged_tiff({700: (kind, count, value)})))[700].value
        assert (again.encode() if isinstance(again, str) else again) == value


def test_a_resolution_of_floats_is_kept():
    tags, file = ImageFileDirectory_v2(), io.BytesIO()
    for number, value in ((282, 300.5), (283, 72.0)):
        tags.tagtype[number] = 12
        tags[number] = value
    Image.fromarray(PIXELS).save(file, "TIFF", tiffinfo=tags)
    file.seek(0)
    assert read(file.getvalue()).metadata["resolution"] == b"601/2 72 inch"


def test_pictures_within_the_picture_are_named():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(PIXELS, photometric="rgb", subifds=1, metadata=None)
        writer.write(PIXELS[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    with pytest.warns(UserWarning, match="not kept: pictures in the TIFF's SubIFDs"):
        picture = read(file.getvalue())
    assert np.array_equal(picture.array, PIXELS) and not any(name.startswith("TIFF:") for name in picture.metadata)


def test_blobs_cannot_change_how_the_pixels_are_stored():
    tags = read(tagged_tiff()).metadata
    width = tags["TIFF:34735"].replace(struct.pack("<H", 34735), struct.pack("<H", 256))
    for name, blob in (("TIFF:256", width), ("TIFF:285", b"nothing"), ("TIFF:x", tags["TIFF:285"])):
        with pytest.warns(UserWarning, match=f"TIFF cannot hold the metadata {name}"):
            data = own_file(PIXELS, 8, "tiff", {name: blob})
        assert np.array_equal(tifffile.imread(io.BytesIO(data)), PIXELS)


def test_tags_of_unknown_types_are_named():
    with pytest.warns(UserWarning, match="not kept: TIFF tag 40005"):
        read(tagged_tiff({40005: (17, 1, -(2**40))}))


@pytest.mark.filterwarnings("ignore")
def test_the_directory_within_exif_comes_back():
    exif = Image.Exif()
    exif.get_ifd(34665).update({36867: "2026:01:02 03:04:05", 40965: {1: "R98"}})
    blob = exif.tobytes().removeprefix(b"Exif\0\0")
    data = own_file(PIXELS, 8, "tiff", {"EXIF": blob})
    assert read(data).metadata["EXIF"] == blob
    found = Image.Exif()
    found.load(blob)
    assert found.get_ifd(40965) == {1: "R98"}
    place = data.index(struct.pack("<HHI", 40965, 4, 1)) + 8
    for wrong in (3, 2**32 - 1):
        assert "EXIF" in read(data[:place] + struct.pack("<I", wrong) + data[place + 4 :]).metadata
