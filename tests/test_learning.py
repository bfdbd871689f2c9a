"""The learnt corrections of outputs: compared with autograd in floating point, and their gain."""

import math

import numpy as np
import pytest
import torch
from slices import CHANNELS, COMPONENTS, engine, nothing_learnt, symbols_of, values_of

from pixelpyramids.codec.coder import PartReader, RandomReader
from pixelpyramids.codec.engine import Coding
from pixelpyramids.codec.learning import LARGEST_CORRECTION
from pixelpyramids.codec.outputs import UNIT, starting_outputs
from pixelpyramids.model.mixture import Mixture, unpack

SIZE = COMPONENTS * 10
LOGARITHMS = np.zeros(SIZE, bool)  # logits and log-scales, whose units are factors of two
LOGARITHMS[:COMPONENTS] = LOGARITHMS[4 * COMPONENTS : 7 * COMPONENTS] = True


def slice_of(seed=0, height=40, width=40, bits=8, away=0.0):
    """Draw a slice's outputs, bases, and values from a mixture whose means and scales are wrong by `away` units."""
    rng = np.random.default_rng(seed)
    outputs = starting_outputs(COMPONENTS, CHANNELS) + rng.normal(0, 1500, (height, width, SIZE))
    outputs[..., 4 * COMPONENTS : 7 * COMPONENTS] += 2 * UNIT  # so wide that no slope is cut
    truth = outputs.copy()
    truth[..., COMPONENTS : 7 * COMPONENTS] += away * UNIT
    bases = rng.integers(3 * 2**bits // 2, 5 * 2**bits // 2, (CHANNELS, height, width), dtype=np.int32)
    coding = Coding(bits, bits - 8, CHANNELS)
    rows = [slice(y, y + 1) for y in range(height)]  # each with nothing learnt
    values = [
        values_of(RandomReader(engine(), rng), truth[row].astype(np.int32), bases[:, row], coding) for row in rows
    ]
    return outputs.astype(np.int32), bases, np.concatenate(values, axis=1), coding


def derivatives(units, correction, neighbours, values, bases, coding):
    """Return derivatives of a site's nats by outputs and influences; the nats; derivatives by shift and width."""
    corrected = torch.from_numpy(units + correction[:SIZE]).requires_grad_()
    influences = torch.from_numpy(correction[SIZE:].reshape(CHANNELS, 4).copy()).requires_grad_()
    logits, means, log_scales, weights = unpack(corrected[None, :, None, None], CHANNELS)
    moves = influences * torch.from_numpy(neighbours)
    shift, width = moves[:, :2].sum(1), moves[:, 2:].sum(1)
    shift.retain_grad()
    width.retain_grad()
    log_scales = (log_scales + coding.gain + width[:, None, None]).clamp(-6, 4 + coding.bits) * math.log(2)
    means = means * 8 * 2**coding.gain + shift[:, None, None] * log_scales.exp().detach()
    mixture = Mixture(logits * math.log(2), means, log_scales, weights.clamp(-2, 2))
    nats = -mixture.log_prob(
        torch.from_numpy(values.astype(np.int64))[None, :, None, None],
        torch.from_numpy(bases / 4)[None, :, None, None],
        2**coding.bits,
    )
    nats.sum().backward()
    of_outputs = corrected.grad.numpy() / np.where(LOGARITHMS, math.log(2), 1)
    scores = shift.grad.numpy(), width.grad.numpy() / math.log(2)
    of_influences = np.repeat(np.stack(scores, 1), 2, axis=1) * neighbours
    return np.concatenate([of_outputs, of_influences.ravel()]), float(nats.detach().sum()), scores


def learnt_in_floats(outputs, bases, values, coding):
    """Compute nats and corrections as docs/reference/format.md defines them, with derivatives by torch's autograd."""
    corrections, squares = np.zeros((8, SIZE + 12)), np.zeros((8, SIZE + 12))
    units, nats, above = outputs / UNIT, 0.0, np.zeros((outputs.shape[1], 2, CHANNELS))
    for y in range(len(outputs)):
        sums, left = np.zeros_like(corrections), np.zeros((2, CHANNELS))
        for x in range(outputs.shape[1]):
            likeliest = units[y, x, :COMPONENTS].argmax()
            context = int(np.clip(np.floor(units[y, x, 4 * COMPONENTS + CHANNELS * likeliest]) + 2, 0, 7))
            neighbours = np.stack([left[0], above[x, 0], left[1], above[x, 1]], axis=1)
            slope, of_site, scores = derivatives(
                units[y, x], corrections[context], neighbours, values[:, y, x], bases[:, y, x], coding
            )
            nats += of_site
            sums[context] += slope
            squares[context] += slope**2
            for memory in (left, above[x]):
                memory[0] = scores[0]
                memory[1] += (np.clip(scores[1], -4, 4) - memory[1]) / 4
        corrections -= np.clip(sums / 2 / (squares + 16), -1 / 16, 1 / 16)
        squares *= np.where(sums == 0, 1, 7 / 8)
    return nats, corrections


@pytest.mark.parametrize("bits", [8, 12])
def test_learnt_corrections_agree_with_autograd(bits):
    """Lengths agree within 1e-4; corrections, which are some tenths of a unit, agree closely."""
    outputs, bases, values, coding = slice_of(bits=bits, away=0.4)
    learnt = nothing_learnt(outputs)
    bits_needed = symbols_of(outputs, bases, values, coding, learnt).bits()
    nats, corrections = learnt_in_floats(outputs, bases, values, coding)
    assert bits_needed * math.log(2) == pytest.approx(nats, rel=1e-4)
    found = learnt[0] / 2**20
    assert np.abs(corrections).max() > 0.3
    assert np.abs(found - corrections).max() < 0.03 and np.abs(found - corrections).mean() < 0.003


def test_corrections_improve_a_wrong_network_and_hardly_harm_a_right_one():
    for away, least, most in ((0.0, 0.99, 1.01), (0.5, 0.5, 0.99)):
        outputs, bases, values, coding = slice_of(height=128, width=128, away=away)
        alone = sum(
            symbols_of(outputs[y : y + 1], bases[:, y : y + 1], values[:, y : y + 1], coding).bits()
            for y in range(len(outputs))
        )
        assert least < symbols_of(outputs, bases, values, coding).bits() / alone < most


@pytest.mark.parametrize("coded", [1, 3])
def test_decoding_learns_the_same_corrections(coded):
    outputs, bases, values, coding = slice_of(away=0.3)
    coding = coding._replace(coded=coded)
    written, read = nothing_learnt(outputs), nothing_learnt(outputs)
    part = symbols_of(outputs, bases, values, coding, written).to_bytes()
    assert np.array_equal(values_of(PartReader(engine(), part), outputs, bases, coding, read), values[:coded])
    assert np.array_equal(written, read) and written[0].any()
    if coded == 1:  # what only the other channels use stays
        for first in (COMPONENTS, 4 * COMPONENTS):
            assert not written[0, :, first : first + 3 * COMPONENTS].reshape(8, COMPONENTS, 3)[..., 1:].any()
        assert not written[0, :, 7 * COMPONENTS : SIZE].any() and not written[0, :, SIZE + 4 :].any()


def test_corrections_stay_within_two_units():
    """For any error of the outputs and any number of rows."""
    rng = np.random.default_rng(0)
    outputs = rng.choice([-(2**24), 0, 2**24], (600, 9, SIZE)).astype(np.int32)
    bases, values = np.zeros((3, 600, 9), np.int32), np.full((3, 600, 9), 255, np.int32)
    learnt = nothing_learnt(outputs)
    symbols_of(outputs, bases, values, Coding(8, 0, 3), learnt)
    assert np.abs(learnt[0]).max() <= LARGEST_CORRECTION and not learnt[1].any() and learnt[2].min() >= 0


def test_errors_that_neighbours_share_are_learnt():
    """Correlated errors, which no correction of outputs can predict, make the code at least 7 % shorter."""
    rng, height, width = np.random.default_rng(0), 100, 100
    outputs = np.broadcast_to(starting_outputs(COMPONENTS, CHANNELS), (height, width, SIZE)).astype(np.int32)
    errors = np.zeros((height + 1, width + 1))
    for y, x in np.ndindex(height, width):
        errors[y + 1, x + 1] = 0.6 * errors[y + 1, x] + 0.35 * errors[y, x + 1] + rng.normal(0, 1.5)
    bases = np.full((3, height, width), 4 * 128, np.int32)
    values = np.clip(128 + np.rint(errors[1:, 1:]), 0, 255).astype(np.int32)[None].repeat(3, axis=0)
    shuffled = rng.permutation(values.reshape(3, -1), axis=1).reshape(values.shape)
    lengths = [symbols_of(outputs, bases, these, Coding(8, 0, 1)).bits() for these in (values, shuffled)]
    assert lengths[0] < 0.93 * lengths[1]
