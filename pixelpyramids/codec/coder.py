"""The entropy coder: asymmetric numeral systems (rANS; Duda 2013), 48 bits of state, 16-bit words, frequencies of 2**24.

    decode:  slot = state mod 2**24;  state = frequency * (state >> 24) + slot - start;  while state < 2**32: take a word
    encode:  the same backwards, from the state 2**32, after all starts and frequencies are known

A part of a file is the last state, big-endian in 5 or 6 bytes, and then the words in the order of decoding, each
little-endian. A decoder ends in the state 2**32 with all bytes taken, or the part is damaged.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.compiled import compiled
from pixelpyramids.codec.mixture_cdf import (
    TOTAL_BITS,
    cumulative,
    find,
    place,
    reweight,
    start_weights,
)
from pixelpyramids.errors import BitstreamError

START = 1 << 32
WORD = 16


class Symbols:
    """The starts and frequencies of what a part codes, in order: what `encoded` turns into bytes."""

    def __init__(self, capacity: int) -> None:
        self._starts = np.empty(capacity, dtype=np.int64)
        self._frequencies = np.empty(capacity, dtype=np.int64)
        self._count = 0

    def add(self, outputs: NDArray[np.int32], bases: Any, values: Any, bits: int, gain: int, coded: int) -> None:
        """Add the sites of a slice: outputs (h, w, O), bases in quarters and values (C, h, w), the first `coded` of C."""
        self._count = _model(outputs, bases, values, bits, gain, coded, self._starts, self._frequencies, self._count)

    @property
    def bits(self) -> float:
        """The code length: the sum of -log2(frequency / 2**24)."""
        return float(TOTAL_BITS * self._count - np.log2(self._frequencies[: self._count]).sum())

    def encoded(self) -> bytes:
        """The part's bytes."""
        words = np.empty(2 * self._count + 1, dtype="<u2")
        first, state = _encode(self._starts, self._frequencies, self._count, words)
        return int(state).to_bytes(6 if state >> 40 else 5, "big") + words[first:].tobytes()


class Reader:
    """The decoder of one part. Raises BitstreamError where the bytes are not those of a part."""

    def __init__(self, data: bytes) -> None:
        head = 5 if len(data) % 2 else 6
        if len(data) < head:
            raise BitstreamError(f"expected a part of at least 5 bytes, got {len(data)}; the file is damaged")
        state = int.from_bytes(data[:head], "big")
        if not START >> (8 if head == 5 else 0) <= state < START << WORD or (head == 6) != (state >> 40 > 0):
            raise BitstreamError("a part begins with a state that no encoder ends in; the file is damaged")
        self._words = np.frombuffer(data, dtype="<u2", offset=head)
        self._place = np.array([state, 0], dtype=np.int64)

    def values(self, outputs: NDArray[np.int32], bases: Any, bits: int, gain: int, coded: int) -> Any:
        """The values (coded, h, w) of a slice's sites."""
        values = np.empty((coded, *outputs.shape[:2]), dtype=np.int32)
        _decode(outputs, bases, bits, gain, coded, self._words, self._place, values)
        if self._place[1] > len(self._words):
            raise BitstreamError("a part ends before its last symbol; the file is damaged")
        return values

    def close(self) -> None:
        """See that all was taken. Raises BitstreamError else."""
        if self._place[0] != START or self._place[1] != len(self._words):
            raise BitstreamError("a part does not end where its last symbol does; the file is damaged")


@compiled
def _model(
    outputs: Any, bases: Any, values: Any, bits: int, gain: int, coded: int, starts: Any, frequencies: Any, count: int
) -> int:
    height, width, size = outputs.shape
    channels, n = bases.shape[0], 1 << bits
    components = size // (1 + 2 * channels + channels * (channels - 1) // 2)
    weights, mixture = np.empty(components, dtype=np.int64), np.empty((4, components), dtype=np.int64)
    distances = np.empty(channels, dtype=np.int64)
    for y in range(height):
        for x in range(width):
            at = outputs[y, x]
            start_weights(at, components, weights)
            for c in range(coded):
                base, value = np.int64(bases[c, y, x]), np.int64(values[c, y, x])
                place(at, components, channels, c, distances, bits, gain, mixture)
                low = cumulative(weights, mixture, components, base, value, n)
                high = cumulative(weights, mixture, components, base, value + 1, n)
                starts[count], frequencies[count] = low, high - low
                count += 1
                distances[c] = 4 * value - base
                if c + 1 < coded:
                    reweight(weights, mixture, components, base, value, n)
    return count


@compiled
def _encode(starts: Any, frequencies: Any, count: int, words: Any) -> tuple[int, int]:
    state, first = START, len(words)
    for i in range(count - 1, -1, -1):
        frequency = frequencies[i]
        while state >= frequency << TOTAL_BITS:
            first -= 1
            words[first] = state & 0xFFFF
            state >>= WORD
        state = ((state // frequency) << TOTAL_BITS) + starts[i] + state % frequency
    return first, state


@compiled
def _decode(outputs: Any, bases: Any, bits: int, gain: int, coded: int, words: Any, where: Any, values: Any) -> None:
    height, width, size = outputs.shape
    channels, n = bases.shape[0], 1 << bits
    components = size // (1 + 2 * channels + channels * (channels - 1) // 2)
    weights, mixture = np.empty(components, dtype=np.int64), np.empty((4, components), dtype=np.int64)
    distances = np.empty(channels, dtype=np.int64)
    state, taken = where[0], where[1]
    for y in range(height):
        for x in range(width):
            at = outputs[y, x]
            start_weights(at, components, weights)
            for c in range(coded):
                base = np.int64(bases[c, y, x])
                place(at, components, channels, c, distances, bits, gain, mixture)
                slot = state & ((1 << TOTAL_BITS) - 1)
                value, low, high = find(weights, mixture, components, base, slot, n)
                state = (high - low) * (state >> TOTAL_BITS) + slot - low
                while state < START:
                    if taken >= len(words):
                        where[1] = taken + 1
                        return
                    state = state << WORD | np.int64(words[taken])
                    taken += 1
                values[c, y, x] = value
                distances[c] = 4 * value - base
                if c + 1 < coded:
                    reweight(weights, mixture, components, base, value, n)
    where[0], where[1] = state, taken
