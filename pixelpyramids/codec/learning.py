"""What the integer model learns from one site to the next, in plain Python, as native/learning.h does.

Outputs are corrected by what was learnt before. All sites of one context (given by the log-scale of their likeliest
component) share the corrections d of all outputs. After each row, every output takes a step of Newton's method:

    d <- d - G / 2 / (H + 16),  G = sum of g over the row, H = sum of g**2 over all rows, decaying by an eighth per row

g is the derivative of a site's nats by an output; g**2 estimates the Fisher information. Four more numbers per channel
are learnt in the same way: how the scores of the sites to the left and above in the slice shift and widen the channel's
components, as in score-driven models (Creal, Koopman and Lucas 2013). Scores are derivatives of the nats by a shift of
all components, in units of their scales, and by the logarithm of all scales.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pixelpyramids.codec.distributions import (
    LARGEST_Z,
    MEAN_BITS,
    TOTAL,
    TOTAL_BITS,
    UNIT_BITS,
    Z_BITS,
    Component,
    Row,
    clamp,
    pair_weight_of,
    shift_left,
)
from pixelpyramids.codec.integer_network import CHANNELS
from pixelpyramids.codec.memory import INFLUENCES, Corrections

SMALLEST_CONTEXT = -2  # units of log-scale; the first context also holds everything below
SLOPE_BITS = 12  # fractional bits of derivatives
FINE_SLOPE_BITS = 20  # fractional bits of derivatives by the mean, per value
LARGEST_SLOPE = 16 << SLOPE_BITS
CORRECTION_BITS = 20  # fractional bits of corrections
LARGEST_STEP = 1 << (CORRECTION_BITS - 4)
LARGEST_CORRECTION = 2 << CORRECTION_BITS
CAUTION = 16 << 2 * SLOPE_BITS  # added to H
FORGETTING = 3  # H decays by 2**-3 per row
LARGEST_SCORE = 4 << SLOPE_BITS
MEMORY = 2  # a running score by width moves 2**-2 of the way to the latest one


class Slopes(NamedTuple):
    """Derivatives of a site's nats by a component's mean in values, its scale's logarithm, and its mean in scales."""

    mean: int
    log_scale: int
    offset: int


def differentiate(component: Component, edge: int, low: int, high: int) -> Slopes:
    """The derivatives of -ln(S_k(x + 1) - S_k(x)), given the lower edge of x and both shares.

    Since sigma' = sigma (1 - sigma), the derivative by the mean is (1 - S_k(x + 1) - S_k(x)) / scale. That by the
    logarithm is z(x) times this, plus sigma'(x + 1) / (S_k(x + 1) - S_k(x)) / scale.
    """
    inverse = (component.inverse << MEAN_BITS) >> component.shift
    z = clamp((edge - component.mean) * component.inverse >> component.shift, -LARGEST_Z, LARGEST_Z)
    pull = TOTAL - low - high
    spread = (high * (TOTAL - high) >> TOTAL_BITS) * inverse // max(high - low, 1) >> (Z_BITS - SLOPE_BITS)
    return Slopes(
        pull * inverse >> (TOTAL_BITS + Z_BITS - FINE_SLOPE_BITS),
        (z * pull >> (TOTAL_BITS + Z_BITS - SLOPE_BITS)) + spread,
        pull >> (TOTAL_BITS - SLOPE_BITS),
    )


