"""The reference engine: the network in NumPy, the coder in Python. Slow, close to docs/reference/format.md.

The native core is tested against it, and it runs if the core cannot be loaded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.distributions import START, TOTAL, TOTAL_BITS, WORD, clamp, find_symbol
from pixelpyramids.codec.engine import SliceModel
from pixelpyramids.codec.integer_network import CHANNELS, Activations, IntegerNetwork, run_stack
from pixelpyramids.codec.memory import YCBCR
from pixelpyramids.codec.mixing import SymbolCoder, find_keys, mix_value, steps_of
from pixelpyramids.codec.sites import follow_sites
from pixelpyramids.codec.ycbcr import possible_colours
from pixelpyramids.pyramid.octaves import join_inputs


class ReferenceEngine:
    """See `Engine`."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network

    def run(self, stack: int, inputs: Sequence[Activations], height: int, width: int) -> NDArray[Any]:
        """See `Engine`."""
        found = run_stack(self.network.stacks[stack], join_inputs(inputs, height, width))
        return found.astype(np.int32 if stack else np.uint8)

    def model_slice(self, model: SliceModel, values: Any, intervals: NDArray[np.uint32]) -> int:
        """See `Engine`."""
        found: list[tuple[int, int]] = []
        given = values.reshape(len(values), -1).tolist()
        _follow(model, _Giver(found), given, lambda c, site: int(given[c][site]))
        intervals[:, : len(found)] = np.array(found, dtype=np.uint32).T
        return len(found)

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
        self, model: SliceModel, values: NDArray[np.int32], words: NDArray[np.uint16], position: tuple[int, int]
    ) -> tuple[int, int]:
        """See `Engine`."""
        taker, decoded = _Taker(words.tolist(), *position), [[0] * (values.shape[1] * values.shape[2]) for _ in values]
        try:
            _follow(model, taker, decoded, lambda c, site: None)
        except _WordsRanOut:
            return taker.state, len(words) + 1
        values[...] = np.array(decoded).reshape(values.shape)
        return taker.state, taker.taken

    def possible_colours(self) -> NDArray[np.uint64]:
        """See `Engine`."""
        return possible_colours()

    def megapixel_seconds(self, threads: int) -> float:
        """See `Engine`. Python computes in one thread at a time; we measured up to 1,940 s, with all channels mixed."""
        return 4000.0


class _WordsRanOut(Exception):
    """There are not as many words as symbols need."""


class _Giver:
    """Appends the starts and frequencies of symbols to a list: see `SymbolCoder`."""

    def __init__(self, found: list[tuple[int, int]]) -> None:
        self._found = found

    def decide(self, probability: int, is_yes: bool | None) -> bool:
        self._found.append((0, probability) if is_yes else (probability, TOTAL - probability))
        return bool(is_yes)

    def code_value(self, f: Callable[[int], int], guess: int, first: int, last: int, n: int, value: int | None) -> int:
        assert value is not None
        start, end = ((f(edge) - first) * TOTAL // (last - first) for edge in (value, value + 1))
        self._found.append((start, end - start))
        return value


class _Taker:
    """Decodes symbols from words: see `SymbolCoder`. Raises _WordsRanOut if they do."""

    def __init__(self, words: list[int], state: int, taken: int) -> None:
        self._words, self.state, self.taken = words, state, taken

    def decide(self, probability: int, is_yes: bool | None) -> bool:
        answer = self.state & (TOTAL - 1) < probability
        self._take(0 if answer else probability, probability if answer else TOTAL)
        return answer

    def code_value(self, f: Callable[[int], int], guess: int, first: int, last: int, n: int, value: int | None) -> int:
        slot = first + (((self.state & (TOTAL - 1)) + 1) * (last - first) - 1 >> TOTAL_BITS)
        found, start, end = find_symbol(f, guess, slot, n)
        self._take(*((bound - first) * TOTAL // (last - first) for bound in (start, end)))
        return found

    def _take(self, start: int, end: int) -> None:
        slot = self.state & (TOTAL - 1)
        self.state = (end - start) * (self.state >> TOTAL_BITS) + slot - start
        while self.state < START:
            if self.taken >= len(self._words):
                raise _WordsRanOut
            self.state = self.state << WORD | self._words[self.taken]
            self.taken += 1


def _follow(
    model: SliceModel, coder: SymbolCoder, values: list[list[int]], value_of: Callable[[int, int], int | None]
) -> None:
    """Code a slice. `values` by channel and site are those of earlier sites, at least; the coded ones are stored."""
    coding, width, n = model.coding, model.outputs.shape[1], 1 << model.coding.bits
    mixing, colours, near, opposite = None, None, [], []
    if coding.mixed & YCBCR:
        colours = possible_colours()
    if coding.mixed:
        mixing, sides = model.needed_for_mixing()
        near, opposite = (side.reshape(len(side), -1).T.tolist() for side in sides)

    def take(f: Callable[[int], int], guess: int, c: int, site: int) -> int:
        value = value_of(c, site)
        if mixing is not None and coding.mixed >> c & 1:
            own = [of_channel[site] for of_channel in values[:c]]
            left = values[0][site - 1] if site % width else near[site][0]
            keys = find_keys(c, own, near[site], opposite[site], left)
            possible = range(n) if colours is None or c < CHANNELS - 1 else _possible_values(colours, own)
            if value is not None and value not in possible:
                raise ValueError(f"expected a possible value of channel {c}, got {value}")
            guess = clamp(guess, 0, n - 1)
            value = mix_value(mixing, coder, f, guess, c, keys, steps_of(c, coding.mixed), possible, n, value)
        else:
            value = coder.code_value(f, guess, 0, TOTAL, n, value)
        values[c][site] = value
        return value

    follow_sites(model, take)


def _possible_values(colours: NDArray[np.uint64], own: Sequence[int]) -> list[int]:
    """The values of channel 2 that the pixel's own channels before allow: at least 56."""
    words = colours[tuple(own)].astype("<u8")
    return np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little")).tolist()
