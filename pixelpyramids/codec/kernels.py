"""All compiled functions: they turn a network's integer outputs into cumulative distributions, and these into bits.

The mixture of logistics, without floats:

    z_k(x) = (x - 1/2 - mean_k) / scale_k
    S_k(x) = sigma(z_k(x)), of 2**24; S_k(0) = 0 and S_k(n) = 2**24
    F(x)   = x + (2**24 - n) * sum_k w_k S_k(x) / 2**24 / 2**24

The symbol x has the frequency F(x + 1) - F(x) of 2**24, which is at least one. After a channel has the value x, the
weights become conditional on it, w_k' ~ w_k (S_k(x + 1) - S_k(x)), so that the conditionals of the channels multiply to
the joint mixture. Fixed point: means have 9 fractional bits, z has 16, weights and probabilities are in units of
2**-24; every division rounds down. `codec.outputs` defines the outputs. The formulas are those of PixelCNN++ (Salimans
et al. 2017); the tables below are part of the file format (docs/format.md). `codec.coder` describes the coder.

Outputs are corrected by what was learnt before. All sites of one context (given by the log-scale of their likeliest
component) share the corrections d of all outputs. After each row, every output takes a step of Newton's method:

    d <- d - G / 2 / (H + 16),  G = sum of g over the row, H = sum of g**2 over all rows, decaying by an eighth per row

g is the derivative of a site's nats by an output; g**2 estimates the Fisher information. Four more numbers per channel
are learnt in the same way: how the scores of the sites to the left and above in the slice shift and widen the channel's
components, as in score-driven models (Creal, Koopman and Lucas 2013). Scores are derivatives of the nats by a shift of
all components, in units of their scales, and by the logarithm of all scales.

All functions are in one file because numba only recompiles a function if its own file has changed (so touch this file
if a constant in another one changes). They use int64 only, because numba turns mixtures of signed and unsigned integers
into floats.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.compilation import Integer, compile_function
from pixelpyramids.codec.integer_network import CHANNELS, PER_COMPONENT
from pixelpyramids.codec.outputs import LARGEST_PAIR_WEIGHT, SMALLEST_LOG_SCALE

Integers = NDArray[np.int64]

START = 1 << 32  # the state in which encoding starts and decoding ends
WORD = 16
TOTAL_BITS = 24
TOTAL = 1 << TOTAL_BITS
UNIT_BITS = 12  # of outputs
MEAN_BITS = 9  # fractional bits of means: 12 - 3, since a unit is 8 values
POWER_BITS = 8  # of an index into POWERS
POWER_UNIT_BITS = 16  # fractional bits of the entries of POWERS
STEP_BITS = 6  # z from one entry of SIGMOIDS to the next is 2**-6
Z_BITS = 16
LARGEST_Z = 16
CONTEXTS = 8  # of corrections
SMALLEST_CONTEXT = -2  # units of log-scale; the first context also holds everything below
SLOPE_BITS = 12  # fractional bits of derivatives
FINE_SLOPE_BITS = 20  # fractional bits of derivatives by the mean, per value
LARGEST_SLOPE = 16 << SLOPE_BITS
CORRECTION_BITS = 20  # fractional bits of corrections
LARGEST_STEP = 1 << (CORRECTION_BITS - 4)
LARGEST_CORRECTION = 2 << CORRECTION_BITS
CAUTION = 16 << 2 * SLOPE_BITS  # added to H
FORGETTING = 3  # H decays by 2**-3 per row
INFLUENCES = 4  # per channel: the left and the upper neighbour's influence on the shift, then on the width
LARGEST_SCORE = 4 << SLOPE_BITS
MEMORY = 2  # a running score by width moves 2**-2 of the way to the latest one

POWERS: Integers = np.array([round(2.0 ** (16 - i / 256)) for i in range(257)], dtype=np.int64)
"""2**16 * 2**(-i / 256)."""

SIGMOIDS: Integers = np.array(
    [round(TOTAL / (1 + math.exp(-i / 64))) for i in range(-64 * LARGEST_Z, 64 * LARGEST_Z + 1)], dtype=np.int64
)
"""2**24 * sigma(z), z from -16 to 16 in steps of 1/64."""


@compile_function
def sigmoid(z: Integer) -> Integer:
    """sigma(z) in units of 2**-24, for z in units of 2**-16: interpolated, and never decreasing."""
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


@compile_function
def power(exponent: Integer) -> Integer:
    """2**16 * 2**(-exponent / 4096) for exponents from 0 to 4095, to the nearest of 256 steps."""
    return POWERS[(exponent + 8) >> (UNIT_BITS - POWER_BITS)]


@compile_function
def growth(exponent: Integer) -> Integer:
    """2**15 * 2**(exponent / 4096), for the exponents of `power`."""
    return POWERS[(1 << POWER_BITS) - ((exponent + 8) >> (UNIT_BITS - POWER_BITS))]


@compile_function
def start_weights(outputs: Any, weights: Any) -> None:
    """Compute the mixture's weights, which add up to 2**24, from its logits."""
    largest = outputs[0]
    for k in range(1, len(weights)):
        largest = max(largest, outputs[k])
    for k in range(len(weights)):
        below = np.int64(largest) - outputs[k]
        shift = below >> UNIT_BITS
        weights[k] = max((power(below & 4095) << 8) >> shift, 1) if shift < TOTAL_BITS else 1
    normalise(weights)


