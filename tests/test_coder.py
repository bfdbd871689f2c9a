"""The entropy coder: code lengths, constriction's coder with the same frequencies, and damaged parts."""

import contextlib
import os

import constriction
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slices import (
    CHANNELS,
    COMPONENTS,
    OUTPUTS,
    TOTAL,
    cumulative_of,
    decode_part,
    engine,
    nothing_learnt,
    symbols_of,
    values_of,
)

from pixelpyramids.codec.coder import PartReader, RandomReader
from pixelpyramids.codec.engine import Coding
from pixelpyramids.codec.outputs import coarsest_outputs, starting_outputs
from pixelpyramids.errors import BitstreamError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
EXTREMES = (-(2**31), -(2**24), -8192, -1, 0, 1, 8192, 2**24, 2**31 - 1)
CONSTANT = 48  # bits: the state, of which 32 are its start


def sites(rng, height=9, width=14, bits=8, extreme=False):
    """Draw outputs and bases of a slice's sites."""
    n = 2**bits
    if extreme:
        outputs = rng.choice([-(2**24), -1, 0, 2**24], (height, width, OUTPUTS)).astype(np.int32)
    else:
        outputs = (starting_outputs(COMPONENTS, CHANNELS) + rng.normal(0, 2000, (height, width, OUTPUTS))).astype(
            np.int32
        )
    bases = rng.integers(0, 4 * n - 3, (3, height, width), dtype=np.int32)
    return outputs, bases


@st.composite
def slices(draw):
    """Outputs and bases of a slice's sites, their values, how these are coded, and corrections: anything in range."""
    bits, gain, coded = draw(st.integers(1, 16)), draw(st.integers(-7, 8)), draw(st.sampled_from([1, 3]))
    height, width, n = draw(st.integers(1, 9)), draw(st.integers(1, 9)), 2**bits
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = height, width, OUTPUTS
    outputs = {
        "extremes": lambda: rng.choice(EXTREMES, shape),
        "network": lambda: rng.integers(-(2**24), 2**24 + 1, shape),
        "near": lambda: starting_outputs(COMPONENTS, CHANNELS) + rng.integers(-6000, 6000, shape),
        "coarsest": lambda: np.broadcast_to(coarsest_outputs(COMPONENTS, CHANNELS, bits), shape),
    }[draw(st.sampled_from(["extremes", "network", "near", "coarsest"]))]().astype(np.int32)
    lowest = draw(st.sampled_from([0, 4 * (n - 1)]))
    bases = rng.integers(lowest, 4 * n - 3, (3, height, width), dtype=np.int32)
    corrections = nothing_learnt(outputs)
    if draw(st.booleans()):
        corrections[0] = rng.choice([-(2**21), 0, 2**21], corrections[0].shape)
    values = {
        "any": lambda: rng.integers(0, n, (3, height, width)),
        "end": lambda: np.full((3, height, width), rng.choice([0, n - 1])),
        "drawn": lambda: values_of(
            RandomReader(engine(), rng), outputs, bases, Coding(bits, gain, 3), corrections.copy()
        ),
    }[draw(st.sampled_from(["any", "end", "drawn"]))]().astype(np.int32)
    return outputs, bases, values, Coding(bits, gain, coded), corrections


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(slices(), st.integers(0, 2**32))
def test_parts_are_read_as_written_and_others_refused(slice_, seed):
    outputs, bases, values, coding, corrections = slice_
    count, rng = values[: coding.coded].size, np.random.default_rng(seed)

    def encode(these):
        return symbols_of(outputs, bases, these, coding, corrections.copy()).to_bytes()

    def decode(data):
        found = decode_part(data, outputs, bases, coding, corrections.copy())
        assert found.min() >= 0 and found.max() < 2**coding.bits
        return found

    part = encode(values)
    assert np.array_equal(decode(part), values[: coding.coded])
    # no symbol is less likely than 2**-24, so none takes more than 24 bits and the loss from rounding a state
    assert 8 * len(part) <= 24.001 * count + CONSTANT
    place = int(rng.integers(len(part)))
    flipped = part[:place] + bytes([part[place] ^ 1 << int(rng.integers(8))]) + part[place + 1 :]
    for wrong in (flipped, part[: 5 if len(part) % 2 else 6], part[:-2], rng.bytes(len(part)), part + b"ab", part[:4]):
        with contextlib.suppress(BitstreamError):
            assert encode(decode(wrong)) == wrong  # if a part is accepted, encoding its values gives the same part


