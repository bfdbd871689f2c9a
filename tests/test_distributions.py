"""The integer distributions: compared with exact fractions and scipy's logistic; properties for every output."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from slices import CHANNELS, TOTAL, cumulative_at, cumulative_of, mixture_of

from pixelpyramids.codec import distributions
from pixelpyramids.codec.outputs import SMALLEST_LOG_SCALE, UNIT, coarsest_outputs, starting_outputs

LARGEST_OUTPUT = 2**24  # of a network, in magnitude
KINDS = ["ordinary", "network", "extreme", "int32"]


def gains(bits):
    """The gains that a file with this number of bits can have."""
    return range(bits - 8, 1) if bits <= 8 else range(bits - 7)


def draw_outputs(rng, kind, components=10):
    """Draw the outputs of a site: an ordinary mixture, or anything up to the extremes of the range."""
    size = components * (1 + 2 * CHANNELS + 3)
    if kind == "ordinary":
        return (starting_outputs(components, CHANNELS) + rng.normal(0, 3000, size)).astype(np.int32)
    if kind == "network":
        return rng.integers(-LARGEST_OUTPUT, LARGEST_OUTPUT + 1, size).astype(np.int32)
    limits = [2**24, -(2**24), 0, 1, -1] if kind == "extreme" else [2**31 - 1, -(2**31), 0]
    return rng.choice(limits, size).astype(np.int32)


def exact_sigmoid(z):
    """sigma(z) of 2**24 for z a Fraction, rounded down to 2**-16: interpolated between steps of 1/64, as documented."""
    z = Fraction(math.floor(z * 2**16), 2**16)
    if abs(z) >= 16:
        return round(TOTAL / (1 + math.exp(-16.0 if z > 0 else 16.0)))
    index = math.floor(64 * z)
    low, high = (round(TOTAL / (1 + math.exp(-i / 64))) for i in (index, index + 1))
    return low + math.floor((high - low) * (64 * z - index))


def exact_power(units):
    """2**16 * 2**(-units), units from 0 to 1, to the nearest of 256 steps."""
    return round(2.0 ** (16 - math.floor(256 * units + Fraction(1, 2)) / 256))


def exact_cumulative(outputs, channel, distances, weights, bits, gain, base, x):
    """Compute F(x) by the formula in fractions, with places rounded down to 2**-9 and z to 2**-16."""
    components = len(outputs) // (1 + 2 * CHANNELS + 3)
    table = [int(output) for output in outputs]
    total = 0
    for k in range(components):
        mean = math.floor(Fraction(8 * table[components + k * CHANNELS + channel], UNIT) * Fraction(2) ** gain * 512)
        for before in range(channel):
            number = components * (1 + 2 * CHANNELS) + 3 * k + channel * (channel - 1) // 2 + before
            weight = Fraction(min(max(table[number], -2 * UNIT), 2 * UNIT), UNIT)
            mean += math.floor(weight * Fraction(int(distances[before]), 4) * 512)
        scale = Fraction(table[components * 4 + k * CHANNELS + channel], UNIT) + gain
        scale = min(max(scale, Fraction(SMALLEST_LOG_SCALE, UNIT)), Fraction(4 + bits))
        whole = math.floor(scale)
        distance = Fraction(x) - Fraction(1, 2) - Fraction(int(base), 4) - Fraction(mean, 512)
        total += int(weights[k]) * exact_sigmoid(distance * Fraction(exact_power(scale - whole), 2**16) / 2**whole)
    return x + math.floor((TOTAL - 2**bits) * Fraction(total // TOTAL, TOTAL))


def edges(rng, n, count=40):
    """Choose values to test, ascending: all if there are few, else the ends and some between."""
    return range(n + 1) if n <= count else sorted({0, 1, 2, n - 2, n - 1, n, *rng.integers(1, n, count - 6).tolist()})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [1, 3, 8, 12, 16])
def test_the_distribution_is_the_formula_in_fractions(kind, bits):
    rng = np.random.default_rng(bits)
    for gain in (gains(bits)[0], gains(bits)[-1]):
        for channel in range(CHANNELS):
            outputs = draw_outputs(rng, kind, components=3)
            base = int(rng.integers(0, 4 * 2**bits - 3))
            distances = rng.integers(-4 * 2**bits + 4, 4 * 2**bits - 3, CHANNELS)
            weights, placed = mixture_of(outputs, channel, distances, bits, gain)
            for x in edges(rng, 2**bits, 12)[1:-1]:
                found = cumulative_at(weights, placed, base, x, 2**bits)
                assert found == exact_cumulative(outputs, channel, distances, weights, bits, gain, base, x)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_distribution_is_scipys_logistic_mixture(bits):
    """The difference is within the rounding errors.

    A table's steps of 1/64 interpolate within max|sigma''| / 8 / 64**2 = 3e-6; a scale's step of 1/512 octave moves
    z sigma'(z) <= 0.224 by 0.224 * ln 2 / 512 = 3.1e-4; a mean's step of 2**-9 at the smallest scale of 2**-6 moves
    z by 1/8 at most, here (scales above 2**-2) by 2**-7 and sigma by 2**-9; the floor adds n / 2**24.
    """
    rng = np.random.default_rng(0)
    n, gain = 2**bits, gains(bits)[-1]
    for _ in range(20):
        outputs = draw_outputs(rng, "ordinary")
        base = int(rng.integers(0, 4 * n - 3))
        weights, placed = mixture_of(outputs, bits=bits, gain=gain)
        units = outputs.astype(np.float64) / UNIT
        priors = 2.0 ** (units[:10] - units[:10].max())
        assert np.abs(np.array(weights) / TOTAL - priors / priors.sum()).max() < 2.0**-9
        means, scales = 8 * units[10:40:3] * 2.0**gain, 2.0 ** np.clip(units[40:70:3] + gain, -6, 4 + bits)
        xs = np.array(edges(rng, n)[1:-1])
        expected = expit((xs[:, None] - 0.5 - base / 4 - means) / scales) @ np.array(weights) / TOTAL
        found = np.array([cumulative_at(weights, placed, base, int(x), n) for x in xs]) / TOTAL
        assert np.abs(found - expected).max() < 3e-6 + 3.1e-4 + 2.0**-9 + n / TOTAL


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", range(1, 17))
def test_every_value_is_possible_and_none_overlap(kind, bits):
    """For every depth and gain: F(0) = 0, F(n) = 2**24, and F rises by one at least from value to value."""
    rng, n = np.random.default_rng(bits), 2**bits
    for gain in range(-7, 9):
        outputs = draw_outputs(rng, kind)
        channel = int(rng.integers(CHANNELS))
        base, distances = int(rng.integers(0, 4 * n - 3)), rng.integers(-4 * n + 4, 4 * n - 3, CHANNELS)
        weights, placed = mixture_of(outputs, channel, distances, bits, gain)
        some = edges(rng, n, 300)
        found = [cumulative_at(weights, placed, base, x, n) for x in some]
        assert found[0] == 0 and found[-1] == TOTAL
        assert (np.diff(found) >= np.diff(some)).all()


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=12))
def test_weights_add_up_and_none_is_lost(logits):
    weights = distributions.start_weights(logits)
    assert sum(weights) == TOTAL and min(weights) >= 1


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=12).filter(lambda w: 0 < sum(w) < 2**31))
def test_scaled_weights_add_up_and_none_is_lost(numbers):
    weights = distributions.normalise(numbers)
    assert sum(weights) == TOTAL and min(weights) >= 1
    expected = np.array(numbers) / sum(numbers) * TOTAL
    assert np.abs(np.array(weights) - expected).max() <= len(numbers) + 1


@given(st.data())
def test_find_inverts_cumulative(data):
    bits = data.draw(st.integers(1, 16))
    gain = data.draw(st.integers(-7, 8))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    outputs = draw_outputs(rng, data.draw(st.sampled_from(KINDS)))
    n = 2**bits
    base = data.draw(st.integers(0, 4 * n - 4))
    slot = data.draw(st.integers(0, TOTAL - 1))
    weights, placed = mixture_of(outputs, bits=bits, gain=gain)

    def f(at):
        return cumulative_at(weights, placed, base, at, n)

    guesses = distributions.guess_value(weights, placed, base), data.draw(st.integers(-(2**40), 2**40))
    x, low, high = distributions.find_symbol(f, guesses[0], slot, n)
    assert 0 <= x < n and low <= slot < high
    assert (low, high) == (f(x), f(x + 1))
    for guess, inside in product(guesses, (low, high - 1)):
        assert distributions.find_symbol(f, guess, inside, n) == (x, low, high)


@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
def test_the_conditionals_multiply_to_the_joint_mixture(bits):
    """prod_c q(x_c | x_<c) = sum_k w_k prod_c D_kc, D_kc = S_kc(x_c + 1) - S_kc(x_c), up to rounding.

    q = (frequency - 1) / (2**24 - n) is the conditional without the floor of one count: rounded by less than 2 counts.
    After a channel, the K weights have lost less than one each of at least 2**14 (17 bits of 31 and more), and less
    than two of 2**24 by being scaled; so they are wrong by e = 2 K (2**-14 + 2**-23) in all, the first ones by nothing.
    The product is thus within q_0 e max_k D_k1 D_k2 + q_0 q_1 e max_k D_k2 of the joint, and the roundings of the q.
    """
    rng, n, components, seen = np.random.default_rng(bits), 2**bits, 10, 0
    wrong = 2 * components * (2.0**-14 + 2.0**-23)
    for _ in range(60):
        outputs = draw_outputs(rng, "ordinary")
        gain = gains(bits)[-1]
        bases = rng.integers(n, 3 * n, CHANNELS)
        values = np.clip(bases // 4 + rng.integers(-2, 3, CHANNELS) * 2**gain, 0, n - 1)
        distances = 4 * values - bases
        weights, _ = mixture_of(outputs, 0, distances, bits, gain)
        priors = np.array(weights) / TOTAL
        conditionals, parts = [], []
        for c in range(CHANNELS):
            _, placed = mixture_of(outputs, c, distances, bits, gain)
            base, value = int(bases[c]), int(values[c])
            low, high = (cumulative_at(weights, placed, base, value + d, n) for d in (0, 1))
            conditionals.append((high - low - 1) / (TOTAL - n))
            lows, highs = (distributions.shares_below(placed, base, value + d, n) for d in (0, 1))
            edge = 512 * value - 256 - 128 * base
            assert lows == [0 if value == 0 else component.share_below(edge) for component in placed]
            parts.append((np.array(highs) - lows) / TOTAL)
            weights = distributions.condition_weights(weights, lows, highs)
            assert sum(weights) == TOTAL and min(weights) >= 1
        joint, multiplied = float((priors * np.prod(parts, axis=0)).sum()), math.prod(conditionals)
        roundings = math.prod(q + 2 / (TOTAL - n) for q in conditionals) - multiplied
        lost = conditionals[0] * wrong * ((parts[1] * parts[2]).max() + conditionals[1] * parts[2].max())
        assert abs(multiplied - joint) <= roundings + lost
        seen += roundings + lost < joint / 20
    assert seen > 20


def test_weights_stay_if_no_component_could_give_a_value():
    outputs = np.zeros(100, np.int32)
    outputs[40:70] = -(2**24)
    weights, placed = mixture_of(outputs, bits=16)
    lows, highs = (distributions.shares_below(placed, 0, x, 2**16) for x in (60000, 60001))
    assert lows == highs and distributions.condition_weights(weights, lows, highs) == weights


@pytest.mark.parametrize("bits", range(1, 17))
def test_the_coarsest_pixels_mixture_is_within_the_range(bits):
    outputs = coarsest_outputs(10, CHANNELS, bits).astype(np.int32)
    weights, placed = mixture_of(outputs, bits=bits)
    n = 2**bits
    values = np.linspace(0, n, min(n, 256) + 1).astype(int)
    found = [cumulative_at(weights, placed, 2 * n, x, n) for x in values]
    assert np.diff(found)[1:-1].max(initial=0) < 2 * TOTAL / min(n, 256) + n
    assert np.diff(found).max() < TOTAL * 0.8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [1, 8, 12])
def test_the_tests_form_of_the_distribution_in_numpy_is_the_same(kind, bits):
    """Other tests compare the coder with it."""
    rng, n = np.random.default_rng(bits), 2**bits
    outputs, base = draw_outputs(rng, kind, components=5), int(rng.integers(0, 4 * n - 3))
    weights, placed = mixture_of(outputs, bits=bits)
    assert cumulative_of(outputs, base, bits).tolist() == [
        cumulative_at(weights, placed, base, x, n) for x in range(n + 1)
    ]


def test_the_ends_of_the_tables():
    for z in (-(2**62), -(2**20) - 1, -(2**20), 1 - 2**20, 2**20 - 1, 2**20, 2**20 + 1, 2**62):
        assert 0 < distributions.sigmoid(z) < 2**24
    found = [distributions.power(exponent) for exponent in range(4096)]
    assert found[0] == 2**16 and found[-1] == 2**15
    with pytest.raises(IndexError):
        distributions.power(8192)