@compile_function
def normalise(weights: Any) -> None:
    """Scale weights with a sum below 2**31 to add up to 2**24: each at least one; the largest takes the remainder."""
    total: Integer = np.int64(0)
    first = 0
    for k in range(len(weights)):
        total += weights[k]
        if weights[k] > weights[first]:
            first = k
    inverse = (1 << 62) // total
    rest = np.int64(TOTAL)
    for k in range(len(weights)):
        weights[k] = max(weights[k] * inverse >> 38, 1)
        rest -= weights[k]
    weights[first] += rest


@compile_function
def place_components(outputs: Any, channel: Integer, distances: Any, influence: Any, coding: Any, mixture: Any) -> None:
    """Write the mean, the inverse scale and its shift of a channel's components to rows 0 to 2 of mixture.

    Means have 9 fractional bits and count from the base. `distances` are those of the earlier channels from their
    bases, in quarters. `influence` shifts all means, in scales (16 fractional bits), and widens them, in units (12).
    """
    offset, widening = influence
    components, gain = mixture.shape[1], coding.gain
    for k in range(components):
        mean = np.int64(outputs[components + k * CHANNELS + channel])
        mean = mean << gain if gain >= 0 else mean >> -gain
        for before in range(channel):
            weight: Integer = np.int64(outputs[pair_weight(components, k, channel, before)])
            weight = min(max(weight, -LARGEST_PAIR_WEIGHT), LARGEST_PAIR_WEIGHT)
            mean += weight * distances[before] >> 5
        scale: Integer = np.int64(outputs[components * (1 + CHANNELS) + k * CHANNELS + channel]) + (gain << UNIT_BITS)
        scale = min(max(scale + widening, SMALLEST_LOG_SCALE), (4 + coding.bits) << UNIT_BITS)
        whole = scale >> UNIT_BITS
        mixture[0, k] = mean + (offset * growth(scale & 4095) >> (Z_BITS + POWER_UNIT_BITS - MEAN_BITS - 1 - whole))
        mixture[1, k] = power(scale & 4095)
        mixture[2, k] = MEAN_BITS + whole


@compile_function
def pair_weight(components: Integer, k: Integer, channel: Integer, before: Integer) -> Integer:
    """The index of the output by which a component's mean follows an earlier channel."""
    pairs = CHANNELS * (CHANNELS - 1) // 2
    return components * (1 + 2 * CHANNELS) + k * pairs + channel * (channel - 1) // 2 + before


@compile_function
def edge_of(x: Integer, base: Integer) -> Integer:
    """The lower edge of x, counted from the base, with 9 fractional bits; `base` is in quarters."""
    return (x << MEAN_BITS) - (1 << (MEAN_BITS - 1)) - (base << (MEAN_BITS - 2))


@compile_function
def share_below(mixture: Any, k: Integer, edge: Integer) -> Integer:
    """S_k at an edge, which is counted from the base and has 9 fractional bits."""
    return sigmoid((edge - mixture[0, k]) * mixture[1, k] >> mixture[2, k])


