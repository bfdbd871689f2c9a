"""Convert arrays of any shape and depth to planes and back; find the lines of an octave that a region covers.

A plane (3, H, W) holds three channels; each channel that is left has its own plane. Only the first channel of a plane
is coded if all three are equal. If an image has more than 8 bits and few distinct values, its planes hold indices into
the list of these values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pixelpyramids.arguments import plain_array, whole_number
from pixelpyramids.codec.compact_model import Codings
from pixelpyramids.codec.container import MAX_CHANNELS, MAX_SIDE, Content, FileHeader, pack_values
from pixelpyramids.codec.disk_array import DiskArray, allocate, bands_of, copy_chunks, is_large
from pixelpyramids.codec.engine import Coding
from pixelpyramids.codec.octave_pixels import OctavePixels, Window
from pixelpyramids.codec.parts import list_tiles
from pixelpyramids.errors import DataError
from pixelpyramids.pyramid import octaves

TYPICAL_DIFFERENCE = 4  # of neighbours in the 8-bit training photographs (mean); deep images are scaled to it
_ARRAY_MODES = ("L", "LA", "RGB", "RGBA", "I;16", "I;16B")

ImageArray = NDArray[np.uint8] | NDArray[np.uint16]
Region = tuple[int, int, int, int]


def check_array(array: Any, depth: int | None) -> tuple[Any, int]:
    """Return the array, which may be on disk, and its depth in bits.

    Raises DataError if it is not an image that the codec supports.
    """
    from PIL import Image

    if isinstance(array, Image.Image) and (array.mode not in _ARRAY_MODES or "transparency" in array.info):
        raise DataError(
            f"expected an array, or a Pillow image of mode {', '.join(_ARRAY_MODES)} without a transparent colour, got "
            f"mode {array.mode}, whose array lacks colours or alpha; convert it, for example with image.convert('RGBA')"
        )
    if _is_large_and_chunked(array):
        array = copy_chunks(array)
    array = array if isinstance(array, DiskArray) else plain_array(array)
    if array.dtype not in (np.uint8, np.uint16):
        raise DataError(f"expected an array of uint8 or uint16, got {array.dtype}; scale and round it first")
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= MAX_CHANNELS) or not array.size:
        raise DataError(
            f"expected an image (H, W) or (H, W, C) with C from 1 to {MAX_CHANNELS} and at least one pixel, got "
            f"{array.shape}"
        )
    if max(array.shape[:2]) > MAX_SIDE:
        raise DataError(f"expected at most {MAX_SIDE} pixels a side, got {array.shape[0]} x {array.shape[1]}")
    most = 8 * array.itemsize
    depth = most if depth is None else whole_number(f"the depth of {array.dtype} in bits", depth, 1, most)
    if depth < most and (largest := max(int(band.max()) for _, band in bands_of(array))) >> depth:
        raise DataError(f"expected values below 2**{depth}, got {largest}; pass a larger depth")
    return array, depth


def _is_large_and_chunked(array: Any) -> bool:
    """Whether an array has the attributes of those of zarr and HDF5, and an image that should be copied to disk."""
    if not all(hasattr(array, name) for name in ("shape", "chunks", "dtype")) or array.chunks is None:
        return False
    is_image = array.dtype in (np.uint8, np.dtype("<u2"), np.dtype(">u2")) and len(array.shape) in (2, 3)
    return is_image and is_large(array.shape, array.dtype)


def describe(
    array: Any, depth: int, model: bytes, metadata: Mapping[str, bytes], source_format: str
) -> tuple[FileHeader, OctavePixels]:
    """Return the header for an array, without mixed channels, and the images of its octaves."""
    height, width, channels = (*array.shape, 1)[:3]
    pixels = array.reshape(height, width, channels)
    values = _sparse_values(pixels, depth) if depth > 8 else None
    grey = channels in (3, 4) and all((band[..., :1] == band[..., 1:3]).all() for _, band in bands_of(pixels))
    header = FileHeader(
        height, width, channels, array.ndim == 3, array.itemsize == 2, depth, Content.MODEL, model, grey, values,
        metadata=metadata, source_format=source_format,
    )  # fmt: skip
    header = replace(header, mixed=(0,) * len(header.coded))
    images = OctavePixels(header, _decimations(pixels))
    if header.bits > 8:
        planes = range(len(header.coded))
        gains = (tuple(_gain(images, n, plane, header.bits) for n in range(header.octaves)) for plane in planes)
        header = replace(header, gains=tuple(gains))
    return header, images


def _decimations(pixels: Any) -> list[Any]:
    """Return the images (h, w, C) of an image's octaves, finest first: views, or copies if they are on disk."""
    images = [pixels]
    for _ in octaves.octave_sizes(*pixels.shape[:2])[1:]:
        images.append(_coarser(images[-1]))
    return images


