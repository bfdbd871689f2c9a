"""Calibration: cumulative probabilities are those of the mixture, and a model's own samples are uniform under it."""

import numpy as np
import pytest
import scipy.stats
import torch
from data_layouts import encode, write_files
from test_mixture import every_value, random_offset, random_outputs
from test_pixel_pyramid import random_images, tiny

from pixelpyramids.data.folder import open_folder
from pixelpyramids.model.mixture import Mixture, paper_mixture
from pixelpyramids.model.models import new_model
from pixelpyramids.model.parameters import load_parameters
from pixelpyramids.training.calibration import CELLS, Calibration, calibrate

N_BITS = 8  # as PNG files have


@pytest.mark.parametrize("with_offset", [False, True])
def test_cumulative_probabilities_are_sums_of_conditional_ones(with_offset):
    """Of every value of every channel: summed over all values of the joint distribution."""
    n_values, channels = 5, 3
    outputs = random_outputs(2, channels, 1, 2.0)
    values = every_value(n_values, channels)
    count = values.shape[-1]
    offset = random_offset(n_values, channels, 1)[None, :, None].expand(-1, -1, -1, count) if with_offset else 2.0
    mixture = paper_mixture(outputs.expand(-1, -1, -1, count), channels, n_values, 2.0)
    below, up_to = (each[0, :, 0].reshape(channels, 5, 5, 5) for each in mixture.cumulative(values, offset, n_values))
    joint = mixture.log_prob(values, offset, n_values).exp().reshape(5, 5, 5)
    marginals = [joint.sum((1, 2)), joint.sum(2), joint]
    for channel, marginal in enumerate(marginals):
        sums = (marginal / marginal.sum(-1, keepdim=True)).cumsum(-1)
        sums = sums.reshape(*sums.shape, *[1] * (2 - channel)).expand(5, 5, 5)
        torch.testing.assert_close(up_to[channel], sums)
        first = torch.zeros_like(sums.narrow(channel, 0, 1))
        torch.testing.assert_close(below[channel], torch.cat([first, sums.narrow(channel, 0, 4)], channel))


def test_the_cumulative_probability_of_one_component_is_the_logistic_function():
    outputs = torch.tensor([0.3, 0.2, -1.5], dtype=torch.float64).reshape(1, 3, 1, 1).expand(-1, -1, -1, 256)
    mixture = paper_mixture(outputs, 1, 256, 127.5)
    below, up_to = mixture.cumulative(torch.arange(256).reshape(1, 1, 1, 256), 127.5, 256)
    mean, scale = 127.5 * (1 + 0.2), 127.5 * np.exp(-1.5)
    expected = scipy.stats.logistic.cdf(np.arange(256) + 0.5, mean, scale)
    np.testing.assert_allclose(up_to.flatten()[:-1], expected[:-1], atol=1e-12)
    np.testing.assert_allclose(below.flatten()[1:], expected[:-1], atol=1e-12)
    assert up_to.flatten()[-1] == 1 and below.flatten()[0] == 0


def models():
    return [
        tiny(n_bits=N_BITS),
        tiny(n_bits=N_BITS, residual="value"),
        tiny(n_bits=N_BITS, residual="centred", residual_unit="range"),
        new_model(load_parameters("compact")),
    ]


@pytest.mark.parametrize("model", models())
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 12)])
def test_the_probabilities_of_the_channels_multiply_to_the_likelihood(model, size):
    images = random_images(model, 2, *size)
    nats = model.rate(images).nats
    for level, (below, up_to) in model.cumulative(images).items():
        assert bool((below >= 0).all()) and bool((up_to <= 1 + 1e-12).all())
        probabilities = (up_to - below).log().sum(dim=(1, 2, 3))
        torch.testing.assert_close(-probabilities, nats[:, level].double(), rtol=1e-4, atol=1e-6)


def test_only_the_coarsest_level_of_an_image_of_one_pixel_has_values():
    model = tiny(n_bits=N_BITS)
    assert [below.numel() for below, _ in model.cumulative(random_images(model, 1, 1, 1)).values()][-1] == 3


@pytest.fixture(scope="module", params=["paper", "compact"])
def drawn(request, tmp_path_factory):
    """A model, and a folder of its samples."""
    model = tiny(torch.float32, n_bits=N_BITS) if request.param == "paper" else new_model(load_parameters("compact"))
    samples = model.sample(24, 16, 16, seed=5).numpy().astype(np.uint8).transpose(0, 2, 3, 1)
    files = {f"{number}.png": encode(sample) for number, sample in enumerate(samples)}
    return model, open_folder(write_files(tmp_path_factory.mktemp("drawn"), files), "all")


def test_a_models_own_samples_are_uniform_under_it(drawn):
    model, images = drawn
    calibration = calibrate(model, images, tile=64)
    counts = calibration.counts
    assert counts.sum() == 24 * 3 * 16 * 16
    for level, found in enumerate(counts):
        if found.sum():
            limit = scipy.stats.kstwobign.ppf(0.999) / np.sqrt(found.sum())
            assert calibration.distances[level] < limit
            assert scipy.stats.chisquare(found.reshape(20, -1).sum(1)).pvalue > 0.001


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_model_with_wrong_scales_is_not_calibrated(drawn, factor, monkeypatch):
    """Too narrow: more values at both ends. Too wide: more in the middle."""
    model, images = drawn
    right = calibrate(model, images, tile=64)
    cumulative = Mixture.cumulative

    def wrong(self, *args):
        return cumulative(self._replace(log_scales=self.log_scales + np.log(factor)), *args)

    monkeypatch.setattr(Mixture, "cumulative", wrong)
    found = calibrate(model, images, tile=64)
    level = right.counts.sum(axis=1).argmax()
    ends = found.density(20)[level][[0, -1]].mean()
    assert found.distances[level] > 2 * right.distances[level]
    assert ends > 1.2 if factor < 1 else ends < 0.8


def test_the_result_does_not_depend_on_batches_and_changes_with_the_seed(drawn):
    model, images = drawn
    counts = [calibrate(model, images, tile=64, batch_size=size, chosen=range(6)).counts for size in (1, 6)]
    assert np.abs(counts[0] - counts[1]).sum() <= 4  # float32 sums of a batch may differ in the last bit
    other = calibrate(model, images, tile=64, chosen=range(6), seed=1).counts
    assert np.abs(counts[0] - other).sum() > 100


def test_tiles_hold_every_value_once(drawn):
    model, images = drawn
    assert calibrate(model, images, tile=7, chosen=[0, 1]).counts.sum() == 2 * 3 * 16 * 16


def test_distances_are_those_of_scipy_and_histograms_have_the_mean_one():
    values = np.random.default_rng(0).beta(2, 3, 5000)
    counts = np.zeros((2, CELLS), np.int64)
    counts[0] = np.histogram(values, CELLS, (0, 1))[0]
    calibration = Calibration(counts)
    assert calibration.distances[0] == pytest.approx(scipy.stats.kstest(values, "uniform").statistic, abs=2 / CELLS)
    np.testing.assert_allclose(calibration.density(20)[0], np.histogram(values, 20, (0, 1), density=True)[0])
    assert calibration.density(20)[0].mean() == pytest.approx(1)
    assert np.isnan(calibration.distances[1]) and np.isnan(calibration.density(20)[1]).all()
