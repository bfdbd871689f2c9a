"""Random patches of a level's pair, for levels too large to train on whole.

The release trains the three finest levels of CelebA-HQ 1024 so, on 256x256 patches; evaluation is on whole images.
Offsets are keyed by (seed, level, sample): the same whatever else is trained, where, and in how many processes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Key of this random stream, beside those of crops.
_OFFSET = 2


def patches(
    fine: Tensor, coarse: Tensor | None, size: int | None, *, seed: int, level: int, samples: Sequence[int]
) -> tuple[Tensor, Tensor | None]:
    """A patch of at most size x size of each pair (B, C, H, W), at one place in both; whole where they are no larger.

    `samples` numbers the items of the batch. The coarsest image, whose coarse half is None, stays whole.
    """
    height, width = fine.shape[-2:]
    if size is None or coarse is None or max(height, width) <= size:
        return fine, coarse
    h, w = min(size, height), min(size, width)
    places = []
    for sample in samples:
        draw = np.random.default_rng([_OFFSET, seed, level, sample])
        places.append((int(draw.integers(height - h + 1)), int(draw.integers(width - w + 1))))

    def cut(images: Tensor) -> Tensor:
        parts = [image[:, y : y + h, x : x + w] for image, (y, x) in zip(images, places, strict=True)]
        return torch.stack(parts)

    return cut(fine), cut(coarse)