def _coarser(finer: Any) -> Any:
    """Return the image of the next coarser octave: a view, or a copy if the finer image is on disk."""
    height, width, channels = finer.shape
    if not isinstance(finer, DiskArray):
        return _odd_lines(finer, 0, finer.shape)
    coarse = allocate((*octaves.coarse_size(height, width), channels), finer.dtype)
    for top, band in bands_of(finer):
        odd = _odd_lines(band, top, finer.shape)
        coarse[top // 2 : top // 2 + len(odd), :] = odd
    return coarse


def _odd_lines(band: Any, top: int, shape: tuple[int, ...]) -> Any:
    """Return the odd rows and columns of a band of an image of that shape; a side of 1 stays as it is."""
    rows = band if shape[0] == 1 else band[1 - top % 2 :: 2]
    return rows if shape[1] == 1 else rows[:, 1::2]


def _sparse_values(pixels: Any, depth: int) -> tuple[int, ...] | None:
    """Return the values that occur if at most half of the range does and listing them costs less than it saves.

    An index takes log2(range / listed) bits less than a value. Only half of that counts: if values are missing just
    because the image has few pixels, leaving them out makes smooth areas harder to code.
    """
    counts = sum(np.bincount(band.ravel(), minlength=1 << depth) for _, band in bands_of(pixels))
    occurring: list[int] = np.flatnonzero(counts).tolist()
    between = occurring[-1] - occurring[0] + 1
    if 2 * len(occurring) > between:
        return None
    saved = pixels.size * math.log2(between / len(occurring)) / 2
    return tuple(occurring) if 8 * len(pack_values(occurring, depth)) < saved else None


def _gain(images: OctavePixels, octave: int, plane: int, bits: int) -> int:
    """Return the gain of an octave of a plane: dividing differences by 2**gain brings them to a typical size."""
    sums, counts = [0, 0], [0, 0]
    for number, lines in enumerate(images.read_bands(octave + 1, plane)):
        wide = lines.astype(np.int32)
        # Each band but the first begins with a row of the one before it.
        for axis, some in enumerate((wide, wide[:, min(number, 1) :]), -2):
            differences = np.abs(np.diff(some, axis=axis))
            sums[axis] += int(differences.sum())
            counts[axis] += differences.size
    mean = max((total / count for total, count in zip(sums, counts, strict=True) if count), default=0.0)
    return min(max(round(math.log2(max(mean / TYPICAL_DIFFERENCE, 1.0))), 0), bits - 8)


def empty_octaves(
    header: FileHeader,
    level: int,
    windows: Sequence[Window],
    make_array: Callable[[tuple[int, int, int], DTypeLike], Any],
) -> OctavePixels:
    """Return zeros in these windows of the octaves' images, to fill in, of octave `level` and all coarser ones.

    `make_array` makes those of `level`.
    """
    dtype = np.uint16 if header.is_wide else np.uint8
    finest, *coarser = ((window.height, window.width, header.channels) for window in windows[level:])
    arrays = [make_array(finest, dtype), *(allocate(shape, dtype) for shape in coarser)]
    return OctavePixels(header, [None] * level + arrays, windows)


def codings_of(header: FileHeader) -> list[Codings]:
    """Return how each plane is coded. Above 8 bits, the file holds the octaves' gains; else they are fixed.

    The coarsest pixels come last, and are never mixed.
    """
    gains = header.gains or ((header.bits - 8,) * header.octaves,) * len(header.coded)
    planes = zip(header.coded, gains, header.mixed, strict=True)
    return [
        [*(Coding(header.bits, gain, coded, mixed) for gain in of_plane), Coding(header.bits, 0, coded)]
        for coded, of_plane, mixed in planes
    ]


def restore_axes(pixels: Any, header: FileHeader) -> Any:
    """Give pixels (height, width, C), which may be on disk, the array's original axes: with or without channels."""
    array = pixels.reshape(*pixels.shape[: 2 + header.has_axis])
    return array if isinstance(array, DiskArray) else np.ascontiguousarray(array)


def octave_of_scale(header: FileHeader, scale: int) -> int:
    """Return the octave of the image scaled down by `scale`. Raises DataError if there is none."""
    level = whole_number("scale", scale, 1).bit_length() - 1
    if scale != 1 << level or level > header.octaves:
        raise DataError(
            f"expected a scale that is a power of two from 1 to {1 << header.octaves} for this image, got {scale}"
        )
    return level


def decimate(pixels: Any, level: int) -> Any:
    """Return the pixels (h, w, C) of octave `level` of an image (H, W, C), which may be on disk."""
    for _ in range(level):
        pixels = _coarser(pixels)
    return pixels


def cut_out(pixels: Any, header: FileHeader, level: int, region: Region | None) -> Any:
    """Return octave `level` (h, w, C) of an image (H, W, C), or a region of it."""
    at = find_window(header, level, region)
    return decimate(pixels, level)[at.top : at.bottom, at.left : at.right]


def find_window(header: FileHeader, level: int, region: Region | None) -> Window:
    """Return the window of an octave's image that a region (x, y, width, height) of the full-size image covers.

    Raises DataError if the region extends beyond the image or contains no pixel of the octave.
    """
    if region is None:
        height, width = octaves.octave_sizes(header.height, header.width)[level]
        return Window(0, height, 0, width)
    if not isinstance(region, Sequence | np.ndarray) or isinstance(region, str | bytes) or len(region) != 4:
        raise DataError(f"expected a region of four numbers (x, y, width, height), got {region!r}")
    x, y, width, height = (whole_number("each number of a region", number, 0) for number in region)
    if width < 1 or height < 1 or x + width > header.width or y + height > header.height:
        raise DataError(
            f"expected a region x,y,width,height within {header.width} x {header.height} pixels (width x height), "
            f"got {x},{y},{width},{height}"
        )
    top, bottom = _lines_within(y, y + height, header.height, level)
    left, right = _lines_within(x, x + width, header.width, level)
    if top >= bottom or left >= right:
        raise DataError(
            f"the region {x},{y},{width},{height} has no pixel at 1/{1 << level} of the size; choose a larger one"
        )
    return Window(top, bottom, left, right)


def windows_to_decode(header: FileHeader, level: int, region: Region | None, reach: int) -> list[Window]:
    """Return the window of each octave's image to decode for a region at `level`, finest octave first.

    Tiles are decoded whole, and use `reach` + 1 lines of the coarser image around them.
    """
    windows = [Window(0, 0, 0, 0)] * level + [find_window(header, level, region)]
    sizes = octaves.octave_sizes(header.height, header.width)[level:]
    for octave, (size, (height, width)) in enumerate(pairwise(sizes), level):
        seen = [tile for tile in list_tiles(octave, *size) if windows[octave].touches(tile)]
        windows.append(
            Window(
                max(min(tile.top for tile in seen) - reach - 1, 0),
                min(max(tile.bottom for tile in seen) + reach, height),
                max(min(tile.left for tile in seen) - reach - 1, 0),
                min(max(tile.right for tile in seen) + reach, width),
            )
        )
    return windows


def _lines_within(begin: int, end: int, side: int, level: int) -> tuple[int, int]:
    """Return the lines of an octave within lines [begin, end) of the full-size image."""
    for _ in range(level):
        if side > 1:
            begin, end, side = begin // 2, end // 2, side // 2
    return begin, end
