"""How alike neighbouring pixels are: near 1 in photographs, near 0 in noise."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def lag1_correlation(images: NDArray[np.integer[Any]]) -> float:
    """Pearson's correlation of the pairs of neighbouring values of images (N, C, H, W).

    The pairs are (x[n, c, i, j], x[n, c, i, j + 1]) and (x[n, c, i, j], x[n, c, i + 1, j]), of all images, channels and
    places together. With (a, b) a pair and all means over all pairs,

        r = (mean(a b) - mean(a) mean(b)) / (sd(a) sd(b))    in [-1, 1].

    NaN if there are no pairs or no variation.
    """
    values = images.astype(np.float64)
    first = np.concatenate([values[..., :-1].ravel(), values[..., :-1, :].ravel()])
    second = np.concatenate([values[..., 1:].ravel(), values[..., 1:, :].ravel()])
    if first.size == 0 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])