@compile_function
def cumulative_from_shares(weights: Any, shares: Any, x: Integer, n: Integer) -> Integer:
    """F(x) for x from 0 to n = 2**bits, given S_k(x)."""
    if x <= 0:
        return 0
    if x >= n:
        return TOTAL
    total: Integer = np.int64(0)
    for k in range(len(weights)):
        total += weights[k] * shares[k]
    return x + ((total >> TOTAL_BITS) * (TOTAL - n) >> TOTAL_BITS)


@compile_function
def cumulative(weights: Any, mixture: Any, base: Integer, x: Integer, n: Integer) -> Integer:
    """F(x) for x from 0 to n = 2**bits; `base` is in quarters."""
    if 0 < x < n:
        for k in range(len(weights)):
            mixture[3, k] = share_below(mixture, k, edge_of(x, base))
    return cumulative_from_shares(weights, mixture[3], x, n)


@compile_function
def find_symbol(weights: Any, mixture: Any, base: Integer, slot: Integer, n: Integer) -> Any:
    """Find the symbol x with F(x) <= slot < F(x + 1), and both bounds, from the mean outwards in doubling steps."""
    mean = np.int64(0)
    for k in range(len(weights)):
        mean += (weights[k] >> 8) * mixture[0, k] >> (TOTAL_BITS - 8)
    x = (mean + (base << (MEAN_BITS - 2))) >> MEAN_BITS
    low, high, start, end, step = 0, n, 0, TOTAL, 1
    while high - low > 1:
        x = min(max(x, low + 1), high - 1)
        at = cumulative(weights, mixture, base, x, n)
        if at <= slot:
            low, start = x, at
        else:
            high, end = x, at
        x = low + step if high == n else high - step if low == 0 else (low + high) >> 1
        step <<= 1
    return low, start, end


@compile_function
def write_bounds(mixture: Any, base: Integer, x: Integer, n: Integer) -> None:
    """Write S_k(x) and S_k(x + 1) to rows 3 and 4 of mixture."""
    edge = edge_of(x, base)
    for k in range(mixture.shape[1]):
        mixture[3, k] = np.int64(0) if x == 0 else share_below(mixture, k, edge)
        mixture[4, k] = np.int64(TOTAL) if x == n - 1 else share_below(mixture, k, edge + (1 << MEAN_BITS))


@compile_function
def reweight(weights: Any, mixture: Any) -> None:
    """Make the weights conditional on the channel's value, given what `write_bounds` wrote."""
    total: Integer = np.int64(0)
    for k in range(len(weights)):
        mixture[3, k] = weights[k] * (mixture[4, k] - mixture[3, k])
        total += mixture[3, k]
    if total == 0:
        return
    shift = 17 if total >> 31 else 0
    for k in range(len(weights)):
        weights[k] = mixture[3, k] >> shift
    normalise(weights)


@compile_function
def correct_outputs(outputs: Any, learnt: Any, components: Integer, corrected: Any) -> Integer:
    """Add the corrections of a site's context to its outputs; return the context."""
    likeliest = 0
    for k in range(1, components):
        if outputs[k] > outputs[likeliest]:
            likeliest = k
    scale: Integer = np.int64(outputs[components * (1 + CHANNELS) + likeliest * CHANNELS])
    context = min(max((scale >> UNIT_BITS) - SMALLEST_CONTEXT, 0), CONTEXTS - 1)
    for i in range(len(corrected)):
        corrected[i] = outputs[i] + (learnt[0, context, i] >> (CORRECTION_BITS - UNIT_BITS))
    return context


