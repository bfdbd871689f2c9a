"""The integer model in plain Python, which native/mixture.h computes too. See `codec.reference`.

The mixture of logistics, without floats:

    z_k(x) = (x - 1/2 - mean_k) / scale_k
    S_k(x) = sigma(z_k(x)), of 2**24; S_k(0) = 0 and S_k(n) = 2**24
    F(x)   = x + (2**24 - n) * sum_k w_k S_k(x) / 2**24 / 2**24

The symbol x has the frequency F(x + 1) - F(x) of 2**24, which is at least one. After a channel has the value x, the
weights become conditional on it, w_k' ~ w_k (S_k(x + 1) - S_k(x)), so that the conditionals of the channels multiply to
the joint mixture. Fixed point: means have 9 fractional bits, z has 16, weights and probabilities are in units of
2**-24; every division rounds down. `codec.outputs` defines the outputs. The formulas are those of PixelCNN++ (Salimans
et al. 2017); the tables below are part of the format (docs/reference/format.md). `codec.coder` describes the coder.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pixelpyramids.codec.engine import Coding
from pixelpyramids.codec.integer_network import CHANNELS, PER_COMPONENT
from pixelpyramids.codec.outputs import LARGEST_PAIR_WEIGHT, SMALLEST_LOG_SCALE

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
LARGEST_Z = 16 << Z_BITS

POWERS: list[int] = [round(2.0 ** (16 - i / 256)) for i in range(257)]  # 2**16 * 2**(-i / 256)
SIGMOIDS: list[int] = [round(TOTAL / (1 + math.exp(-i / 64))) for i in range(-1024, 1025)]
"""2**24 * sigma(z), z from -16 to 16 in steps of 1/64."""

Row = list[int]


class Component(NamedTuple):
    """A component of a channel: z = (edge - mean) * inverse >> shift. Means count from the base, in 2**-9."""

    mean: int
    inverse: int
    shift: int

    def share_below(self, edge: int) -> int:
        """S_k at an edge, which is counted from the base and has 9 fractional bits."""
        return sigmoid((edge - self.mean) * self.inverse >> self.shift)


def pair_weight_of(components: int, k: int, channel: int, before: int) -> int:
    """Where a component's weight of an earlier channel is among a site's outputs."""
    pairs = CHANNELS * (CHANNELS - 1) // 2
    return components * (1 + 2 * CHANNELS) + k * pairs + channel * (channel - 1) // 2 + before


def clamp(value: int, low: int, high: int) -> int:
    """The value, or the nearer limit."""
    return min(max(value, low), high)


def shift_left(value: int, bits: int) -> int:
    """Multiply by 2**bits; if that is a fraction, round down."""
    return value << bits if bits >= 0 else value >> -bits


def sigmoid(z: int) -> int:
    """sigma(z) in units of 2**-24, for z in units of 2**-16: interpolated, and never decreasing."""
    place = clamp(z, -LARGEST_Z, LARGEST_Z) + LARGEST_Z
    index = min(place >> (Z_BITS - STEP_BITS), len(SIGMOIDS) - 2)
    low = SIGMOIDS[index]
    return low + ((SIGMOIDS[index + 1] - low) * (place - (index << (Z_BITS - STEP_BITS))) >> (Z_BITS - STEP_BITS))


def power(exponent: int) -> int:
    """2**16 * 2**(-exponent / 4096) for exponents from 0 to 4095, to the nearest of 256 steps."""
    return POWERS[(exponent + 8) >> (UNIT_BITS - POWER_BITS)]


def growth(exponent: int) -> int:
    """2**15 * 2**(exponent / 4096), for the exponents of `power`."""
    return POWERS[(1 << POWER_BITS) - ((exponent + 8) >> (UNIT_BITS - POWER_BITS))]


def normalise(weights: Sequence[int]) -> Row:
    """Scale weights with a sum below 2**31 to add up to 2**24: each at least one; the largest takes the remainder."""
    inverse = (1 << 62) // sum(weights)
    scaled = [max(weight * inverse >> 38, 1) for weight in weights]
    scaled[weights.index(max(weights))] += TOTAL - sum(scaled)
    return scaled


def start_weights(logits: Sequence[int]) -> Row:
    """The mixture's weights, which add up to 2**24."""
    below = [max(logits) - logit for logit in logits]
    return normalise([max((power(b & 4095) << 8) >> (b >> UNIT_BITS), 1) for b in below])


