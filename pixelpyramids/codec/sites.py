"""The walk through the sites of a slice in plain Python, as native/slices.h does it."""

from collections.abc import Callable

from pixelpyramids.codec.distributions import (
    UNIT_BITS,
    Component,
    Row,
    clamp,
    condition_weights,
    cumulative,
    edge_of,
    guess_value,
    place_components,
    shares_below,
    start_weights,
)
from pixelpyramids.codec.engine import SliceModel
from pixelpyramids.codec.integer_network import CHANNELS, PER_COMPONENT
from pixelpyramids.codec.learning import (
    CORRECTION_BITS,
    SMALLEST_CONTEXT,
    Learnt,
    Scores,
    differentiate,
    find_influence,
    learn,
)
from pixelpyramids.codec.memory import CONTEXTS

TakeSymbol = Callable[[Callable[[int], int], int, int, int], int]
"""Returns a channel's value, given F, a guess, the channel and the site's number."""


def follow_sites(model: SliceModel, take: TakeSymbol) -> None:
    """Go through the sites of a slice in raster order, and learn from them; `take` returns each value."""
    outputs, bases, coding = model.outputs, model.bases, model.coding
    height, width, size = outputs.shape
    n, components = 1 << coding.bits, size // PER_COMPONENT
    state, above = Learnt(model.corrections), [Scores() for _ in range(width)]
    for y in range(height):
        left, of_row, bases_of_row = Scores(), outputs[y].tolist(), bases[:, y].T.tolist()
        for x in range(width):
            raw, of_site = of_row[x], bases_of_row[x]
            logits = raw[:components]
            scale = raw[components * (1 + CHANNELS) + logits.index(max(logits)) * CHANNELS]
            context = clamp((scale >> UNIT_BITS) - SMALLEST_CONTEXT, 0, CONTEXTS - 1)
            numbers = state.numbers[context]
            corrected = [a + (d >> (CORRECTION_BITS - UNIT_BITS)) for a, d in zip(raw, numbers, strict=False)]
            priors = weights = start_weights(corrected[:components])
            distances: Row = []
            slopes = []
            for c in range(coding.coded):
                base = of_site[c]
                influence = find_influence(numbers, c, left, above[x])
                placed = place_components(corrected, c, distances, influence, coding)
                current = weights

                def f(at: int, placed: list[Component] = placed, weights: Row = current, base: int = base) -> int:
                    return cumulative(weights, shares_below(placed, base, at, n), at, n)

                value = take(f, guess_value(weights, placed, base), c, y * width + x)
                lows, highs = (shares_below(placed, base, at, n) for at in (value, value + 1))
                edge = edge_of(value, base)
                slopes.append(
                    [differentiate(at, edge, *shares) for at, *shares in zip(placed, lows, highs, strict=True)]
                )
                distances.append(4 * value - base)
                weights = condition_weights(weights, lows, highs)
            learn(state, context, priors, weights, slopes, distances, coding.gain, left, above[x])
        state.end_row()
    state.store()
