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


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 4))
def test_joining_adds_levels_and_keeps_each_images_rate(batches, levels, more):
    for kind in (lambda rate: rate, as_tensors):
        rates = [kind(rate(images, levels, seed)) for seed, images in enumerate(batches)]
        together = cat(rates)
        assert together.nats.shape == (sum(batches), levels)
        bits = np.concatenate([np.asarray(part.bits_per_dim) for part in rates])
        assert np.array_equal(np.asarray(together.bits_per_dim), bits)
        other = kind(rate(sum(batches), more, seed=9))
        both = together + other
        assert both.nats.shape == both.dimensions.shape == (sum(batches), levels + more)
        np.testing.assert_allclose(both.total_nats, together.total_nats + other.total_nats)
        dimensions = together.dimensions.sum(-1) + other.dimensions.sum(-1)
        np.testing.assert_allclose(both.bits_per_dim * dimensions, both.total_nats / math.log(2))
    assert both.nats.dtype == torch.float64 and both.dimensions.dtype == torch.int64