@compile_function
def differentiate(mixture: Any, base: Integer, x: Integer, slopes: Any) -> None:
    """Write the derivatives of -ln(S_k(x + 1) - S_k(x)), given what `write_bounds` wrote, to rows of slopes.

    Row 0 is the derivative by the mean in values, row 1 by the scale's logarithm, row 2 by the mean in scales.

    Since sigma' = sigma (1 - sigma), the derivative by the mean is (1 - S_k(x + 1) - S_k(x)) / scale. That by the
    logarithm is z(x) times this, plus sigma'(x + 1) / (S_k(x + 1) - S_k(x)) / scale.
    """
    edge, limit = edge_of(x, base), LARGEST_Z << Z_BITS
    for k in range(mixture.shape[1]):
        low, high = mixture[3, k], mixture[4, k]
        inverse = (mixture[1, k] << MEAN_BITS) >> mixture[2, k]
        z = min(max((edge - mixture[0, k]) * mixture[1, k] >> mixture[2, k], -limit), limit)
        pull = TOTAL - low - high
        slopes[0, k] = pull * inverse >> (TOTAL_BITS + Z_BITS - FINE_SLOPE_BITS)
        spread = (high * (TOTAL - high) >> TOTAL_BITS) * inverse // max(high - low, 1) >> (Z_BITS - SLOPE_BITS)
        slopes[1, k] = (z * pull >> (TOTAL_BITS + Z_BITS - SLOPE_BITS)) + spread
        slopes[2, k] = pull >> (TOTAL_BITS - SLOPE_BITS)


@compile_function
def add_slope(learnt: Any, context: Integer, i: Integer, share: Integer, slope: Integer) -> None:
    """Add a component's share of a derivative to the sums of an output."""
    slope = share * min(max(slope, -LARGEST_SLOPE), LARGEST_SLOPE) >> TOTAL_BITS
    learnt[1, context, i] += slope
    learnt[2, context, i] += slope * slope


@compile_function
def influence_of(numbers: Any, c: Integer, left: Any, above: Any) -> tuple[Integer, Integer]:
    """Return how far the neighbours' scores (2, channels) shift and widen a channel, by a context's corrections."""
    first = len(numbers) - INFLUENCES * (CHANNELS - c)
    offset = numbers[first] * left[0, c] + numbers[first + 1] * above[0, c]
    widening = numbers[first + 2] * left[1, c] + numbers[first + 3] * above[1, c]
    return offset >> (SLOPE_BITS + CORRECTION_BITS - Z_BITS), widening >> (SLOPE_BITS + CORRECTION_BITS - UNIT_BITS)


@compile_function
def learn(
    learnt: Any,
    context: Integer,
    priors: Any,
    weights: Any,
    slopes: Any,
    distances: Any,
    coding: Any,
    left: Any,
    above: Any,
) -> None:
    """Add a site to the sums of its context, and store its scores for the sites to the right and below.

    `priors` and `weights` are the weights before and after the site's channels; `slopes` is (channels, 3, components).
    """
    components, gain, coarser = len(weights), coding.gain, FINE_SLOPE_BITS - SLOPE_BITS
    for k in range(components):
        add_slope(learnt, context, k, TOTAL, (priors[k] - weights[k]) >> (TOTAL_BITS - SLOPE_BITS))
        for c in range(coding.coded):
            mean = slopes[c, 0, k] << (UNIT_BITS - MEAN_BITS)
            mean = mean << gain if gain >= 0 else mean >> -gain
            add_slope(learnt, context, components + k * CHANNELS + c, weights[k], mean >> coarser)
            add_slope(learnt, context, components * (1 + CHANNELS) + k * CHANNELS + c, weights[k], slopes[c, 1, k])
            for before in range(c):
                slope = slopes[c, 0, k] * distances[before] >> (2 + coarser)
                add_slope(learnt, context, pair_weight(components, k, c, before), weights[k], slope)
    for c in range(coding.coded):
        shift: Integer = np.int64(0)
        width: Integer = np.int64(0)
        for k in range(components):
            shift += weights[k] * slopes[c, 2, k]
            width += weights[k] * min(max(slopes[c, 1, k], -LARGEST_SLOPE), LARGEST_SLOPE)
        shift >>= TOTAL_BITS
        width = min(max(width >> TOTAL_BITS, -LARGEST_SCORE), LARGEST_SCORE)
        first = learnt.shape[2] - INFLUENCES * (CHANNELS - c)
        add_slope(learnt, context, first, TOTAL, shift * left[0, c] >> SLOPE_BITS)
        add_slope(learnt, context, first + 1, TOTAL, shift * above[0, c] >> SLOPE_BITS)
        add_slope(learnt, context, first + 2, TOTAL, width * left[1, c] >> SLOPE_BITS)
        add_slope(learnt, context, first + 3, TOTAL, width * above[1, c] >> SLOPE_BITS)
        left[0, c], above[0, c] = shift, shift
        left[1, c] += (width - left[1, c]) >> MEMORY
        above[1, c] += (width - above[1, c]) >> MEMORY


