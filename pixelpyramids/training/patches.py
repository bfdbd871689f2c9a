"""Random patches of a level's pair, for levels too large to train on whole.

The release trains the three finest levels of CelebA-HQ 1024 on 256x256 patches; evaluation is on whole images. Offsets
are keyed by (seed, level, sample), so they do not depend on what else is trained, where, or in how many processes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Key of this random stream, beside those of crops.
_OFFSET = 2


def cut_patches(
    fine: Tensor, coarse: Tensor | None, size: int | None, *, seed: int, level: int, samples: Sequence[int]
) -> tuple[Tensor, Tensor | None]:
    """A patch of at most size x size of each pair (B, C, H, W), at the same place in both, as int64.

    `samples` numbers the items of the batch. Pairs that are no larger stay whole, and so does the coarsest image, whose
    coarse half is None.
    """
    height, width = fine.shape[-2:]
    if size is None or coarse is None or max(height, width) <= size:
        return fine.long(), None if coarse is None else coarse.long()
    h, w = min(size, height), min(size, width)
    places = []
    for sample in samples:
        draw = np.random.default_rng([_OFFSET, seed, level, sample])
        places.append((int(draw.integers(height - h + 1)), int(draw.integers(width - w + 1))))

    def cut(images: Tensor) -> Tensor:
        places_of = zip(images, places, strict=True)
        return torch.stack([image[:, y : y + h, x : x + w].long() for image, (y, x) in places_of])

    return cut(fine), cut(coarse)
