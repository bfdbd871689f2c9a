"""Metadata survive the way from an image file to a .ppyr file and back, or a warning names them."""

import io
import struct
import warnings
import zlib
from fractions import Fraction

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from image_samples import assert_read, chunk, insert_chunks, own_file, read, tiff, tiff_tags
from pictures import encode
from PIL import Image, ImageCms, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

import pixelpyramids as pp
from pixelpyramids.codec.container import MAX_METADATA
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.metadata import read_metadata, to_pillow
from pixelpyramids.image_files.png_writer import add_metadata
from pixelpyramids.image_files.resolution import Resolution, parse_physical, parse_resolution

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PACKET = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'
CHUNKS = {
    "gAMA": struct.pack(">I", 45455),
    "cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    "sRGB": b"\1",
    "cICP": bytes([9, 16, 0, 1]),
    "mDCV": bytes(range(24)),
    "cLLI": bytes(range(8)),
    "sBIT": bytes([8, 7, 8]),
    "tIME": struct.pack(">H5B", 2024, 2, 29, 12, 0, 59),
}

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


def exif_blob():
    exif = Image.Exif()
    exif.update({274: 6, 271: "Maker", 306: "2024:02:29 12:00:59"})
    exif.get_ifd(34665).update({33434: IFDRational(1, 250), 36867: "2024:02:29 12:00:58"})
    exif.get_ifd(34853).update({1: "N", 2: (47.0, 22.0, 30.5)})
    return exif.tobytes().removeprefix(b"Exif\0\0")


def exif_fields(blob):
    exif = Image.Exif()
    exif.load(blob)
    directories = {34665: dict(exif.get_ifd(34665)), 34853: dict(exif.get_ifd(34853))}
    return {tag: value for tag, value in exif.items() if tag not in (*directories, 282, 283, 296)}, directories


EVERYTHING = {
    "ICC": PROFILE,
    "EXIF": exif_blob(),
    "XMP": PACKET,
    "resolution": b"11811 11810 metre",
    **CHUNKS,
    "text:Title": "Über den Wolken".encode(),
    "text:Author": b"first",
    "text.2:Author": b"second",
    "text:Comment": "山と川".encode(),
    "language:Comment": b"ja",
    "translated:Comment": "コメント".encode(),
    "text:Long": b"so long " * 400,
}


def blobs_of(data):
    return read(data).metadata


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("depth", [5, 8, 16])
def test_everything_in_a_png_survives_to_ppyr_and_back(depth):
    blobs = dict(EVERYTHING)
    if depth == 5:
        del blobs["sBIT"]  # at 5 bits, sBIT holds the depth
    array = (PIXELS >> 8 - depth if depth < 8 else PIXELS).astype(np.uint8 if depth <= 8 else np.uint16)
    first = own_file(array, depth, "png", blobs)
    picture = read(first)
    data = pp.encode(picture.array, depth=picture.depth, metadata=picture.metadata, effort="fast")
    with pp.open(io.BytesIO(data)) as image:
        assert image.metadata == picture.metadata == blobs
        again = own_file(image.read(), image.depth, "png", image.metadata)
    assert blobs_of(again) == blobs and len(again) == len(first)
    assert np.array_equal(imagecodecs.png_decode(again), imagecodecs.png_decode(first))


