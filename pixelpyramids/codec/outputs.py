"""What the compact network's integer outputs mean. A unit is 4096.

For K components and C channels there are K logits, K C means, K C log-scales and K C(C-1)/2 weights. The channel (or
pair of channels) varies fastest, as in `pixelpyramids.model.mixture`. One unit of a logit or a log-scale is a factor of
two; one unit of a mean is 8 values. The mean of channel c is base + 8 m + the sum of weight * distance over the earlier
channels, whose distances are counted from their bases.
"""

import math

import numpy as np
from numpy.typing import NDArray

UNIT = 4096
MEAN_UNIT = 8  # values
SMALLEST_LOG_SCALE = -6 * UNIT  # of values
LARGEST_RANGES = 16  # the largest scale, in multiples of the number of values
LARGEST_PAIR_WEIGHT = 2 * UNIT


def starting_outputs(components: int, channels: int) -> NDArray[np.int64]:
    """Return the outputs of an untrained network: means at the base, scales from a third of a value to twelve.

    Each colour follows the one before it.
    """
    log_scales = np.linspace(math.log2(0.35), math.log2(12), components)
    weights = [0.8 if later - before == 1 else 0.0 for later in range(channels) for before in range(later)]
    return _outputs(np.zeros(components), log_scales, channels, weights)


def coarsest_outputs(components: int, channels: int, n_bits: int) -> NDArray[np.int64]:
    """Return the fixed mixture of the coarsest pixels: components spread evenly over the range, around its middle."""
    means = (np.arange(components) + 0.5 - components / 2) * 2**n_bits / components / MEAN_UNIT
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