def place_components(
    outputs: Row, channel: int, distances: Sequence[int], influence: tuple[int, int], coding: Coding
) -> list[Component]:
    """The components of a channel.

    `distances` are those of the earlier channels from their bases, in quarters. `influence` shifts all means, in scales
    (16 fractional bits), and widens them, in units (12).
    """
    components, (offset, widening) = len(outputs) // PER_COMPONENT, influence
    placed = []
    for k in range(components):
        mean = shift_left(outputs[components + k * CHANNELS + channel], coding.gain)
        for before in range(channel):
            weight = outputs[pair_weight_of(components, k, channel, before)]
            mean += clamp(weight, -LARGEST_PAIR_WEIGHT, LARGEST_PAIR_WEIGHT) * distances[before] >> 5
        scale = outputs[components * (1 + CHANNELS) + k * CHANNELS + channel] + coding.gain * (1 << UNIT_BITS)
        scale = clamp(scale + widening, SMALLEST_LOG_SCALE, (4 + coding.bits) << UNIT_BITS)
        whole = scale >> UNIT_BITS
        mean += offset * growth(scale & 4095) >> (Z_BITS + POWER_UNIT_BITS - MEAN_BITS - 1 - whole)
        placed.append(Component(mean, power(scale & 4095), MEAN_BITS + whole))
    return placed


def edge_of(x: int, base: int) -> int:
    """The lower edge of x, counted from the base, with 9 fractional bits; `base` is in quarters."""
    return (x << MEAN_BITS) - (1 << (MEAN_BITS - 1)) - (base << (MEAN_BITS - 2))


def shares_below(placed: Sequence[Component], base: int, x: int, n: int) -> Row:
    """S_k(x) for x from 0 to n."""
    if x in (0, n):
        return [TOTAL if x else 0] * len(placed)
    edge = edge_of(x, base)
    return [component.share_below(edge) for component in placed]


def cumulative(weights: Sequence[int], shares: Sequence[int], x: int, n: int) -> int:
    """F(x) for x from 0 to n = 2**bits, given S_k(x)."""
    if x <= 0 or x >= n:
        return TOTAL if x > 0 else 0
    total = sum(weight * share for weight, share in zip(weights, shares, strict=True))
    return x + ((total >> TOTAL_BITS) * (TOTAL - n) >> TOTAL_BITS)


def guess_value(weights: Sequence[int], placed: Sequence[Component], base: int) -> int:
    """The value nearest to the mean of the mixture, which may lie outside of the range.

    The search for a symbol begins there, and so do the decisions of the mixing.
    """
    parts = ((weight >> 8) * component.mean >> 16 for weight, component in zip(weights, placed, strict=True))
    return (sum(parts) + (base << (MEAN_BITS - 2)) + (1 << (MEAN_BITS - 1))) >> MEAN_BITS


def find_symbol(f: Callable[[int], int], guess: int, slot: int, n: int) -> tuple[int, int, int]:
    """The symbol x with F(x) <= slot < F(x + 1), and both bounds: from the guess outwards in doubling steps."""
    x, low, high, start, end, step = guess, 0, n, 0, TOTAL, 1
    while high - low > 1:
        x = clamp(x, low + 1, high - 1)
        at = f(x)
        if at <= slot:
            low, start = x, at
        else:
            high, end = x, at
        x = low + step if high == n else high - step if low == 0 else (low + high) >> 1
        step <<= 1
    return low, start, end


def condition_weights(weights: Sequence[int], lows: Sequence[int], highs: Sequence[int]) -> Row:
    """The weights, given that a channel's value has these shares below its lower and its upper edge."""
    joint = [weight * (high - low) for weight, low, high in zip(weights, lows, highs, strict=True)]
    total = sum(joint)
    return list(weights) if total == 0 else normalise([part >> (17 if total >> 31 else 0) for part in joint])