def test_pillow_reads_what_is_written_into_a_png():
    with Image.open(io.BytesIO(own_file(PIXELS, 8, "png", EVERYTHING))) as image:
        image.load()
        assert image.info["icc_profile"] == PROFILE and image.info["xmp"] == PACKET
        assert image.info["gamma"] == 0.45455
        assert image.info["chromaticity"] == (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
        assert image.info["srgb"] == 1
        assert image.info["dpi"] == pytest.approx((300, 299.97), abs=0.01)
        assert image.text["Title"] == "Über den Wolken"
        comment = image.text["Comment"]
        assert (comment, comment.lang, comment.tkey) == ("山と川", "ja", "コメント")
        assert image.text["Long"] == "so long " * 400
        assert image.getexif()[274] == 6
        assert image.getexif().get_ifd(34665)[33434] == Fraction(1, 250)


def test_what_pillow_writes_into_a_png_is_read():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "Ä", zip=True)
    texts.add_itxt("Comment", "雪", "ja", "注", zip=True)
    texts.add(b"cICP", CHUNKS["cICP"])
    exif = Image.Exif()
    exif.load(exif_blob())
    blobs = blobs_of(encode(PIXELS, "PNG", pnginfo=texts, icc_profile=PROFILE, exif=exif, dpi=(300, 300)))
    assert blobs["text:Author"] == "Ä".encode()
    assert [blobs[f"{name}:Comment"].decode() for name in ("text", "language", "translated")] == ["雪", "ja", "注"]
    assert blobs["cICP"] == CHUNKS["cICP"] and blobs["ICC"] == PROFILE and blobs["resolution"] == b"11811 11811 metre"
    assert exif_fields(blobs["EXIF"]) == exif_fields(exif_blob())


def test_compressed_chunks_that_are_too_large_or_damaged_are_refused():
    data = own_file(PIXELS, 8, "png", {})
    for name in (b"iCCP", b"zTXt"):
        with pytest.raises(DataError, match="Error -3 while decompressing data"):
            blobs_of(insert_chunks(data, chunk(name, b"a\0\0no zlib")))
        bomb = zlib.compress(bytes(MAX_METADATA + 1), 9)
        with pytest.raises(DataError, match=f"at most {MAX_METADATA} bytes in the PNG's chunk {name.decode()}"):
            blobs_of(insert_chunks(data, chunk(name, b"a\0\0" + bomb)))
    bombs = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**23))) * 3
    with pytest.raises(DataError, match=f"at most {MAX_METADATA} bytes of texts"):  # nothing is unpacked after that
        blobs_of(insert_chunks(data, bombs, chunk(b"zTXt", b"key\0\0no zlib")))


@pytest.mark.parametrize("depth", [8, 16])
def test_profiles_and_texts_larger_than_libraries_accept_are_kept(depth):
    noise = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
    blobs = {"ICC": noise, "XMP": noise[:10].hex().encode() * 200_000, "text:Long": b"x" * 9_000_000}
    pixels = PIXELS if depth == 8 else PIXELS * np.uint16(257)
    data = own_file(pixels, depth, "png", blobs)
    assert_read(data, pixels, depth)
    assert blobs_of(data) == blobs


@given(st.dictionaries(st.sampled_from(["Title", "Author", "a: b"]), st.text(max_size=40), max_size=3))
def test_any_text_survives(texts):
    blobs = {f"text:{keyword}": text.encode() for keyword, text in texts.items()}
    png, left_out = add_metadata(own_file(PIXELS, 8, "png", {}), blobs)
    assert not left_out and blobs_of(png) == blobs


def test_text_that_is_not_utf_8_keeps_its_bytes():
    data = own_file(PIXELS, 8, "png", {})
    odd = insert_chunks(data, chunk(b"iTXt", b"Title\0\0\0\0\0\xff\xfe"))
    assert blobs_of(odd) == {"text:Title": b"\xff\xfe"}
    assert own_file(PIXELS, 8, "png", blobs_of(odd)) == odd


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("depth", [8, 16])
def test_tiff_holds_profile_exif_packet_and_resolution(depth):
    array = PIXELS.astype(np.uint8 if depth == 8 else np.uint16)
    taken = {"ICC": PROFILE, "EXIF": exif_blob(), "XMP": PACKET, "resolution": b"300 601/2 inch"}
    data = own_file(array, depth, "tiff", taken)
    tags = {code: tag.value for code, tag in tiff_tags(data).items()}
    assert bytes(tags[34675]) == PROFILE and bytes(tags[700]) == PACKET
    assert (tags[274], tags[271], tags[282], tags[283]) == (6, "Maker", (300, 1), (601, 2))
    assert tags[34665]["ExposureTime"] == (1, 250) and tags[34853]["GPSLatitudeRef"] == "N"
    blobs = blobs_of(data)
    assert blobs | {"EXIF": taken["EXIF"]} == taken
    assert exif_fields(blobs["EXIF"]) == exif_fields(exif_blob())
    assert own_file(array, depth, "tiff", blobs) == data


