"""Convert arrays of any shape and depth to planes and back; find the lines of an octave that a region covers.

A plane (3, H, W) holds three channels; each channel that is left has its own plane. Only the first channel of a plane
is coded if all three are equal. If an image has more than 8 bits and few distinct values, its planes hold indices into
the list of these values.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.arguments import plain_array, whole_number
from pixelpyramids.codec.compact_model import Codings, Plane, octave_images, three_channels
from pixelpyramids.codec.container import MAX_CHANNELS, MAX_SIDE, Content, FileHeader, pack_values
from pixelpyramids.codec.engine import Coding
from pixelpyramids.codec.integer_network import CHANNELS
from pixelpyramids.codec.parts import Tile, list_tiles
from pixelpyramids.errors import BitstreamError, DataError
from pixelpyramids.pyramid import octaves

TYPICAL_DIFFERENCE = 4  # of neighbours in the 8-bit training photographs (mean); deep images are scaled to it
_ARRAY_MODES = ("L", "LA", "RGB", "RGBA", "I;16", "I;16B")

ImageArray = NDArray[np.uint8] | NDArray[np.uint16]
Region = tuple[int, int, int, int]


class Window(NamedTuple):
    """Lines [top, bottom) and columns [left, right) of an octave's image."""

    top: int
    bottom: int
    left: int
    right: int

    def touches(self, tile: Tile) -> bool:
        """Whether a tile of the octave holds some pixels of the window."""
        return tile.holds_some_of(*self)


def check_array(array: Any, depth: int | None) -> tuple[ImageArray, int]:
    """Return the array and its depth in bits. Raises DataError if it is not an image that the codec supports."""
    from PIL import Image

    if isinstance(array, Image.Image) and (array.mode not in _ARRAY_MODES or "transparency" in array.info):
        raise DataError(
            f"expected an array, or a Pillow image of mode {', '.join(_ARRAY_MODES)} without a transparent colour, got "
            f"mode {array.mode}, whose array lacks colours or alpha; convert it, for example with image.convert('RGBA')"
        )
    array = plain_array(array)
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
    if int(array.max()) >> depth:
        raise DataError(f"expected values below 2**{depth}, got {int(array.max())}; pass a larger depth")
    return array, depth


def to_planes(
    array: ImageArray, depth: int, model: bytes, metadata: Mapping[str, bytes], source_format: str
) -> tuple[FileHeader, list[list[Plane]]]:
    """Return the header for an array, without mixed channels, and the octave images of its planes."""
    height, width = array.shape[:2]
    pixels = array.reshape(height, width, -1)
    channels = pixels.shape[2]
    values: tuple[int, ...] | None = None
    if depth > 8 and (occurring := _sparse_values(pixels, depth)) is not None:
        values = tuple(int(value) for value in occurring)
        numbers = np.zeros(1 << depth, dtype=np.uint16)
        numbers[occurring] = np.arange(len(occurring))
        pixels = numbers[pixels]
    grey = channels in (3, 4) and bool((pixels[..., :1] == pixels[..., 1:3]).all())
    header = FileHeader(
        height, width, channels, array.ndim == 3, array.itemsize == 2, depth, Content.MODEL, model, grey, values,
        metadata=metadata, source_format=source_format,
    )  # fmt: skip
    parts = np.split(pixels, np.cumsum(header.planes)[:-1], axis=-1)
    coded = [part[..., :count] for part, count in zip(parts, header.coded, strict=True)]
    planes = [
        octave_images(np.broadcast_to(np.moveaxis(part, -1, 0).astype(np.uint16), (CHANNELS, height, width)))
        for part in coded
    ]
    if header.bits > 8:
        gains = tuple(tuple(_gain(image, header.bits) for image in plane[:-1]) for plane in planes)
        header = replace(header, gains=gains)
    return replace(header, mixed=(0,) * len(planes)), planes


def _sparse_values(pixels: Any, depth: int) -> NDArray[np.intp] | None:
    """Return the values that occur if at most half of the range does and listing them costs less than it saves.

    An index takes log2(range / listed) bits less than a value. Only half of that counts: if values are missing just
    because the image has few pixels, leaving them out makes smooth areas harder to code.
    """
    occurring = np.flatnonzero(np.bincount(pixels.ravel()))
    between = int(occurring[-1] - occurring[0]) + 1
    if 2 * len(occurring) > between:
        return None
    saved = pixels.size * math.log2(between / len(occurring)) / 2
    return occurring if 8 * len(pack_values(occurring.tolist(), depth)) < saved else None


def _gain(image: Plane, bits: int) -> int:
    """Return the gain of an octave: dividing differences by 2**gain brings them to a typical size."""
    lines = octaves.bands(image).oo.astype(np.int64)
    differences = [np.abs(np.diff(lines, axis=axis)) for axis in (-2, -1)]
    mean = max((float(d.mean()) for d in differences if d.size), default=0.0)
    return min(max(round(math.log2(max(mean / TYPICAL_DIFFERENCE, 1.0))), 0), bits - 8)


def empty_pyramids(header: FileHeader) -> list[list[Plane]]:
    """Return the octave images of each plane of an image, to fill in."""
    size = header.height, header.width
    return [octave_images(three_channels(np.zeros((coded, *size), dtype=np.uint16))) for coded in header.coded]


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


def from_planes(header: FileHeader, planes: Sequence[Plane]) -> ImageArray:
    """Return the array of planes, which hold the whole image or a window of an octave."""
    array = np.empty((*planes[0].shape[1:], header.channels), dtype=np.uint16 if header.is_wide else np.uint8)
    channels = (channel for plane, count in zip(planes, header.planes, strict=True) for channel in plane[:count])
    for number, channel in enumerate(channels):
        array[..., number] = channel if header.values is None else _look_up(channel, header.values)
    return restore_axes(array, header)


def restore_axes(pixels: Any, header: FileHeader) -> ImageArray:
    """Give pixels (height, width, C) the array's original axes: with or without channels."""
    array: ImageArray = np.ascontiguousarray(pixels if header.has_axis else pixels[..., 0])
    return array


def _look_up(numbers: Any, values: tuple[int, ...]) -> Any:
    if int(numbers.max()) >= len(values):
        raise BitstreamError("a pixel holds a value that the header does not list; the file is damaged")
    return np.array(values, dtype=np.uint16)[numbers]


def octave_of_scale(header: FileHeader, scale: int) -> int:
    """Return the octave of the image scaled down by `scale`. Raises DataError if there is none."""
    level = whole_number("scale", scale, 1).bit_length() - 1
    if scale != 1 << level or level > header.octaves:
        raise DataError(
            f"expected a scale that is a power of two from 1 to {1 << header.octaves} for this image, got {scale}"
        )
    return level


def decimate(pixels: Any, level: int) -> Any:
    """Return the pixels (h, w, C) of octave `level` of an image (H, W, C)."""
    return np.moveaxis(octave_images(np.moveaxis(pixels, -1, 0))[level], 0, -1)


def cut_out(pixels: Any, header: FileHeader, level: int, region: Region | None) -> ImageArray:
    """Return octave `level` of an image (H, W, C) or a region of it, with the axes of the header's array."""
    at = find_window(header, level, region)
    return restore_axes(decimate(pixels, level)[at.top : at.bottom, at.left : at.right], header)


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
