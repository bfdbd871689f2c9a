"""How a file codes its pixels, as far as Pillow does not say it: with how many bits, and whether with loss."""

import struct
from collections.abc import Callable, Iterator

from PIL import Image

from pixelpyramids.errors import DataError

_CODESTREAM = b"\xff\x4f\xff\x51"  # the markers before a JPEG 2000's pixels
_CODING_STYLE = b"\xff\x52"  # a marker of JPEG 2000
_SRGB, _GREY, _MULTIPLIED = 16, 17, 2
_TGA_COLOURS = (2, 10)  # the types of TGA that hold colours, not greys or palette indices


def stored_depth(image: Image.Image, data: bytes) -> int:
    """The bits per channel that an AVIF, JPEG 2000 or TGA file stores; 8 for other formats.

    Raises ValueError if the file does not say. Raises DataError for a JPEG 2000 that Pillow does not read exactly: it
    shifts channels that are signed or differ in depth, and converts luma and chroma.
    """
    if image.format == "AVIF":
        place = data.find(b"av1C")
        if place < 0 or place + 7 > len(data):
            raise ValueError("an AVIF without its configuration")
        flags = data[place + 6]
        return 8 if not flags & 64 else 12 if flags & 32 else 10
    if image.format == "JPEG2000":
        place = data.find(_CODESTREAM) + 4
        _check_colours(data[:place])
        (channels,) = struct.unpack_from(">H", data, place + 36)
        sizes = set(data[place + 38 : place + 38 + 3 * channels : 3])
        if len(sizes) != 1 or max(sizes) & 128:
            raise DataError("expected unsigned channels of one depth in the JPEG 2000, got other channels; convert it")
        return (sizes.pop() & 127) + 1
    if image.format == "TGA" and (data[16] if data[2] in _TGA_COLOURS else data[1] and data[7]) in (15, 16):
        return 5
    return 8


def _check_colours(boxes: bytes) -> None:
    """Raise DataError if the boxes of a JPEG 2000 name other colours than sRGB and grey, or premultiplied alpha."""
    place = boxes.find(b"colr\1")
    if place >= 0 and (space := int.from_bytes(boxes[place + 7 : place + 11], "big")) not in (_SRGB, _GREY):
        raise DataError(f"expected sRGB or grey in the JPEG 2000, got colour space {space}; convert it")
    place = boxes.find(b"cdef")
    count = int.from_bytes(boxes[place + 4 : place + 6], "big") if place >= 0 else 0
    if _MULTIPLIED in boxes[place + 9 : place + 6 + 6 * count : 6]:
        raise DataError("expected unassociated alpha in the JPEG 2000, got premultiplied alpha; convert it")


def is_lossy(format: str | None, read_content: Callable[[], bytes]) -> bool:
    """Whether a file of that format was compressed with loss. The content is read only if the format does not say."""
    if format == "WEBP":
        return b"VP8L" not in webp_chunks(read_content())
    if format == "JPEG2000":
        return not _is_reversible(read_content())
    return format in ("JPEG", "MPO", "AVIF")


def webp_chunks(data: bytes) -> Iterator[bytes]:
    """The names of a WebP's chunks. Raises struct.error if the file is cut short."""
    end, place = 8 + struct.unpack_from("<I", data, 4)[0], 12
    while place + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, place)
        yield name
        place += 8 + length + length % 2


def _is_reversible(data: bytes) -> bool:
    """Whether the first coding style of a JPEG 2000 is the reversible wavelet. Some quality may still have been cut."""
    place = data.find(_CODESTREAM) + 2
    while place > 1 and place + 4 <= len(data) and data[place] == 0xFF:
        if data[place : place + 2] == _CODING_STYLE:
            return data[place + 13] == 1
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    return False
