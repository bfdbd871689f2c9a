"""The native core gives the same integers as the reference for all in range, and that the same as plain sums."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from itertools import product

import numpy as np
import pytest
from command_line import ROOT
from core_samples import (
    ACTIVATIONS,
    NETWORK,
    SITES,
    STARTS,
    WEIGHTS,
    activations,
    draw_coding,
    parts_of,
    slice_of,
    stack_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

from pixelpyramids.codec import distributions, mixing
from pixelpyramids.codec.engine import Coding
from pixelpyramids.codec.integer_network import Convolution, Stack, run_stack
from pixelpyramids.codec.memory import YCBCR
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
    """A slice with any outputs, values, ways to be coded, mixed channels, and learnt numbers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    coding = draw_coding(rng)
    size = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    return slice_of(rng, *size, coding, draw(st.sampled_from(SITES)), draw(st.booleans()))


def model_slice(engine, model, values):
    """The intervals of a slice, and what was learnt afterwards."""
    memory, intervals = model.memory.copy(), np.zeros((2, model.capacity), np.uint32)
    count = engine.model_slice(model._replace(memory=memory), values, intervals)
    return [intervals[:, :count].copy(), *parts_of(memory)]


def encode_symbols(engine, intervals):
    words = np.zeros(2 * intervals.shape[1] + 1, np.uint16)
    first, state = engine.encode_symbols(intervals, words)
    return words[first:], state


def decode_slice(engine, model, words, position):
    """The values that words hold, the position afterwards, and what was learnt."""
    memory, values = model.memory.copy(), np.zeros((model.coding.coded, *model.outputs.shape[:2]), np.int32)
    position = engine.decode_slice(model._replace(memory=memory), values, words, position)
    return [values, position, *parts_of(memory)]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


@settings(max_examples=EXAMPLES)
@given(slices(), st.integers(0, 2**32))
def test_every_instruction_set_codes_any_slice_as_the_reference(slice_, seed):
    rng, (model, values) = np.random.default_rng(seed), slice_
    modelled = model_slice(REFERENCE, model, values)
    words, state = encode_symbols(REFERENCE, modelled[0])
    decoded = decode_slice(REFERENCE, model, words, (state, 0))
    assert_equal(decoded, [values[: model.coding.coded], (2**32, len(words)), *modelled[1:]])
    noise, begin = rng.integers(0, 2**16, 2 * model.capacity + 3, np.uint16), (int(rng.choice(STARTS)), 3)
    from_noise = decode_slice(REFERENCE, model, noise, begin)
    for instructions in SETS:
        engine = native(instructions)
        assert_equal(model_slice(engine, model, values), modelled)
        assert_equal(encode_symbols(engine, modelled[0]), (words, state))
        assert_equal(decode_slice(engine, model, words, (state, 0)), decoded)
        assert_equal(decode_slice(engine, model, noise, begin), from_noise)


def test_a_counter_that_two_contexts_share_learns_twice_in_every_engine():
    """The contexts are two pixels, which are found by trial, and nothing; the value is where the network expects it."""
    value, nothing = 999, mixing.counter_of(mixing.key_of(1, 0), 999, False)
    pairs = product(range(1024), repeat=2)
    pair = next(pair for pair in pairs if mixing.counter_of(mixing.key_of(0, 0, *pair), value, False) == nothing)
    near = tuple(np.full((3, 1, 1), pixel, np.int32) for pixel in pair)
    model, values = slice_of(np.random.default_rng(0), 1, 1, Coding(10, 0, 1, 1), "ordinary", False)
    model = model._replace(outputs=0 * model.outputs, bases=0 * model.bases + 4 * value, near=near)
    expected = model_slice(REFERENCE, model, 0 * values + value)
    counters = expected[-3]
    assert counters[nothing] & 15 == 2 and np.count_nonzero(counters & 15) == 2
    for instructions in SETS:
        assert_equal(model_slice(native(instructions), model, 0 * values + value), expected)


