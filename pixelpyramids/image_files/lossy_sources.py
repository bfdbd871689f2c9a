"""Whether a file's pixels were packed with loss."""

import struct
from typing import Any, BinaryIO

from PIL import Image

from pixelpyramids.image_files.stored_depth import CODESTREAM

LOSSY = ("JPEG", "WEBP", "AVIF", "JPEG2000")
"""The formats of which some files are lossy, by their plugins' names, but for TIFF."""

_CODING_STYLE = b"\xff\x52"  # a marker of JPEG 2000


def is_lossy(image: Image.Image, file: BinaryIO) -> bool:
    """Whether a file, opened as an image, had lost something: JPEG, AVIF, WebP and JPEG 2000 of their lossy kinds."""
    if image.format == "WEBP":
        return not _has_webp_chunk(_all(file), b"VP8L")
    if image.format == "JPEG2000":
        return not _is_reversible(_all(file))
    return image.format in ("JPEG", "MPO", "AVIF")


def _all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _has_webp_chunk(data: bytes, wanted: bytes) -> bool:
    place = 12
    while place + 8 <= len(data):
        if data[place : place + 4] == wanted:
            return True
        place += 8 + (int.from_bytes(data[place + 4 : place + 8], "little") + 1 & ~1)
    return False


def _is_reversible(data: Any) -> bool:
    """Whether the first coding style of a JPEG 2000 is that of the reversible wavelet; quality may be cut even so."""
    place = data.find(CODESTREAM) + 2
    while place > 1 and place + 4 <= len(data) and data[place] == 0xFF:
        marker, (length,) = data[place : place + 2], struct.unpack_from(">H", data, place + 2)
        if marker == _CODING_STYLE:
            return bool(data[place + 13] == 1)
        place += 2 + length
    return False
