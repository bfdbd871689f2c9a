"""Convert values to another bit depth by repeating their bits, as PNG's specification recommends.

A value v of d bits becomes v v v …, from the highest bit down, cut off after b bits. The largest value stays the
largest.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.integer[Any]]


def pixel_type(depth: int) -> np.dtype[np.integer[Any]]:
    """The type of an image's values: uint8 up to 8 bits, uint16 above."""
    return np.dtype(np.uint8 if depth <= 8 else np.uint16)


def widen(pixels: Pixels, depth: int, bits: int) -> Pixels:
    """Convert values of `depth` bits to `bits` bits; `bits` is at least `depth`."""
    if bits == depth:
        return pixels.astype(pixel_type(bits), copy=False)
    wide = pixels.astype(np.uint32)
    total = np.zeros_like(wide)
    for shift in range(bits - depth, -depth, -depth):
        total |= wide << shift if shift >= 0 else wide >> -shift
    return total.astype(pixel_type(bits))


def narrow(pixels: Pixels, bits: int, depth: int) -> Pixels | None:
    """Undo `widen`: return the values of `depth` bits that it turns into `pixels`, or None if there are none."""
    flat = (pixels >> (bits - depth)).astype(pixel_type(depth))
    return flat if np.array_equal(widen(flat, depth, bits), pixels) else None


def pack_bits(pixels: Pixels, depth: int) -> NDArray[np.uint8]:
    """Pack values of `depth` bits into bytes, the highest bit first. Each line starts at a new byte."""
    digits = pixels[..., None] >> np.arange(depth - 1, -1, -1) & 1
    return np.packbits(digits.reshape(len(pixels), -1).astype(np.uint8), axis=1)
