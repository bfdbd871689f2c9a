"""TIFF: what its tags say of the pixels, and a writer for every depth and every kind of metadata that TIFF has.

Pillow opens 16-bit colour as 8 bits and writes none; its directory of tags serves both. Source: TIFF 6.0, Adobe.
"""

import io
import math
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pixelpyramids.codec.bit_depth import Pixels, packed
from pixelpyramids.codec.metadata import DIRECTORIES, TIFF_FIELDS, of_tiff, tell_left_out
from pixelpyramids.codec.resolution import parsed
from pixelpyramids.errors import DataError
from pixelpyramids.extras import imported

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIP_OFFSETS, ORIENTATION = 256, 257, 258, 259, 262, 273, 274
CHANNELS, LINES_PER_STRIP, STRIP_BYTES, X_PER_UNIT, Y_PER_UNIT, PLANES, UNIT = 277, 278, 279, 282, 283, 284, 296
EXTRA, SAMPLE_FORMAT, XMP, ICC = 338, 339, 700, 34675
_JPEG = (6, 7, 34892)  # of the last, lossy DNG
_DEFLATE = 8
_YCBCR = 6
_ALPHA = 2  # not multiplied into the colours
_STRIP = 2**18  # bytes, about
_WRITTEN_GREY, _WRITTEN_COLOUR = (1, 2, 4, 8, 12, 16), (8, 16)
_MOST = 2**32 - 1  # bytes of a TIFF


def is_tiff(data: bytes) -> bool:
    """Whether this begins as one."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Tiff(NamedTuple):
    """What the tags say of a TIFF's first picture; `is_plain` that Pillow reads it in full."""

    height: int
    width: int
    depth: int
    orientation: int
    is_plain: bool
    is_planar: bool
    is_lossy: bool
    metadata: dict[str, bytes]


def read_tags(data: bytes) -> Tiff:
    """The facts of a TIFF. Raises DataError where its values are no unsigned integers of at most 16 bits."""
    file, head = io.BytesIO(data), data[: 16 if 43 in data[2:4] else 8]

    def directory(place: int, group: int | None = None) -> Any:
        found = ImageFileDirectory_v2(head, group=group)
        file.seek(place)
        found.load(file)
        return found

    tags = directory(ImageFileDirectory_v2(head).next)
    kinds = {2: "signed", 3: "float", 5: "complex", 6: "complex float"}
    for kind in _several(tags.get(SAMPLE_FORMAT, 1)):
        if kind not in (1, 4):
            raise DataError(
                f"expected unsigned integers of at most 16 bits, got {kinds.get(kind, 'unknown')} values; scale and "
                "round them first"
            )
    depths = sorted(set(_several(tags.get(BITS, 1))))
    if len(depths) != 1 or not 1 <= depths[0] <= 16:
        raise DataError(
            f"expected channels of equal depth, at most 16 bits, got {', '.join(map(str, depths))} bits; convert it"
        )
    (depth,) = depths
    colours, channels, extra = tags.get(PHOTOMETRIC), tags.get(CHANNELS, 1), _several(tags.get(EXTRA, ()))
    height, width = tags[HEIGHT], tags[WIDTH]
    is_plain = depth <= 8 or channels == 1
    if height * width > (Image.MAX_IMAGE_PIXELS or height * width) and depth in (8, 16) and colours in (1, 2):
        is_plain = False  # of TIFFs alone, Pillow asks for its own limit when it loads them
    if depth > 8 and colours == 0:
        raise DataError(f"expected black as 0, got {depth}-bit values of which 0 is white; invert the picture first")
    if not is_plain and colours not in (1, 2):
        raise DataError(f"expected grey or RGB pixels, got {depth}-bit pixels of another kind; convert the file to RGB")
    is_jpeg = tags.get(COMPRESSION) in _JPEG
    if colours == _YCBCR and not is_jpeg:
        raise DataError("expected grey or RGB pixels, got mode YCbCr (luma and chroma); convert the file to RGB")
    if extra not in ((), (_ALPHA,)):
        raise DataError(
            "expected colours and plain alpha at most, got other channels, or alpha multiplied into the colours; "
            "convert the file"
        )
    if not is_plain and depth not in (8, 16):
        raise DataError(f"expected 8 or 16 bits of colour, got {depth}; convert the file to 16 bits")
    return Tiff(
        height, width, depth, tags.get(ORIENTATION, 1), is_plain, tags.get(PLANES, 1) == 2,
        is_jpeg, of_tiff(tags, lambda tag: directory(tags[tag], tag)),
    )  # fmt: skip


def read_wide(data: bytes, tiff: Tiff) -> Pixels:
    """The pixels of a TIFF that is not plain. Raises PixelPyramidsError where the extra is missing."""
    tifffile = imported("tifffile", "images")
    imported("imagecodecs", "images")  # which unpacks most compressions for it
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            if len(file.pages) != 1:
                raise DataError(f"expected one picture, got {len(file.pages)} pages; take them apart first")
            page: Any = file.pages[0]
            pieces = list(zip(page.dataoffsets, page.databytecounts, strict=True))
            if len(pieces) != math.prod(page.chunked) or any(
                not size or offset + size > len(data) for offset, size in pieces
            ):  # which would be read as zeros
                raise DataError("expected a whole TIFF, got one without some of its pixels; replace or remove the file")
            pixels: Any = page.asarray()
    except tifffile.TiffFileError as error:
        raise DataError(f"the TIFF cannot be read: {error}; replace or remove the file") from error
    array: Pixels = np.ascontiguousarray(np.moveaxis(pixels, 0, -1) if tiff.is_planar else pixels)
    return array


def unturned(image: Image.Image, orientation: int) -> Image.Image:
    """The pixels as they are stored: Pillow turns those of a TIFF, and of nothing else, when it loads them."""
    turn = Image.Transpose
    back = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_90,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_270,
    }.get(orientation)
    image.load()
    return image if back is None else image.transpose(back)


def write_tiff(pixels: Pixels, depth: int, metadata: Mapping[str, bytes], target: BinaryIO) -> None:
    """Write pixels (H, W) or (H, W, C) as one deflated TIFF. Raises DataError where TIFF has no such depth."""
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
    tags[COMPRESSION], tags[PHOTOMETRIC] = _DEFLATE, 2 if channels > 2 else 1
    if channels in (2, 4):
        tags[EXTRA] = _ALPHA
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
    left_out = [name for name in metadata if name not in ("ICC", "XMP", "EXIF", "resolution")]
    if (resolution := parsed(metadata.get("resolution", b""))) is not None:
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
                tags[tag] = exif[tag]
        for tag in DIRECTORIES:
            if fields := exif.get_ifd(tag):
                tags.tagtype[tag] = TiffTags.LONG
                tags[tag] = fields  # type: ignore[assignment]
    tell_left_out(left_out, "TIFF")


def _strip(pixels: Pixels, depth: int) -> bytes:
    if depth in (8, 16):
        return pixels.astype("<u2" if depth == 16 else np.uint8).tobytes()
    return packed(pixels, depth).tobytes()


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
