"""Slices for the tests of the entropy coder: their symbols, their values, and the distributions of a site."""

import numpy as np

from pixelpyramids.codec import kernels
from pixelpyramids.codec.coder import Coding, PartReader, Symbols, no_corrections


def nothing_learnt(outputs):
    return no_corrections(1, outputs.shape[-1])[0]


def symbols_of(outputs, bases, values, coding, learnt=None):
    symbols = Symbols()
    symbols.add(outputs, bases, values, coding, nothing_learnt(outputs) if learnt is None else learnt)
    return symbols


def values_of(reader, outputs, bases, coding, learnt=None):
    """The values that a reader decodes."""
    values = np.empty((coding.coded, *outputs.shape[:2]), np.int32)
    reader.fill(outputs, bases, values, coding, nothing_learnt(outputs) if learnt is None else learnt)
    return values


def decode_part(data, *of_slice):
    """The values of a part that holds one slice."""
    reader = PartReader(data)
    values = values_of(reader, *of_slice)
    reader.close()
    return values


def mixture_of(outputs, channel=0, distances=(0, 0, 0), bits=8, gain=0):
    """The weights before any channel, and the places of a channel's components."""
    weights, mixture = np.zeros(len(outputs) // 10, np.int64), np.zeros((5, len(outputs) // 10), np.int64)
    kernels.start_weights(outputs, weights)
    distances = np.array(distances, np.int64)
    kernels.place_components(outputs, channel, distances, (0, 0), Coding(bits, gain, 3), mixture)
    return weights, mixture
