"""What is learnt while a plane is coded, and how parts hand it on, from coarse to fine.

A part begins with what its teacher (`parts.find_teachers`) had learnt when it ended, and the base with nothing. Section
8 of docs/reference/format.md is the specification.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.integer_network import CHANNELS, PER_COMPONENT
from pixelpyramids.codec.parts import Part, find_teachers

BANDS = 4  # OE, EO and EE, and the coarsest pixels
CONTEXTS = 8  # of corrections
INFLUENCES = 4  # per channel: the left and the upper neighbour's influence on the shift, then on the width
COUNTER_BITS = 20
AGE_BITS = 4  # the low bits of a counter: how often it was used
DECISIONS = 18  # of a value
INPUTS = 4  # of a decision: the network, and three counters
MAP_ENTRIES = 33
NETWORK_WEIGHT, COUNTER_WEIGHT = 52000, 8000  # of 2**16, before anything is learnt

# The bits of `mixed`: one for each channel that is coded with mixing, and
ALL_CHANNELS = (1 << CHANNELS) - 1
FAR = 1 << CHANNELS  # decisions go far from the mean in all channels, not only in the last one
YCBCR = 2 * FAR  # all colours of the image come from YCbCr, so that channel 2 has fewer possible values

Corrections = NDArray[np.int64]  # (3, contexts, numbers): corrections and influences, then their slopes and squares


@dataclass(frozen=True)
class Mixing:
    """What the context mixing has learnt: arrays, which coding updates."""

    counters: NDArray[np.uint16]  # (2**20,): 12 bits of probability, then the age
    weights: NDArray[np.int32]  # (3, decisions, inputs), of 2**16
    maps: NDArray[np.uint16]  # (3, decisions, entries), of 2**16


@dataclass(frozen=True)
class Memory:
    """What the coding of a plane has learnt: arrays, which coding updates. `mixing` is None if no channel is mixed."""

    corrections: tuple[Corrections, ...]  # of the bands
    mixing: Mixing | None

    def copy(self) -> "Memory":
        """Return a copy of all arrays."""
        of = self.mixing
        mixing = None if of is None else Mixing(of.counters.copy(), of.weights.copy(), of.maps.copy())
        return Memory(tuple(array.copy() for array in self.corrections), mixing)


def initial_memory(components: int, mixed: int) -> Memory:
    """Return what a plane begins with, for mixtures of so many components. `mixed` is 0 if no channel is mixed."""
    shape = 3, CONTEXTS, components * PER_COMPONENT + INFLUENCES * CHANNELS
    corrections = tuple(np.zeros(shape, dtype=np.int64) for _ in range(BANDS))
    if not mixed:
        return Memory(corrections, None)
    weights = np.full((CHANNELS, DECISIONS, INPUTS), COUNTER_WEIGHT, dtype=np.int32)
    weights[..., 0] = NETWORK_WEIGHT
    curve = [round(2**24 / (1 + math.exp(16 - i))) >> 8 for i in range(MAP_ENTRIES)]
    maps = np.tile(np.array(curve, dtype=np.uint16), (CHANNELS, DECISIONS, 1))
    return Memory(corrections, Mixing(np.full(1 << COUNTER_BITS, 2048 << AGE_BITS, dtype=np.uint16), weights, maps))


class Inheritance:
    """Hands the memory of one plane from part to part; threads may share it.

    `parts` are all parts of the plane, and are known by their numbers. Those that will begin are `used`: all, if it is
    None. A memory is kept until the last of them that inherits it has begun.
    """

    def __init__(self, parts: list[Part], components: int, mixed: int, used: Sequence[int] | None = None) -> None:
        self.teachers = find_teachers(parts)
        self._first = initial_memory(components, mixed)
        self._heirs = Counter(self.teachers[number] for number in (range(len(parts)) if used is None else used))
        self._kept: dict[int, Memory] = {}
        self._lock = Lock()

    def begin(self, number: int) -> Memory:
        """Return the memory that a part begins with: its own. Its teacher has ended."""
        teacher = self.teachers[number]
        if teacher is None:
            return self._first.copy()
        with self._lock:
            self._heirs[teacher] -= 1
            if not self._heirs[teacher]:
                return self._kept.pop(teacher)
            return self._kept[teacher].copy()  # before the last heir changes it

    def end(self, number: int, memory: Memory) -> None:
        """Hand on the memory of a part."""
        with self._lock:
            if self._heirs[number]:
                self._kept[number] = memory
