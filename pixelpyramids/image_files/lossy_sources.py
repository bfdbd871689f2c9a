"""Whether a file's pixels were compressed with loss."""

import struct
from collections.abc import Callable
from typing import Any

from pixelpyramids.image_files.stored_depth import CODESTREAM

_CODING_STYLE = b"\xff\x52"  # a marker of JPEG 2000


def is_lossy(format: str | None, read_content: Callable[[], bytes]) -> bool:
    """Whether a file of that format was compressed with loss: JPEG, AVIF, and the lossy kinds of WebP and JPEG 2000.

    The content is read only if the format alone does not say.
    """
    if format == "WEBP":
        return not _has_webp_chunk(read_content(), b"VP8L")
    if format == "JPEG2000":
        return not _is_reversible(read_content())
    return format in ("JPEG", "MPO", "AVIF")


def _has_webp_chunk(data: bytes, name: bytes) -> bool:
    place = 12
    while place + 8 <= len(data):
        if data[place : place + 4] == name:
            return True
        place += 8 + (int.from_bytes(data[place + 4 : place + 8], "little") + 1 & ~1)
    return False


def _is_reversible(data: Any) -> bool:
    """Whether the first coding style of a JPEG 2000 is the reversible wavelet. Some quality may still have been cut."""
    place = data.find(CODESTREAM) + 2
    while place > 1 and place + 4 <= len(data) and data[place] == 0xFF:
        marker, (length,) = data[place : place + 2], struct.unpack_from(">H", data, place + 2)
        if marker == _CODING_STYLE:
            return bool(data[place + 13] == 1)
        place += 2 + length
    return False
