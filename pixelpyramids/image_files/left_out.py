"""Find the parts of image files that Pillow ignores: other chunks, boxes, segments, extensions, trailing bytes.

Each function yields the names of these parts. None checks for damage that Pillow finds itself.
Sources: GIF89a, CompuServe, 1990; ITU-T T.81 (JPEG), T.800 (JPEG 2000); RFC 9649 (WebP); Truevision TGA 2.0, 1991;
BITMAPV5HEADER, Microsoft; the QOI specification, 2022; Technical Reference Manual of PC Paintbrush, ZSoft, 1991.
"""

import re
import struct
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageFile

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.pixel_coding import webp_chunks

_WEBP = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP", b"EXIF", b"XMP ", b"ANIM", b"ANMF"}
_BOXES = {
    "JPEG 2000": {b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"ihdr", b"bpcc", b"pclr", b"cmap", b"cdef", b"res ", b"resc"},
    "AVIF": {b"ftyp", b"meta", b"mdat", b"free", b"skip"},
}
_KEPT_SEGMENTS = (
    b"\xe0JFIF\0", b"\xe1Exif\0\0", b"\xe1http://ns.adobe.com/xap/1.0/\0", b"\xe2ICC_PROFILE\0", b"\xeeAdobe",
)  # fmt: skip
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_QOI_END = bytes(7) + b"\1"
_TGA_MARK = b"TRUEVISION-XFILE.\0"
# By Pillow's name of the pixels: the bytes of a pixel, and its first unread bit.
_UNREAD_BITS = {"BGRX": (4, 24, "fourth byte"), "BGR;15": (2, 15, "sixteenth bit")}
_PCX_PALETTE = 769  # bytes at the end of a PCX: a mark and 256 colours
_PCX_MARK = 12


def find_left_out(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """The names of the ignored parts of an opened file. Raises DataError if a PCX lacks rows or its palette."""
    find = _FINDERS.get(image.format or "")
    try:
        return tuple(dict.fromkeys([*_unread_bits(image, data), *(find(data) if find else ())]))
    except (struct.error, IndexError):
        return (f"the end of the {image.format}, which is malformed",)


def bytes_after(count: int, kind: str) -> list[str]:
    """The name of the bytes that follow the end of an image in its file, if there are any."""
    return [f"{count} bytes after the {kind}'s end"] if count > 0 else []


def _in_webp(data: bytes) -> Iterator[str]:
    yield from (f"WebP chunk {name.decode('latin-1')}" for name in webp_chunks(data) if name not in _WEBP)
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    yield from bytes_after(len(data) - end - end % 2, "WebP")


def _in_boxes(data: bytes, kind: str, begin: int = 0, end: int | None = None) -> Iterator[str]:
    place, end = begin, len(data) if end is None else end
    while place + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, place)
        head, length = (16, struct.unpack_from(">Q", data, place + 8)[0]) if length == 1 else (8, length)
        length = length or end - place
        if length < head or place + length > end:
            break
        if name in (b"jp2h", b"res "):
            yield from _in_boxes(data, kind, place + head, place + length)
        is_profile = name == b"colr" and data[place + head] != 1
        if is_profile or (name != b"colr" and name not in _BOXES[kind]):
            yield f"{kind} box {name.decode('latin-1').strip()}" + " (a colour profile)" * is_profile
        place += length
    yield from bytes_after(end - place, kind)


def _in_jpeg_2000(data: bytes) -> Iterator[str]:
    if not data.startswith(b"\xff\x4f"):
        yield from _in_boxes(data, "JPEG 2000")
        return
    place = 2
    while data[place : place + 2] not in (b"\xff\xd9", b""):
        at = 6 if data[place + 1] == 0x90 else 2  # where the length of a tile-part or segment is
        length = struct.unpack_from(">I" if at == 6 else ">H", data, place + at)[0] + (2 if at == 2 else 0)
        place = place + length if length else len(data) - 2
    yield from bytes_after(len(data) - place - 2, "JPEG 2000")


def _in_jpeg(data: bytes) -> Iterator[str]:
    place, comments = 2, 0
    while data[place + 1] != 0xD9:
        marker, length = data[place + 1], struct.unpack_from(">H", data, place + 2)[0]
        content = data[place + 1 : place + 2] + data[place + 4 : place + 2 + length]
        comments += marker == 0xFE
        if 0xE0 <= marker <= 0xEF and not content.startswith(_KEPT_SEGMENTS):
            yield f"JPEG segment APP{marker - 0xE0}"
        place += 2 + length
        if marker == 0xDA or data[place] != 0xFF:  # compressed pixels, up to the next marker
            found = _MARKER.search(data, place)
            if found is None:
                return
            place = found.start()
    if comments > 1:
        yield "all JPEG comments except the last one"
    yield from bytes_after(len(data) - place - 2, "JPEG")


