"""The mixture is a distribution, finite everywhere; its samples follow it; scipy and NumPy by hand are the oracles."""

import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from pixelpyramids.model.mixture import clamped_log_prob, outputs_per_component, paper_mixture, starting_bias

SCALES = (1, 10, 100, 1000)


def log_prob(outputs, values, n_values, offset=None, unit=None):
    """In the middle of the range, and in units of half of it, unless the arguments say otherwise."""
    half = (n_values - 1) / 2
    mixture = paper_mixture(outputs, values.shape[1], n_values, unit or half)
    return mixture.log_prob(values, half if offset is None else offset, n_values)


def sample(outputs, uniforms, n_values, offset=None, unit=None):
    half = (n_values - 1) / 2
    mixture = paper_mixture(outputs.double(), uniforms.shape[1] - 1, n_values, unit or half)
    return mixture.sample(uniforms, half if offset is None else offset, n_values)


def random_outputs(components, channels, positions, scale=1.0, seed=0, dtype=torch.float64):
    """Outputs (1, K per component, 1, positions), normal with the standard deviation `scale`."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, components * outputs_per_component(channels), 1, positions)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def every_value(n_values, channels):
    """All values of a position, one after the other along the width: (1, channels, 1, n_values**channels)."""
    joint = torch.tensor(list(itertools.product(range(n_values), repeat=channels)))
    return joint.T.reshape(1, channels, 1, -1)


def probabilities(outputs, n_values, channels, offset=None, unit=None):
    """Probabilities (positions, n_values**channels) of all values; the offset is (channels, positions)."""
    values = every_value(n_values, channels)
    count, found = values.shape[-1], []
    for position in range(outputs.shape[-1]):
        here = outputs[..., position : position + 1].expand(-1, -1, -1, count)
        known = None if offset is None else offset[None, :, None, position, None].expand(-1, -1, -1, count)
        found.append(log_prob(here, values, n_values, known, unit).flatten().exp())
    return torch.stack(found)


def random_offset(n_values, channels, positions, seed=0):
    return torch.randint(0, n_values, (channels, positions), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("with_offset", [False, True])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "bits, channels", [(1, 1), (2, 1), (5, 1), (8, 1), (1, 2), (3, 2), (5, 2), (1, 3), (2, 3), (3, 3), (1, 4), (2, 4)]
)
def test_the_probabilities_of_all_values_sum_to_one(bits, channels, scale, with_offset):
    for components, seed in ((1, 0), (3, 1), (10, 2)):
        outputs = random_outputs(components, channels, 6, scale, seed)
        offset = random_offset(2**bits, channels, 6, seed) if with_offset else None
        for unit in (None, 2**bits / 32):
            total = probabilities(outputs, 2**bits, channels, offset, unit).sum(1)
            np.testing.assert_allclose(total, 1, rtol=0, atol=1e-6)
    if channels == bits == 1:
        outputs, offset = random_outputs(5, 1, 3, scale), random_offset(2**16, 1, 3) if with_offset else None
        np.testing.assert_allclose(probabilities(outputs, 2**16, 1, offset).sum(1), 1, rtol=0, atol=1e-6)


@given(
    bits=st.integers(1, 8),
    outputs=st.lists(st.floats(-1e4, 1e4), min_size=6, max_size=6),
    offset=st.none() | st.integers(0, 255),
)
def test_any_outputs_give_a_distribution(bits, outputs, offset):
    known = None if offset is None else torch.tensor([[offset % 2**bits]])
    found = probabilities(torch.tensor(outputs, dtype=torch.float64).reshape(1, 6, 1, 1), 2**bits, 1, known)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(), 1, rtol=0, atol=1e-6)


def test_far_tails_are_exact_even_if_differences_of_sigmoids_vanish():
    outputs = torch.tensor([0.0, 0.0, -20.0], dtype=torch.float64).reshape(1, 3, 1, 1).expand(-1, -1, -1, 256)
    found = log_prob(outputs, every_value(256, 1), 256).flatten().numpy()
    # scale 0.1: the cell at distance d has sigma(10 (d + 1/2)) - sigma(10 (d - 1/2)), whose logarithm is, far out,
    # that of exp(-10 (d - 1/2)) (1 - exp(-10))
    distance = np.abs(np.arange(1, 128) - 127.5)
    expected = -10 * (distance - 0.5) + np.log1p(-np.exp(-10)) - 2 * np.log1p(np.exp(-10 * (distance - 0.5)))
    np.testing.assert_allclose(found[1:128][distance > 3], expected[distance > 3], rtol=1e-9)
    assert found[0] == pytest.approx(-10 * 127, rel=1e-9)


def mixture_by_hand(outputs, values, n_values, offset=None, unit=None):
    """Log-probability of one position's values, from outputs (K per component,), plainly; NumPy, float64."""
    channels, half = len(values), (n_values - 1) / 2
    pairs = channels * (channels - 1) // 2
    components = len(outputs) // (1 + 2 * channels + pairs)
    logits, means, log_scales, coefficients = np.split(outputs, np.cumsum([components, *2 * [components * channels]]))
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    origin = np.full(channels, half) if offset is None else np.asarray(offset, dtype=float)
    total = 0.0
    for k in range(components):
        product, pair = weights[k], 0
        for c in range(channels):
            centre = origin[c] + (half if unit is None else unit) * means[k * channels + c]
            for j in range(c):
                centre += np.tanh(coefficients[k * pairs + pair]) * (values[j] - origin[j])
                pair += 1
            scale = np.clip(half * np.exp(log_scales[k * channels + c]), 0.1, 20 * n_values)
            low = -np.inf if values[c] == 0 else values[c] - 0.5
            high = np.inf if values[c] == n_values - 1 else values[c] + 0.5
            product *= np.diff(scipy.stats.logistic.cdf([low, high], centre, scale))[0]
        total += product
    return np.log(total)


