"""Rates: nats are added, never averaged, and joined along levels or along images."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pixelpyramids.pyramid.rate import Rate, cat


def rate(images, levels, seed=0):
    rng = np.random.default_rng(seed)
    return Rate(rng.exponential(100, (images, levels)), rng.integers(1, 50, (images, levels)))


def as_tensors(rate):
    return Rate(torch.from_numpy(rate.nats), torch.from_numpy(rate.dimensions))


def test_bits_per_dim_by_hand():
    nats, dimensions = np.array([[3 * math.log(4), math.log(4)]]), np.array([[3, 1]])
    for two_bits in (Rate(nats, dimensions), as_tensors(Rate(nats, dimensions))):
        assert math.isclose(two_bits.total_nats.item(), 4 * math.log(4))
        assert math.isclose(two_bits.bits_per_dim.item(), 2)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_joining_levels_adds_nats_and_dimensions(images, levels, more, seed):
    first, second = rate(images, levels, seed), rate(images, more, seed + 1)
    both = first + second
    assert both.nats.shape == both.dimensions.shape == (images, levels + more)
    np.testing.assert_allclose(both.total_nats, first.total_nats + second.total_nats)
    bits = both.total_nats / math.log(2)
    np.testing.assert_allclose(both.bits_per_dim * (first.dimensions.sum(1) + second.dimensions.sum(1)), bits)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 4))
def test_joining_images_keeps_each_images_rate(batches, levels):
    rates = [rate(images, levels, seed) for seed, images in enumerate(batches)]
    together = cat(rates)
    assert together.nats.shape == (sum(batches), levels)
    assert np.array_equal(together.bits_per_dim, np.concatenate([part.bits_per_dim for part in rates]))


@given(st.integers(1, 4), st.integers(1, 4))
def test_tensors_are_joined_as_arrays_are(images, levels):
    first, second = rate(images, levels, 0), rate(images, levels, 1)
    for join in (lambda a, b: a + b, lambda a, b: cat([a, b])):
        expected, joined = join(first, second), join(as_tensors(first), as_tensors(second))
        assert np.array_equal(joined.nats.numpy(), expected.nats)
        assert np.array_equal(joined.dimensions.numpy(), expected.dimensions)
        assert joined.nats.dtype == torch.float64 and joined.dimensions.dtype == torch.int64
        np.testing.assert_allclose(joined.bits_per_dim.numpy(), expected.bits_per_dim)
