"""What belongs to a picture besides its pixels comes back: file, .ppyr, file."""

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
from PIL import Image, ImageCms, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational

import pixelpyramids as pp
from pixelpyramids.codec.container import MAX_METADATA, read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.opening import read_picture
from pixelpyramids.image_files.png_reader import read_chunks
from pixelpyramids.image_files.png_writer import add_metadata
from pixelpyramids.image_files.resolution import Resolution, parse_physical, parse_resolution
from pixelpyramids.image_files.saving import write_image

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


def exif_blob():
    exif = Image.Exif()
    exif[274] = 6
    exif[271] = "Maker"
    exif[306] = "2024:02:29 12:00:59"
    exif.get_ifd(34665)[33434] = IFDRational(1, 250)
    exif.get_ifd(34665)[36867] = "2024:02:29 12:00:58"
    exif.get_ifd(34853)[1] = "N"
    exif.get_ifd(34853)[2] = (47.0, 22.0, 30.5)
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


def written(kind, blobs, array=PIXELS, depth=8):
    file = io.BytesIO()
    write_image(file, array, depth, blobs, kind)
    return file.getvalue()


def read(data):
    return read_picture(io.BytesIO(data)).metadata


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize(("depth", "channels"), [(8, 3), (16, 3), (5, 3)])
def test_all_that_a_png_has_survives_to_ppyr_and_back(depth, channels):
    blobs = dict(EVERYTHING)
    if depth == 5:
        del blobs["sBIT"]  # then it says the depth
    array = (PIXELS >> 8 - depth if depth < 8 else PIXELS).astype(np.uint8 if depth <= 8 else np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = written("png", blobs, array, depth)
        picture = read_picture(io.BytesIO(first))
        data = pp.encode(picture.array, depth=picture.depth, metadata=picture.metadata, effort="fast")
        header = read_index(MemorySource(data), 2**20).header
        assert dict(header.metadata) == picture.metadata == blobs
        again = written("png", dict(header.metadata), pp.decode(data), header.depth)
    assert read(again) == blobs and len(again) == len(first)
    assert np.array_equal(imagecodecs.png_decode(again), imagecodecs.png_decode(first))


def test_pillow_reads_what_is_written_into_a_png():
    with Image.open(io.BytesIO(written("png", EVERYTHING))) as image:
        image.load()
        assert image.info["icc_profile"] == PROFILE
        assert image.info["xmp"] == PACKET
        assert image.info["gamma"] == 0.45455
        assert image.info["chromaticity"] == (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
        assert image.info["srgb"] == 1
        assert image.info["dpi"] == pytest.approx((300, 299.97), abs=0.01)
        assert image.text["Title"] == "Über den Wolken"
        assert (image.text["Comment"], image.text["Comment"].lang) == ("山と川", "ja")
        assert image.text["Comment"].tkey == "コメント"
        assert image.text["Long"] == "so long " * 400
        assert image.getexif()[274] == 6
        assert image.getexif().get_ifd(34665)[33434] == Fraction(1, 250)


def test_what_pillow_writes_into_a_png_is_read():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "Ä", zip=True)
    texts.add_itxt("Comment", "雪", "ja", "注", zip=True)
    texts.add(b"cICP", CHUNKS["cICP"])
    file = io.BytesIO()
    exif = Image.Exif()
    exif.load(exif_blob())
    Image.fromarray(PIXELS).save(file, "PNG", pnginfo=texts, icc_profile=PROFILE, exif=exif, dpi=(300, 300))
    blobs = read(file.getvalue())
    assert blobs["text:Author"] == "Ä".encode()
    assert [blobs[f"{name}:Comment"].decode() for name in ("text", "language", "translated")] == ["雪", "ja", "注"]
    assert blobs["cICP"] == CHUNKS["cICP"] and blobs["ICC"] == PROFILE and blobs["resolution"] == b"11811 11811 metre"
    assert exif_fields(blobs["EXIF"]) == exif_fields(exif_blob())


def test_chunks_that_are_not_kept_are_named():
    data = written("png", {})
    with pytest.warns(UserWarning, match="not kept: PNG chunk prVt, PNG chunk sPLT"):
        read(data[:33] + chunk(b"sPLT", b"x\0") + chunk(b"prVt", b"x") + data[33:])


def test_packed_chunks_that_are_too_large_or_damaged_are_refused():
    data = written("png", {})
    for name in (b"iCCP", b"zTXt"):
        with pytest.raises(DataError, match=f"{name.decode()} cannot be unpacked"):
            read(data[:33] + chunk(name, b"a\0\0no zlib") + data[33:])
        bomb = zlib.compress(bytes(MAX_METADATA + 1), 9)
        with pytest.raises(DataError, match=f"at most {MAX_METADATA} bytes in the PNG's chunk {name.decode()}"):
            read(data[:33] + chunk(name, b"a\0\0" + bomb) + data[33:])
    many = b"".join(chunk(b"tEXt", b"key\0" + bytes([65 + i]) * 2**23) for i in range(2))
    with pytest.raises(DataError, match=r"of metadata, got .* the largest is text"):
        read(data[:33] + many + data[33:])
    bombs = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**23))) * 3
    with pytest.raises(DataError, match=f"at most {MAX_METADATA} bytes of texts"):  # none is unpacked after that
        read(data[:33] + bombs + chunk(b"zTXt", b"key\0\0no zlib") + data[33:])


