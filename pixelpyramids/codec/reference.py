"""The reference engine: the network in NumPy, the coder in Python. Slow, and easy to compare with docs/format.md.

The native core is tested against it, and it runs if the core cannot be loaded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.distributions import START, TOTAL, TOTAL_BITS, WORD, find_symbol, follow_sites
from pixelpyramids.codec.engine import Coding, Corrections
from pixelpyramids.codec.integer_network import Activations, IntegerNetwork, run_stack
from pixelpyramids.pyramid.octaves import join_inputs


class ReferenceEngine:
    """See `Engine`."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network

    def run(self, stack: int, inputs: Sequence[Activations], height: int, width: int) -> NDArray[Any]:
        """See `Engine`."""
        found = run_stack(self.network.stacks[stack], join_inputs(inputs, height, width))
        return found.astype(np.int32 if stack else np.uint8)

    def model_slice(
        self,
        outputs: NDArray[np.int32],
        bases: Any,
        values: Any,
        coding: Coding,
        learnt: Corrections,
        intervals: NDArray[np.uint32],
    ) -> None:
        """See `Engine`."""
        given, found = values.reshape(len(values), -1).tolist(), []

        def take(f: Callable[[int], int], guess: int, c: int, site: int) -> int:
            value: int = given[c][site]
            found.append((f(value), f(value + 1) - f(value)))
            return value

        follow_sites(outputs, bases, coding, learnt, take)
        intervals[...] = np.array(found, dtype=np.uint32).T

    def encode_symbols(self, intervals: NDArray[np.uint32], words: NDArray[np.uint16]) -> tuple[int, int]:
        """See `Engine`."""
        state, first = START, len(words)
        for start, frequency in reversed(intervals.T.tolist()):
            while state >= frequency << TOTAL_BITS:
                first -= 1
                words[first] = state & ((1 << WORD) - 1)
                state >>= WORD
            state = (state // frequency << TOTAL_BITS) + start + state % frequency
        return first, state

    def decode_slice(
        self,
        outputs: NDArray[np.int32],
        bases: Any,
        values: NDArray[np.int32],
        coding: Coding,
        learnt: Corrections,
        words: NDArray[np.uint16],
        position: tuple[int, int],
    ) -> tuple[int, int]:
        """See `Engine`."""
        (state, taken), left, width = position, words.tolist(), values.shape[2]

        def take(f: Callable[[int], int], guess: int, c: int, site: int) -> int:
            nonlocal state, taken
            slot = state & (TOTAL - 1)
            value, start, end = find_symbol(f, guess, slot, 1 << coding.bits)
            state = (end - start) * (state >> TOTAL_BITS) + slot - start
            while state < START:
                state = state << WORD | left[taken]
                taken += 1
            values[c, site // width, site % width] = value
            return value

        try:
            follow_sites(outputs, bases, coding, learnt, take)
        except IndexError:  # the words ran out
            taken = len(words) + 1
        return state, taken

    def megapixel_seconds(self, threads: int) -> float:
        """See `Engine`. Python computes in one thread at a time; we measured 530 s for noisy colours."""
        return 1000.0
