"""The compact network as integers: its weights, the proof that no sum overflows, and its identifier.

    a' = clamp(rne((sum of w a + b + 128 skip) / 128), 0, 255)      rne: round half to even; zero padding
    outputs = sum of w a + b

Activations are from 0 to 255 and weights from -64 to 64. Every filter has 255 sum|w| + |b| + 128 * 255 < 2**24, so
float32 holds each sum exactly, in any order of addition. A safetensors file holds int8 weights (outputs, inputs, size,
size) and int32 biases under the names of `networks.compact`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pixelpyramids.errors import CheckpointError

SHIFT = 7  # bits by which a sum is shifted to give an activation
LARGEST_WEIGHT = 64
LARGEST_ACTIVATION = 255
LARGEST_SUM = 1 << 24
HEADS = 5
CHANNELS = 3  # of the images that the network sees
PER_COMPONENT = 1 + 2 * CHANNELS + CHANNELS * (CHANNELS - 1) // 2  # outputs of a head for each mixture component

Activations = NDArray[np.uint8]  # (channels, height, width)


@dataclass(frozen=True)
class Convolution:
    """Weights (outputs, inputs, size, size), int8, and biases (outputs,), int32; stride 1, zero padding."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]

    @property
    def matrix(self) -> NDArray[np.float32]:
        """The weights (size * size * inputs, outputs) as float32."""
        return self.weight.transpose(2, 3, 1, 0).reshape(-1, len(self.weight)).astype(np.float32)