@settings(max_examples=EXAMPLES)
@given(slices(), st.integers(0, 2**32))
def test_words_cut_short_are_found_by_every_engine(slice_, seed):
    """The count of words taken then exceeds their number."""
    rng, (model, values) = np.random.default_rng(seed), slice_
    intervals, *_ = model_slice(REFERENCE, model, values)
    words, state = encode_symbols(REFERENCE, intervals)
    for kept in {0, len(words) - 1, int(rng.integers(len(words) + 1))} - {-1, len(words)}:
        for engine in (REFERENCE, *map(native, SETS)):
            found, (_, taken), *_ = decode_slice(engine, model, words[:kept], (state, 0))
            assert taken == kept + 1 and found.min() >= 0 and found.max() < 2**model.coding.bits


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
    coded = [slice_of(rng, 4, 5, Coding(8, 0, 3, number % 8), "ordinary", True) for number in range(12)]
    engine = NativeEngine(NETWORK, instructions)
    with ThreadPoolExecutor(4) as pool:
        ran = [pool.submit(engine.run, 0, [inputs], *inputs.shape[1:]) for inputs in given_]
        modelled = [pool.submit(model_slice, engine, *slice_) for slice_ in coded]
    for future, inputs in zip(ran, given_, strict=True):
        assert np.array_equal(future.result(), run_stack(NETWORK.stacks[0], inputs))
    for found, slice_ in zip(modelled, coded, strict=True):
        assert_equal(found.result(), model_slice(REFERENCE, *slice_))


def unlearnable(model):
    """The model with bases and a memory out of the ranges in which no sum exceeds 63 bits; and with too many sites."""
    for base in (-1, 2**18 + 1, -(2**31), 2**31 - 1):
        yield model._replace(bases=np.full_like(model.bases, base))
    for kind, number in [(0, 2**21 + 1), (0, -(2**21) - 1), (1, 1), (1, -1), (2, -1), (2, -(2**28)), (2, 2**63 - 1)]:
        memory = model.memory.copy()
        memory.corrections[model.band][kind, -1, -1] = number
        yield model._replace(memory=memory)
    for number in (2**20 + 1, -(2**20) - 1, 2**31 - 1, -(2**31)):
        for place in ((0, 0, 0), (-1, -1, -1)):
            memory = model.memory.copy()
            memory.mixing.weights[place] = number
            yield model._replace(memory=memory)
    wide = np.zeros((3, 1, 2**15 + 1), np.int32)
    yield model._replace(outputs=np.zeros((*wide.shape[1:], 50), np.int32), bases=wide, near=(wide, wide))


def unmixable(model):
    """The model with a mixing whose arrays are missing, or have another shape or type."""
    yield model._replace(near=None)
    yield model._replace(near=tuple(side[:2] for side in model.near))
    yield model._replace(near=tuple(side[:, :2] for side in model.near))
    yield model._replace(memory=replace(model.memory, mixing=None))
    for name in ("counters", "weights", "maps"):
        array = getattr(model.memory.mixing, name)
        for wrong in (array[1:], array[..., :-1], array.astype(np.int64)):
            yield model._replace(memory=replace(model.memory, mixing=replace(model.memory.mixing, **{name: wrong})))


