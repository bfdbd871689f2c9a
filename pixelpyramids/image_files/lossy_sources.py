"""Whether a file's pixels were compressed with loss, and their depth before Pillow made them 8 bits."""

import struct
from collections.abc import Callable
from typing import Any

from PIL import Image

from pixelpyramids.errors import DataError

_SIZE, _CODING_STYLE = b"\xff\x51", b"\xff\x52"  # markers of JPEG 2000
_CODESTREAM = b"\xff\x4f\xff\x51"
_SRGB, _GREY, _MULTIPLIED = 16, 17, 2


def is_lossy(format: str | None, read_content: Callable[[], bytes]) -> bool:
    """Whether a file of that format was compressed with loss: JPEG, AVIF, and the lossy kinds of WebP and JPEG 2000.

    The content is read only if the format does not tell.
    """
    if format == "WEBP":
        return not _has_webp_chunk(read_content(), b"VP8L")
    if format == "JPEG2000":
        return not _is_reversible(read_content())
    return format in ("JPEG", "MPO", "AVIF")


def stored_depth(image: Image.Image, data: bytes) -> int:
    """The bits per channel that an AVIF or JPEG 2000 file stores; 8 for other formats.

    Raises ValueError if the file does not say, and DataError for JPEG 2000 that is not read exactly: Pillow shifts
    channels that differ or are signed, and converts luma and chroma.
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
            kind = "signed ones" if len(sizes) == 1 else "different depths"
            raise DataError(f"expected unsigned channels of one depth in the JPEG 2000, got {kind}; convert it")
        return (sizes.pop() & 127) + 1
    return 8


def _check_colours(boxes: bytes) -> None:
    """Raise DataError if the boxes of a JPEG 2000 name other colours than sRGB and grey, or alpha multiplied in."""
    place = boxes.find(b"colr\1")
    if place >= 0 and (space := int.from_bytes(boxes[place + 7 : place + 11], "big")) not in (_SRGB, _GREY):
        raise DataError(f"expected sRGB or grey in the JPEG 2000, got colour space {space}; convert it")
    place = boxes.find(b"cdef")
    count = int.from_bytes(boxes[place + 4 : place + 6], "big") if place >= 0 else 0
    if _MULTIPLIED in boxes[place + 9 : place + 6 + 6 * count : 6]:
        raise DataError("expected plain alpha in the JPEG 2000, got alpha multiplied into the colours; convert it")


def _has_webp_chunk(data: bytes, wanted: bytes) -> bool:
    place = 12
    while place + 8 <= len(data):
        if data[place : place + 4] == wanted:
            return True
        place += 8 + (int.from_bytes(data[place + 4 : place + 8], "little") + 1 & ~1)
    return False


def _is_reversible(data: Any) -> bool:
    """Whether the first coding style of a JPEG 2000 is that of the reversible wavelet; quality may be cut even so."""
    place = data.find(_CODESTREAM) + 2
    while place > 1 and place + 4 <= len(data) and data[place] == 0xFF:
        marker, (length,) = data[place : place + 2], struct.unpack_from(">H", data, place + 2)
        if marker == _CODING_STYLE:
            return bool(data[place + 13] == 1)
        place += 2 + length
    return False
