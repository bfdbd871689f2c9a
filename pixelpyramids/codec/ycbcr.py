"""The colours that JPEG decoders give: those that the integer conversion from YCbCr can give. native/colours.c too.

red = Y + 1.402 Cr, green = Y - 0.34414 Cb - 0.71414 Cr, blue = Y + 1.772 Cb, with 16 bits of each factor's fraction
(as libjpeg-turbo computes it; Cb and Cr minus 128), rounded and clipped. Only about a quarter of all colours can occur.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS_AT_ONCE = 64


@cache
def possible_colours() -> NDArray[np.uint64]:
    """Which blues can follow each red and green: (256, 256, 4), a bit for each blue, the lowest bit first."""
    luma, chroma = np.arange(256), np.arange(-128, 128)
    red, blue = (_scaled(factor * chroma)[:, None] + luma for factor in (91881, 116130))
    can_be = np.zeros((256, 256, 256), dtype=bool)
    for cb, blues in zip(chroma.tolist(), blue, strict=True):
        green = _scaled(-22554 * cb - 46802 * chroma)[:, None] + luma
        can_be[_limited(red), _limited(green), _limited(blues)] = True
    packed = np.packbits(can_be, axis=-1, bitorder="little").view("<u8")
    return packed.astype(np.uint64)


def can_come_from_ycbcr(pixels: Any, colours: NDArray[np.uint64]) -> bool:
    """Whether all pixels, uint8 (H, W, 3), have possible colours."""
    for top in range(0, len(pixels), ROWS_AT_ONCE):
        red, green, blue = np.moveaxis(pixels[top : top + ROWS_AT_ONCE], -1, 0).astype(np.intp)
        if not (colours[red, green, blue >> 6] >> (blue & 63).astype(np.uint64) & np.uint64(1)).all():
            return False
    return True


def _scaled(products: Any) -> Any:
    return products + (1 << 15) >> 16


def _limited(values: Any) -> Any:
    return values.clip(0, 255)