def test_arrays_that_cannot_be_written_to_or_are_not_aligned_are_refused():
    engine = native(Instructions.BEST)
    model, values = slice_of(np.random.default_rng(0), 3, 4, Coding(8, 0, 3, 5), "ordinary", True)
    intervals, words = np.ones((2, model.capacity), np.uint32), np.zeros(99, np.uint16)

    def change(array, is_aligned):
        changed = np.frombuffer(bytes(not is_aligned) + array.tobytes(), array.dtype, offset=not is_aligned)
        return changed.reshape(array.shape)

    def change_memory(is_aligned):
        """Models with another array of their memories changed."""
        memory = model.memory
        yield replace(memory, corrections=tuple(change(array, is_aligned) for array in memory.corrections))
        for name in ("counters", "weights", "maps"):
            changed = change(getattr(memory.mixing, name), is_aligned)
            yield replace(memory, mixing=replace(memory.mixing, **{name: changed}))

    for is_aligned, message in ((True, "read-only"), (False, "without gaps")):
        others = [change(array, is_aligned) for array in (intervals, words, values)]
        calls = [
            partial(engine.model_slice, model, values, others[0]),
            partial(engine.encode_symbols, intervals, others[1]),
            partial(engine.decode_slice, model, others[2], words, (2**32, 0)),
        ]
        for memory in change_memory(is_aligned):
            wrong = model._replace(memory=memory)
            calls.append(partial(engine.model_slice, wrong, values, intervals))
            calls.append(partial(engine.decode_slice, wrong, np.zeros_like(values), words, (2**32, 0)))
        for call in calls:
            with pytest.raises(ValueError, match=message):
                call()
    sides = tuple(change(side, False) for side in model.near)
    unaligned = model._replace(outputs=change(model.outputs, False), bases=change(model.bases, False), near=sides)
    assert_equal(model_slice(engine, unaligned, change(values, False)), model_slice(engine, model, values))


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
    model, values = slice_of(rng, 3, 4, Coding(8, 0, 3, 7), "ordinary", False)
    learnt = model.corrections
    codings = [(0, 0, 3), (17, 0, 3), (8, 9, 3), (8, -9, 3), (8, 0, 0), (8, 0, 4)]
    codings += [(8, 0, 1, 2), (8, 0, 2, 4), (8, 0, 3, 32), (8, 0, 3, -1), (8, 0, 1, 2**40)]
    codings += [(8, 0, 3, YCBCR | 3), (7, 0, 3, YCBCR | 7), (8, 0, 2, YCBCR | 4)]
    for wrong in (
        model._replace(outputs=model.outputs[..., :49]),
        model._replace(outputs=model.outputs[:2]),
        model._replace(bases=model.bases[:2]),
        *(
            model._replace(memory=replace(model.memory, corrections=(array,) * 4))
            for array in (learnt[:, :7], learnt.astype(np.int32))
        ),
        *(model._replace(coding=Coding(*coding)) for coding in codings),
        *unmixable(model),
        *unlearnable(model),
    ):
        sides, roomy = np.zeros(wrong.bases.shape, np.int32), np.zeros((2, wrong.outputs[..., 0].size * 99), np.uint32)
        with pytest.raises(ValueError, match=r"expected|refused"):
            engine.model_slice(wrong, sides, roomy)
        with pytest.raises(ValueError, match=r"expected|refused"):
            decode_slice(engine, wrong, np.zeros(99, np.uint16), (2**32, 0))
    for mixed in range(8):
        mixing = model._replace(coding=Coding(8, 0, 3, mixed))
        for wrong in (values[:, :2], values * 0 - 1, values * 0 + 256):
            with pytest.raises(ValueError, match=r"expected|refused"):
                model_slice(engine, mixing, wrong)
        engine.model_slice(mixing, values, np.zeros((2, mixing.capacity), np.uint32))
        with pytest.raises(ValueError, match="refused"):
            engine.model_slice(mixing, values, np.zeros((2, mixing.capacity - 1), np.uint32))
    for position in [(2**32 - 1, 0), (2**48, 0), (2**32, 6), (2**32, -1)]:
        with pytest.raises(ValueError, match="refused"):
            decode_slice(engine, model, np.zeros(5, np.uint16), position)
    for start, frequency in [(0, 0), (1, 2**24), (2**24, 1), (2**32 - 1, 2**32 - 1)]:
        with pytest.raises(ValueError, match="refused"):
            engine.encode_symbols(np.array([[start], [frequency]], np.uint32), np.zeros(3, np.uint16))
    with pytest.raises(ValueError, match="refused"):
        engine.encode_symbols(np.ones((2, 4), np.uint32), np.zeros(7, np.uint16))
    words = np.zeros(9, np.uint16)
    for wrong in (np.ones((2, 8), np.uint32)[:, ::2], np.ones((1, 4), np.uint32), np.ones((2, 4), np.int64)):
        with pytest.raises(ValueError, match="expected"):
            engine.encode_symbols(wrong, words)
        with pytest.raises(ValueError, match="expected"):
            engine.model_slice(model, values, wrong)
    for wrong in (words[::-1], words.astype(np.uint8)):
        with pytest.raises(ValueError, match="expected"):
            engine.encode_symbols(np.ones((2, 4), np.uint32), wrong)
        with pytest.raises(ValueError, match="expected"):
            decode_slice(engine, model, wrong, (2**32, 0))
    for wrong in (
        np.zeros((3, 3, 4), np.int64),
        np.zeros((3, 4, 3), np.int32),
        np.zeros((3, 3, 8), np.int32)[..., ::2],
    ):
        with pytest.raises(ValueError, match="expected"):
            engine.decode_slice(model, wrong, words, (2**32, 0))
    for wrong in (np.zeros((18, 4, 4), np.int8), np.zeros((18, 16), np.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            engine.run(0, [wrong], 4, 4)
    for channels, size in [(17, (4, 4)), (19, (4, 4)), (18, (0, 4)), (18, (4, 0))]:
        with pytest.raises(ValueError, match="refused"):
            _NativeStack(NETWORK.stacks[0], Instructions.BEST).run([activations(rng, (channels, 4, 4))], *size)


def test_the_tables_of_the_core_are_those_of_the_reference():
    """tests/test_format.py compares these with the formulas."""
    for file, names, module in (
        ("tables.h", ["POWERS", "SIGMOIDS"], distributions),
        ("mixing_tables.h", ["LOGARITHMS", "STRETCHES", "RATES"], mixing),
    ):
        tables = re.findall(r"(\w+)\[(\d+)\] = \{([^}]+)\}", (ROOT / "native" / file).read_text())
        found = {name: [int(number) for number in re.findall(r"-?\d+", numbers)] for name, _, numbers in tables}
        assert found == {name: getattr(module, name) for name in names}
        assert [int(size) for _, size, _ in tables] == [len(table) for table in found.values()]
