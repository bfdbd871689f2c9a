"""Slices for the tests of the entropy coder: their symbols, their values, and the distributions of a site."""

import numpy as np

from pixelpyramids.codec import distributions
from pixelpyramids.codec.bundled import load_model
from pixelpyramids.codec.coder import PartReader, Symbols
from pixelpyramids.codec.engine import Coding, SliceModel
from pixelpyramids.codec.memory import Memory, initial_memory

COMPONENTS, CHANNELS, OUTPUTS = 5, 3, 50  # of the mixtures that the native core is compiled for
TOTAL = 2**24


def engine():
    """The engine of the bundled model."""
    return load_model("compact").engine


def nothing_learnt(outputs):
    return initial_memory(outputs.shape[-1] // 10, 0).corrections[0]


def model_of(outputs, bases, coding, learnt=None):
    """The model of a slice without mixing; what was learnt is updated."""
    corrections = nothing_learnt(outputs) if learnt is None else learnt
    return SliceModel(outputs, bases, None, coding, 0, Memory((corrections,), None))


def symbols_of(outputs, bases, values, coding, learnt=None):
    symbols, whole = Symbols(engine()), np.zeros_like(bases)  # channels that are not coded are not read
    whole[: len(values)] = values
    symbols.add(model_of(outputs, bases, coding, learnt), whole)
    return symbols


def values_of(reader, outputs, bases, coding, learnt=None):
    """The values that a reader decodes."""
    values = np.empty((coding.coded, *outputs.shape[:2]), np.int32)
    reader.fill(model_of(outputs, bases, coding, learnt), values)
    return values


def decode_part(data, *of_slice):
    """The values of a part that holds one slice."""
    reader = PartReader(engine(), data)
    values = values_of(reader, *of_slice)
    reader.close()
    return values


def mixture_of(outputs, channel=0, distances=(0, 0, 0), bits=8, gain=0):
    """The weights before any channel, and the components of a channel."""
    given, before = np.asarray(outputs).tolist(), np.asarray(distances).tolist()
    placed = distributions.place_components(given, channel, before, (0, 0), Coding(bits, gain, 3))
    return distributions.start_weights(given[: len(given) // 10]), placed


def cumulative_at(weights, placed, base, x, n):
    """F(x), from the shares of the components."""
    return distributions.cumulative(weights, distributions.shares_below(placed, base, x, n), x, n)


def cumulative_of(outputs, base, bits):
    """F at every edge of a site's first channel, in NumPy."""
    (weights, placed), n = mixture_of(outputs, bits=bits), 2**bits
    x, total, table = np.arange(n + 1), 0, np.array(distributions.SIGMOIDS)
    for weight, (mean, inverse, shift) in zip(weights, placed, strict=True):
        z = np.clip(((512 * x - 256 - 128 * int(base) - mean) * inverse >> shift) + 2**20, 0, 2**21 - 1)
        low, high = table[z >> 10], table[(z >> 10) + 1]
        total = total + weight * (low + ((high - low) * (z & 1023) >> 10))
    found = x + ((total >> 24) * (TOTAL - n) >> 24)
    found[[0, -1]] = 0, TOTAL
    return found
