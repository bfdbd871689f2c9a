"""What runs the integer network: NumPy, which everything else is held to, and OpenVINO, which is fast.

Both give the same integers, whatever the batch, the size, the threads or the instruction set. The fast one is compared
with the reference for every new size, on a window of the image's own inputs, and on such as are random, all 255, and
alternating; where it differs, a UserWarning says so and the reference is used.
"""

import os
import secrets
import sys
import threading
import warnings
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.integer_network import LARGEST_ACTIVATION, SHIFT, Convolution, IntegerNetwork, Stack

Activations = NDArray[np.uint8]  # (channels, height, width)

STRIP = 2**14  # sites that the reference multiplies at once
PROBED = 20  # sites a side of the made-up inputs on which the fast engine is compared with the reference
WINDOW = 32  # and of the image's own
FEW_SITES = 2**10  # for which the reference is sooner done than the fast engine is loaded


class Engine(Protocol):
    """Runs the trunk or a head on inputs (channels, height, width)."""

    def trunk(self, inputs: Activations) -> Activations:
        """The trunk's activations (width of the network, height, width)."""

    def head(self, number: int, inputs: Activations) -> NDArray[np.int32]:
        """A head's outputs (height, width, outputs)."""


class ReferenceEngine:
    """The network in NumPy: matrix products of integers that float32 holds exactly."""

    def __init__(self, network: IntegerNetwork) -> None:
        self._trunk, self._heads = _Matrices(network.trunk), [_Matrices(head) for head in network.heads]

    def trunk(self, inputs: Activations) -> Activations:
        """As of `Engine`."""
        return np.ascontiguousarray(self._trunk(inputs).transpose(2, 0, 1)).astype(np.uint8)

    def head(self, number: int, inputs: Activations) -> NDArray[np.int32]:
        """As of `Engine`."""
        return self._heads[number](inputs).astype(np.int32)


class _Matrices:
    """A stack, ready for NumPy: sites are rows, channels columns."""

    def __init__(self, stack: Stack) -> None:
        self._first = _matrix(stack.first)
        self._blocks = [(_matrix(first), _matrix(second)) for first, second in stack.blocks]
        self._last = None if stack.last is None else _matrix(stack.last)

    def __call__(self, inputs: Activations) -> NDArray[np.float32]:
        activations = _rescaled(_convolved(inputs.transpose(1, 2, 0).astype(np.float32), *self._first))
        for first, second in self._blocks:
            inner = _rescaled(_convolved(activations, *first))
            activations = _rescaled(_convolved(inner, *second) + activations * np.float32(1 << SHIFT))
        return activations if self._last is None else _convolved(activations, *self._last)


def _matrix(convolution: Convolution) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (size, size, inputs, outputs) and biases, as float32."""
    return convolution.weight.transpose(2, 3, 1, 0).astype(np.float32), convolution.bias.astype(np.float32)


def _convolved(
    activations: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The sums (height, width, outputs)."""
    size, _, inputs, outputs = weight.shape
    height, width = activations.shape[:2]
    padding = size // 2
    padded = np.pad(activations, ((padding, padding), (padding, padding), (0, 0)))
    sums = np.empty((height, width, outputs), dtype=np.float32)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = sums[top : top + rows]
        windows = np.lib.stride_tricks.sliding_window_view(
            padded[top : top + len(strip) + 2 * padding], (size, size), axis=(0, 1)
        )
        columns = windows.transpose(0, 1, 3, 4, 2).reshape(len(strip) * width, size * size * inputs)
        strip[...] = (columns @ weight.reshape(-1, outputs) + bias).reshape(strip.shape)
    return sums


