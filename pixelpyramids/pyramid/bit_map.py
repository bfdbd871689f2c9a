"""`BitMap`: how many bits each pixel of an image takes. It holds NumPy arrays or torch tensors."""

import math
from dataclasses import dataclass

from pixelpyramids.arguments import namespace_of
from pixelpyramids.pyramid.rate import Rate
from pixelpyramids.pyramid.splitting import Array


@dataclass(frozen=True, eq=False)
class BitMap:
    """Where the bits of images go: `bits` (B, H, W) float64 of each pixel, whose sum is the image's code length.

    `levels` (H, W) uint8 is the level of the pyramid in which each pixel is coded, 0 the finest.
    """

    bits: Array
    levels: Array

    def of_level(self, level: int) -> Array:
        """The bits (B, H, W) of the pixels of a level; those of other pixels are 0."""
        return self.bits * (self.levels == level)

    @property
    def count(self) -> int:
        """The number of levels: the coarsest one always has pixels."""
        return int(self.levels.max()) + 1

    def to_rate(self, channels: int) -> Rate:
        """The code length of each level, of images of that many channels."""
        xp = namespace_of(self.bits)
        nats = [self.bits[:, self.levels == level].sum(-1) * math.log(2) for level in range(self.count)]
        pixels = [channels * xp.astype(self.levels == level, xp.int64).sum() for level in range(self.count)]
        return Rate(xp.stack(nats, axis=-1), xp.stack([xp.stack(pixels)] * len(self.bits)))
