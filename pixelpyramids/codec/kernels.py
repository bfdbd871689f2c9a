"""All compiled functions: from a network's integer outputs to cumulative distributions, and from these to bits.

The mixture of logistics, without floats:

    z_k(x) = (x - 1/2 - mean_k) / scale_k
    S_k(x) = sigma(z_k(x)), of 2**24; S_k(0) = 0 and S_k(n) = 2**24
    F(x)   = x + (2**24 - n) * sum_k w_k S_k(x) / 2**24 / 2**24

The symbol x has the frequency F(x + 1) - F(x), which is at least one, of 2**24. After a channel, the weights are those
given what it was, w_k' ~ w_k (S_k(x + 1) - S_k(x)), so that the channels' conditionals multiply to the joint mixture.
Fixed point: means have 9 fractional bits, z has 16, weights and probabilities are of 2**24; every division rounds down.
Outputs are those of `codec.outputs`; the formulas are PixelCNN++'s (Salimans et al. 2017), the tables below are part of
the file format (docs/format.md). The coder is told in `codec.coder`.

They are in one file because numba compiles a function anew only where its own file has changed; and they work on int64
alone, because numba turns mixtures of signed and unsigned integers into floats.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.compiled import Integer, compiled
from pixelpyramids.codec.outputs import LARGEST_WEIGHT, SMALLEST_LOG_SCALE

Integers = NDArray[np.int64]

START = 1 << 32  # the state that encoding begins and decoding ends with
WORD = 16
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
def sigmoid(z: Integer) -> Integer:
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
def power(exponent: Integer) -> Integer:
    """2**16 * 2**(-exponent / 4096) for exponents from 0 to 4095, to the nearest of 256 steps."""
    return POWERS[(exponent + 8) >> (UNIT_BITS - POWER_BITS)]


@compiled
def start_weights(outputs: Any, components: Integer, weights: Any) -> None:
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
def normalise(weights: Any, components: Integer) -> None:
    """Scale weights, whose sum is below 2**31, to add up to 2**24: none below one, the largest takes the rest."""
    total: Integer = np.int64(0)
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
    outputs: Any,
    components: Integer,
    channels: Integer,
    channel: Integer,
    distances: Any,
    bits: Integer,
    gain: Integer,
    mixture: Any,
) -> None:
    """The places of a channel's components, into rows 0 to 2 of mixture: mean, inverse scale, and its shift.

    Means have 9 fractional bits, and count from the base. `distances` are those of the channels before from their
    bases, in quarters.
    """
    pairs = channels * (channels - 1) // 2
    first_pair = channel * (channel - 1) // 2
    for k in range(components):
        mean = np.int64(outputs[components + k * channels + channel])
        mean = mean << gain if gain >= 0 else mean >> -gain
        for before in range(channel):
            weight: Integer = np.int64(outputs[components * (1 + 2 * channels) + k * pairs + first_pair + before])
            weight = min(max(weight, -LARGEST_WEIGHT), LARGEST_WEIGHT)
            mean += weight * distances[before] >> 5
        scale: Integer = np.int64(outputs[components * (1 + channels) + k * channels + channel]) + (gain << UNIT_BITS)
        scale = min(max(scale, SMALLEST_LOG_SCALE), (4 + bits) << UNIT_BITS)
        mixture[0, k] = mean
        mixture[1, k] = power(scale & 4095)
        mixture[2, k] = MEAN_BITS + (scale >> UNIT_BITS)


@compiled
def component(mixture: Any, k: Integer, edge: Integer) -> Integer:
    """S_k at an edge, given from the base with 9 fractional bits."""
    return sigmoid((edge - mixture[0, k]) * mixture[1, k] >> mixture[2, k])


@compiled
def cumulative(weights: Any, mixture: Any, components: Integer, base: Integer, x: Integer, n: Integer) -> Integer:
    """F(x) for x from 0 to n = 2**bits; `base` in quarters."""
    if x <= 0:
        return 0
    if x >= n:
        return TOTAL
    edge = (x << MEAN_BITS) - (1 << (MEAN_BITS - 1)) - (base << (MEAN_BITS - 2))
    total: Integer = np.int64(0)
    for k in range(components):
        total += weights[k] * component(mixture, k, edge)
    return x + ((total >> TOTAL_BITS) * (TOTAL - n) >> TOTAL_BITS)


@compiled
def find(
    weights: Any, mixture: Any, components: Integer, base: Integer, slot: Integer, n: Integer
) -> tuple[Integer, Integer, Integer]:
    """The symbol x with F(x) <= slot < F(x + 1), and these two: sought from the mean outwards, in doubling steps."""
    mean = np.int64(0)
    for k in range(components):
        mean += (weights[k] >> 8) * mixture[0, k] >> (TOTAL_BITS - 8)
    x = (mean + (base << (MEAN_BITS - 2))) >> MEAN_BITS
    low, high, start, end, step = 0, n, 0, TOTAL, 1
    while high - low > 1:
        x = min(max(x, low + 1), high - 1)
        at = cumulative(weights, mixture, components, base, x, n)
        if at <= slot:
            low, start = x, at
        else:
            high, end = x, at
        x = low + step if high == n else high - step if low == 0 else (low + high) >> 1
        step <<= 1
    return low, start, end


@compiled
def reweight(weights: Any, mixture: Any, components: Integer, base: Integer, x: Integer, n: Integer) -> None:
    """The weights given that the channel was x."""
    edge = (x << MEAN_BITS) - (1 << (MEAN_BITS - 1)) - (base << (MEAN_BITS - 2))
    total: Integer = np.int64(0)
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


@compiled
def starts_and_frequencies(
    outputs: Any,
    bases: Any,
    values: Any,
    bits: Integer,
    gain: Integer,
    coded: Integer,
    starts: Any,
    frequencies: Any,
    count: Integer,
) -> Integer:
    """Write what the values of sites are coded with behind the `count` that are there; return how many there are."""
    height, width, size = outputs.shape
    channels, n = bases.shape[0], 1 << bits
    components = size // (1 + 2 * channels + channels * (channels - 1) // 2)
    weights, mixture = np.empty(components, dtype=np.int64), np.empty((4, components), dtype=np.int64)
    distances = np.empty(channels, dtype=np.int64)
    for y in range(height):
        for x in range(width):
            at = outputs[y, x]
            start_weights(at, components, weights)
            for c in range(coded):
                base, value = np.int64(bases[c, y, x]), np.int64(values[c, y, x])
                place(at, components, channels, c, distances, bits, gain, mixture)
                low = cumulative(weights, mixture, components, base, value, n)
                high = cumulative(weights, mixture, components, base, value + 1, n)
                starts[count], frequencies[count] = low, high - low
                count += 1
                distances[c] = 4 * value - base
                if c + 1 < coded:
                    reweight(weights, mixture, components, base, value, n)
    return count


@compiled
def encode_symbols(starts: Any, frequencies: Any, count: Integer, words: Any) -> tuple[Integer, Integer]:
    """Fill words (uint16) from their end; return the first that is used, and the state."""
    state, first = START, len(words)
    for i in range(count - 1, -1, -1):
        frequency = frequencies[i]
        while state >= frequency << TOTAL_BITS:
            first -= 1
            words[first] = state & 0xFFFF
            state >>= WORD
        state = ((state // frequency) << TOTAL_BITS) + starts[i] + state % frequency
    return first, state


@compiled
def decode_sites(
    outputs: Any, bases: Any, bits: Integer, gain: Integer, coded: Integer, words: Any, where: Any, values: Any
) -> None:
    """Fill in the values of sites; `where` holds the state and the count of words taken: too many where all are."""
    height, width, size = outputs.shape
    channels, n = bases.shape[0], 1 << bits
    components = size // (1 + 2 * channels + channels * (channels - 1) // 2)
    weights, mixture = np.empty(components, dtype=np.int64), np.empty((4, components), dtype=np.int64)
    distances = np.empty(channels, dtype=np.int64)
    state, taken = where[0], where[1]
    for y in range(height):
        for x in range(width):
            at = outputs[y, x]
            start_weights(at, components, weights)
            for c in range(coded):
                base = np.int64(bases[c, y, x])
                place(at, components, channels, c, distances, bits, gain, mixture)
                slot = state & ((1 << TOTAL_BITS) - 1)
                value, low, high = find(weights, mixture, components, base, slot, n)
                state = (high - low) * (state >> TOTAL_BITS) + slot - low
                while state < START:
                    if taken >= len(words):
                        where[1] = taken + 1
                        return
                    state = state << WORD | np.int64(words[taken])
                    taken += 1
                values[c, y, x] = value
                distances[c] = 4 * value - base
                if c + 1 < coded:
                    reweight(weights, mixture, components, base, value, n)
    where[0], where[1] = state, taken
