"""What image files hold besides their pixels is kept, or a warning names it."""

import struct

import pytest
from image_samples import pillow_file, read
from pictures import pixels

SURPLUS = b"a film behind it\0"
KINDS = {
    "WEBP": {"lossless": True},
    "TGA": {},
    "PCX": {},
    "GIF": {},
    "BMP": {},
    "QOI": {},
    "JPEG": {},
    "JPEG2000": {},
    "AVIF": {},
}


def file_of(kind, **options):
    return pillow_file(pixels(), kind, **(KINDS[kind] | options))


@pytest.mark.filterwarnings("ignore:not kept")
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_after_the_end_are_named(kind):
    data = file_of(kind)
    assert read(data).not_kept == ()
    if kind == "TGA":
        data = data[:-26]  # without the footer that marks its end
    (name,) = read(data + SURPLUS).not_kept
    assert f"{len(SURPLUS)} bytes after" in name or "instead of the QOI's end marker" in name


@pytest.mark.filterwarnings("ignore:not kept")
def test_bytes_after_a_bare_codestream_are_named():
    data = file_of("JPEG2000", no_jp2=True)
    assert read(data).not_kept == ()
    assert read(data + SURPLUS).not_kept == (f"{len(SURPLUS)} bytes after the JPEG 2000's end",)


def put_in(data, place, more):
    return data[:place] + more + data[place:]


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_parts():
    webp = file_of("WEBP", icc_profile=b"abc") + b"MINE" + struct.pack("<I", 2) + b"ab"
    yield webp[:4] + struct.pack("<I", len(webp) - 8) + webp[8:], "WebP chunk MINE"
    gif = file_of("GIF", comment=b"hello")
    place = gif.index(b"!\xfe")
    yield put_in(gif, place, b"!\xff\x0bXMP DataXMP\x02ab\0"), "GIF extension XMP DataXMP"
    yield put_in(gif, place, b"!\x01\x0c" + bytes(12) + b"\x02ab\0"), "GIF text"
    jpeg = file_of("JPEG")
    yield put_in(jpeg, 2, segment(0xED, b"Photoshop 3.0\0")), "JPEG segment APP13"
    yield put_in(jpeg, 2, segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0")), "JPEG segment APP1"
    yield put_in(jpeg, 2, segment(0xFE, b"one") + segment(0xFE, b"two")), "all JPEG comments except the last one"
    yield file_of("JPEG2000") + struct.pack(">I4s", 10, b"xml ") + b"ab", "JPEG 2000 box xml"
    boxes = file_of("JPEG2000")
    profile = struct.pack(">I4sBBB", 15, b"colr", 2, 0, 0) + b"icc!"
    place = boxes.index(b"jp2h") - 4
    end = place + struct.unpack_from(">I", boxes, place)[0]
    boxes = (
        boxes[:place] + struct.pack(">I", end - place + len(profile)) + boxes[place + 4 : end] + profile + boxes[end:]
    )
    yield boxes, "JPEG 2000 box colr (a colour profile)"
    yield file_of("TGA", id_section=b"mine"), "the TGA's image ID"
    tga = file_of("TGA")
    yield (
        tga[:-26] + SURPLUS + struct.pack("<II", len(tga) - 26, 0) + tga[-18:],
        "the TGA's extension or developer area",
    )
    bmp = file_of("BMP")
    header = struct.pack("<I", 124) + bmp[18:54] + bytes(72) + struct.pack("<IIII", 124, 4, 0, 0)
    yield b"BM" + struct.pack("<III", 0, 0, 138) + header[:124] + bmp[54:], "the BMP's colour profile"


@pytest.mark.filterwarnings("ignore:not kept")
@pytest.mark.parametrize(("data", "name"), list(with_parts()))
def test_parts_that_are_not_kept_are_named(data, name):
    assert name in read(data).not_kept


def test_comments_are_kept_in_any_encoding():
    for comment, kept in ((b"caf\xc3\xa9", "café"), (b"caf\xe9", "café")):
        for kind in ("GIF", "JPEG"):
            assert read(file_of(kind, comment=comment)).metadata["text:Comment"] == kept.encode()
    for data in (b"P5\n# by me\n2 1 # and you\n255\nab", b"P2 # by me\n2 1\n255 1 # and you\n2"):
        assert read(data).metadata == {"text:Comment": b"by me\nand you"}
    assert read(b"P5\n2 1\n255\n#a").metadata == {}
