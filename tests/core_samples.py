"""Stacks, their inputs, and slices for the tests of the native core: ordinary ones and extremes."""

import numpy as np
from slices import COMPONENTS, OUTPUTS

from pixelpyramids.codec.bundled import ASSETS, MODELS
from pixelpyramids.codec.engine import Coding, SliceModel
from pixelpyramids.codec.integer_network import Convolution, Stack, load_network
from pixelpyramids.codec.memory import FAR, YCBCR, initial_memory
from pixelpyramids.codec.outputs import coarsest_outputs, starting_outputs

NETWORK = load_network(ASSETS / MODELS["compact"])
WEIGHTS = ["random", "small", "largest", "smallest", "alternating", "signs"]
ACTIVATIONS = ["random", "full", "alternating", "zero", "ends"]
SITES = ["ordinary", "network", "extreme", "coarsest"]
STARTS = [2**32, 2**40 - 1, 2**48 - 1]  # states of the coder
LARGEST_SUM = 2**24 - 1


def convolution(rng, inputs, outputs, size, kind):
    """Random or extreme weights, and biases up to what leaves all sums exact."""
    shape = outputs, inputs, size, size
    weight = {
        "random": lambda: rng.integers(-64, 65, shape),
        "small": lambda: rng.integers(-2, 3, shape),
        "largest": lambda: np.full(shape, 64),
        "smallest": lambda: np.full(shape, -64),
        "alternating": lambda: 64 * (1 - 2 * (np.indices(shape).sum(0) % 2)),
        "signs": lambda: rng.choice([-64, 64], shape),
    }[kind]()
    most = (LARGEST_SUM - 128 * 255) // 255 // 64  # weights of 64 that a filter can have
    weight.reshape(outputs, -1)[:, most:] = 0
    left = LARGEST_SUM - 128 * 255 - 255 * np.abs(weight).sum((1, 2, 3))
    wished = {
        "small": rng.integers(-9000, 9000, outputs),
        "middle": -128 * weight.sum((1, 2, 3)) + rng.integers(0, 2**14, outputs),
        "limits": rng.choice([-left, left]),
    }[rng.choice(["small", "middle", "limits"])]
    return Convolution(weight.astype(np.int8), np.clip(wished, -left, left).astype(np.int32))


def stack_of(rng, inputs, width, blocks, outputs, kind):
    """A stack; without outputs, it is a trunk."""
    pairs = tuple(tuple(convolution(rng, width, width, 3, kind) for _ in range(2)) for _ in range(blocks))
    last = convolution(rng, width, outputs, 1, kind) if outputs else None
    return Stack(convolution(rng, inputs, width, 3, kind), pairs, last)


def activations(rng, shape, kind="random"):
    """Activations (channels, height, width)."""
    return {
        "random": lambda: rng.integers(0, 256, shape),
        "full": lambda: np.full(shape, 255),
        "alternating": lambda: 255 * (np.indices(shape).sum(0) % 2),
        "zero": lambda: np.zeros(shape),
        "ends": lambda: rng.choice([0, 255], shape),
    }[kind]().astype(np.uint8)


def draw_coding(rng):
    """Any way to code a slice."""
    bits, coded = int(rng.choice([8, *range(1, 17)])), int(rng.integers(1, 4))
    mixed = int(rng.integers(2**coded))
    mixed |= int(rng.choice([0, FAR])) if mixed else 0
    mixed |= int(rng.choice([0, YCBCR])) if mixed & 4 and bits == 8 else 0
    return Coding(bits, int(rng.integers(-7, 9)), coded, mixed)


def slice_of(rng, height, width, coding, kind, is_learnt):
    """The model of a slice, and any values that it can have; what was learnt is nothing, or anything in range."""
    n, shape = 2**coding.bits, (height, width, OUTPUTS)
    outputs = {
        "ordinary": lambda: starting_outputs(COMPONENTS, 3) + rng.integers(-6000, 6000, shape),
        "network": lambda: rng.integers(-LARGEST_SUM, LARGEST_SUM + 1, shape),
        "extreme": lambda: rng.choice([-LARGEST_SUM, -8192, -1, 0, 1, 8192, LARGEST_SUM], shape),
        "coarsest": lambda: np.broadcast_to(coarsest_outputs(COMPONENTS, 3, coding.bits), shape),
    }[kind]().astype(np.int32)
    bases = rng.integers(0, 4 * n - 3, (3, height, width), dtype=np.int32)

    def draw_values():
        nearby = np.clip(bases // 4 + rng.integers(-3, 4, bases.shape), 0, n - 1)
        drawn = [rng.integers(0, n, bases.shape), np.broadcast_to(rng.choice([0, n - 1]), bases.shape), nearby]
        return drawn[rng.integers(3)].astype(np.int32)

    values = draw_colours(rng, height, width) if coding.mixed & YCBCR else draw_values()
    memory, band = initial_memory(COMPONENTS, coding.mixed), int(rng.integers(3))
    if is_learnt:
        learn_anything(rng, memory, band)
    return SliceModel(outputs, bases, (draw_values(), draw_values()), coding, band, memory), values


def draw_colours(rng, height, width):
    """Colours (3, height, width) that come from YCbCr."""
    return convert_ycbcr(*rng.integers(0, 256, (3, height, width)))


def convert_ycbcr(y, cb, cr):
    """Red, green and blue, by the formula of docs/reference/format.md."""
    offsets = 91881 * (cr - 128), -22554 * (cb - 128) - 46802 * (cr - 128), 116130 * (cb - 128)
    return np.stack([(y + (offset + 2**15 >> 16)).clip(0, 255) for offset in offsets]).astype(np.int32)


def learn_anything(rng, memory, band):
    """Fill a memory with anything that is in range."""
    corrections, _, squares = memory.corrections[band]
    corrections[:] = rng.choice([-(2**21), 0, 2**21, 12345, -54321], corrections.shape)
    squares[:] = rng.integers(0, 2**44, squares.shape) >> rng.integers(0, 44, squares.shape)
    if memory.mixing is not None:
        counters, weights, maps = memory.mixing.counters, memory.mixing.weights, memory.mixing.maps
        counters[:] = rng.integers(0, 2**16, counters.shape)
        counters[rng.random(counters.shape) < 0.3] = rng.choice([0, 15, 2**16 - 16, 2**16 - 1])
        weights[:] = rng.choice([-(2**20), 2**20, -1, 0, 52000, 8000], weights.shape)
        maps[:] = rng.choice([0, 2**16 - 1, 31, 2**15, 2**16 - 40], maps.shape)


def parts_of(memory):
    """The arrays of a memory."""
    of = memory.mixing
    return [*memory.corrections, *(() if of is None else (of.counters, of.weights, of.maps))]
