"""A writer of TIFFs with all their depths and kinds of metadata; Pillow writes no 16-bit colour.

Source: TIFF Revision 6.0, Adobe, 1992.
"""

import zlib
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels, pack_bits
from pixelpyramids.image_files.file_source import DAMAGE
from pixelpyramids.image_files.metadata import (
    DIRECTORIES,
    INTEROPERABILITY,
    KEPT_OTHERWISE,
    TIFF_FIELDS,
    exact_text,
    warn_left_out,
)
from pixelpyramids.image_files.resolution import parse_resolution
from pixelpyramids.image_files.tiff_reader import (
    ALPHA,
    BITS,
    CHANNELS,
    COMPRESSION,
    DEFLATE,
    EXTRA,
    HEIGHT,
    ICC,
    LINES_PER_STRIP,
    PHOTOMETRIC,
    STRIP_BYTES,
    STRIP_OFFSETS,
    UNIT,
    WIDTH,
    X_PER_UNIT,
    XMP,
    Y_PER_UNIT,
    directory,
)

_STRIP = 2**18  # bytes, about
_WRITTEN_GREY, _WRITTEN_COLOUR = (1, 2, 4, 8, 12, 16), (8, 16)
_MOST = 2**32 - 1  # bytes of a TIFF


def write_tiff(pixels: Pixels, depth: int, metadata: Mapping[str, bytes], target: BinaryIO) -> None:
    """Write pixels (H, W) or (H, W, C) as one deflated TIFF. Raises DataError if TIFF has no such depth."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    depths = _WRITTEN_GREY if channels == 1 else _WRITTEN_COLOUR
    if depth not in depths:
        raise DataError(
            f"expected a depth of {', '.join(map(str, depths))} bits for a TIFF of {channels} channels, got {depth}; "
            "write a PNG"
        )
    tags = ImageFileDirectory_v2()
    tags[WIDTH], tags[HEIGHT], tags[CHANNELS] = width, height, channels
    tags[BITS] = (depth,) * channels
    tags[COMPRESSION], tags[PHOTOMETRIC] = DEFLATE, 2 if channels > 2 else 1
    if channels in (2, 4):
        tags[EXTRA] = ALPHA
    _describe(tags, metadata)
    lines = max(_STRIP // -(-width * channels * depth // 8), 1)
    strips = [zlib.compress(_strip(pixels[top : top + lines], depth)) for top in range(0, height, lines)]
    sizes = [len(strip) for strip in strips]
    if sum(sizes) > _MOST - 2**26:
        raise DataError("expected less than 4 GiB for a TIFF, got more; write a PNG")
    tags[LINES_PER_STRIP], tags[STRIP_BYTES] = lines, tuple(sizes)
    tags.tagtype[STRIP_OFFSETS] = TiffTags.LONG
    tags[STRIP_OFFSETS] = tuple(sum(sizes[:number]) for number in range(len(sizes)))
    target.write(b"II*\0\x08\0\0\0" + tags.tobytes(8))
    for strip in strips:
        target.write(strip)


def _describe(tags: ImageFileDirectory_v2, metadata: Mapping[str, bytes]) -> None:
    for name, tag, kind in (("ICC", ICC, TiffTags.UNDEFINED), ("XMP", XMP, TiffTags.BYTE)):
        if name in metadata:
            tags.tagtype[tag] = kind
            tags[tag] = metadata[name]
    left_out = []
    for name in metadata:
        if name.startswith("TIFF:"):
            left_out += [] if _put_back(tags, name, metadata[name]) else [name]
        elif name not in ("ICC", "XMP", "EXIF", "resolution"):
            left_out.append(name)
    if (resolution := parse_resolution(metadata.get("resolution", b""))) is not None:
        scale = 100 if resolution.unit == "metre" else 1  # which TIFF has not
        tags[X_PER_UNIT], tags[Y_PER_UNIT] = resolution.x / scale, resolution.y / scale
        tags[UNIT] = {"ratio": 1, "inch": 2}.get(resolution.unit, 3)
    if "EXIF" in metadata:
        exif = Image.Exif()
        try:
            exif.load(metadata["EXIF"])
            left_out += [
                f"EXIF's field {tag}" for tag in exif if tag not in (*TIFF_FIELDS, *DIRECTORIES, 282, 283, 296)
            ]
        except (SyntaxError, ValueError):
            left_out.append("EXIF")
        for tag in TIFF_FIELDS:
            if tag in exif:
                tags[tag] = exact_text(exif[tag])
        for tag in DIRECTORIES:
            if fields := dict(exif.get_ifd(tag)):
                if INTEROPERABILITY in fields:
                    fields[INTEROPERABILITY] = dict(exif.get_ifd(INTEROPERABILITY))
                tags.tagtype[tag] = TiffTags.LONG
                tags[tag] = {number: exact_text(value) for number, value in fields.items()}  # type: ignore[assignment]
    warn_left_out(left_out, "TIFF")


def _put_back(tags: ImageFileDirectory_v2, name: str, blob: bytes) -> bool:
    """Add the tag that a blob holds, see metadata.py; false if it holds none, or one that must not be set this way."""
    try:
        kept, tag = directory(blob), int(name.removeprefix("TIFF:"))
        value = exact_text(kept[tag])
    except DAMAGE:
        return False
    if tag in KEPT_OTHERWISE:
        return False
    tags.tagtype[tag] = kept.tagtype[tag]
    tags[tag] = value
    return True


def _strip(pixels: Pixels, depth: int) -> bytes:
    if depth in (8, 16):
        return pixels.astype("<u2" if depth == 16 else np.uint8).tobytes()
    return pack_bits(pixels, depth).tobytes()
