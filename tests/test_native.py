"""The native core gives the same integers as the reference for all in range, and that the same as plain sums."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np
import pytest
from command_line import ROOT
from core_samples import ACTIVATIONS, NETWORK, SITES, STARTS, WEIGHTS, activations, slice_of, stack_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

from pixelpyramids.codec import distributions
from pixelpyramids.codec.engine import Coding
from pixelpyramids.codec.integer_network import Convolution, Stack, run_stack
from pixelpyramids.codec.native import Instructions, NativeEngine, _NativeStack, supported_instructions
from pixelpyramids.codec.reference import ReferenceEngine
from pixelpyramids.pyramid.octaves import join_inputs

REFERENCE = ReferenceEngine(NETWORK)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
SETS = [*supported_instructions(), Instructions.BEST]


@cache
def native(instructions):
    return NativeEngine(NETWORK, instructions)


def by_hand(stack, given_):
    """Compute the formulas in int64, with a sum for each pair of channels."""

    def sums(a, convolution):
        return np.stack(
            [
                sum(correlate2d(a[i], w[i].astype(np.int64), mode="same") for i in range(len(a))) + int(b)
                for w, b in zip(convolution.weight, convolution.bias, strict=True)
            ]
        )

    def rescale(total):
        quotient, rest = np.divmod(total, 128)
        return np.clip(quotient + (rest > 64) + ((rest == 64) & (quotient % 2 == 1)), 0, 255)

    a = rescale(sums(given_.astype(np.int64), stack.first))
    for first, second in stack.blocks:
        a = rescale(sums(rescale(sums(a, first)), second) + 128 * a)
    return a if stack.last is None else sums(a, stack.last)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 5)])
def test_the_reference_gives_what_plain_sums_give(size, weights):
    rng = np.random.default_rng(0)
    for outputs in (0, 5):
        stack = stack_of(rng, 4, 6, 1, outputs, weights)
        for kind in ACTIVATIONS:
            inputs = activations(rng, (4, *size), kind)
            assert np.array_equal(run_stack(stack, inputs).transpose(2, 0, 1), by_hand(stack, inputs))


def laid_out(part, layout):
    """The same part, by other strides."""
    channels, height, width = part.shape
    if layout == "sites":
        return np.ascontiguousarray(part.transpose(1, 2, 0)).transpose(2, 0, 1)
    if layout == "window":
        larger = np.full((2 * channels, height + 3, 2 * width + 1), 255, np.uint8)
        larger[::2, 1 : height + 1, 1::2] = part
        return larger[::2, 1 : height + 1, 1::2]
    return np.ascontiguousarray(part[:, ::-1, ::-1])[:, ::-1, ::-1] if layout == "backwards" else part


@st.composite
def runs(draw):
    """A stack, and its inputs in several parts, some of which lack their last rows or columns."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    blocks, outputs = draw(st.integers(0, 3)), draw(st.sampled_from([0, 1, 16, 17, 50, 64]))
    width = draw(st.one_of(st.sampled_from([1, 15, 16, 17, 48, 64]), st.integers(1, 130)))
    channels = draw(st.lists(st.one_of(st.integers(1, 8), st.sampled_from([16, 48, 64])), min_size=1, max_size=6))
    size = draw(st.integers(1, 9)), draw(st.one_of(st.integers(1, 40), st.integers(1, 140)))
    stack = stack_of(rng, sum(channels), width, blocks, outputs, draw(st.sampled_from(WEIGHTS)))
    parts, kind = [], draw(st.sampled_from(ACTIVATIONS))
    for count in channels:
        missing = draw(st.sampled_from([(0, 0), (0, 0), (1, 0), (0, 1), (1, 1)]))
        part = activations(rng, (count, size[0] - missing[0], size[1] - missing[1]), kind)
        parts.append(laid_out(part, draw(st.sampled_from(["channels", "sites", "window", "backwards"]))))
    return stack, parts, size


@settings(max_examples=EXAMPLES)
@given(runs())
def test_every_instruction_set_runs_any_stack_as_the_reference(run):
    stack, parts, size = run
    expected = run_stack(stack, join_inputs(parts, *size))
    for instructions in SETS:
        found = _NativeStack(stack, instructions).run(parts, *size)
        assert found.dtype == (np.uint8 if stack.last is None else np.int32)
        assert np.array_equal(found, expected), instructions.name


@pytest.mark.parametrize("size", [(20, 20), (33, 50), (70, 21), (5, 90)])
@pytest.mark.filterwarnings("error")
def test_every_instruction_set_runs_the_bundled_network_as_the_reference(size):
    rng = np.random.default_rng(0)
    for number, stack in enumerate(NETWORK.stacks):
        for kind in ("random", "full"):
            inputs = activations(rng, (stack.inputs, *size), kind)
            expected = REFERENCE.run(number, [inputs], *size)
            for instructions in SETS:
                assert np.array_equal(native(instructions).run(number, [inputs], *size), expected)


