"""The pixels of an image that Pillow has opened, as the codec takes them; palettes as the colours they stand for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels, deepened, pixel_type

_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_REFUSED = {
    "F": "floating-point values",
    "I": "32-bit integers",
    "CMYK": "four inks, whose colours depend on a profile",
    "YCbCr": "luma and chroma, which have no exact RGB counterpart",
    "LAB": "CIE L*a*b* values, which have no exact RGB counterpart",
    "HSV": "hue and saturation, which have no exact RGB counterpart",
    "RGBX": "a fourth channel that means nothing",
    "RGBa": "alpha multiplied into the colours",
    "La": "alpha multiplied into the grey",
}
_CHANNELS = {"1": 1, "L": 1, "RGB": 3} | dict.fromkeys(_SIXTEEN_BITS, 1)


def check_mode(image: Image.Image) -> None:
    """Raise DataError for a mode whose pixels would not come back exactly."""
    mode = image.mode
    if mode in _REFUSED and not (mode == "I" and image.format == "PNG"):  # 16-bit grey in older Pillow
        raise DataError(
            f"expected grey or RGB pixels, got mode {mode} ({_REFUSED[mode]}); convert to 8- or 16-bit RGB or grey"
        )
    if mode not in (*_CHANNELS, "LA", "RGBA", "P", "PA", "I"):
        raise DataError(f"expected grey or RGB pixels, got mode {mode}; convert to RGB or grey")


def pixels_of(image: Image.Image) -> tuple[Pixels, int]:
    """Pixels (H, W) or (H, W, C), and their depth. Raises DataError as `check_mode`.

    A colour that is to be seen through (`info["transparency"]`) becomes a channel of alpha.
    """
    check_mode(image)
    mode = image.mode
    if mode in ("P", "PA"):
        return _of_palette(image), 8
    array: Any = np.array(image)
    pixels: Pixels = array.astype(np.uint16 if mode in (*_SIXTEEN_BITS, "I") else np.uint8, copy=False)
    depth = {"1": 1}.get(mode, 8 * pixels.itemsize)
    key = image.info.get("transparency")
    if isinstance(key, int | tuple) and mode in _CHANNELS:
        colour = key if isinstance(key, tuple) else (key / 255 if mode == "1" else key,)  # of mode 1, white is 255
        if len(colour) == _CHANNELS[mode]:
            pixels = with_transparent(pixels, colour, depth)
    return pixels, depth


def with_transparent(pixels: Pixels, colour: Sequence[float], depth: int) -> Pixels:
    """The pixels with alpha: none where they are of that colour, else all."""
    colours = pixels.reshape(*pixels.shape[:2], -1)
    alpha = (colours != np.array(colour)).any(axis=-1, keepdims=True) * ((1 << depth) - 1)
    return np.concatenate([colours, alpha.astype(pixels.dtype)], axis=-1)


def image_of(pixels: Pixels, depth: int) -> Image.Image:
    """An image of Pillow's: the values as they are in 16 bits, else brought to 8, or 1 bit. Raises DataError for none.

    Of more than 8 bits Pillow knows grey alone.
    """
    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    flat = flat.astype(pixel_type(depth), copy=False)
    if depth > 8 and flat.ndim == 3:
        raise DataError(
            f"Pillow has no mode for {depth}-bit pixels of {flat.shape[2]} channels; pixelpyramids.decode gives their "
            "array"
        )
    if depth == 1 and flat.ndim == 2:
        return Image.fromarray(flat > 0)
    return Image.fromarray(np.ascontiguousarray(flat if depth >= 8 else deepened(flat, depth, 8)))


def _of_palette(image: Image.Image) -> Pixels:
    """Colours, or greys where all are grey; with alpha where the palette has it."""
    has_alpha = image.mode == "PA" or "transparency" in image.info
    if image.palette is not None and image.palette.mode == "RGBA":
        has_alpha = True
    pixels: Pixels = np.array(image.convert("RGBA"))
    if (pixels[..., :1] == pixels[..., 1:3]).all():
        return np.ascontiguousarray(pixels[..., 2:] if has_alpha else pixels[..., 0])
    return np.ascontiguousarray(pixels if has_alpha else pixels[..., :3])