def test_webp_holds_profile_exif_and_packet():
    with pytest.warns(UserWarning, match=r"WEBP cannot hold the metadata resolution, gAMA, .*text:Title"):
        data = own_file(PIXELS, 8, "webp", EVERYTHING)
    assert blobs_of(data) == {name: EVERYTHING[name] for name in ("ICC", "EXIF", "XMP")}


def test_what_jpeg_holds_is_read():
    options = {"icc_profile": PROFILE, "exif": b"Exif\0\0" + EVERYTHING["EXIF"], "xmp": PACKET, "dpi": (300, 300)}
    data = encode(PIXELS, "JPEG", comment=b"a comment", **options)
    expected = {name: EVERYTHING[name] for name in ("ICC", "EXIF", "XMP")}
    assert blobs_of(data) == expected | {"resolution": b"300 300 inch", "text:Comment": b"a comment"}


@pytest.mark.parametrize(
    ("format", "blobs", "names"),
    [
        *((format, EVERYTHING, "ICC, EXIF") for format in ("PPM", "BMP", "npy")),
        ("TIFF", EVERYTHING, "gAMA, cHRM"),
        ("TIFF", {"EXIF": b"no structure"}, "EXIF; left out"),
        ("TIFF", {"EXIF": b"II*\0\x08\0\0\0\1\0\x12\1\2\0\4\0\0\0six\0" + bytes(4)}, "EXIF's field 274; left out"),
        ("PNG", {"other": b"x", "TIFF:33550": b"x"}, "other, TIFF:33550; left out"),
    ],
)
def test_metadata_that_a_format_cannot_hold_are_named(format, blobs, names):
    with pytest.warns(UserWarning, match=f"{format} cannot hold the metadata {names}"):
        own_file(PIXELS, 8, format.lower(), blobs)


def test_texts_that_png_cannot_hold_are_named():
    blobs = {"text:a\0b": b"1", "text:c": b"2", "language:c": b"d\0e", "translated:f": b"3"}
    png, left_out = add_metadata(own_file(PIXELS, 8, "png", {}), blobs)
    assert left_out == ["text:a\0b", "language:c", "translated:f"]
    assert blobs_of(png) == {"text:c": b"2"}


def test_a_tiff_gets_the_resolution_of_exif_if_there_is_no_other_and_its_thumbnail_is_named():
    exif = Image.Exif()
    exif.update({282: IFDRational(300), 283: IFDRational(300), 296: 2})
    plain = exif.tobytes().removeprefix(b"Exif\0\0")
    for blobs, dpi in ({}, 300), ({"resolution": b"72 72 inch"}, 72):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for ordered in ({"EXIF": plain, **blobs}, {**blobs, "EXIF": plain}):
                with Image.open(io.BytesIO(own_file(PIXELS, 8, "tiff", ordered))) as image:
                    assert image.info["dpi"] == (dpi, dpi)
    end = 8 + 2 + 12 * len(exif)  # of the first directory, where the place of the thumbnail's is
    order = "<" if plain.startswith(b"II") else ">"
    thumbnail = struct.pack(f"{order}HHHIHxxI", 1, 259, 3, 1, 6, 0)
    with_thumbnail = plain[:end] + struct.pack(f"{order}I", len(plain)) + plain[end + 4 :] + thumbnail
    with pytest.warns(UserWarning, match="TIFF cannot hold the metadata EXIF's thumbnail; left out"):
        own_file(PIXELS, 8, "tiff", {"EXIF": with_thumbnail})


