"""The entropy coder: code lengths, constriction's coder with the same frequencies, and damaged parts."""

import contextlib
import os
import subprocess
import sys

import constriction
import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixelpyramids.codec import kernels
from pixelpyramids.codec.coder import Coding, PartReader, RandomReader, Symbols, no_corrections
from pixelpyramids.codec.outputs import coarsest_outputs, starting_outputs
from pixelpyramids.errors import BitstreamError

TOTAL = 2**24
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
EXTREMES = (-(2**31), -(2**24), -8192, -1, 0, 1, 8192, 2**24, 2**31 - 1)
CONSTANT = 48  # bits: the state, of which 32 are its start


def sites(rng, height=9, width=14, bits=8, extreme=False):
    """Draw outputs and bases of a slice's sites."""
    n = 2**bits
    if extreme:
        outputs = rng.choice([-(2**24), -1, 0, 2**24], (height, width, 100)).astype(np.int32)
    else:
        outputs = (starting_outputs(10, 3) + rng.normal(0, 2000, (height, width, 100))).astype(np.int32)
    bases = rng.integers(0, 4 * n - 3, (3, height, width), dtype=np.int32)
    return outputs, bases


def cumulative_of(outputs, base, bits, gain):
    """Compute F at every edge of a site's first channel."""
    weights, mixture = np.zeros(10, np.int64), np.zeros((5, 10), np.int64)
    kernels.start_weights(outputs, 10, weights)
    kernels.place_components(outputs, 10, 3, 0, np.zeros(3, np.int64), (0, 0), bits, gain, mixture)
    return np.array([kernels.cumulative(weights, mixture, 10, int(base), x, 2**bits) for x in range(2**bits + 1)])


def learnt():
    return no_corrections(1, 100)[0]


def draw_values(rng, outputs, bases, bits, gain=0, coded=3):
    return RandomReader(rng).values(outputs, bases, Coding(bits, gain, coded), learnt())


def encode_slice(outputs, bases, values, bits, gain, coded):
    symbols = Symbols(coded * values[0].size)
    symbols.add(outputs, bases, values, Coding(bits, gain, coded), learnt())
    return symbols, symbols.to_bytes()


def decode_slice(data, outputs, bases, bits, gain, coded):
    reader = PartReader(data)
    values = reader.values(outputs, bases, Coding(bits, gain, coded), learnt())
    reader.close()
    return values


