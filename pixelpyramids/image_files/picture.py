"""A picture that was read from a file, and what is known of it before its pixels are decoded."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pixelpyramids.codec.container import describe_excess
from pixelpyramids.errors import DataError


class Picture(NamedTuple):
    """Pixels (H, W) or (H, W, C), uint8 up to a depth of 8 bits, uint16 above; values are below 2**depth.

    The array is in memory or, if it is large, a `DiskArray`. `metadata` holds blobs by the names of metadata.py.
    `format` is that of the file ("PNG", …). `is_lossy` says whether the file was compressed with loss. `not_kept` names
    the parts of the file that are not kept.
    """

    array: Any
    depth: int
    metadata: dict[str, bytes]
    format: str
    is_lossy: bool = False
    not_kept: tuple[str, ...] = ()


class Facts(NamedTuple):
    """The array's shape and type, its depth in bits, and the metadata."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    depth: int
    metadata: dict[str, bytes]


class Inspected(NamedTuple):
    """A file whose header was read. `facts` is None if they depend on the pixels; `load` decodes the pixels."""

    facts: Facts | None
    load: Callable[[], Picture]


def facts_of(picture: Picture) -> Facts:
    """The facts of a picture."""
    return Facts(picture.array.shape, picture.array.dtype, picture.depth, picture.metadata)


def check_limit(height: int, width: int, max_pixels: int, channels: int = 1) -> None:
    """Raise DataError if an image has more than `max_pixels` pixels of four channels."""
    if excess := describe_excess((height, width, channels), max_pixels):
        raise DataError(f"{excess}; raise it (max_pixels, --max-pixels) if the file is trusted")
