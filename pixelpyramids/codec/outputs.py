"""What the compact network's integer outputs mean, 4096 of them a unit.

K components for C channels: K logits, K C means, K C log-scales and K C(C-1)/2 weights, the channel (pair) running
fastest, as in `pixelpyramids.model.mixture`. A unit of logits and log-scales is a factor of two, of means 8 values, and
weights are plain: the mean of channel c is base + 8 m + the weighted distances of the channels before from their bases.
"""

import math

import numpy as np
from numpy.typing import NDArray

UNIT = 4096
MEAN_UNIT = 8  # values
SMALLEST_LOG_SCALE = -6 * UNIT  # of values
LARGEST_RANGES = 16  # of n values
LARGEST_PAIR_WEIGHT = 2 * UNIT


def starting_outputs(components: int, channels: int) -> NDArray[np.int64]:
    """Outputs of an untrained network: all means at the base, scales from a third of a value to twelve.

    The colours follow the one before.
    """
    log_scales = np.linspace(math.log2(0.35), math.log2(12), components)
    weights = [0.8 if later - before == 1 else 0.0 for later in range(channels) for before in range(later)]
    return _outputs(np.zeros(components), log_scales, channels, weights)


def coarsest_outputs(components: int, channels: int, n_bits: int) -> NDArray[np.int64]:
    """The fixed mixture of the coarsest pixels, around the middle of the range: spread over the range, evenly."""
    n_values = 2**n_bits
    means = (np.arange(components) + 0.5 - components / 2) * n_values / components / MEAN_UNIT
    log_scales = np.full(components, n_bits - 4.0)
    return _outputs(means, log_scales, channels, [0.0] * (channels * (channels - 1) // 2))


def _outputs(
    means: NDArray[np.float64], log_scales: NDArray[np.float64], channels: int, weights: list[float]
) -> NDArray[np.int64]:
    components = len(means)
    logits = np.zeros(components)
    parts = logits, means.repeat(channels), log_scales.repeat(channels), np.tile(weights, components)
    outputs: NDArray[np.int64] = np.rint(np.concatenate(parts) * UNIT).astype(np.int64)
    return outputs
