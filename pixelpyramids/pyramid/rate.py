"""`Rate`: how many nats each level of each image costs, and over how many dimensions.

Inside the package likelihoods are sums of nats in float64; bits/dim appears only in what people read:
bits/dim = nats / (ln 2 * dimensions). It holds NumPy arrays or torch tensors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pixelpyramids.arguments import namespace_of
from pixelpyramids.pyramid.splitting import Array


def bits_per_dim(nats: Any, dimensions: Any) -> Any:
    """Bits/dim of nats over dimensions: numbers, arrays or tensors."""
    return nats / math.log(2) / dimensions


@dataclass(frozen=True, eq=False)
class Rate:
    """Code length of images: `nats` (B, levels) float64, finest level first, and `dimensions` (B, levels) int64."""

    nats: Array
    dimensions: Array

    @property
    def total_nats(self) -> Array:
        """Nats of each image (B,)."""
        return self.nats.sum(-1)

    @property
    def bits_per_dim(self) -> Array:
        """Bits per dimension (subpixel) of each image (B,), float64."""
        return bits_per_dim(self.nats.sum(-1), self.dimensions.sum(-1))

    def __add__(self, other: "Rate") -> "Rate":
        """Join the levels of the same images."""
        if not isinstance(other, Rate):
            return NotImplemented
        return _concatenate((self, other), axis=-1)


def cat(rates: Sequence[Rate]) -> Rate:
    """Join the images of several rates with the same levels. Raises ValueError if there are none."""
    if not rates:
        raise ValueError("expected at least one rate to join, got none")
    return _concatenate(rates, axis=0)


def _concatenate(rates: Sequence[Rate], axis: int) -> Rate:
    xp = namespace_of(*(rate.nats for rate in rates))
    return Rate(
        xp.concat([rate.nats for rate in rates], axis=axis), xp.concat([rate.dimensions for rate in rates], axis=axis)
    )
