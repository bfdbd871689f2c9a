"""Run the integer network in OpenVINO, which is faster than the reference in NumPy.

Both give the same integers for every size, number of threads and instruction set. For every new size, the fast engine
is compared with the reference on a window of the image's own inputs and on random, constant and alternating inputs. If
it differs or cannot be loaded, a UserWarning says so, and the reference is used from then on. The same happens in a
process that was forked after OpenVINO was loaded, because it lacks OpenVINO's threads. OpenVINO is loaded at the first
call with many sites; inputs with a short side always use the reference.
"""

import os
import secrets
import sys
import threading
import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.integer_network import (
    LARGEST_ACTIVATION,
    SHIFT,
    Activations,
    Convolution,
    IntegerNetwork,
    Stack,
)

PROBED = 20  # sites a side of the compared part of the artificial inputs
WINDOW = 32  # sites a side of the image's own inputs on which they are compared
FEW_SITES = 2**10  # up to this many, the reference finishes before the fast engine has loaded


class FastEngine:
    """The network in OpenVINO, with 8-bit instructions, for `threads` concurrent calls."""

    _loaded_in: ClassVar[int | None] = None  # the process that loaded OpenVINO

    def __init__(self, network: IntegerNetwork, threads: int) -> None:
        self._network, self._threads = network, threads
        self._lock = threading.RLock()
        self._requests: list[list[Any]] = [[] for _ in network.stacks]  # of each stack, those that are idle
        self._compiled: list[Any] | None = None
        self._compared: set[tuple[int, int, int]] = set()
        self._is_refused = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments only; a copy loads and compares OpenVINO itself."""
        return FastEngine, (self._network, self._threads)

    def __call__(self, stack: int, inputs: Activations) -> NDArray[Any]:
        """See `IntegerNetwork.run`."""
        height, width = inputs.shape[1:]
        is_worth_it = self._compiled or height * width > FEW_SITES
        if is_worth_it and min(height, width) >= PROBED and self._is_loaded():
            found: NDArray[Any] = self._infer(stack, inputs)
            if self._is_trusted(stack, inputs, found):
                return found
        return self._network.run(stack, inputs)

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
            self._compiled = [core.compile_model(_graph(stack), "CPU", settings) for stack in self._network.stacks]
        except (ImportError, RuntimeError) as error:  # OpenVINO is missing, or does not support this machine
            self._refuse(f"the fast engine cannot be loaded ({str(error).strip()})")
            return
        self._of_probes = [
            self._network.run(number, _probe(stack.inputs, PROBED, PROBED))
            for number, stack in enumerate(self._network.stacks)
        ]

    def _is_trusted(self, stack: int, inputs: Activations, found: Any) -> bool:
        """Whether to use OpenVINO's result; for a new size, compare it with the reference first."""
        with self._lock:
            if not self._is_refused and (stack, *inputs.shape) not in self._compared:
                of_probe = self._infer(stack, _probe(*inputs.shape))
                corner = slice(0, PROBED), slice(0, PROBED)
                is_same = self._agree(stack, of_probe, corner, self._of_probes[stack])
                window = _random_lines(inputs.shape[1]), _random_lines(inputs.shape[2])
                if not is_same or not self._agree(stack, found, window, self._network.run(stack, inputs[:, *window])):
                    self._refuse("the fast engine differs from the reference on this machine")
                self._compared.add((stack, *inputs.shape))
            return not self._is_refused

    def _refuse(self, why: str) -> None:
        self._is_refused = True
        warnings.warn(f"{why}; using the slower reference, which gives the same files", stacklevel=5)

    def _agree(self, stack: int, found: Any, window: tuple[slice, slice], expected: Any) -> bool:
        """Whether results equal those of a window, at the sites that do not depend on anything outside of it."""
        inner, reach = [], self._network.stacks[stack].reach
        for lines, side in zip(window, found.shape[1:], strict=True):
            first = reach if lines.start else 0
            last = lines.stop - lines.start - (reach if lines.stop < side else 0)
            inner.append(slice(first, last))
        return np.array_equal(found[:, *window][:, *inner], expected[:, *inner])

    def _infer(self, stack: int, inputs: Activations) -> Any:
        assert self._compiled is not None
        try:
            request = self._requests[stack].pop()
        except IndexError:
            request = self._compiled[stack].create_infer_request()
        request.infer([np.ascontiguousarray(inputs)[None]])
        found = request.get_output_tensor().data[0].astype(np.int32 if stack else np.uint8)
        self._requests[stack].append(request)
        return found


def _probe(channels: int, height: int, width: int) -> Activations:
    """Return inputs that are likely to show differences, in turn by column: 255, random, alternating by channel.

    The part that is compared is the same for every size.
    """
    noise = np.random.default_rng(0).integers(0, 256, (channels, PROBED, PROBED), dtype=np.uint8)
    probe = np.full((channels, height, width), LARGEST_ACTIVATION, dtype=np.uint8)
    probe[:, :PROBED, 1:PROBED:3] = noise[:, :, 1::3]
    probe[::2, :, 2::3] = 0
    return probe


def _random_lines(side: int) -> slice:
    """Return a random range of up to WINDOW lines of a side."""
    first = secrets.randbelow(max(side - WINDOW, 0) + 1)
    return slice(first, min(first + WINDOW, side))


def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which would start on import."""
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
    """Build the stack from OpenVINO's operations. Its fake quantisation to 256 levels rounds as we do, and fuses."""
    openvino = _openvino()
    operations = openvino.opset13
    low, high = np.float32(0), np.float32(LARGEST_ACTIVATION)

    def rescale(sums: Any) -> Any:
        return operations.fake_quantize(sums, low, high, low, high, LARGEST_ACTIVATION + 1)

    def convolve(activations: Any, convolution: Convolution, shift: int) -> Any:
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
    activations = rescale(operations.convert(inputs, np.float32))
    activations = rescale(convolve(activations, stack.first, SHIFT))
    for first, second in stack.blocks:
        inner = rescale(convolve(activations, first, SHIFT))
        activations = rescale(operations.add(convolve(inner, second, SHIFT), activations))
    last = stack.last
    result = operations.convert(activations, np.uint8) if last is None else convolve(activations, last, 0)
    return openvino.Model([result], [inputs], "stack")