@compile_function
def update_corrections(learnt: Any) -> None:
    """Update the corrections at the end of a row."""
    for context in range(CONTEXTS):
        for i in range(learnt.shape[2]):
            slope = learnt[1, context, i]
            if slope != 0:
                change = (slope << (SLOPE_BITS + CORRECTION_BITS - 1)) // (learnt[2, context, i] + CAUTION)
                correction = learnt[0, context, i] - min(max(change, -LARGEST_STEP), LARGEST_STEP)
                learnt[0, context, i] = min(max(correction, -LARGEST_CORRECTION), LARGEST_CORRECTION)
                learnt[1, context, i] = 0
                learnt[2, context, i] -= learnt[2, context, i] >> FORGETTING


@compile_function
def code_sites(
    outputs: Any, bases: Any, values: Any, coding: Any, learnt: Any, intervals: Any, words: Any, position: Any
) -> None:
    """Go through the sites of a slice, and learn from their values.

    If `intervals` (2, symbols) is not empty, the values are known: write their starts and frequencies to it. Otherwise
    find them: `position` holds the state and the count of words taken, which exceeds their number if they run out.
    """
    height, width, size = outputs.shape
    n, components = 1 << coding.bits, size // PER_COMPONENT
    corrected, mixture = np.empty(size, dtype=np.int64), np.empty((5, components), dtype=np.int64)
    priors, weights = np.empty(components, dtype=np.int64), np.empty(components, dtype=np.int64)
    slopes, distances = np.empty((CHANNELS, 3, components), dtype=np.int64), np.empty(CHANNELS, dtype=np.int64)
    left, above = np.zeros((2, CHANNELS), dtype=np.int64), np.zeros((width, 2, CHANNELS), dtype=np.int64)
    is_known, count, state, taken = intervals.size > 0, 0, position[0], position[1]
    for y in range(height):
        left[:] = 0
        for x in range(width):
            context = correct_outputs(outputs[y, x], learnt, components, corrected)
            start_weights(corrected, weights)
            priors[:] = weights
            for c in range(coding.coded):
                base = np.int64(bases[c, y, x])
                influence = influence_of(learnt[0, context], c, left, above[x])
                place_components(corrected, c, distances, influence, coding, mixture)
                if not is_known:
                    slot = state & (TOTAL - 1)
                    values[c, y, x], low, high = find_symbol(weights, mixture, base, slot, n)
                    state = (high - low) * (state >> TOTAL_BITS) + slot - low
                    while state < START:
                        if taken >= len(words):
                            position[1] = taken + 1
                            return
                        state = state << WORD | np.int64(words[taken])
                        taken += 1
                value = np.int64(values[c, y, x])
                write_bounds(mixture, base, value, n)
                if is_known:
                    low = cumulative_from_shares(weights, mixture[3], value, n)
                    high = cumulative_from_shares(weights, mixture[4], value + 1, n)
                    intervals[0, count], intervals[1, count] = low, high - low
                    count += 1
                distances[c] = 4 * value - base
                differentiate(mixture, base, value, slopes[c])
                reweight(weights, mixture)
            learn(learnt, context, priors, weights, slopes, distances, coding, left, above[x])
        update_corrections(learnt)
    position[0], position[1] = state, taken


@compile_function
def encode_symbols(intervals: Any, words: Any) -> tuple[Integer, Integer]:
    """Encode symbols by their starts and frequencies (2, symbols). Return the first used word's index, and the state.

    `words` (uint16) are filled from the end.
    """
    state, first = START, len(words)
    for i in range(intervals.shape[1] - 1, -1, -1):
        start, frequency = intervals[0, i], intervals[1, i]
        while state >= frequency << TOTAL_BITS:
            first -= 1
            words[first] = state & 0xFFFF
            state >>= WORD
        state = ((state // frequency) << TOTAL_BITS) + start + state % frequency
    return first, state
