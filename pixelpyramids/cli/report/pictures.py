"""Integer images as pictures: PNG files, contact sheets, and the pyramid of a photograph.

Images are integers (C, H, W) in [0, 2**n_bits), C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA. They are scaled to the
8 bits of a screen only here; `data.reading` with the same n_bits reads the same integers back.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pixelpyramids.atomic import replace_file
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.pyramid.levels import walk
from pixelpyramids.pyramid.splitting import pad_coarse, split, to_residual

Bytes = NDArray[np.uint8]

MARGIN, CAPTION_SIZE = 2, 14  # pixels around each image of a contact sheet, and of its captions

# The picture of a pyramid, in pixels.
WIDTH, BORDER, GAP, FONT_SIZE, MOST_HEIGHT = 1600, 24, 18, 20, 480
COLUMN = 5 * FONT_SIZE  # the narrowest column that holds a caption
TAPER = 0.38  # the coarsest image's width over the photograph's
BLACK, GREY = (0, 0, 0), (96, 96, 96)


def to_uint8(values: Pixels, n_bits: int) -> Bytes:
    """Scale (C, H, W) to the 256 values of a screen: (H, W) for one channel, else (H, W, C).

    With n = 2**n_bits: floor(v * 255 / (n - 1) + 1/2) below 8 bits, v itself at 8, v >> (n_bits - 8) above.
    Raises ValueError for other values.
    """
    values = _check_values(values, n_bits)
    if n_bits > 8:
        values = values >> (n_bits - 8)
    elif n_bits < 8:
        top = 2**n_bits - 1
        values = (values * 510 + top) // (2 * top)  # the floor above, in integers
    pixels = values.astype(np.uint8)
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))


def save_png(path: Path, values: Pixels, n_bits: int) -> None:
    """Write (C, H, W) as PNG. `data.reading.read_decoded` with n_bits gives the same integers, except for deep colour.

    Grey of 9 to 16 bits becomes 16-bit PNG, v * 2**(16 - n_bits). Of other images of this depth only the upper 8 bits
    are written, because Pillow has no 16-bit colour.
    """
    if n_bits > 8 and len(values) == 1:
        pixels: NDArray[Any] = (_check_values(values, n_bits)[0] << (16 - n_bits)).astype(np.uint16)
    else:
        pixels = to_uint8(values, n_bits)
    _write(path, Image.fromarray(pixels))


def encode_png(values: Pixels, n_bits: int, most_side: int | None = None) -> bytes:
    """(C, H, W) as the bytes of an 8-bit PNG. An image with a side above `most_side` is reduced to that."""
    picture, file = Image.fromarray(to_uint8(values, n_bits)), io.BytesIO()
    if most_side is not None:
        picture.thumbnail((most_side, most_side))
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def save_grid(
    path: Path,
    images: Pixels,
    n_bits: int,
    columns: int | None = None,
    scale: int = 1,
    captions: Sequence[str] | None = None,
) -> None:
    """Write images (N, C, H, W) as one 8-bit PNG: rows from left to right, thin white margins around each.

    By default the sheet is about square, with a full last row if that needs at most two more columns. A pixel becomes
    scale x scale pixels. With `captions`, one stands under each image, and images are enlarged until it fits.
    """
    count, channels, height, width = images.shape
    font = ImageFont.load_default(CAPTION_SIZE)
    if captions:
        scale = max(scale, math.ceil(max(map(font.getlength, captions)) / width))
    side = (height * scale, width * scale)
    height, width = side[0] + MARGIN + (3 * CAPTION_SIZE // 2 if captions else 0), side[1] + MARGIN
    columns = _choose_columns(count, height / width) if columns is None else min(columns, count)
    places = [(MARGIN + i // columns * height, MARGIN + i % columns * width) for i in range(count)]
    rows = -(-count // columns)
    sheet = np.full((rows * height + MARGIN, columns * width + MARGIN, channels), 255, np.uint8)
    for image, (y, x) in zip(images, places, strict=True):
        pixels = to_uint8(image, n_bits).repeat(scale, axis=0).repeat(scale, axis=1)
        sheet[y : y + side[0], x : x + side[1]] = pixels.reshape(*side, channels)
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    if captions:
        picture = picture.convert("RGB")
        draw = ImageDraw.Draw(picture)
        for caption, (y, x) in zip(captions, places, strict=True):
            draw.text((x + side[1] / 2, y + side[0] + CAPTION_SIZE / 4), caption, BLACK, font, anchor="ma")
    _write(path, picture)


def save_pyramid(path: Path, image: Pixels, n_levels: int, n_bits: int) -> None:
    """Write `pyramid_picture` as PNG."""
    _write(path, Image.fromarray(pyramid_picture(image, n_levels, n_bits)))


def pyramid_picture(image: Pixels, n_levels: int, n_bits: int) -> Bytes:
    """The pyramid of a photograph (C, H, W) in one picture (H', W', 3), about 1600 pixels wide.

        photograph     coarse half     coarse half   …   coarsest image
          height         level 0         level 1           level n_levels - 1       (a model of L = n_levels + 1)
                        residual        residual    …      residual

    Each coarse image stands over the residual of its level, (fine - coarse + n/2) mod n, which is grey if the
    halves agree. Each shows the whole photograph, smaller from left to right: lines that remain after a split are
    widened. Sizes in the captions are height x width. Levels that split nothing, and alpha, are left out.
    """
    image = _check_values(image, n_bits)
    height, width = image.shape[1:]
    columns: list[tuple[str, Pixels, Pixels | None]] = [("photograph", image, None)]
    half_way = 2 ** (n_bits - 1)
    for stage in reversed(walk(height, width, (0,) * n_levels)):
        if stage.axis is None or not stage.is_split:
            continue
        fine, coarse = split(columns[-1][1], stage.axis)
        residual = to_residual(fine, pad_coarse(coarse, (stage.height, stage.width)), 2 * half_way, half_way)
        columns.append((f"level {stage.index}", coarse, residual))

    sizes = _shrinking_sizes(height, width, len(columns))
    pitches = [max(w, COLUMN) for _, w in sizes]
    line = FONT_SIZE * 13 // 10
    above, below = BORDER + sizes[0][0], BORDER + sizes[0][0] + 3 * line
    under = max([h for h, _ in sizes[1:2]] + [4 * line])
    sheet = Image.new("RGB", (sum(pitches) + GAP * (len(pitches) - 1) + 2 * BORDER, below + under + BORDER), "white")
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(FONT_SIZE), ImageFont.load_default(FONT_SIZE * 4 // 5)
    x = BORDER
    for (name, coarse, residual_), (h, w), pitch in zip(columns, sizes, pitches, strict=True):
        left, middle = x + (pitch - w) // 2, x + pitch / 2
        sheet.paste(_resize_picture(coarse, n_bits, h, w), (left, above - h))
        draw.text((middle, above + line // 3), name, BLACK, font, anchor="ma")
        size = f"{coarse.shape[1]} x {coarse.shape[2]}"
        draw.text((middle, above + line // 3 + line), size, GREY, font, anchor="ma")
        if residual_ is not None:
            sheet.paste(_resize_picture(residual_, n_bits, h, w), (left, below))
        x += pitch + GAP
    if len(columns) > 1:
        legend = f"residuals, in this row:\n(fine - coarse + {half_way})\nmod {2 * half_way}, grey if\nthe halves agree"
        draw.multiline_text((BORDER + pitches[0] / 2, below), legend, GREY, small, "ma", 6, "center")
    return np.asarray(sheet)


def _shrinking_sizes(height: int, width: int, count: int) -> list[tuple[int, int]]:
    """Heights and widths of count pictures of height x width that shrink evenly and fill a row."""
    shares = TAPER ** (np.arange(count) / max(count - 1, 1))
    room = WIDTH - 2 * BORDER - GAP * (count - 1)
    first = min(room / shares.sum(), MOST_HEIGHT * width / height)
    return [(max(round(first * s * height / width), 1), max(round(first * s), 1)) for s in shares]


def _resize_picture(values: Pixels, n_bits: int, height: int, width: int) -> Image.Image:
    """The picture at a size: pixels are averaged along a side that shrinks, and repeated along one that grows."""
    colours = values[: len(values) - 1] if len(values) in (2, 4) else values
    picture = Image.fromarray(to_uint8(colours, n_bits)).convert("RGB")
    least = min(width, picture.width), min(height, picture.height)
    return picture.resize(least, Image.Resampling.BOX).resize((width, height), Image.Resampling.NEAREST)


def _choose_columns(count: int, aspect: float) -> int:
    square = min(max(math.ceil(math.sqrt(count * aspect)), 1), count)
    return next((c for c in range(square, square + 3) if count % c == 0), square)


def _check_values(values: Pixels, n_bits: int) -> NDArray[np.int64]:
    if values.ndim != 3 or not 1 <= len(values) <= 4 or values.size == 0:
        raise ValueError(f"expected an image (C, H, W) of 1 to 4 channels, got shape {tuple(values.shape)}")
    low, high = np.min(values).item(), np.max(values).item()
    if not np.issubdtype(values.dtype, np.integer) or low < 0 or high >= 2**n_bits:
        raise ValueError(f"expected integers in [0, {2**n_bits}), got {values.dtype} {low} … {high}")
    return values.astype(np.int64)


def _write(path: Path, picture: Image.Image) -> None:
    with replace_file(path) as temporary:
        picture.save(temporary, format="PNG")
