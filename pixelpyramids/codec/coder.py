"""The entropy coder: asymmetric numeral systems (rANS; Duda 2013), of 48 bits, 16-bit words, frequencies of 2**24.

    decode:  slot = state mod 2**24;  state = frequency * (state >> 24) + slot - start
             while state < 2**32: state = state * 2**16 + the next word
    encode:  the same backwards, from the state 2**32, once all starts and frequencies are known

A part of a file is the last state, big-endian in 5 or 6 bytes, and then the words in the order of decoding, each
little-endian. If a decoder does not end in the state 2**32 with all bytes consumed, the part is damaged.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.integer_network import CHANNELS
from pixelpyramids.codec.kernels import (
    CONTEXTS,
    INFLUENCES,
    START,
    TOTAL_BITS,
    WORD,
    decode_sites,
    encode_symbols,
    starts_and_frequencies,
)
from pixelpyramids.errors import BitstreamError

Corrections = NDArray[np.int64]  # (3, contexts, numbers): corrections and influences, then their slopes and squares


class Coding(NamedTuple):
    """How values are coded: their bits, the octave's gain, the number of channels."""

    bits: int
    gain: int
    coded: int


def no_corrections(bands: int, outputs: int) -> Corrections:
    """Return the zeros that each band of a part starts with: (bands, 3, contexts, outputs and influences)."""
    return np.zeros((bands, 3, CONTEXTS, outputs + INFLUENCES * CHANNELS), dtype=np.int64)


class Symbols:
    """The starts and frequencies of the symbols of a part, in order; `to_bytes` encodes them."""

    def __init__(self, capacity: int) -> None:
        self._starts = np.empty(capacity, dtype=np.int64)
        self._frequencies = np.empty(capacity, dtype=np.int64)
        self._count = 0

    def add(self, outputs: NDArray[np.int32], bases: Any, values: Any, coding: Coding, learnt: Corrections) -> None:
        """Add a slice: outputs (h, w, O), bases in quarters, values (C, h, w); `coding.coded` channels are coded."""
        arrays = _int32_array(outputs), _int32_array(bases), _int32_array(values)
        self._count = starts_and_frequencies(*arrays, *coding, learnt, self._starts, self._frequencies, self._count)

    def __len__(self) -> int:
        return self._count

    def bits(self, first: int = 0, count: int | None = None) -> float:
        """Return the code length of `count` symbols from `first` on (default: all): sum of -log2(frequency / 2**24)."""
        frequencies = self._frequencies[first : self._count if count is None else first + count]
        return float(TOTAL_BITS * len(frequencies) - np.log2(frequencies).sum())

    def to_bytes(self) -> bytes:
        """Encode the symbols as the bytes of a part."""
        words = np.empty(2 * self._count + 1, dtype="<u2")
        first, state = encode_symbols(self._starts, self._frequencies, self._count, words)
        return int(state).to_bytes(6 if state >> 40 else 5, "big") + words[first:].tobytes()


class PartReader:
    """Decodes one part. Raises BitstreamError if the bytes are not those of a part."""

    def __init__(self, data: bytes) -> None:
        head = 5 if len(data) % 2 else 6
        if len(data) < head:
            raise BitstreamError(f"expected a part of at least 5 bytes, got {len(data)}; the file is damaged")
        state = int.from_bytes(data[:head], "big")
        if state < START or (head == 6) != (state >> 40 > 0):
            raise BitstreamError("a part begins with an invalid state; the file is damaged")
        self._words = np.frombuffer(data, dtype="<u2", offset=head)
        self._place = np.array([state, 0], dtype=np.int64)

    def values(self, outputs: NDArray[np.int32], bases: Any, coding: Coding, learnt: Corrections) -> Any:
        """Decode the values (coded, h, w) of a slice's sites."""
        values = _decode_values(outputs, bases, coding, learnt, self._words, self._place)
        if self._place[1] > len(self._words):
            raise BitstreamError("a part ends before its last symbol; the file is damaged")
        return values

    def close(self) -> None:
        """Check that all bytes were consumed. Raises BitstreamError if not."""
        if self._place[0] != START or self._place[1] != len(self._words):
            raise BitstreamError("a part does not end where its last symbol does; the file is damaged")


class RandomReader:
    """Decodes random bits instead of a part, which draws values from the model's distribution."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._place = np.array([generator.integers(START, START << WORD), 0], dtype=np.int64)

    def values(self, outputs: NDArray[np.int32], bases: Any, coding: Coding, learnt: Corrections) -> Any:
        """See `PartReader`."""
        words = self._generator.integers(0, 1 << WORD, 2 * coding.coded * math.prod(outputs.shape[:2]), dtype=np.uint16)
        words.flags.writeable = False
        self._place[1] = 0
        return _decode_values(outputs, bases, coding, learnt, words, self._place)


def _decode_values(
    outputs: Any, bases: Any, coding: Coding, learnt: Corrections, words: Any, place: NDArray[np.int64]
) -> Any:
    """Decode the values (coded, h, w) of a slice's sites, and advance `place`."""
    values = np.empty((coding.coded, *outputs.shape[:2]), dtype=np.int32)
    decode_sites(_int32_array(outputs), _int32_array(bases), *coding, learnt, words, place, values)
    return values


def _int32_array(array: Any) -> NDArray[np.int32]:
    """Return a C-contiguous int32 array: the kernels are compiled for this layout; others take seconds to compile."""
    return np.require(array, np.int32, ["C", "W"])
