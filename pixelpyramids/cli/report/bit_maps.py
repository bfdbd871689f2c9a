"""Where the bits of an image go, as a picture and as an array."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pixelpyramids.atomic import replace_file
from pixelpyramids.cli.report.pictures import Bytes, to_uint8
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.pyramid.bit_map import BitMap

Costs = NDArray[np.float64]

# The picture, in pixels.
WIDTH, BORDER, GAP, FONT_SIZE = 1280, 24, 16, 18
MOST_HEIGHT = 900  # of the photograph
MOST_LEVELS, LEVELS_IN_ROW = 8, 4
BLACK, GREY, BACKGROUND = (0, 0, 0), (96, 96, 96), (208, 208, 208)

COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Equally spaced colours, from no bits to many: five of matplotlib's "inferno", which is in the public domain."""
OPACITY = 0.7  # of the map over the photograph


def save_bits(path: Path, bit_map: BitMap) -> None:
    """Write `bits` (H, W) float64 and `levels` (H, W) uint8 of one image, for `numpy.load`."""
    with replace_file(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, bits=np.asarray(bit_map.bits)[0], levels=np.asarray(bit_map.levels))


def save_map(path: Path, image: Pixels, n_bits: int, bit_map: BitMap) -> None:
    """Write `map_picture` as PNG."""
    with replace_file(path) as temporary:
        map_picture(image, n_bits, bit_map).save(temporary, format="PNG")


def map_picture(image: Pixels, n_bits: int, bit_map: BitMap) -> Image.Image:
    """Show where the bits of an image (C, H, W) go, in one picture 1280 pixels wide.

        the image         its bits per pixel, over the image in grey
        level 0           level 1           level 2           level 3
        …
        the colours' scale

    Each level shows the mean of its own pixels in squares that are as small as its grid. Bright is many bits; all
    maps have one scale, which ends where 0.5 % of the pixels take more.
    """
    bits, levels = np.asarray(bit_map.bits)[0], np.asarray(bit_map.levels)
    most = most_shown(bit_map)
    large, small = _size_of(bits.shape, 2), _size_of(bits.shape, LEVELS_IN_ROW)
    photograph, overlay = photograph_and_map(image, n_bits, bit_map)
    total, dimensions = bits.sum(), len(image) * bits.size
    panels = [
        (photograph, large, ("the image", f"{bits.shape[0]} x {bits.shape[1]} (height x width)")),
        (overlay, large, ("bits per pixel", f"{total / dimensions:.3f} bits/dim, {total / 8:,.0f} bytes")),
    ]
    shown = [level for level in range(min(bit_map.count, MOST_LEVELS)) if (levels == level).any()]
    for level in shown if bit_map.count > 1 else ():
        own = bits[levels == level]
        name = f"level {level}" + (" (finest)" if level == 0 else "")
        caption = name, f"{own.sum() / own.size / len(image):.3f} bits/dim, {own.sum() / total:.1%} of bits"
        panels.append((_paint(_means(bits, levels == level) / most), small, caption))
    return _arrange(panels, most)


def photograph_and_map(image: Pixels, n_bits: int, bit_map: BitMap) -> tuple[Image.Image, Image.Image]:
    """The image (C, H, W) without alpha, and its bits per pixel over it, in grey."""
    photograph = Image.fromarray(to_uint8(image[: len(image) - (len(image) in (2, 4))], n_bits)).convert("RGB")
    bits = np.asarray(bit_map.bits)[0]
    painted = _paint(_means(bits, np.ones(bits.shape, dtype=bool)) / most_shown(bit_map))
    return photograph, Image.blend(photograph.convert("L").convert("RGB").resize(painted.size), painted, OPACITY)


def most_shown(bit_map: BitMap) -> float:
    """The bits of a pixel from which on all are shown in the brightest colour."""
    return max(float(np.quantile(np.asarray(bit_map.bits), 0.995)), 1e-9)


