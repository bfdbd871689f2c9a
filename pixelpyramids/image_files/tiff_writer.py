"""Write TIFFs of all depths, with metadata. Pillow writes no 16-bit colour, and tifffile no EXIF directories.

Source: TIFF Revision 6.0, Adobe, 1992.
"""

import shutil
import tempfile
import zlib
from collections.abc import Mapping
from itertools import pairwise
from typing import IO, Any

import numpy as np
from PIL import TiffTags
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pixelpyramids.codec.disk_array import LARGE, report_a_full_disk
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import pack_bits
from pixelpyramids.image_files.metadata import warn_left_out
from pixelpyramids.image_files.tiff_metadata import metadata_to_tags

_STRIP = 2**18  # bytes before compression, about
_DEFLATE, _BLACK_IS_ZERO, _RGB, _ALPHA, _UNSPECIFIED = 8, 1, 2, 2, 0


def write_tiff(pixels: Any, depth: int, metadata: Mapping[str, bytes], target: IO[bytes], about: str = "") -> None:
    """Write pixels (H, W) or (H, W, C), which may be on disk, as a TIFF with Deflate.

    It has 8 or 16 bits and, if it is grey, also 1, 2, 4 or 12 bits. Raises DataError if it is too large for a TIFF.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    tags = ImageFileDirectory_v2()
    tags[Tag.ImageWidth], tags[Tag.ImageLength], tags[Tag.SamplesPerPixel] = width, height, channels
    tags[Tag.BitsPerSample] = (depth,) * channels
    tags[Tag.Compression] = _DEFLATE
    is_colour = channels in (3, 4)
    tags[Tag.PhotometricInterpretation] = _RGB if is_colour else _BLACK_IS_ZERO
    if extra := channels - (3 if is_colour else 1):
        tags[Tag.ExtraSamples] = (_ALPHA if channels <= 4 else _UNSPECIFIED,) * extra
    warn_left_out(metadata_to_tags(metadata, tags), f"{about}TIFF")
    lines = max(_STRIP // -(-width * channels * depth // 8), 1)
    with tempfile.SpooledTemporaryFile(LARGE) as strips:  # their lengths come before them in the file
        places = [0]
        for top in range(0, height, lines):
            with report_a_full_disk():
                strips.write(zlib.compress(_strip(pixels[top : top + lines, :], depth)))
            places.append(strips.tell())
        if places[-1] > 2**32 - 2**26:  # the rest is for the tags
            raise DataError("expected less than 4 GiB for a TIFF, got more; write a PNG")
        tags[Tag.RowsPerStrip], tags[Tag.StripByteCounts] = lines, tuple(end - begin for begin, end in pairwise(places))
        tags.tagtype[Tag.StripOffsets] = TiffTags.LONG
        tags[Tag.StripOffsets] = tuple(places[:-1])
        target.write(b"II*\0\x08\0\0\0" + tags.tobytes(8))
        strips.seek(0)
        shutil.copyfileobj(strips, target)


def _strip(pixels: Any, depth: int) -> bytes:
    if depth in (8, 16):
        packed: bytes = pixels.astype("<u2" if depth == 16 else np.uint8).tobytes()
        return packed
    return pack_bits(pixels, depth).tobytes()