def _rescaled(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    rescaled: NDArray[np.float32] = np.clip(np.rint(sums / np.float32(1 << SHIFT)), 0, LARGEST_ACTIVATION)
    return rescaled


class FastEngine:
    """The network in OpenVINO, in 8-bit instructions, for `threads` calls at once; of narrow inputs the reference.

    It is loaded when there are many sites for the first time. For each size that is new it is compared with the
    reference, on parts of inputs of that size. If it differs or cannot be loaded, a UserWarning says so, and from then
    on the reference is used. The same happens in a process that was forked after OpenVINO was loaded, because it lacks
    OpenVINO's threads.
    """

    _loaded_in: ClassVar[int | None] = None  # the process

    def __init__(self, network: IntegerNetwork, reference: ReferenceEngine, threads: int) -> None:
        self._network, self._reference, self._threads = network, reference, threads
        self._stacks = network.trunk, *network.heads
        self._lock = threading.RLock()
        self._requests: list[list[Any]] = [[] for _ in self._stacks]  # those that no thread uses
        self._compiled: list[Any] | None = None
        self._compared: set[tuple[int, int, int]] = set()
        self._is_refused = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments; a copy loads and compares OpenVINO by itself."""
        return FastEngine, (self._network, self._reference, self._threads)

    def trunk(self, inputs: Activations) -> Activations:
        """As of `Engine`."""
        found: Activations = self._result(0, inputs)
        return found

    def head(self, number: int, inputs: Activations) -> NDArray[np.int32]:
        """As of `Engine`."""
        found: NDArray[np.int32] = self._result(1 + number, inputs)
        return found

    def _result(self, stack: int, inputs: Activations) -> Any:
        height, width = inputs.shape[1:]
        is_worth_it = self._compiled or height * width > FEW_SITES
        if is_worth_it and min(height, width) >= PROBED and self._is_loaded():
            found = self._run(stack, inputs)
            if self._is_trusted(stack, inputs, found):
                return found
        return self._expected(stack, inputs)

    def _expected(self, stack: int, inputs: Activations) -> Any:
        """What the reference gives."""
        return self._reference.trunk(inputs) if stack == 0 else self._reference.head(stack - 1, inputs)

    def _is_loaded(self) -> bool:
        if not self._is_refused and self._loaded_in not in (None, os.getpid()):
            self._refuse("the fast engine does not work in a forked process (use the start method spawn)")
        if self._is_refused:
            return False
        with self._lock:
            if self._compiled is None and not self._is_refused:
                self._load()
            return not self._is_refused

    def _load(self) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": self._threads,
        }
        try:
            openvino = _openvino()
            FastEngine._loaded_in = os.getpid()
            core = openvino.Core()
            self._compiled = [core.compile_model(_graph(stack), "CPU", settings) for stack in self._stacks]
        except (ImportError, RuntimeError) as error:  # it is missing, or not for this machine
            self._refuse(f"the fast engine cannot be loaded ({str(error).strip()})")
            return
        self._of_probes = [
            self._expected(number, _probe(stack.inputs, PROBED, PROBED)) for number, stack in enumerate(self._stacks)
        ]

    def _is_trusted(self, stack: int, inputs: Activations, found: Any) -> bool:
        """Whether to use what OpenVINO gives; for a new size it is compared with the reference."""
        with self._lock:
            if not self._is_refused and (stack, *inputs.shape) not in self._compared:
                of_probe = self._run(stack, _probe(*inputs.shape))
                corner = slice(0, PROBED), slice(0, PROBED)
                is_same = self._agree(stack, of_probe, corner, self._of_probes[stack])
                window = _somewhere(inputs.shape[1]), _somewhere(inputs.shape[2])
                if not is_same or not self._agree(stack, found, window, self._expected(stack, inputs[:, *window])):
                    self._refuse("this machine's fast engine gives other numbers than the reference")
                self._compared.add((stack, *inputs.shape))
            return not self._is_refused

    def _refuse(self, why: str) -> None:
        self._is_refused = True
        warnings.warn(f"{why}; the slower reference is used, and gives the same files", stacklevel=5)

    def _agree(self, stack: int, found: Any, window: tuple[slice, slice], expected: Any) -> bool:
        """Whether results are those expected of a window, where this does not see beyond itself."""
        if stack > 0:  # outputs of heads have their channels last
            found, expected = np.moveaxis(found, -1, 0), np.moveaxis(expected, -1, 0)
        inner, reach = [], self._stacks[stack].reach
        for lines, side in zip(window, found.shape[1:], strict=True):
            first = reach if lines.start else 0
            last = lines.stop - lines.start - (reach if lines.stop < side else 0)
            inner.append(slice(first, last))
        return np.array_equal(found[:, *window][:, *inner], expected[:, *inner])

    def _run(self, stack: int, inputs: Activations) -> Any:
        assert self._compiled is not None
        try:
            request = self._requests[stack].pop()
        except IndexError:
            request = self._compiled[stack].create_infer_request()
        request.infer([np.ascontiguousarray(inputs)[None]])
        found = request.get_output_tensor().data[0]
        found = found.copy() if stack == 0 else np.ascontiguousarray(found.transpose(1, 2, 0), dtype=np.int32)
        self._requests[stack].append(request)
        return found


def _probe(channels: int, height: int, width: int) -> Activations:
    """Inputs that bring out what can differ, in columns: all 255, random ones, 255 and 0 from channel to channel.

    The part that is compared is the same for every size.
    """
    noise = np.random.default_rng(0).integers(0, 256, (channels, PROBED, PROBED), dtype=np.uint8)
    probe = np.full((channels, height, width), LARGEST_ACTIVATION, dtype=np.uint8)
    probe[:, :PROBED, 1:PROBED:3] = noise[:, :, 1::3]
    probe[::2, :, 2::3] = 0
    return probe


def _somewhere(side: int) -> slice:
    """Up to WINDOW lines of a side."""
    first = secrets.randbelow(max(side - WINDOW, 0) + 1)
    return slice(first, min(first + WINDOW, side))


def _openvino() -> Any:
    """OpenVINO, without its telemetry, which would begin on import."""
    hidden = "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino  # type: ignore[import-untyped]
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
    return openvino


def _graph(stack: Stack) -> Any:
    """The stack as OpenVINO's operations: its fake quantisation to 256 levels is our rounding, and fuses."""
    openvino = _openvino()
    operations = openvino.opset13
    low, high = np.float32(0), np.float32(LARGEST_ACTIVATION)

    def rescaled(sums: Any) -> Any:
        return operations.fake_quantize(sums, low, high, low, high, LARGEST_ACTIVATION + 1)

    def convolved(activations: Any, convolution: Convolution, shift: int) -> Any:
        scale = np.float32(2.0**-shift)
        weight = operations.convert(operations.constant(convolution.weight), np.float32)
        scales = operations.constant(np.full((len(convolution.bias), 1, 1, 1), scale))
        padding = [convolution.weight.shape[2] // 2] * 2
        sums = operations.convolution(
            activations, operations.multiply(weight, scales), [1, 1], padding, padding, [1, 1]
        )
        return operations.add(
            sums, operations.constant((convolution.bias.astype(np.float32) * scale).reshape(1, -1, 1, 1))
        )

    inputs = operations.parameter([1, stack.inputs, -1, -1], np.uint8)
    activations = rescaled(operations.convert(inputs, np.float32))
    activations = rescaled(convolved(activations, stack.first, SHIFT))
    for first, second in stack.blocks:
        inner = rescaled(convolved(activations, first, SHIFT))
        activations = rescaled(operations.add(convolved(inner, second, SHIFT), activations))
    last = stack.last
    result = operations.convert(activations, np.uint8) if last is None else convolved(activations, last, 0)
    return openvino.Model([result], [inputs], "stack")
