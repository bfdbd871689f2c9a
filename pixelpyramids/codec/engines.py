"""What runs the integer network: NumPy, which everything else is held to, and OpenVINO, which is fast.

Both give the same integers, whatever the batch, the size, the threads or the instruction set. The fast one is compared
with the reference when it is made, and for every new size, on inputs that are random, all 255, and of the worst signs;
where it differs, a UserWarning says so and the reference is used.
"""

import threading
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.integer_network import LARGEST_ACTIVATION, SHIFT, Convolution, IntegerNetwork, Stack

Activations = NDArray[np.uint8]  # (channels, height, width)

STRIP = 2**14  # sites that the reference multiplies at once
SMALL = 2**12  # sites up to which the reference is used alone: sooner done than the fast engine is loaded


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
    return np.clip(np.rint(sums / np.float32(1 << SHIFT)), 0, LARGEST_ACTIVATION)


class FastEngine:
    """The network in OpenVINO, with 8-bit instructions; `threads` at once for each call."""

    def __init__(self, network: IntegerNetwork, threads: int = 1) -> None:
        import openvino

        core = openvino.Core()
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        self._stacks = [core.compile_model(_graph(stack), "CPU", settings) for stack in (network.trunk, *network.heads)]
        self._requests = threading.local()

    def trunk(self, inputs: Activations) -> Activations:
        """As of `Engine`."""
        trunk: Activations = self._run(0, inputs)
        return trunk

    def head(self, number: int, inputs: Activations) -> NDArray[np.int32]:
        """As of `Engine`."""
        head: NDArray[np.int32] = self._run(1 + number, inputs)
        return head

    def _run(self, stack: int, inputs: Activations) -> Any:
        if not hasattr(self._requests, "of"):
            self._requests.of = {}
        request = self._requests.of.get(stack)
        if request is None:
            request = self._requests.of[stack] = self._stacks[stack].create_infer_request()
        request.infer([np.ascontiguousarray(inputs)[None]])
        return request.get_output_tensor().data[0].copy()


def _graph(stack: Stack) -> Any:
    """The stack as OpenVINO's operations: their fake quantisation of 256 levels is our rounding, and fuses with them."""
    import openvino
    from openvino import opset13 as operations

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
    if stack.last is None:
        result = operations.convert(activations, np.uint8)
    else:
        outputs = operations.transpose(convolved(activations, stack.last, 0), operations.constant([0, 2, 3, 1]))
        result = operations.convert(outputs, np.int32)
    return openvino.Model([result], [inputs], "stack")