ALONE = """
import time
import numpy as np
from core_samples import NETWORK
from pixelpyramids.codec.integer_network import run_stack

inputs = np.full((NETWORK.stacks[0].inputs, 60, 60), 99, np.uint8)
of_process, of_thread = time.process_time(), time.thread_time()
for _ in range(3):
    run_stack(NETWORK.stacks[0], inputs)
of_process, of_thread = time.process_time() - of_process, time.thread_time() - of_thread
assert of_process < 1.2 * of_thread, f"{of_process} s of all threads, {of_thread} s of this one"
"""


def test_the_reference_starts_no_threads_of_its_own():
    """OpenBLAS's threads would take the processors from those that code other tiles."""
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    environment = os.environ | {"OMP_NUM_THREADS": "4", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", ALONE], env=environment, check=True)


@st.composite
def slices(draw):
    """A slice with any outputs, values, ways to be coded, and learnt numbers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    coding = Coding(draw(st.integers(1, 16)), draw(st.integers(-7, 8)), draw(st.integers(1, 3)))
    size = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    return slice_of(rng, *size, coding, draw(st.sampled_from(SITES)), draw(st.booleans()))


def model_slice(engine, slice_):
    """The intervals of a slice, and what was learnt afterwards."""
    learnt, intervals = slice_.learnt.copy(), np.zeros((2, slice_.values[: slice_.coding.coded].size), np.uint32)
    engine.model_slice(*slice_[:4], learnt, intervals)
    return intervals, learnt


def encode_symbols(engine, intervals):
    words = np.zeros(2 * intervals.shape[1] + 1, np.uint16)
    first, state = engine.encode_symbols(intervals, words)
    return words[first:], state


def decode_slice(engine, slice_, words, position):
    """The values that words hold, the position afterwards, and what was learnt."""
    learnt = slice_.learnt.copy()
    values = np.zeros((slice_.coding.coded, *slice_.outputs.shape[:2]), np.int32)
    position = engine.decode_slice(slice_.outputs, slice_.bases, values, slice_.coding, learnt, words, position)
    return values, position, learnt


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


@settings(max_examples=EXAMPLES)
@given(slices(), st.integers(0, 2**32))
def test_every_instruction_set_codes_any_slice_as_the_reference(slice_, seed):
    rng, symbols = np.random.default_rng(seed), slice_.values[: slice_.coding.coded].size
    modelled = model_slice(REFERENCE, slice_)
    words, state = encode_symbols(REFERENCE, modelled[0])
    decoded = decode_slice(REFERENCE, slice_, words, (state, 0))
    assert_equal(decoded, (slice_.values[: slice_.coding.coded], (2**32, len(words)), modelled[1]))
    noise, begin = rng.integers(0, 2**16, 2 * symbols + 3, np.uint16), (int(rng.choice(STARTS)), 3)
    from_noise = decode_slice(REFERENCE, slice_, noise, begin)
    for instructions in SETS:
        engine = native(instructions)
        assert_equal(model_slice(engine, slice_), modelled)
        assert_equal(encode_symbols(engine, modelled[0]), (words, state))
        assert_equal(decode_slice(engine, slice_, words, (state, 0)), decoded)
        assert_equal(decode_slice(engine, slice_, noise, begin), from_noise)


@settings(max_examples=EXAMPLES)
@given(slices(), st.integers(0, 2**32))
def test_words_cut_short_are_found_by_every_engine(slice_, seed):
    """The count of words taken then exceeds their number."""
    rng = np.random.default_rng(seed)
    intervals, _ = model_slice(REFERENCE, slice_)
    words, state = encode_symbols(REFERENCE, intervals)
    for kept in {0, len(words) - 1, int(rng.integers(len(words) + 1))} - {-1, len(words)}:
        for engine in (REFERENCE, *map(native, SETS)):
            values, (_, taken), _ = decode_slice(engine, slice_, words[:kept], (state, 0))
            assert taken == kept + 1 and values.min() >= 0 and values.max() < 2**slice_.coding.bits


@settings(max_examples=EXAMPLES)
@given(st.lists(st.integers(1, 2**24), max_size=40), st.integers(0, 2**32))
def test_any_intervals_are_encoded_as_by_the_reference(frequencies, seed):
    starts = np.random.default_rng(seed).integers(0, 2**24 + 1 - np.array(frequencies, np.int64))
    intervals = np.array([starts, frequencies], np.uint32).reshape(2, -1)
    expected = encode_symbols(REFERENCE, intervals)
    assert_equal(encode_symbols(native(Instructions.BEST), intervals), expected)


@pytest.mark.parametrize("instructions", SETS)
def test_calls_from_many_threads_do_not_mix(instructions):
    rng = np.random.default_rng(0)
    given_ = [activations(rng, (18, 20 + i % 3, 30)) for i in range(12)]
    coded = [slice_of(rng, 4, 5, Coding(8, 0, 3), "ordinary", True) for _ in range(12)]
    engine = NativeEngine(NETWORK, instructions)
    with ThreadPoolExecutor(4) as pool:
        ran = [pool.submit(engine.run, 0, [inputs], *inputs.shape[1:]) for inputs in given_]
        modelled = list(pool.map(partial(model_slice, engine), coded))
    for future, inputs in zip(ran, given_, strict=True):
        assert np.array_equal(future.result(), run_stack(NETWORK.stacks[0], inputs))
    for found, slice_ in zip(modelled, coded, strict=True):
        assert_equal(found, model_slice(REFERENCE, slice_))


def unlearnable(slice_):
    """Outputs, bases and what was learnt, out of the ranges in which no sum exceeds 63 bits."""
    for base in (-1, 2**18 + 1, -(2**31), 2**31 - 1):
        yield slice_.outputs, np.full_like(slice_.bases, base), slice_.learnt
    for kind, number in [(0, 2**21 + 1), (0, -(2**21) - 1), (1, 1), (1, -1), (2, -1), (2, -(2**28)), (2, 2**63 - 1)]:
        learnt = slice_.learnt.copy()
        learnt[kind, -1, -1] = number
        yield slice_.outputs, slice_.bases, learnt
    width = 2**15 + 1
    yield np.zeros((1, width, slice_.outputs.shape[2]), np.int32), np.zeros((3, 1, width), np.int32), slice_.learnt


def test_arrays_that_cannot_be_written_to_or_are_not_aligned_are_refused():
    engine, slice_ = (
        native(Instructions.BEST),
        slice_of(np.random.default_rng(0), 3, 4, Coding(8, 0, 3), "ordinary", True),
    )
    intervals, words, values = np.ones((2, 36), np.uint32), np.zeros(99, np.uint16), np.zeros((3, 3, 4), np.int32)

    def change(array, is_aligned):
        changed = np.frombuffer(bytes(not is_aligned) + array.tobytes(), array.dtype, offset=not is_aligned)
        return changed.reshape(array.shape)

    for is_aligned, message in ((True, "read-only"), (False, "without gaps")):
        learnt, *others = (change(array, is_aligned) for array in (slice_.learnt, intervals, words, values))
        for call in (
            partial(engine.model_slice, *slice_[:4], learnt, intervals),
            partial(engine.model_slice, *slice_, others[0]),
            partial(engine.encode_symbols, intervals, others[1]),
            partial(engine.decode_slice, *slice_[:2], values, slice_.coding, learnt, words, (2**32, 0)),
            partial(engine.decode_slice, *slice_[:2], others[2], *slice_[3:], words, (2**32, 0)),
        ):
            with pytest.raises(ValueError, match=message):
                call()
    unaligned = slice_._replace(
        **{name: change(getattr(slice_, name), False) for name in ("outputs", "bases", "values")}
    )
    assert_equal(model_slice(engine, unaligned), model_slice(engine, slice_))


def test_weights_of_wider_types_are_refused():
    stack = NETWORK.stacks[1]
    for first in (
        Convolution(stack.first.weight.astype(np.int16), stack.first.bias),
        Convolution(stack.first.weight, stack.first.bias.astype(np.int64)),
    ):
        with pytest.raises(TypeError, match="safe"):
            _NativeStack(Stack(first, stack.blocks, stack.last), Instructions.BEST)


@pytest.mark.parametrize("instructions", SETS)
def test_strides_of_single_rows_columns_and_channels_do_not_matter(instructions):
    """Whatever they are, nothing lies there; the rest of the rows and columns is zero."""
    rng, wild = np.random.default_rng(0), 2**62
    stack = stack_of(rng, 3, 17, 1, 0, "random")
    for shape in (3, 1, 5), (3, 5, 1), (3, 1, 1):
        part = activations(rng, shape)
        strides = [wild if side == 1 else stride for side, stride in zip(shape, part.strides, strict=True)]
        strided = np.lib.stride_tricks.as_strided(part, strides=strides)
        expected = run_stack(stack, join_inputs([part], 5, 5))
        assert np.array_equal(_NativeStack(stack, instructions).run([strided], 5, 5), expected)


def test_arguments_of_wrong_shapes_and_values_are_refused():
    rng, engine = np.random.default_rng(0), native(Instructions.BEST)
    slice_ = slice_of(rng, 3, 4, Coding(8, 0, 3), "ordinary", False)
    wrong = [
        slice_._replace(outputs=slice_.outputs[..., :49]),
        slice_._replace(outputs=slice_.outputs[:2]),
        slice_._replace(bases=slice_.bases[:2]),
        slice_._replace(values=slice_.values[:, :2]),
        slice_._replace(learnt=slice_.learnt[:, :7]),
        slice_._replace(learnt=slice_.learnt.astype(np.int32)),
        *(slice_._replace(values=slice_.values * 0 + value) for value in (-1, 256)),
        *(slice_._replace(coding=Coding(*coding)) for coding in [(0, 0, 3), (17, 0, 3), (8, 9, 3), (8, -9, 3)]),
        *(slice_._replace(coding=Coding(8, 0, coded)) for coded in (0, 4)),
    ]
    for number, one in enumerate(wrong):
        with pytest.raises(ValueError, match=r"expected|refused"):
            model_slice(engine, one)
        if number not in (3, 6, 7):  # values, which decoding returns
            with pytest.raises(ValueError, match=r"expected|refused"):
                decode_slice(engine, one, np.zeros(99, np.uint16), (2**32, 0))
    for position in [(2**32 - 1, 0), (2**48, 0), (2**32, 6), (2**32, -1)]:
        with pytest.raises(ValueError, match="refused"):
            decode_slice(engine, slice_, np.zeros(5, np.uint16), position)
    for start, frequency in [(0, 0), (1, 2**24), (2**24, 1), (2**32 - 1, 2**32 - 1)]:
        with pytest.raises(ValueError, match="refused"):
            engine.encode_symbols(np.array([[start], [frequency]], np.uint32), np.zeros(3, np.uint16))
    with pytest.raises(ValueError, match="refused"):
        engine.encode_symbols(np.ones((2, 4), np.uint32), np.zeros(7, np.uint16))
    for outputs, bases, learnt in unlearnable(slice_):
        wrong = slice_._replace(outputs=outputs, bases=bases, learnt=learnt)
        with pytest.raises(ValueError, match="refused"):
            model_slice(engine, wrong._replace(values=np.zeros_like(bases)))
        with pytest.raises(ValueError, match="refused"):
            decode_slice(engine, wrong, np.zeros(99, np.uint16), (2**32, 0))
    words = np.zeros(9, np.uint16)
    for wrong in (np.ones((2, 8), np.uint32)[:, ::2], np.ones((1, 4), np.uint32), np.ones((2, 4), np.int64)):
        with pytest.raises(ValueError, match="expected"):
            engine.encode_symbols(wrong, words)
        with pytest.raises(ValueError, match="expected"):
            engine.model_slice(*slice_, wrong)
    for wrong in (words[::-1], words.astype(np.uint8)):
        with pytest.raises(ValueError, match="expected"):
            engine.encode_symbols(np.ones((2, 4), np.uint32), wrong)
        with pytest.raises(ValueError, match="expected"):
            decode_slice(engine, slice_, wrong, (2**32, 0))
    for wrong in (
        np.zeros((3, 3, 4), np.int64),
        np.zeros((3, 4, 3), np.int32),
        np.zeros((3, 3, 8), np.int32)[..., ::2],
    ):
        with pytest.raises(ValueError, match="expected"):
            engine.decode_slice(*slice_[:2], wrong, *slice_[3:], words, (2**32, 0))
    for wrong in (np.zeros((18, 4, 4), np.int8), np.zeros((18, 16), np.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            engine.run(0, [wrong], 4, 4)
    for channels, size in [(17, (4, 4)), (19, (4, 4)), (18, (0, 4)), (18, (4, 0))]:
        with pytest.raises(ValueError, match="refused"):
            _NativeStack(NETWORK.stacks[0], Instructions.BEST).run([activations(rng, (channels, 4, 4))], *size)


def test_the_tables_of_the_core_are_those_of_the_reference():
    """tests/test_format.py compares these with the formulas."""
    text = (ROOT / "native" / "tables.h").read_text()
    tables = re.findall(r"int32_t (\w+)\[(\d+)\] = \{([^}]+)\}", text)
    found = {name: [int(number) for number in re.findall(r"\d+", numbers)] for name, _, numbers in tables}
    assert found == {"POWERS": distributions.POWERS, "SIGMOIDS": distributions.SIGMOIDS}
    assert [int(size) for _, size, _ in tables] == [257, 2049]