@st.composite
def slices(draw):
    """Outputs and bases of a slice's sites, their values, how these are coded, and corrections: anything in range."""
    bits, gain, coded = draw(st.integers(1, 16)), draw(st.integers(-7, 8)), draw(st.sampled_from([1, 3]))
    height, width, n = draw(st.integers(1, 9)), draw(st.integers(1, 9)), 2**bits
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = height, width, 100
    outputs = {
        "extremes": lambda: rng.choice(EXTREMES, shape),
        "network": lambda: rng.integers(-(2**24), 2**24 + 1, shape),
        "near": lambda: starting_outputs(10, 3) + rng.integers(-6000, 6000, shape),
        "coarsest": lambda: np.broadcast_to(coarsest_outputs(10, 3, bits), shape),
    }[draw(st.sampled_from(["extremes", "network", "near", "coarsest"]))]().astype(np.int32)
    lowest = draw(st.sampled_from([0, 4 * (n - 1)]))
    bases = rng.integers(lowest, 4 * n - 3, (3, height, width), dtype=np.int32)
    corrections = learnt()
    if draw(st.booleans()):
        corrections[0] = rng.choice([-(2**21), 0, 2**21], corrections[0].shape)
    values = {
        "any": lambda: rng.integers(0, n, (3, height, width)),
        "end": lambda: np.full((3, height, width), rng.choice([0, n - 1])),
        "drawn": lambda: RandomReader(rng).values(outputs, bases, Coding(bits, gain, 3), corrections.copy()),
    }[draw(st.sampled_from(["any", "end", "drawn"]))]().astype(np.int32)
    return outputs, bases, values, Coding(bits, gain, coded), corrections


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(slices(), st.integers(0, 2**32))
def test_parts_are_read_as_written_and_others_refused(slice_, seed):
    outputs, bases, values, coding, corrections = slice_
    count, rng = values[: coding.coded].size, np.random.default_rng(seed)

    def encode(these):
        symbols = Symbols(count)  # no spare capacity
        symbols.add(outputs, bases, these, coding, corrections.copy())
        assert len(symbols) == count
        return symbols.to_bytes()

    def decode(data):
        reader = PartReader(data)
        found = reader.values(outputs, bases, coding, corrections.copy())
        assert found.min() >= 0 and found.max() < 2**coding.bits
        reader.close()
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
def test_the_length_is_the_sum_of_the_frequencies_logarithms(bits):
    """Within 0.2 % and the state: with frequencies of 2**24 and a state of 2**32, a step loses at most 2**-8 bits."""
    rng = np.random.default_rng(bits)
    outputs, bases = sites(rng, 60, 60, bits)
    values = draw_values(rng, outputs, bases, bits, max(bits - 8, 0))
    symbols, part = encode_slice(outputs, bases, values, bits, max(bits - 8, 0), 3)
    starts, frequencies = np.zeros(values.size, np.int64), np.zeros(values.size, np.int64)
    count = kernels.starts_and_frequencies(
        outputs, bases, values, bits, max(bits - 8, 0), 3, learnt(), starts, frequencies, 0
    )
    assert count == values.size and frequencies.min() >= 1 and (starts + frequencies).max() <= TOTAL
    exact = float(-np.log2(frequencies / TOTAL).sum())
    assert symbols.bits() == pytest.approx(exact)
    assert -1 <= 8 * len(part) - exact <= 0.002 * exact + CONSTANT


@pytest.mark.parametrize("which", ["least", "most"])
@pytest.mark.parametrize("bits", [1, 6, 8])
def test_improbable_and_probable_symbols_throughout(which, bits):
    rng = np.random.default_rng(bits)
    outputs, bases = sites(rng, 1, 400, bits, extreme=which == "least")  # one row, of which nothing is learnt
    values = np.zeros((1, 1, 400), np.int32)
    for x in range(400):
        frequencies = np.diff(cumulative_of(outputs[0, x], bases[0, 0, x], bits, 0))
        values[0, 0, x] = frequencies.argmin() if which == "least" else frequencies.argmax()
    symbols, part = encode_slice(outputs, bases, values, bits, 0, 1)
    assert np.array_equal(decode_slice(part, outputs, bases, bits, 0, 1), values)
    assert -1 <= 8 * len(part) - symbols.bits() <= 0.002 * symbols.bits() + CONSTANT


def test_constriction_needs_as_many_bits_and_gives_the_same_symbols():
    """With the same frequencies, constriction's ANS coder, which has 32-bit words, differs by at most two words.

    Its models of given probabilities keep one count of 2**24 for each of n symbols and share out the rest, as ours do:
    probabilities (frequency - 1) give frequencies that differ by a count at most, of an expected thousand.
    """
    rng, bits = np.random.default_rng(0), 6
    outputs, bases = sites(rng, 1, 576, bits)  # one row, of which nothing is learnt
    values = draw_values(rng, outputs, bases, bits, coded=1)
    models = [
        constriction.stream.model.Categorical(
            np.diff(cumulative_of(outputs[0, x], bases[0, 0, x], bits, 0)).astype(np.float64) - 1, perfect=False
        )
        for x in range(576)
    ]
    coder = constriction.stream.stack.AnsCoder()
    for value, model in reversed(list(zip(values.ravel().tolist(), models, strict=True))):
        coder.encode_reverse(value, model)
    symbols, part = encode_slice(outputs, bases, values, bits, 0, 1)
    assert abs(coder.num_valid_bits() - symbols.bits()) <= 32 + 0.001 * symbols.bits()
    assert abs(coder.num_valid_bits() - 8 * len(part)) <= 64 + 0.001 * symbols.bits()
    assert [coder.decode(model) for model in models] == values.ravel().tolist()
    assert np.array_equal(decode_slice(part, outputs, bases, bits, 0, 1), values)


