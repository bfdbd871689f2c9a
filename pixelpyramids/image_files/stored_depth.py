"""The bit depth of the pixels in AVIF and JPEG 2000 files. Pillow converts most of them to 8 bits."""

import struct

from PIL import Image

from pixelpyramids.errors import DataError

CODESTREAM = b"\xff\x4f\xff\x51"  # the markers before a JPEG 2000's pixels
_SRGB, _GREY, _MULTIPLIED = 16, 17, 2


def stored_depth(image: Image.Image, data: bytes) -> int:
    """The bits per channel that an AVIF or JPEG 2000 file stores; 8 for other formats.

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
        place = data.find(CODESTREAM) + 4
        _check_colours(data[:place])
        (channels,) = struct.unpack_from(">H", data, place + 36)
        sizes = set(data[place + 38 : place + 38 + 3 * channels : 3])
        if len(sizes) != 1 or max(sizes) & 128:
            kind = "signed ones" if len(sizes) == 1 else "different depths"
            raise DataError(f"expected unsigned channels of one depth in the JPEG 2000, got {kind}; convert it")
        return (sizes.pop() & 127) + 1
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