@pytest.mark.parametrize("unit", [None, 1.0])
@pytest.mark.parametrize("with_offset", [False, True])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [1, 5, 8])
def test_a_mixture_is_that_of_logistics_integrated_over_the_cells(bits, channels, components, with_offset, unit):
    n, outputs = 2**bits, random_outputs(components, channels, 30, 0.7)
    values = random_offset(n, channels, 30, 5)
    values[:, :2], values[:, 2:4] = 0, n - 1
    offset = random_offset(n, channels, 30, 6) if with_offset else None
    known = None if offset is None else offset[None, :, None]
    found = log_prob(outputs, values[None, :, None], n, known, unit).flatten()
    origins = [None] * 30 if offset is None else list(offset.T.numpy())
    expected = [
        mixture_by_hand(outputs[0, :, 0, i].numpy(), values[:, i].numpy(), n, origins[i], unit) for i in range(30)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


def test_the_first_channel_does_not_depend_on_later_ones():
    outputs, offset = random_outputs(1, 3, 1), torch.tensor([[3], [0], [7]])
    first = probabilities(outputs, 8, 3, offset).reshape(8, 64).sum(1)
    alone = probabilities(outputs[:, [0, 1, 4]], 8, 1, offset[:1])
    np.testing.assert_allclose(first, alone[0], atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", range(1, 17))
def test_log_probabilities_and_gradients_are_finite_at_extremes(bits, dtype):
    n = 2**bits
    edges = torch.tensor(sorted({0, 1, n // 2 - 1, n // 2, n - 2, n - 1}))
    for scale, channels, with_offset in itertools.product((1, 100, 1e4, 1e6), (1, 3), (False, True)):
        outputs = random_outputs(4, channels, 60, scale, bits, dtype).requires_grad_()
        values = edges[torch.arange(60 * channels) * 7 % len(edges)].reshape(1, channels, 1, 60)
        offset = random_offset(n, channels, 60)[None, :, None] if with_offset else None
        found = log_prob(outputs, values, n, offset)
        assert found.dtype == dtype and found.isfinite().all() and (found <= 1e-5).all()
        found.sum().backward()
        assert outputs.grad.isfinite().all()


@pytest.mark.parametrize("bits", [1, 5, 8, 12, 16])
def test_float32_agrees_with_float64(bits):
    outputs = random_outputs(5, 3, 500, 2.0)
    values = random_offset(2**bits, 3, 500)[None, :, None]
    double = log_prob(outputs, values, 2**bits)
    single = log_prob(outputs.float(), values, 2**bits)
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("with_offset", [False, True])
def test_gradients_are_those_of_finite_differences(with_offset):
    outputs = random_outputs(2, 3, 6).requires_grad_()
    values = torch.tensor([[0, 1, 2, 5, 7, 7], [0, 7, 3, 4, 1, 7], [0, 3, 7, 0, 6, 7]])[None, :, None]
    offset = random_offset(8, 3, 6)[None, :, None] if with_offset else None
    assert torch.autograd.gradcheck(lambda out: log_prob(out, values, 8, offset), outputs)


def samples(outputs, n_values, channels, draws, seed, offset=None, unit=None):
    """Draws of one position, as numbers of the joint value: (draws,)."""
    generator = torch.Generator().manual_seed(seed)
    uniforms = torch.rand(1, 1 + channels, 1, draws, generator=generator, dtype=torch.float64)
    known = None if offset is None else offset[None, :, None].expand(-1, -1, -1, draws)
    values = sample(outputs.expand(-1, -1, -1, draws), uniforms, n_values, known, unit)
    assert values.dtype == torch.long and values.min() >= 0 and values.max() < n_values
    return sum(values[0, c, 0] * n_values ** (channels - 1 - c) for c in range(channels))


@pytest.mark.parametrize("with_offset", [False, True])
@pytest.mark.parametrize(
    "bits, channels, components", [(1, 1, 2), (3, 1, 3), (6, 1, 5), (1, 2, 3), (3, 2, 4), (2, 3, 3)]
)
def test_samples_follow_the_probabilities(bits, channels, components, with_offset):
    draws = 20_000
    for seed, (scale, unit) in enumerate([(0.5, None), (1.5, None), (1.5, 1.0)]):
        outputs = random_outputs(components, channels, 1, scale, seed)
        offset = random_offset(2**bits, channels, 1, seed) if with_offset else None
        drawn = samples(outputs, 2**bits, channels, draws, seed, offset, unit)
        counts = np.bincount(drawn, minlength=2 ** (bits * channels))
        expected = draws * probabilities(outputs, 2**bits, channels, offset, unit)[0].numpy()
        # the rarest values are pooled until five draws are expected
        order = np.argsort(expected)
        pooled = np.searchsorted(np.cumsum(expected[order]), 5) + 1
        observed = np.append(counts[order[pooled:]], counts[order[:pooled]].sum())
        wanted = np.append(expected[order[pooled:]], expected[order[:pooled]].sum())
        assert len(wanted) > 1
        wanted *= draws / wanted.sum()
        assert scipy.stats.chisquare(observed, wanted).pvalue > 1e-4


@given(
    bits=st.integers(1, 16),
    channels=st.integers(1, 4),
    scale=st.sampled_from([1.0, 100.0, 1e6]),
    seed=st.integers(0, 999),
    with_offset=st.booleans(),
)
def test_samples_stay_in_range(bits, channels, scale, seed, with_offset):
    n = 2**bits
    outputs = random_outputs(3, channels, 64, scale, seed)
    uniforms = torch.rand(1, 1 + channels, 1, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    uniforms[..., 0], uniforms[..., 1] = 0, 1 - 2**-53
    offset = random_offset(n, channels, 64, seed)[None, :, None] if with_offset else None
    values = sample(outputs, uniforms, n, offset)
    assert values.shape == (1, channels, 1, 64) and values.dtype == torch.long
    assert values.min() >= 0 and values.max() < n
    assert log_prob(outputs, values, n, offset).isfinite().all()


def test_a_sample_is_a_function_of_its_uniforms():
    outputs = random_outputs(3, 3, 50)
    uniforms = torch.rand(1, 4, 1, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = sample(outputs, uniforms, 256)
    assert torch.equal(sample(outputs, uniforms, 256), drawn)
    assert torch.equal(sample(outputs[..., 7:9], uniforms[..., 7:9], 256), drawn[..., 7:9])
    # With one component, the second uniform inverts the distribution.
    alone = random_outputs(1, 1, 1, 0.5)
    cumulative = probabilities(alone, 16, 1)[0].cumsum(0)
    middles = cumulative - torch.diff(cumulative, prepend=torch.zeros(1, dtype=torch.float64)) / 2
    uniforms = torch.stack([torch.full((16,), 0.3, dtype=torch.float64), middles])[None, :, None]
    assert sample(alone.expand(-1, -1, -1, 16), uniforms, 16).flatten().tolist() == list(range(16))


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", range(1, 17))
def test_an_untrained_network_starts_at_a_mixture_near_the_uniform(bits, channels, spread):
    n, half = 2**bits, (2**bits - 1) / 2
    for components, unit in itertools.product((1, 2, 10), (half, n / 32)):
        bias = starting_bias(components, channels, n, spread, unit)
        assert bias.shape == (components * outputs_per_component(channels),) and bias.isfinite().all()
        place = torch.linspace(0, n - 1, 33).round().long()
        values = torch.stack([place] * channels)[None, :, None]
        outputs = bias.double()[None, :, None, None].expand(-1, -1, 1, 33)
        nats = -log_prob(outputs, values, n, unit=unit)
        assert nats.isfinite().all()
        if spread and unit == half:
            assert (nats < channels * (math.log(n) + 3)).all()
        if channels == 1:
            np.testing.assert_allclose(probabilities(outputs[..., :1], n, 1, None, unit).sum(), 1, rtol=0, atol=1e-6)
    bias = starting_bias(5, 1, 256, spread, 127.5).tolist()
    assert len(set(zip(bias[5:10], bias[10:15], strict=True))) == 5  # no two components are equal


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [1, 5, 8, 16])
def test_residuals_start_at_the_same_mixture_in_any_unit(bits, channels):
    n = 2**bits
    values = torch.stack([torch.linspace(0, n - 1, 33).round().long()] * channels)[None, :, None]
    found = []
    for unit in ((n - 1) / 2, n / 32, 1.0):
        bias = starting_bias(5, channels, n, False, unit).double()
        found.append(log_prob(bias[None, :, None, None].expand(-1, -1, 1, 33), values, n, unit=unit))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-4)


def clamped_by_hand(outputs, values, n_values):
    """Log-probability of one position from float32 outputs: terms in float32, sums in float64; NumPy."""
    one, half = np.float32(1), np.float32((n_values - 1) / 2)
    channels = len(values)
    pairs = channels * (channels - 1) // 2
    components = len(outputs) // (1 + 2 * channels + pairs)
    logits, means, log_scales, coefficients = np.split(outputs, np.cumsum([components, *2 * [components * channels]]))
    units = values.astype(np.float32) / half - one
    logits = logits.astype(np.float64) - logits.max()
    summed = logits - np.log(np.exp(logits).sum())
    for k in range(components):
        pair = 0
        for c in range(channels):
            mean = means[k * channels + c]
            for j in range(c):
                mean = mean + np.tanh(coefficients[k * pairs + pair]) * units[j]
                pair += 1
            inverse = np.exp(-np.maximum(log_scales[k * channels + c], np.float32(-7)))
            plus = inverse * (units[c] - mean + np.float32(1 / (n_values - 1)))
            minus = inverse * (units[c] - mean - np.float32(1 / (n_values - 1)))
            if values[c] == 0:
                term = -np.logaddexp(np.float32(0), -plus)
            elif values[c] == n_values - 1:
                term = -np.logaddexp(np.float32(0), minus)
            else:
                term = np.log(max(scipy.special.expit(plus) - scipy.special.expit(minus), np.float32(1e-12)))
            assert term.dtype == np.float32
            summed[k] += np.float64(term)
    return np.log(np.exp(summed - summed.max()).sum()) + summed.max()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize("bits", [5, 8])
def test_the_clamped_likelihood_by_hand(bits, scale, channels):
    n = 2**bits
    outputs = random_outputs(3, channels, 80, scale, dtype=torch.float32)
    values = random_offset(n, channels, 80)
    values[:, :5], values[:, 5:10] = 0, n - 1
    found = clamped_log_prob(outputs, values[None, :, None], n).flatten()
    assert found.dtype == torch.float64
    columns = outputs[0, :, 0].T.numpy(), values.T.numpy()
    expected = np.array([clamped_by_hand(o, v, n) for o, v in zip(*columns, strict=True)])
    difference = np.abs(found.numpy() - expected)
    # the clamp turns the last bit of a float32 sigmoid into tenths of a nat, at few positions
    assert (difference < 5e-3).mean() >= 0.95
    assert difference.max() < 0.3 * channels


def test_the_clamped_likelihood_has_a_floor_and_the_exact_one_has_none():
    outputs = torch.tensor([0.0, -1.0, -9.0]).reshape(1, 3, 1, 1)
    far = torch.tensor(200).reshape(1, 1, 1, 1)
    assert clamped_log_prob(outputs, far, 256).item() == pytest.approx(math.log(1e-12))
    assert log_prob(outputs, far, 256).item() < -1000


def test_clamped_and_exact_agree_away_from_the_clamps():
    outputs = random_outputs(4, 3, 200, 0.5)
    values = random_offset(32, 3, 200)[None, :, None]
    np.testing.assert_allclose(clamped_log_prob(outputs, values, 32), log_prob(outputs, values, 32), rtol=0, atol=2e-3)
