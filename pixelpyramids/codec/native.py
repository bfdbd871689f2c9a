"""The native core, native/ppyr_core.h, called through ctypes, which lets other threads run meanwhile."""

import ctypes
import os
import struct
import sys
import warnings
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.engine import SliceModel
from pixelpyramids.codec.integer_network import CHANNELS, PER_COMPONENT, Activations, IntegerNetwork, Stack
from pixelpyramids.codec.memory import (
    CONTEXTS,
    COUNTER_BITS,
    DECISIONS,
    INFLUENCES,
    INPUTS,
    MAP_ENTRIES,
    YCBCR,
)
from pixelpyramids.codec.reference import ReferenceEngine

VERSION = 3  # of the interface
CORE = "PIXELPYRAMIDS_CORE"  # environment variable: another library, such as one with sanitizers
OUTPUTS = 5 * PER_COMPONENT  # of a site: the core is compiled for mixtures of five components
WINDOW = 12  # sites a side of the image's own inputs on which the engines are compared
_OK, _NO_MEMORY, _CUT = 0, -2, -3
_SUFFIXES = {"darwin": ".dylib", "win32": ".dll"}


class Instructions(IntEnum):
    """The instruction sets that the core has kernels for; BEST is the fastest of this processor."""

    BEST = -1
    PORTABLE = 0
    AVX2 = 1
    AVX512 = 2
    AMX = 3
    NEON = 4


class _Channels(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        *[(name, ctypes.c_int64) for name in ("channels", "height", "width")],
        *[(name, ctypes.c_int64) for name in ("channel_stride", "row_stride", "column_stride")],
    ]


class _Slice(ctypes.Structure):
    _fields_ = [
        *[
            (name, ctypes.c_void_p)
            for name in ("outputs", "bases", "near", "learnt", "counters", "maps", "weights", "colours")
        ],
        *[(name, ctypes.c_int64) for name in ("height", "width", "coded", "bits", "gain", "mixed")],
    ]


@cache
def load_core() -> ctypes.CDLL:
    """Load the library. Raises OSError if it is missing, damaged or of another version."""
    path = os.environ.get(CORE) or Path(__file__).with_name(f"ppyr_core{_SUFFIXES.get(sys.platform, '.so')}")
    if Path(path).is_file():
        _check_length(Path(path))
    core = ctypes.CDLL(str(path))
    version = core.ppyr_version() if hasattr(core, "ppyr_version") else "another library"
    if version != VERSION:
        raise OSError(f"{path}: expected version {VERSION} of the native core, got {version}")
    pointer, size, number, counter = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, ctypes.POINTER(ctypes.c_int64)
    state, of_slice = ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(_Slice)
    sizes = [ctypes.c_int] * 4
    core.ppyr_stack_new.restype = pointer
    core.ppyr_stack_new.argtypes = [*sizes, pointer, size, pointer, size, ctypes.c_int]
    core.ppyr_stack_free.restype, core.ppyr_stack_free.argtypes = None, [pointer]
    core.ppyr_stack_run.argtypes = [
        pointer, ctypes.POINTER(_Channels), ctypes.c_int, number, number, pointer, size,
    ]  # fmt: skip
    core.ppyr_find_colours.restype, core.ppyr_find_colours.argtypes = None, [pointer]
    core.ppyr_model_slice.argtypes = [of_slice, pointer, pointer, pointer, number, counter, ctypes.c_int]
    core.ppyr_encode.argtypes = [pointer, pointer, number, pointer, number, counter, state]
    core.ppyr_decode_slice.argtypes = [of_slice, pointer, number, state, counter, pointer, ctypes.c_int]
    return core


def _check_length(path: Path) -> None:
    """Raise OSError if a library of Linux ends before its last table: loading it could end the process."""
    with path.open("rb") as file:
        head, size = file.read(64), file.seek(0, os.SEEK_END)
    if head.startswith(b"\x7fELF") and size >= 64:
        place, entry, count = struct.unpack("<40xQ10xHH2x", head)
        if place + entry * count > size:
            raise OSError(f"{path} is cut short")


def supported_instructions() -> list[Instructions]:
    """The instruction sets that this processor and this build of the core support."""
    core = load_core()
    return [one for one in Instructions if one >= 0 and core.ppyr_supports(one)]