@pytest.mark.parametrize("bits", [1, 8, 12, 16])
@pytest.mark.parametrize("which", ["drawn", "least", "most"])
def test_the_length_is_the_sum_of_the_frequencies_logarithms(which, bits):
    """Within 0.2 % and the state: with frequencies of 2**24 and a state of 2**32, a step loses at most 2**-8 bits."""
    rng, coding, count = np.random.default_rng(bits), Coding(bits, 0, 1), 400 if bits < 16 else 60
    outputs, bases = sites(rng, 1, count, bits, extreme=which == "least")  # one row, of which nothing is learnt
    values, exact = values_of(RandomReader(engine(), rng), outputs, bases, coding), 0.0
    for x in range(count):
        frequencies = np.diff(cumulative_of(outputs[0, x], bases[0, 0, x], bits))
        if which != "drawn":
            values[0, 0, x] = frequencies.argmin() if which == "least" else frequencies.argmax()
        exact -= np.log2(frequencies[values[0, 0, x]] / TOTAL)
    symbols = symbols_of(outputs, bases, values, coding)
    assert symbols.bits() == pytest.approx(exact)
    part = symbols.to_bytes()
    assert -1 <= 8 * len(part) - exact <= 0.002 * exact + CONSTANT
    assert np.array_equal(decode_part(part, outputs, bases, coding), values)


def categorical(cumulative):
    """Keep one count of 2**24 for each of n symbols and share out the rest, as ours does.

    Probabilities (frequency - 1) give frequencies that differ by a count at most, of an expected thousand.
    """
    return constriction.stream.model.Categorical(np.diff(cumulative).astype(np.float64) - 1, perfect=False)


def custom(cumulative):
    """F without its floor as a function and its inverse."""
    n = len(cumulative) - 1
    smooth = (cumulative - np.arange(n + 1)) / (TOTAL - n)
    return constriction.stream.model.CustomModel(
        lambda at: float(smooth[int(min(max(np.floor(at + 0.5), 0), n))]),
        lambda p: float(min(np.searchsorted(smooth, p, side="right") - 1, n - 1)),
        0,
        n - 1,
    )


@pytest.mark.parametrize(("model_of", "bits", "count"), [(categorical, 6, 576), (custom, 8, 120)])
def test_constriction_needs_as_many_bits_and_gives_the_same_symbols(model_of, bits, count):
    """With the same distributions, constriction's ANS coder, which has 32-bit words, differs by at most two words."""
    rng, coding = np.random.default_rng(0), Coding(bits, 0, 1)
    outputs, bases = sites(rng, 1, count, bits)  # one row, of which nothing is learnt
    values = values_of(RandomReader(engine(), rng), outputs, bases, coding)
    models = [model_of(cumulative_of(outputs[0, x], bases[0, 0, x], bits)) for x in range(count)]
    coder = constriction.stream.stack.AnsCoder()
    for value, model in reversed(list(zip(values.ravel().tolist(), models, strict=True))):
        coder.encode_reverse(value, model)
    symbols = symbols_of(outputs, bases, values, coding)
    part = symbols.to_bytes()
    assert abs(coder.num_valid_bits() - symbols.bits()) <= 32 + 0.001 * symbols.bits()
    assert abs(coder.num_valid_bits() - 8 * len(part)) <= 64 + 0.001 * symbols.bits()
    assert [coder.decode(model) for model in models] == values.ravel().tolist()
    assert np.array_equal(decode_part(part, outputs, bases, coding), values)


@pytest.mark.parametrize(
    ("state", "head"), [(0, 5), (1, 5), (2**24, 5), (2**32 - 1, 5), (0, 6), (2**32 - 1, 6), (2**32, 6), (2**40 - 1, 6)]
)
def test_invalid_states_and_parts_too_short_are_refused(state, head):
    """An encoder's last state is at least 2**32, and takes 6 bytes only if 5 are too few."""
    data = state.to_bytes(head, "big")
    with pytest.raises(BitstreamError, match="invalid state"):
        PartReader(engine(), data)
    for length in (0, 1, 2, 3, 4):
        with pytest.raises(BitstreamError, match="at least 5 bytes"):
            PartReader(engine(), data[:length])
