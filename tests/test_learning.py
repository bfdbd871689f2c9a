"""Corrections of outputs, learnt row by row: against autograd in floating point, and what they are good for."""

import math

import numpy as np
import pytest
import torch

from pixelpyramids.codec import kernels
from pixelpyramids.codec.coder import Coding, RandomReader, Reader, Symbols, nothing_learnt
from pixelpyramids.codec.outputs import UNIT, starting_outputs
from pixelpyramids.likelihood import Mixture, unpack

COMPONENTS, CHANNELS = 5, 3
SIZE = COMPONENTS * 10
LOGARITHMS = np.zeros(SIZE, bool)  # logits and log-scales, whose units are factors of two
LOGARITHMS[:COMPONENTS] = LOGARITHMS[4 * COMPONENTS : 7 * COMPONENTS] = True


def slice_of(seed=0, height=40, width=50, bits=8, away=0.0):
    """A slice's outputs, bases, and values drawn from a mixture whose means and scales are wrong by `away` units."""
    rng = np.random.default_rng(seed)
    outputs = starting_outputs(COMPONENTS, CHANNELS) + rng.normal(0, 1500, (height, width, SIZE))
    outputs[..., 4 * COMPONENTS : 7 * COMPONENTS] += 2 * UNIT  # so wide that no slope is cut
    truth = outputs.copy()
    truth[..., COMPONENTS : 7 * COMPONENTS] += away * UNIT
    bases = rng.integers(3 * 2**bits // 2, 5 * 2**bits // 2, (CHANNELS, height, width), dtype=np.int32)
    coding = Coding(bits, bits - 8, CHANNELS)
    values = np.concatenate(  # row by row, with nothing learnt
        [
            RandomReader(rng).values(truth[y : y + 1].astype(np.int32), bases[:, y : y + 1], coding, nothing())
            for y in range(height)
        ],
        axis=1,
    )
    return outputs.astype(np.int32), bases, values, coding


def nothing():
    return nothing_learnt(1, SIZE)[0]


def length(outputs, bases, values, coding, learnt):
    symbols = Symbols(coding.coded * values[0].size)
    symbols.add(outputs, bases, values, coding, learnt)
    return symbols.bits()


def learnt_in_floats(outputs, bases, values, coding):
    """Nats and corrections as docs/format.md defines them, the derivatives by torch's autograd."""
    corrections, squares = np.zeros((8, SIZE)), np.zeros((8, SIZE))
    units, nats, n = outputs / UNIT, 0.0, 2**coding.bits
    for y in range(len(outputs)):
        likeliest = units[y, :, :COMPONENTS].argmax(axis=1)
        scales = units[y, :, 4 * COMPONENTS : 7 * COMPONENTS : CHANNELS][np.arange(len(likeliest)), likeliest]
        context = np.clip(np.floor(scales) + 2, 0, 7).astype(int)
        row = torch.from_numpy((units[y] + corrections[context]).T[None, :, None].copy()).requires_grad_()
        logits, means, log_scales, weights = unpack(row, CHANNELS)
        mixture = Mixture(
            logits * math.log(2),
            means * 8 * 2**coding.gain,
            (log_scales + coding.gain).clamp(-6, 4 + coding.bits) * math.log(2),
            weights.clamp(-2, 2),
        )
        of_sites = -mixture.log_prob(
            torch.from_numpy(values[None, :, y : y + 1].astype(np.int64)),
            torch.from_numpy(bases[None, :, y : y + 1] / 4),
            n,
        )
        of_sites.sum().backward()
        nats += float(of_sites.detach().sum())
        slopes = row.grad[0, :, 0].T.numpy() / np.where(LOGARITHMS, math.log(2), 1)
        for which in range(8):
            slope = slopes[context == which].sum(axis=0)
            squares[which] += (slopes[context == which] ** 2).sum(axis=0)
            step = np.clip(slope / 2 / (squares[which] + 16), -1 / 16, 1 / 16)
            corrections[which] -= step
            squares[which] *= np.where(slope == 0, 1, 7 / 8)
    return nats, corrections


@pytest.mark.parametrize("bits", [8, 12])
def test_the_integers_learn_what_autograd_says(bits):
    """Lengths within a thousandth, and corrections, which are some tenths of a unit, nearly."""
    outputs, bases, values, coding = slice_of(bits=bits, away=0.4)
    learnt = nothing()
    bits_needed = length(outputs, bases, values, coding, learnt)
    nats, corrections = learnt_in_floats(outputs, bases, values, coding)
    assert bits_needed * math.log(2) == pytest.approx(nats, rel=1e-4)
    found = learnt[0] / 2**20
    assert np.abs(corrections).max() > 0.3
    assert np.abs(found - corrections).max() < 0.03 and np.abs(found - corrections).mean() < 0.003


def test_a_wrong_network_is_corrected_and_a_right_one_hardly_harmed():
    for away, least, most in ((0.0, 0.99, 1.01), (0.5, 0.5, 0.99)):
        outputs, bases, values, coding = slice_of(height=128, width=128, away=away)
        alone = sum(
            length(outputs[y : y + 1], bases[:, y : y + 1], values[:, y : y + 1], coding, nothing())
            for y in range(len(outputs))
        )
        assert least < length(outputs, bases, values, coding, nothing()) / alone < most


@pytest.mark.parametrize("coded", [1, 3])
def test_decoding_learns_the_very_same(coded):
    outputs, bases, values, coding = slice_of(away=0.3)
    coding = coding._replace(coded=coded)
    written, read = nothing(), nothing()
    symbols = Symbols(coded * values[0].size)
    symbols.add(outputs, bases, values, coding, written)
    reader = Reader(symbols.encoded())
    assert np.array_equal(reader.values(outputs, bases, coding, read), values[:coded])
    assert np.array_equal(written, read) and written[0].any()
    if coded == 1:  # what only the other channels use stays
        for first in (COMPONENTS, 4 * COMPONENTS):
            assert not written[0, :, first : first + 3 * COMPONENTS].reshape(8, COMPONENTS, 3)[..., 1:].any()
        assert not written[0, :, 7 * COMPONENTS :].any()


def test_corrections_stay_within_two_units():
    """However wrong the outputs are, and for however long."""
    rng = np.random.default_rng(0)
    outputs = rng.choice([-(2**24), 0, 2**24], (600, 9, SIZE)).astype(np.int32)
    bases, values = np.zeros((3, 600, 9), np.int32), np.full((3, 600, 9), 255, np.int32)
    learnt = nothing()
    length(outputs, bases, values, Coding(8, 0, 3), learnt)
    assert np.abs(learnt[0]).max() <= kernels.LARGEST_CORRECTION and not learnt[1].any() and learnt[2].min() >= 0