class _NativeStack:
    """A packed stack, freed with this object."""

    def __init__(self, stack: Stack, instructions: Instructions) -> None:
        core = self._core = load_core()
        blocks = [convolution for block in stack.blocks for convolution in block]
        convolutions = [stack.first, *blocks, *([] if stack.last is None else [stack.last])]
        weights = np.concatenate([one.weight.ravel() for one in convolutions], dtype=np.int8, casting="safe")
        biases = np.concatenate([one.bias for one in convolutions], dtype=np.int32, casting="safe")
        self._outputs = 0 if stack.last is None else len(stack.last.bias)
        self._width = len(stack.first.bias)
        sizes = stack.inputs, self._width, len(stack.blocks), self._outputs
        self._handle = core.ppyr_stack_new(
            *sizes, weights.ctypes.data, weights.size, biases.ctypes.data, biases.size, instructions
        )
        if not self._handle:
            raise OSError(f"the native core cannot run the network with {instructions.name}")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._core.ppyr_stack_free(self._handle)

    def run(self, inputs: Sequence[Activations], height: int, width: int) -> Any:
        """The results (height, width, channels)."""
        if any(part.dtype != np.uint8 or part.ndim != 3 for part in inputs):
            raise ValueError(f"expected uint8 (channels, h, w), got {[(part.dtype, part.shape) for part in inputs]}")
        channels = (_Channels * len(inputs))(
            *(_Channels(part.ctypes.data, *part.shape, *part.strides) for part in inputs)
        )
        of_site, kind = (self._outputs, np.int32) if self._outputs else (self._width, np.uint8)
        results = np.empty((height, width, of_site), dtype=kind)
        arguments = channels, len(inputs), height, width, results.ctypes.data, results.nbytes
        _check(self._core.ppyr_stack_run(self._handle, *arguments))
        return results


class NativeEngine:
    """The network and the coder in the native core.

    Each stack is compared with the reference on a window of the image's own inputs, once for narrow and once for wide
    ones. If it differs, a UserWarning says so, and the reference runs the network from then on. Raises OSError if the
    core cannot be loaded, or does not support the instruction set.
    """

    def __init__(self, network: IntegerNetwork, instructions: Instructions = Instructions.BEST) -> None:
        self._reference, self._instructions = ReferenceEngine(network), instructions
        self._core = load_core()
        self._stacks = [_NativeStack(stack, instructions) for stack in network.stacks]
        self._compared: set[tuple[int, bool]] = set()  # stacks, and whether the inputs were wider than the window
        self._differs = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments only: a copy packs its own weights."""
        return NativeEngine, (self._reference.network, self._instructions)

    def run(self, stack: int, inputs: Sequence[Activations], height: int, width: int) -> NDArray[Any]:
        """See `Engine`."""
        if not self._differs:
            found: NDArray[Any] = self._stacks[stack].run(inputs, height, width)
            if (stack, width > WINDOW) not in self._compared:  # no lock, which a forked process could inherit held
                if not self._is_equal_in_a_window(stack, inputs, found):
                    self._differs = True
                    warnings.warn(
                        "the native core differs from the reference on this machine; using the slower reference, "
                        "which gives the same files",
                        stacklevel=5,
                    )
                self._compared.add((stack, width > WINDOW))
            if not self._differs:
                return found
        return self._reference.run(stack, inputs, height, width)

    def model_slice(self, model: SliceModel, values: Any, intervals: NDArray[np.uint32]) -> int:
        """See `Engine`."""
        arrays, of_slice = _slice(model)
        values, count = _int32_array(values), ctypes.c_int64(0)
        place, places = _address(values, np.int32, arrays[1].shape), _addresses_of_intervals(intervals, True)
        _check(self._core.ppyr_model_slice(of_slice, place, *places, count, self._instructions))
        return count.value

    def encode_symbols(self, intervals: NDArray[np.uint32], words: NDArray[np.uint16]) -> tuple[int, int]:
        """See `Engine`."""
        first, state = ctypes.c_int64(), ctypes.c_uint64()
        place = _address(words, np.uint16, (len(words),), is_written=True)
        _check(self._core.ppyr_encode(*_addresses_of_intervals(intervals), place, len(words), first, state))
        return first.value, state.value

    def decode_slice(
        self, model: SliceModel, values: NDArray[np.int32], words: NDArray[np.uint16], position: tuple[int, int]
    ) -> tuple[int, int]:
        """See `Engine`."""
        arrays, of_slice = _slice(model)
        state, taken = ctypes.c_uint64(position[0]), ctypes.c_int64(position[1])
        source = _address(words, np.uint16, (len(words),)), len(words)
        place = _address(values, np.int32, (model.coding.coded, *arrays[0].shape[:2]), is_written=True)
        result = self._core.ppyr_decode_slice(of_slice, *source, state, taken, place, self._instructions)
        if result == _CUT:
            return state.value, len(words) + 1
        _check(result)
        return state.value, taken.value

    def possible_colours(self) -> NDArray[np.uint64]:
        """See `Engine`."""
        return _possible_colours()

    def megapixel_seconds(self, threads: int) -> float:
        """See `Engine`. We measured 3 s with AVX-512, 5 s with AVX2, 50 s with SSE2 and 100 s without vectors."""
        chosen = [self._instructions] if self._instructions >= 0 else supported_instructions()
        return (8.0 if max(chosen) > Instructions.PORTABLE else 150.0) / threads

    def _is_equal_in_a_window(self, number: int, inputs: Sequence[Activations], found: Any) -> bool:
        """Whether the results equal the reference's at random sites: those that depend on nothing beyond a window."""
        reach, window, inner = self._reference.network.stacks[number].reach, [], []
        for side in found.shape[:2]:
            first = int.from_bytes(os.urandom(4)) % (max(side - WINDOW, 0) + 1)
            last = min(first + WINDOW, side)
            start = max(first - reach, 0)
            window.append(slice(start, min(last + reach, side)))
            inner.append(slice(first - start, last - start))
        parts = [part[:, *window] for part in inputs]
        expected = self._reference.run(number, parts, *(lines.stop - lines.start for lines in window))
        return np.array_equal(found[*window][*inner], expected[*inner])