def test_constriction_finds_the_same_symbols_with_our_distribution_as_a_custom_model():
    """A CustomModel over F without its floor: constriction finds the same symbols with the same code length."""
    rng, bits = np.random.default_rng(1), 8
    n = 2**bits
    outputs, bases = sites(rng, 1, 120, bits)
    values = draw_values(rng, outputs, bases, bits, coded=1)
    models = []
    for x in range(120):
        smooth = (cumulative_of(outputs[0, x], bases[0, 0, x], bits, 0) - np.arange(n + 1)) / (TOTAL - n)
        models.append(
            constriction.stream.model.CustomModel(
                lambda at, f=smooth: float(f[int(min(max(np.floor(at + 0.5), 0), n))]),
                lambda p, f=smooth: float(min(np.searchsorted(f, p, side="right") - 1, n - 1)),
                0,
                n - 1,
            )
        )
    coder = constriction.stream.stack.AnsCoder()
    for value, model in reversed(list(zip(values.ravel().tolist(), models, strict=True))):
        coder.encode_reverse(value, model)
    symbols, _ = encode_slice(outputs, bases, values, bits, 0, 1)
    assert abs(coder.num_valid_bits() - symbols.bits()) <= 32 + 0.001 * symbols.bits()
    assert [coder.decode(model) for model in models] == values.ravel().tolist()


@pytest.mark.parametrize("length", range(8))
def test_parts_too_short_are_refused(length):
    outputs, bases = sites(np.random.default_rng(0), 2, 2)
    for fill in (b"\0", b"\xff", b"\1"):
        with pytest.raises(BitstreamError):
            decode_slice(fill * length, outputs, bases, 8, 0, 3)


@pytest.mark.parametrize(
    ("state", "head"), [(0, 5), (1, 5), (2**24, 5), (2**32 - 1, 5), (0, 6), (2**32 - 1, 6), (2**32, 6), (2**40 - 1, 6)]
)
def test_invalid_states_are_refused(state, head):
    """An encoder's last state is at least 2**32, and takes 6 bytes only if 5 are too few."""
    with pytest.raises(BitstreamError, match="invalid state"):
        PartReader(state.to_bytes(head, "big"))


def test_the_ends_of_the_tables():
    for z in (-(2**62), -(2**20) - 1, -(2**20), 1 - 2**20, 2**20 - 1, 2**20, 2**20 + 1, 2**62):
        assert 0 < kernels.sigmoid(z) < 2**24
    found = [kernels.power(exponent) for exponent in range(4096)]
    assert found[0] == 2**16 and found[-1] == 2**15
    if numba.config.BOUNDSCHECK or numba.config.DISABLE_JIT:
        with pytest.raises(IndexError):
            kernels.power(8192)


@pytest.mark.parametrize("variable", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"])
def test_kernels_stay_within_their_arrays(variable, tmp_path):
    """Reads out of bounds are silent in compiled code; these variables make them raise."""
    environment = {variable: "1", "NUMBA_CACHE_DIR": str(tmp_path), "FUZZ_EXAMPLES": "25"}
    run("-m", "pytest", "-q", "-x", __file__, "-k", "parts_are_read or ends_of_the_tables", **environment)


def test_only_the_first_process_logs_that_it_compiles(tmp_path):
    code = "from pixelpyramids.codec.image import compile_kernels; compile_kernels()"
    first, second = (run("-c", code, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert first.count("compiling the codec") == 1 and second == ""


def run(*arguments, **environment):
    """Run Python, which must succeed; return what it writes to standard error."""
    environment = os.environ | environment
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr
