"""From a network's integer outputs to integer cumulative distributions: the mixture of logistics, without floats.

    z_k(x) = (x - 1/2 - mean_k) / scale_k
    S_k(x) = sigma(z_k(x)), of 2**24; S_k(0) = 0 and S_k(n) = 2**24
    F(x)   = x + (2**24 - n) * sum_k w_k S_k(x) / 2**24 / 2**24

The symbol x has the frequency F(x + 1) - F(x), which is at least one, of 2**24. After a channel, the weights are those
given what it was, w_k' ~ w_k (S_k(x + 1) - S_k(x)), so that the channels' conditionals multiply to the joint mixture.
Fixed point: means have 9 fractional bits, z has 16, weights and probabilities are of 2**24; every division rounds down.
Outputs are those of `codec.outputs`; the formulas are PixelCNN++'s (Salimans et al. 2017), the tables below are part of
the file format (docs/format.md).

All functions on arrays are compiled by numba on first use, and work on int64 alone: numba turns mixtures of signed and
unsigned integers into floats.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.compiled import compiled
from pixelpyramids.codec.outputs import LARGEST_WEIGHT, SMALLEST_LOG_SCALE

Integers = NDArray[np.int64]

TOTAL_BITS = 24
TOTAL = 1 << TOTAL_BITS
UNIT_BITS = 12  # of outputs
MEAN_BITS = 9  # of means: of a unit of 8 values, 12 - 3
POWER_BITS = 8  # of the index of POWERS
STEP_BITS = 6  # z from one entry of SIGMOIDS to the next is 2**-6
Z_BITS = 16
LARGEST_Z = 16

POWERS: Integers = np.array([round(2.0 ** (16 - i / 256)) for i in range(257)], dtype=np.int64)
"""2**16 * 2**(-i / 256)."""

SIGMOIDS: Integers = np.array(
    [round(TOTAL / (1 + math.exp(-i / 64))) for i in range(-64 * LARGEST_Z, 64 * LARGEST_Z + 1)], dtype=np.int64
)
"""2**24 * sigma(z), z from -16 to 16 in steps of 1/64."""


@compiled
def sigmoid(z: int) -> int:
    """sigma(z) of 2**24, z of 2**16: interpolated, and never falling."""
    limit = LARGEST_Z << Z_BITS
    if z <= -limit:
        return SIGMOIDS[0]
    if z >= limit:
        return SIGMOIDS[2 * LARGEST_Z << STEP_BITS]
    place = z + limit
    shift = Z_BITS - STEP_BITS
    index, rest = place >> shift, place & ((1 << shift) - 1)
    low = SIGMOIDS[index]
    return low + ((SIGMOIDS[index + 1] - low) * rest >> shift)


@compiled
def power(exponent: int) -> int:
    """2**16 * 2**(-exponent / 4096) for exponents from 0 to 4095, to the nearest of 256 steps."""
    return POWERS[(exponent + 8) >> (UNIT_BITS - POWER_BITS)]


@compiled
def start_weights(outputs: Any, components: int, weights: Any) -> None:
    """The mixture's weights, which add up to 2**24, from its logits."""
    largest = outputs[0]
    for k in range(1, components):
        largest = max(largest, outputs[k])
    for k in range(components):
        below = np.int64(largest) - outputs[k]
        shift = below >> UNIT_BITS
        weights[k] = max((power(below & 4095) << 8) >> shift, 1) if shift < TOTAL_BITS else 1
    normalise(weights, components)


@compiled
def normalise(weights: Any, components: int) -> None:
    """Scale weights, which add up to less than 2**31, to add up to 2**24: none below one, the largest takes the rest."""
    total = np.int64(0)
    first = 0
    for k in range(components):
        total += weights[k]
        if weights[k] > weights[first]:
            first = k
    inverse = (1 << 62) // total
    rest = np.int64(TOTAL)
    for k in range(components):
        weights[k] = max(weights[k] * inverse >> 38, 1)
        rest -= weights[k]
    weights[first] += rest


@compiled
def place(
    outputs: Any, components: int, channels: int, channel: int, distances: Any, bits: int, gain: int, mixture: Any
) -> None:
    """Means (9 fractional bits, from the base) and inverse scales of a channel's components, into mixture (2, K) and shifts.

    `distances` are those of the channels before from their bases, in quarters.
    """
    pairs = channels * (channels - 1) // 2
    first_pair = channel * (channel - 1) // 2
    for k in range(components):
        mean = np.int64(outputs[components + k * channels + channel])
        mean = mean << gain if gain >= 0 else mean >> -gain
        for before in range(channel):
            weight = np.int64(outputs[components * (1 + 2 * channels) + k * pairs + first_pair + before])
            weight = min(max(weight, -LARGEST_WEIGHT), LARGEST_WEIGHT)
            mean += weight * distances[before] >> 5
        scale = np.int64(outputs[components * (1 + channels) + k * channels + channel]) + (gain << UNIT_BITS)
        scale = min(max(scale, SMALLEST_LOG_SCALE), (4 + bits) << UNIT_BITS)
        mixture[0, k] = mean
        mixture[1, k] = power(scale & 4095)
        mixture[2, k] = MEAN_BITS + (scale >> UNIT_BITS)


@compiled
def component(mixture: Any, k: int, edge: int) -> int:
    """S_k at an edge, given from the base with 9 fractional bits."""
    return sigmoid((edge - mixture[0, k]) * mixture[1, k] >> mixture[2, k])


@compiled
def cumulative(weights: Any, mixture: Any, components: int, base: int, x: int, n: int) -> int:
    """F(x) for x from 0 to n = 2**bits; `base` in quarters."""
    if x <= 0:
        return 0
    if x >= n:
        return TOTAL
    edge = (x << MEAN_BITS) - (1 << (MEAN_BITS - 1)) - (base << (MEAN_BITS - 2))
    total = np.int64(0)
    for k in range(components):
        total += weights[k] * component(mixture, k, edge)
    return x + ((total >> TOTAL_BITS) * (TOTAL - n) >> TOTAL_BITS)


@compiled
def find(weights: Any, mixture: Any, components: int, base: int, slot: int, n: int) -> tuple[int, int, int]:
    """The symbol x with F(x) <= slot < F(x + 1), and these two."""
    low, high, start, end = 0, n, 0, TOTAL
    while high - low > 1:
        middle = (low + high) >> 1
        at = cumulative(weights, mixture, components, base, middle, n)
        if at <= slot:
            low, start = middle, at
        else:
            high, end = middle, at
    return low, start, end


@compiled
def reweight(weights: Any, mixture: Any, components: int, base: int, x: int, n: int) -> None:
    """The weights given that the channel was x."""
    edge = (x << MEAN_BITS) - (1 << (MEAN_BITS - 1)) - (base << (MEAN_BITS - 2))
    total = np.int64(0)
    for k in range(components):
        low = np.int64(0) if x == 0 else component(mixture, k, edge)
        high = np.int64(TOTAL) if x == n - 1 else component(mixture, k, edge + (1 << MEAN_BITS))
        mixture[3, k] = weights[k] * (high - low)
        total += mixture[3, k]
    if total == 0:
        return
    shift = 17 if total >> 31 else 0
    for k in range(components):
        weights[k] = mixture[3, k] >> shift
    normalise(weights, components)