@cache
def _possible_colours() -> NDArray[np.uint64]:
    colours = np.empty((256, 256, 4), dtype=np.uint64)
    load_core().ppyr_find_colours(colours.ctypes.data)
    return colours


def _slice(model: SliceModel) -> tuple[list[Any], Any]:
    """The arrays of a slice, which the caller keeps alive, and the structure that points to them."""
    arrays = [_int32_array(model.outputs), _int32_array(model.bases)]
    (height, width), coding = arrays[0].shape[:2], model.coding
    outputs = _address(arrays[0], np.int32, (height, width, OUTPUTS))
    bases = _address(arrays[1], np.int32, (CHANNELS, height, width))
    numbers = OUTPUTS + INFLUENCES * CHANNELS
    learnt = _address(model.corrections, np.int64, (3, CONTEXTS, numbers), is_written=True)
    for_mixing: tuple[int | None, ...] = (None, None, None, None)
    near = None
    if coding.mixed:
        of, sides = model.needed_for_mixing()
        arrays.append(_int32_array(np.stack(sides)))
        near = _address(arrays[2], np.int32, (2, CHANNELS, height, width))
        for_mixing = (
            _address(of.counters, np.uint16, (1 << COUNTER_BITS,), is_written=True),
            _address(of.maps, np.uint16, (CHANNELS, DECISIONS, MAP_ENTRIES), is_written=True),
            _address(of.weights, np.int32, (CHANNELS, DECISIONS, INPUTS), is_written=True),
            _possible_colours().ctypes.data if coding.mixed & YCBCR else None,
        )
    sizes = height, width, coding.coded, coding.bits, coding.gain, coding.mixed
    return arrays, _Slice(outputs, bases, near, learnt, *for_mixing, *sizes)


def _address(array: NDArray[Any], kind: type, shape: tuple[int, ...], is_written: bool = False) -> int:
    """Where an array begins. Raises ValueError unless it has this type and shape, aligned and without gaps."""
    if array.dtype != kind or array.shape != shape or not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"expected {kind.__name__} {shape} without gaps, got {array.dtype} {array.shape}")
    if is_written and not array.flags.writeable:
        raise ValueError(f"expected {kind.__name__} {shape} to write to, got a read-only array")
    return array.ctypes.data


def _addresses_of_intervals(intervals: NDArray[np.uint32], is_written: bool = False) -> tuple[int, int, int]:
    """Where the starts begin and where the frequencies do, and their number."""
    count = intervals.shape[-1]
    first = _address(intervals, np.uint32, (2, count), is_written)
    return first, first + intervals.itemsize * count, count


def _int32_array(array: Any) -> NDArray[np.int32]:
    return np.require(array, np.int32, ["C", "A"])


def _check(result: int) -> None:
    """Raise an error for a result that only a mistake in this package, or a lack of memory, gives."""
    if result == _NO_MEMORY:
        raise MemoryError("the native core could not allocate memory")
    if result != _OK:
        raise ValueError(f"the native core refused its arguments ({result})")