def _arrange(panels: list[tuple[Image.Image, tuple[int, int], tuple[str, str]]], most: float) -> Image.Image:
    """Two panels in the first row, the others below, and the colours' scale."""
    line = FONT_SIZE * 13 // 10
    rows = [panels[:2], *(panels[i : i + LEVELS_IN_ROW] for i in range(2, len(panels), LEVELS_IN_ROW))]
    heights = [row[0][1][0] + 3 * line for row in rows]
    sheet = Image.new("RGB", (WIDTH, 2 * BORDER + sum(heights) + 2 * line), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    small = ImageFont.load_default(FONT_SIZE * 4 // 5)
    y = BORDER
    for row, height in zip(rows, heights, strict=True):
        x = BORDER
        for picture, size, (name, figures) in row:
            pitch = (WIDTH - 2 * BORDER + GAP) // (2 if row is rows[0] else LEVELS_IN_ROW)
            left = x + (pitch - GAP - size[1]) // 2
            sheet.paste(_resize(picture, size), (left, y))
            middle = x + (pitch - GAP) / 2
            draw.text((middle, y + size[0] + line // 4), name, BLACK, font, anchor="ma")
            draw.text((middle, y + size[0] + line // 4 + line), figures, GREY, small, anchor="ma")
            x += pitch
        y += height
    bar = _paint(np.linspace(0, 1, WIDTH // 3)[None].repeat(line, axis=0))
    left = (WIDTH - bar.width) // 2
    sheet.paste(bar, (left, y))
    draw.text((left - GAP, y + line // 2), "0 bits per pixel", BLACK, font, anchor="rm")
    draw.text((left + bar.width + GAP, y + line // 2), f"{most:.1f} or more", BLACK, font, anchor="lm")
    return sheet


def _size_of(shape: tuple[int, ...], columns: int) -> tuple[int, int]:
    """Height and width at which an image is shown beside `columns` - 1 others."""
    width = (WIDTH - 2 * BORDER + GAP) // columns - GAP
    height = round(width * shape[0] / shape[1])
    most = MOST_HEIGHT * 2 // columns
    return (max(height, 1), width) if height <= most else (most, max(round(most * shape[1] / shape[0]), 1))


def _resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Pixels are averaged along a side that shrinks, and repeated along one that grows."""
    least = min(size[1], picture.width), min(size[0], picture.height)
    return picture.resize(least, Image.Resampling.BOX).resize(size[::-1], Image.Resampling.NEAREST)


def _paint(shares: Costs) -> Image.Image:
    """A map in colours: 0 and less is the first one, 1 and more the last; NaN is grey."""
    positions = np.linspace(0, 1, len(COLOURS))
    bands = [np.interp(np.nan_to_num(shares), positions, [colour[i] for colour in COLOURS]) for i in range(3)]
    painted: Bytes = np.stack(bands, axis=-1).round().astype(np.uint8)
    painted[np.isnan(shares)] = BACKGROUND
    return Image.fromarray(painted)


def _means(bits: Costs, chosen: NDArray[np.bool_]) -> Costs:
    """The mean of the chosen pixels of each square, which is as small as it can be if each whole one is to have some.

    The map has the shape of `bits`; if that is much larger than the picture, each of its values stands for a square.
    """
    unit = side = next(side for side in _powers_of_two() if max(bits.shape) < 2 * side * WIDTH)
    for side in _powers_of_two(unit):
        counts = _sums(chosen, side)
        if counts[: bits.shape[0] // side, : bits.shape[1] // side].all():
            break
    with np.errstate(invalid="ignore"):
        means = _sums(np.where(chosen, bits, 0), side) / counts
    rows, columns = (-(-length // unit) for length in bits.shape)
    expanded: Costs = means.repeat(side // unit, axis=0)[:rows].repeat(side // unit, axis=1)[:, :columns]
    return expanded


def _powers_of_two(first: int = 1) -> Iterator[int]:
    return (first << doublings for doublings in count())


def _sums(values: NDArray[Any], side: int) -> NDArray[Any]:
    """The sums of squares of side x side values; those at the edge may be smaller."""
    (height, width), (rows, columns) = values.shape, (-(-length // side) for length in values.shape)
    padded = np.pad(values, ((0, rows * side - height), (0, columns * side - width)))
    sums: NDArray[Any] = padded.reshape(rows, side, columns, side).sum(axis=(1, 3))
    return sums
