"""What people use today, to compare with: bits/dim of whole PNG and lossless WebP files, written in memory.

bits/dim = 8 * (bytes of the file, headers and all) / (C * H * W). An image is a path (a file of 8-bit grey, grey and
alpha, RGB or RGBA) or a uint8 array (C, H, W) of 1 to 4 such channels.
"""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from pixelpyramids.data.reading import read_header, read_image
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.pillow_reading import MODES

Source = Path | str | NDArray[np.integer[Any]]

WEBP_SIDE = 16383  # the format has 14 bits for a side


def png_bits_per_dim(image: Source) -> float:
    """Bits/dim as PNG, by Pillow with optimize=True. Raises DataError where the file is not of such pixels."""
    return _bits_per_dim(_pixels(image), format="PNG", optimize=True)


def webp_bits_per_dim(image: Source) -> float:
    """Bits/dim as lossless WebP at its highest effort, colours under transparent pixels kept.

    NaN where WebP has no such image: it would store grey as RGB, its sides have at most 16383 pixels, and Pillow may
    have been built without it. Raises DataError where the file is not of such pixels.
    """
    pixels = _pixels(image)
    if len(pixels) < 3 or max(pixels.shape[1:]) > WEBP_SIDE or not features.check("webp"):
        return math.nan
    return _bits_per_dim(pixels, format="WEBP", lossless=True, quality=100, method=6, exact=True)


def _bits_per_dim(pixels: NDArray[np.uint8], **options: Any) -> float:
    file = io.BytesIO()
    interleaved = pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    Image.fromarray(interleaved).save(file, **options)
    return 8 * len(file.getvalue()) / pixels.size


def _pixels(image: Source) -> NDArray[np.uint8]:
    if not isinstance(image, np.ndarray):
        return _read(Path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or len(image) not in MODES or image.size == 0:
        raise ValueError(f"expected uint8 (C, H, W) of 1 to 4 channels, got {image.dtype} {tuple(image.shape)}")
    return image.astype(np.uint8, copy=False)


def _read(path: Path) -> NDArray[np.uint8]:
    read_header(path)  # which names what is wrong with a file
    with Image.open(path) as file:
        mode = file.mode
    channels = next((channels for channels, name in MODES.items() if name == mode), None)
    if channels is None:
        raise DataError(f"{path}: expected 8-bit pixels of mode L, LA, RGB or RGBA, got mode {mode}; convert the file")
    return read_image(path, channels).astype(np.uint8)