def _in_gif(data: bytes) -> Iterator[str]:
    flags = data[10]
    place = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    while data[place] != 0x3B:
        if data[place] == 0x21:
            name = data[place + 3 : place + 3 + data[place + 2]].decode("latin-1")
            if data[place + 1] == 0xFF and not name.startswith("NETSCAPE"):
                yield f"GIF extension {name.strip()}"
            elif data[place + 1] not in (0xF9, 0xFE, 0xFF):
                yield "GIF text" if data[place + 1] == 1 else f"GIF extension {data[place + 1]}"
            place += 2
        else:
            flags = data[place + 9]
            place += 11 + (3 << (flags & 7) + 1 if flags & 128 else 0)
        while data[place]:  # blocks, each after its length
            place += 1 + data[place]
        place += 1
    yield from bytes_after(len(data) - place - 1, "GIF")


def _in_bmp(data: bytes) -> Iterator[str]:
    is_file = data.startswith(b"BM")
    begin = struct.unpack_from("<I", data, 10)[0] if is_file else 0
    header = data[14 if is_file else 0 :]
    (size,) = struct.unpack_from("<I", header)
    if size == 12:
        return
    width, height, _, bits, compression, packed = struct.unpack_from("<iiHHII", header, 4)
    if size >= 124 and struct.unpack_from("<I", header, 116)[0]:
        yield "the BMP's colour profile"
    elif is_file and (packed or compression in (0, 3)):
        line = (width * bits + 31) // 32 * 4
        size = line * abs(height) if compression in (0, 3) else packed
        yield from bytes_after(len(data) - begin - size, "BMP")


def _unread_bits(image: Image.Image, data: bytes) -> Iterator[str]:
    """Bits of a BMP's pixels that hold alpha in the files of some programs."""
    if image.format not in ("BMP", "DIB") or not isinstance(image, ImageFile.ImageFile):
        return
    tile = image.tile[0]
    if not isinstance(tile.args, tuple) or tile.args[0] not in _UNREAD_BITS:
        return
    size, shift, name = _UNREAD_BITS[tile.args[0]]
    line = tile.args[1] // size
    lines = data[tile.offset :][: tile.args[1] * image.height]
    pixels = np.frombuffer(lines, f"<u{size}", len(lines) // size)
    if (pixels[np.arange(pixels.size) % line < image.width] >> shift).any():
        yield f"the {name} of the BMP's pixels"


def _in_pcx(data: bytes) -> Iterator[str]:
    top, bottom, planes, line = struct.unpack_from("<6xH2xH53xBH", data)
    end = len(data)
    if data[3] == 8 and planes == 1:
        end -= _PCX_PALETTE
        if end < 128 or data[end] != _PCX_MARK:  # else Pillow would take palette indices for greys
            raise DataError("expected a PCX that ends with its palette, got none; replace or convert it")
    place, size, needed = 128, 0, (bottom + 1 - top) * planes * line
    while place < end and size < needed:
        is_run = data[place] >= 0xC0
        size += data[place] & 63 if is_run else 1
        place += 2 if is_run else 1
    if size < needed:
        raise DataError("expected a complete PCX, got one with missing rows; replace or remove the file")
    yield from bytes_after(end - place, "PCX")


def _in_tga(data: bytes) -> Iterator[str]:
    begin, has_map, kind, length, entry, width, height, bits = struct.unpack_from("<BBB2xHB4xHHB", data)
    if begin:
        yield "the TGA's image ID"
    if data.endswith(_TGA_MARK):
        if any(struct.unpack_from("<II", data, len(data) - 26)):
            yield "the TGA's extension or developer area"
    elif kind < 8:
        colours = length * -(-entry // 8) if has_map else 0
        yield from bytes_after(len(data) - 18 - begin - colours - -(-width * bits // 8) * height, "TGA")


def _in_qoi(data: bytes) -> Iterator[str]:
    if not data.endswith(_QOI_END):
        yield "bytes instead of the QOI's end marker"


_FINDERS: dict[str, Callable[[bytes], Iterator[str]]] = {
    "WEBP": _in_webp,
    "AVIF": lambda data: _in_boxes(data, "AVIF"),
    "JPEG2000": _in_jpeg_2000,
    "JPEG": _in_jpeg,
    "GIF": _in_gif,
    "BMP": _in_bmp,
    "DIB": _in_bmp,
    "PCX": _in_pcx,
    "TGA": _in_tga,
    "QOI": _in_qoi,
}