class Learnt:
    """The corrections and influences of each context, this row's slopes G, and the squares H: lists of integers."""

    def __init__(self, array: Corrections) -> None:
        self._array = array
        self.numbers, self._slopes, self._squares = array.tolist()

    def add(self, context: int, i: int, share: int, slope: int) -> None:
        """Add a component's share of a derivative to the sums of a number."""
        slope = share * clamp(slope, -LARGEST_SLOPE, LARGEST_SLOPE) >> TOTAL_BITS
        self._slopes[context][i] += slope
        self._squares[context][i] += slope * slope

    def end_row(self) -> None:
        """Update the numbers."""
        for numbers, slopes, squares in zip(self.numbers, self._slopes, self._squares, strict=True):
            for i, slope in enumerate(slopes):
                if slope:
                    change = (slope << (SLOPE_BITS + CORRECTION_BITS - 1)) // (squares[i] + CAUTION)
                    number = numbers[i] - clamp(change, -LARGEST_STEP, LARGEST_STEP)
                    numbers[i] = clamp(number, -LARGEST_CORRECTION, LARGEST_CORRECTION)
                    slopes[i] = 0
                    squares[i] -= squares[i] >> FORGETTING

    def store(self) -> None:
        """Write the numbers back to the array."""
        self._array[...] = self.numbers, self._slopes, self._squares


class Scores:
    """What a site tells its neighbours, by channel: its score by a shift, and a running one by width."""

    def __init__(self) -> None:
        self.shift, self.width = [0] * CHANNELS, [0] * CHANNELS

    def update(self, c: int, shift: int, width: int) -> None:
        """Take a channel's scores in."""
        self.shift[c] = shift
        self.width[c] += (width - self.width[c]) >> MEMORY


def find_influence(numbers: Row, c: int, left: Scores, above: Scores) -> tuple[int, int]:
    """How far the neighbours' scores shift and widen a channel."""
    first = len(numbers) - INFLUENCES * (CHANNELS - c)
    offset = numbers[first] * left.shift[c] + numbers[first + 1] * above.shift[c]
    widening = numbers[first + 2] * left.width[c] + numbers[first + 3] * above.width[c]
    return offset >> (SLOPE_BITS + CORRECTION_BITS - Z_BITS), widening >> (SLOPE_BITS + CORRECTION_BITS - UNIT_BITS)


def learn(
    learnt: Learnt,
    context: int,
    priors: Row,
    weights: Row,
    slopes: Sequence[Sequence[Slopes]],
    distances: Sequence[int],
    gain: int,
    left: Scores,
    above: Scores,
) -> None:
    """Add a site to the sums of its context, and store its scores for the sites to the right and below.

    `priors` and `weights` are the weights before and after the site's channels; `slopes` is by channel and component.
    """
    components, coarser = len(weights), FINE_SLOPE_BITS - SLOPE_BITS
    numbers = len(learnt.numbers[context])
    for k in range(components):
        learnt.add(context, k, TOTAL, (priors[k] - weights[k]) >> (TOTAL_BITS - SLOPE_BITS))
        for c, of_channel in enumerate(slopes):
            slope = of_channel[k]
            mean = shift_left(slope.mean << (UNIT_BITS - MEAN_BITS), gain) >> coarser
            learnt.add(context, components + k * CHANNELS + c, weights[k], mean)
            learnt.add(context, components * (1 + CHANNELS) + k * CHANNELS + c, weights[k], slope.log_scale)
            for before in range(c):
                pair = pair_weight_of(components, k, c, before)
                learnt.add(context, pair, weights[k], slope.mean * distances[before] >> (2 + coarser))
    for c, of_channel in enumerate(slopes):
        both = list(zip(weights, of_channel, strict=True))
        shift = sum(weight * slope.offset for weight, slope in both) >> TOTAL_BITS
        widths = (weight * clamp(slope.log_scale, -LARGEST_SLOPE, LARGEST_SLOPE) for weight, slope in both)
        width = clamp(sum(widths) >> TOTAL_BITS, -LARGEST_SCORE, LARGEST_SCORE)
        first = numbers - INFLUENCES * (CHANNELS - c)
        moves = shift * left.shift[c], shift * above.shift[c], width * left.width[c], width * above.width[c]
        for i, move in enumerate(moves):
            learnt.add(context, first + i, TOTAL, move >> SLOPE_BITS)
        left.update(c, shift, width)
        above.update(c, shift, width)
