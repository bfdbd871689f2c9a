"""Find what Pillow ignores silently: alpha bytes in BMP, the missing end of a PCX, alpha in 16-bit TGA.

Sources: BITMAPINFOHEADER, Microsoft; Technical Reference Manual of PC Paintbrush, ZSoft, 1991.
"""

import struct

import numpy as np
from PIL import Image, ImageFile

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.left_out import bytes_after

_TGA_COLOURS = (2, 10)  # the types of TGA that hold colours, not greys or palette indices
_PALETTE = 769  # bytes at the end of a PCX: a mark and 256 colours
_MARK = 12


def find_gaps(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """The names of what Pillow ignores in an opened image. Raises DataError if rows are missing or bits are misread."""
    if image.format == "PCX":
        return _find_pcx_gaps(data)
    if image.format == "TGA" and (data[16] if data[2] in _TGA_COLOURS else data[1] and data[7]) in (15, 16):
        raise DataError("expected 8 bits per colour in the TGA, got 5 bits and one of alpha; convert it to PNG")
    if image.format == "BMP" and isinstance(image, ImageFile.ImageFile):
        tile = image.tile[0]
        if isinstance(tile.args, tuple) and tile.args[0] == "BGRX":
            pixels = np.frombuffer(data, np.uint8)[tile.offset :][: 4 * image.width * image.height]
            return ("the fourth byte of the BMP's pixels",) if pixels[3::4].any() else ()
    return ()


def _find_pcx_gaps(data: bytes) -> tuple[str, ...]:
    top, bottom, planes, line = struct.unpack_from("<6xH2xH53xBH", data)
    end = len(data)
    if data[3] == 8 and planes == 1:
        end -= _PALETTE
        if end < 128 or data[end] != _MARK:  # else Pillow would take palette indices for greys
            raise DataError(
                "expected a PCX that ends with its palette, got none; the file is cut short or of another kind"
            )
    place, size, needed = 128, 0, (bottom + 1 - top) * planes * line
    while place < end and size < needed:
        is_run = data[place] >= 0xC0
        size += data[place] & 63 if is_run else 1
        place += 2 if is_run else 1
    if size < needed:
        raise DataError("expected a complete PCX, got one with missing rows; replace or remove the file")
    return (bytes_after(end - place, "PCX"),) if place < end else ()