def test_resolutions_are_parsed_and_written():
    for blob in (b"300 300 inch", b"11811 2835 metre", b"1 2 ratio", b"601/2 118 centimetre"):
        assert parse_resolution(blob).blob() == blob
    for damaged in (b"", b"1 2", b"1/0 1 inch", b"1 1 mile", b"-1 1 inch", b"1 1 inch "):
        assert parse_resolution(damaged) is None
    assert parse_physical(Resolution(Fraction(300), Fraction(300), "inch").physical()).blob() == b"11811 11811 metre"
    assert parse_resolution(b"118 118 centimetre").per_inch() == pytest.approx((299.72, 299.72))
    resolution = parse_resolution(blobs_of(encode(PIXELS, "BMP", dpi=(300, 300)))["resolution"])
    assert resolution.per_inch() == pytest.approx((300, 300), abs=0.02)


@pytest.mark.parametrize(
    ("blob", "held"),
    [
        (b"2/5 2/5 ratio", b"2 2 ratio"),
        (b"3/2 5/2 ratio", b"3 5 ratio"),
        (b"1 10667/10000 ratio", b"10000 10667 ratio"),
        (b"9999999999 1/7 ratio", b"2147483647 1 ratio"),
        (b"1/250 1/250 centimetre", b"1 1 metre"),
    ],
)
def test_a_resolution_that_png_cannot_hold_keeps_its_shape_and_is_named(blob, held):
    with pytest.warns(UserWarning, match="PNG cannot hold the metadata resolution's fractions; left out"):
        png = own_file(PIXELS, 8, "png", {"resolution": blob})
    assert blobs_of(png)["resolution"] == held


def test_a_ratio_of_fractions_passes_through_pillow():
    blobs, _ = to_pillow({"resolution": b"3/2 2 ratio"})
    assert blobs == {"aspect": (Fraction(3, 2), 2)}
    image = Image.fromarray(PIXELS)
    image.info |= blobs
    assert read_metadata(image)["resolution"] == b"3/2 2 ratio"


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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("packet", "kept"), [((2, 0, "<x>Ü</x>".encode()), "<x>Ü</x>"), ((4, 2, (1, 2)), (1, 2))])
def test_texts_that_are_not_ascii_and_tags_of_unusual_types_come_back(packet, kept, order):
    text, iptc = "Größe 5 µm, 山", TAGS[33723][2]
    texts = dict.fromkeys((270, 285, 315), (2, 0, text.encode()))
    numbers = 4, 3, struct.unpack(f"{order}3I", iptc)
    tags = tiff_tags(through_ppyr(tagged_tiff({**texts, 700: packet, 33723: numbers}, order)))
    assert {tags[tag].value for tag in texts} == {text}
    assert tags[33723].value == iptc and tags[700].value == kept


def test_a_resolution_of_floats_is_kept():
    tags = ImageFileDirectory_v2()
    for number, value in ((282, 300.5), (283, 72.0)):
        tags.tagtype[number] = 12
        tags[number] = value
    assert blobs_of(encode(PIXELS, "TIFF", tiffinfo=tags))["resolution"] == b"601/2 72 inch"


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


def test_tags_of_unknown_and_fields_of_wrong_types_are_named():
    with pytest.warns(UserWarning, match="not kept: TIFF tag 40005"):
        read(tagged_tiff({40005: (17, 1, -(2**40))}))
    exif = Image.Exif()
    exif.get_ifd(34853).update({0: b"\2\3\0\0", 1: "N"})
    data = own_file(PIXELS, 8, "tiff", {"EXIF": exif.tobytes()})
    with pytest.warns(UserWarning, match="not kept: EXIF's field 0$"):
        blobs = blobs_of(data.replace(struct.pack("<HHI", 0, 1, 4), struct.pack("<HHI", 0, 2, 4)))
    assert exif_fields(blobs["EXIF"]) == ({}, {34665: {}, 34853: {1: "N"}})


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