@dataclass(frozen=True)
class Stack:
    """A convolution, residual blocks of two convolutions, and in a head a last one that gives the outputs."""

    first: Convolution
    blocks: tuple[tuple[Convolution, Convolution], ...]
    last: Convolution | None = None

    @property
    def inputs(self) -> int:
        """The number of input channels."""
        return int(self.first.weight.shape[1])

    @property
    def filters(self) -> list[tuple[int, ...]]:
        """The shapes of the weights of all convolutions but the last one of a head."""
        convolutions = self.first, *(convolution for block in self.blocks for convolution in block)
        return [convolution.weight.shape for convolution in convolutions]

    @property
    def reach(self) -> int:
        """The largest distance, in sites, at which an input can change an output."""
        return sum(size // 2 for _, _, size, _ in self.filters)


@dataclass(frozen=True)
class IntegerNetwork:
    """A trunk and five heads. `name` is its identifier in files: the first 8 bytes of a SHA-256 over all weights."""

    stacks: tuple[Stack, ...]
    name: bytes

    @property
    def reach(self) -> int:
        """The reach of the trunk, in sites."""
        return self.stacks[0].reach

    @property
    def outputs(self) -> int:
        """The number of outputs of a site."""
        last = self.stacks[1].last
        assert last is not None
        return int(last.weight.shape[0])


def run_stack(stack: Stack, inputs: Activations) -> NDArray[np.float32]:
    """Return what a stack gives (height, width, channels): sites are rows of matrices, channels are columns."""
    activations = _rescale(_convolve(inputs.transpose(1, 2, 0).astype(np.float32), stack.first))
    for first, second in stack.blocks:
        inner = _rescale(_convolve(activations, first))
        activations = _rescale(_convolve(inner, second) + activations * np.float32(1 << SHIFT))
    return activations if stack.last is None else _convolve(activations, stack.last)


def _convolve(activations: NDArray[np.float32], convolution: Convolution) -> NDArray[np.float32]:
    """The sums (height, width, outputs)."""
    outputs, inputs, size, _ = convolution.weight.shape
    matrix, bias = convolution.matrix, convolution.bias.astype(np.float32)
    height, width = activations.shape[:2]
    padding = size // 2
    padded = np.zeros((height + 2 * padding, width + 2 * padding, inputs), dtype=np.float32)
    padded[padding : padding + height, padding : padding + width] = activations
    sums = np.empty((height, width, outputs), dtype=np.float32)
    rows = max(1, 2**14 // width)  # to multiply at once
    for top in range(0, height, rows):
        strip = sums[top : top + rows]
        windows = np.lib.stride_tricks.sliding_window_view(
            padded[top : top + len(strip) + 2 * padding], (size, size), axis=(0, 1)
        )
        columns = windows.transpose(0, 1, 3, 4, 2).reshape(len(strip) * width, size * size * inputs)
        strip[...] = (_multiply(columns, matrix) + bias).reshape(strip.shape)
    return sums


def _multiply(rows: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product, in pieces of at most 2**18 multiplications, for which OpenBLAS starts no threads.

    Those would wait actively, and take the processors from the threads that code other tiles.
    """
    inputs, outputs = matrix.shape
    together = max(1, 2**18 // matrix.size)
    whole = len(rows) // together * together
    pieces = (rows[:whole].reshape(-1, together, inputs) @ matrix).reshape(-1, outputs)
    return np.concatenate([pieces, rows[whole:] @ matrix])


def _rescale(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    rescaled: NDArray[np.float32] = np.clip(np.rint(sums / np.float32(1 << SHIFT)), 0, LARGEST_ACTIVATION)
    return rescaled


def load_network(path: Path) -> IntegerNetwork:
    """Read a network from a file of weights. Raises CheckpointError if the file is damaged or holds something else."""
    try:
        return build_network(load_file(path))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: expected the integer weights of a compact network, got: {error}") from error


def build_network(tensors: Mapping[str, NDArray[Any]]) -> IntegerNetwork:
    """Build a network from named weights. Raises KeyError or ValueError if one is missing, unknown or out of range."""
    left = dict(tensors)
    heads = (_stack(left, f"heads.{number}.body.", f"heads.{number}.last") for number in range(HEADS))
    stacks = _stack(left, "trunk."), *heads
    if left:
        raise ValueError(f"got unknown tensors: {', '.join(sorted(left))}")
    _check_shapes(*stacks)
    return IntegerNetwork(stacks, hash_weights(tensors))


def hash_weights(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the first 8 bytes of a SHA-256 over each tensor's name, shape and little-endian values, sorted by name."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = np.ascontiguousarray(tensors[key])
        shape = " ".join(map(str, value.shape))
        digest.update(f"{key} {shape}\n".encode() + value.astype(value.dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:8]


def _check_shapes(trunk: Stack, *heads: Stack) -> None:
    """Raise ValueError if the stacks do not fit together, or do not fit images of three channels."""
    width = len(trunk.first.bias)
    known = 2 * CHANNELS  # inputs for the known pixels of a band
    of_heads = (2 * width, 2 * width + known, 2 * width + 2 * known, 2 * width + 3 * known, width + 5 * known)
    for stack, expected in zip((trunk, *heads), (6 * CHANNELS, *of_heads), strict=True):
        expected_filters = [(width, expected, 3, 3), *[(width, width, 3, 3)] * (2 * len(stack.blocks))]
        if stack.filters != expected_filters:
            raise ValueError(f"expected filters of {expected_filters}, got {stack.filters}")
    lasts = {head.last.weight.shape for head in heads if head.last is not None}
    if len(lasts) != 1 or min(lasts)[1:] != (width, 1, 1) or min(lasts)[0] % PER_COMPONENT or not min(lasts)[0]:
        raise ValueError(f"expected equal last filters (a multiple of {PER_COMPONENT}, {width}, 1, 1), got {lasts}")


def _stack(left: dict[str, NDArray[Any]], prefix: str, last: str | None = None) -> Stack:
    first = _convolution(left, f"{prefix}0")
    blocks: list[tuple[Convolution, Convolution]] = []
    while f"{prefix}{len(blocks) + 1}.first.weight" in left:
        block = f"{prefix}{len(blocks) + 1}"
        blocks.append((_convolution(left, f"{block}.first"), _convolution(left, f"{block}.second")))
    return Stack(first, tuple(blocks), None if last is None else _convolution(left, last))


def _convolution(left: dict[str, NDArray[Any]], key: str) -> Convolution:
    weight, bias = left.pop(f"{key}.weight"), left.pop(f"{key}.bias")
    if weight.dtype != np.int8 or bias.dtype != np.int32 or weight.ndim != 4 or bias.shape != weight.shape[:1]:
        raise ValueError(f"{key} has wrong types or shapes: {weight.dtype} {weight.shape}, {bias.dtype} {bias.shape}")
    if weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
        raise ValueError(f"{key} has a filter of {weight.shape[2]} x {weight.shape[3]}")
    magnitude = np.abs(weight.astype(np.int64))
    sums = LARGEST_ACTIVATION * magnitude.sum(axis=(1, 2, 3)) + np.abs(bias.astype(np.int64))
    if magnitude.max() > LARGEST_WEIGHT or sums.max() + (LARGEST_ACTIVATION << SHIFT) >= LARGEST_SUM:
        raise ValueError(f"{key} could exceed the range in which sums are exact")
    return Convolution(weight, bias)