@pytest.mark.parametrize("depth", [8, 16])
def test_profiles_and_texts_larger_than_libraries_take_are_kept(depth):
    noise = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
    blobs = {"ICC": noise, "XMP": noise[:10].hex().encode() * 200_000, "text:Long": b"x" * 9_000_000}
    pixels = PIXELS if depth == 8 else PIXELS * np.uint16(257)
    file = io.BytesIO()
    write_image(file, pixels, depth, blobs, "png")
    read = read_picture(io.BytesIO(file.getvalue()))
    assert read.metadata == blobs and read.depth == depth and np.array_equal(read.array, pixels)


@given(st.dictionaries(st.sampled_from(["Title", "Author", "a: b"]), st.text(max_size=40), max_size=3))
def test_any_text_survives(texts):
    blobs = {f"text:{keyword}": text.encode() for keyword, text in texts.items()}
    png, left_out = add_metadata(written("png", {}), blobs)
    assert not left_out and read_chunks(png).metadata == blobs


def test_text_that_is_no_utf_8_survives_as_its_bytes():
    data = written("png", {})
    odd = data[:33] + chunk(b"iTXt", b"Title\0\0\0\0\0\xff\xfe") + data[33:]
    assert read(odd) == {"text:Title": b"\xff\xfe"}
    assert written("png", read(odd)) == odd


@pytest.mark.parametrize("depth", [8, 16])
def test_tiff_holds_profile_exif_packet_and_resolution(depth):
    array = PIXELS.astype(np.uint8 if depth == 8 else np.uint16)
    taken = {"ICC": PROFILE, "EXIF": exif_blob(), "XMP": PACKET, "resolution": b"300 601/2 inch"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = written("tiff", taken, array, depth)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        assert bytes(tags[34675].value) == PROFILE and bytes(tags[700].value) == PACKET
        assert (tags[274].value, tags[271].value, tags[282].value, tags[283].value) == (6, "Maker", (300, 1), (601, 2))
        assert tags[34665].value["ExposureTime"] == (1, 250)
        assert tags[34853].value["GPSLatitudeRef"] == "N"
    blobs = read(data)
    assert {name: blobs[name] for name in taken if name != "EXIF"} == {n: b for n, b in taken.items() if n != "EXIF"}
    assert exif_fields(blobs["EXIF"]) == exif_fields(exif_blob())
    assert written("tiff", blobs, array, depth) == data


def test_webp_holds_profile_exif_and_packet():
    with pytest.warns(UserWarning, match=r"WEBP has no place for the metadata resolution, gAMA, .*text:Title"):
        data = written("webp", EVERYTHING)
    assert read(data) == {name: EVERYTHING[name] for name in ("ICC", "EXIF", "XMP")}


def test_what_jpeg_holds_is_read():
    file = io.BytesIO()
    options = {"icc_profile": PROFILE, "exif": b"Exif\0\0" + EVERYTHING["EXIF"], "xmp": PACKET, "dpi": (300, 300)}
    Image.fromarray(PIXELS).save(file, "JPEG", comment=b"a comment", **options)
    expected = {name: EVERYTHING[name] for name in ("ICC", "EXIF", "XMP")}
    assert read(file.getvalue()) == expected | {"resolution": b"300 300 inch", "text:Comment": b"a comment"}


@pytest.mark.parametrize(
    ("kind", "names"), [("tiff", "gAMA, cHRM"), ("ppm", "ICC, EXIF"), ("bmp", "ICC, EXIF"), ("npy", "ICC, EXIF")]
)
def test_what_a_format_has_no_place_for_is_named(kind, names):
    with pytest.warns(UserWarning, match=f"{kind} has no place for the metadata {names}".replace("tiff", "TIFF")
                      .replace("ppm", "PPM").replace("bmp", "BMP")):  # fmt: skip
        written(kind, EVERYTHING)


def test_texts_that_png_cannot_hold_are_named():
    blobs = {"text:a\0b": b"1", "text:c": b"2", "language:c": b"d\0e", "translated:f": b"3"}
    png, left_out = add_metadata(written("png", {}), blobs)
    assert left_out == ["text:a\0b", "language:c", "translated:f"]
    assert read(png) == {"text:c": b"2"}


def test_unknown_blobs_and_damaged_exif_are_named():
    with pytest.warns(UserWarning, match="PNG has no place for the metadata other, left out"):
        written("png", {"other": b"x"})
    with pytest.warns(UserWarning, match="TIFF has no place for the metadata EXIF, left out"):
        written("tiff", {"EXIF": b"no structure"})


def test_resolutions():
    for blob in (b"300 300 inch", b"11811 2835 metre", b"1 2 ratio", b"601/2 118 centimetre"):
        assert parse_resolution(blob).blob() == blob
    for damaged in (b"", b"1 2", b"1/0 1 inch", b"1 1 mile", b"-1 1 inch", b"1 1 inch "):
        assert parse_resolution(damaged) is None
    assert parse_physical(Resolution(Fraction(300), Fraction(300), "inch").physical()).blob() == b"11811 11811 metre"
    assert parse_resolution(b"118 118 centimetre").per_inch() == pytest.approx((299.72, 299.72))
    assert parse_physical(b"short") is None
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "BMP", dpi=(300, 300))
    resolution = parse_resolution(read(file.getvalue())["resolution"])
    assert resolution.per_inch() == pytest.approx((300, 300), abs=0.02)
