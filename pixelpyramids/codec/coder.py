"""The entropy coder: asymmetric numeral systems (rANS; Duda 2013), of 48 bits, 16-bit words, frequencies of 2**24.

    decode:  slot = state mod 2**24;  state = frequency * (state >> 24) + slot - start
             while state < 2**32: state = state * 2**16 + the next word
    encode:  the same backwards, from the state 2**32, once all starts and frequencies are known

A part of a file is the last state, big-endian in 5 or 6 bytes, and then the words in the order of decoding, each
little-endian. If a decoder does not end in the state 2**32 with all bytes consumed, the part is damaged.

A slice is coded by its outputs (h, w, O), bases in quarters (C, h, w), values (C, h, w), and what was learnt before.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.integer_network import CHANNELS
from pixelpyramids.codec.kernels import CONTEXTS, INFLUENCES, START, TOTAL_BITS, WORD, code_sites, encode_symbols
from pixelpyramids.errors import BitstreamError

Corrections = NDArray[np.int64]  # (3, contexts, numbers): corrections and influences, then their slopes and squares


class Coding(NamedTuple):
    """How values are coded: their bits, the octave's gain, the number of coded channels (the first ones)."""

    bits: int
    gain: int
    coded: int


def no_corrections(bands: int, outputs: int) -> Corrections:
    """Return the zeros that each band of a part starts with: (bands, 3, contexts, outputs and influences)."""
    return np.zeros((bands, 3, CONTEXTS, outputs + INFLUENCES * CHANNELS), dtype=np.int64)


class Symbols:
    """The starts and frequencies of the symbols of a part, slice by slice; `to_bytes` encodes them."""

    def __init__(self) -> None:
        self._intervals = [np.empty((2, 0), dtype=np.int64)]

    def add(self, outputs: NDArray[np.int32], bases: Any, values: Any, coding: Coding, learnt: Corrections) -> None:
        """Add a slice."""
        intervals = np.empty((2, coding.coded * math.prod(outputs.shape[:2])), dtype=np.int64)
        no_words = np.frombuffer(b"", dtype="<u2")
        _code(outputs, bases, values, coding, learnt, intervals, no_words, np.zeros(2, dtype=np.int64))
        self._intervals.append(intervals)

    def bits(self) -> float:
        """Return the code length in bits: the sum of -log2(frequency / 2**24)."""
        return float(sum(TOTAL_BITS * len(some) - np.log2(some).sum() for _, some in self._intervals))

    def to_bytes(self) -> bytes:
        """Encode the symbols as the bytes of a part."""
        intervals = np.concatenate(self._intervals, axis=1)
        words = np.empty(2 * intervals.shape[1] + 1, dtype="<u2")
        first, state = encode_symbols(intervals, words)
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
        self._position = np.array([state, 0], dtype=np.int64)

    def fill(self, outputs: NDArray[np.int32], bases: Any, values: Any, coding: Coding, learnt: Corrections) -> None:
        """Decode a slice into `values`."""
        _decode(outputs, bases, values, coding, learnt, self._words, self._position)
        if self._position[1] > len(self._words):
            raise BitstreamError("a part ends before its last symbol; the file is damaged")

    def close(self) -> None:
        """Check that all bytes were consumed. Raises BitstreamError if not."""
        if self._position[0] != START or self._position[1] != len(self._words):
            raise BitstreamError("a part does not end where its last symbol does; the file is damaged")


class RandomReader:
    """Decodes random bits instead of a part, which draws values from the model's distribution."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._position = np.array([generator.integers(START, START << WORD), 0], dtype=np.int64)

    def fill(self, outputs: NDArray[np.int32], bases: Any, values: Any, coding: Coding, learnt: Corrections) -> None:
        """Draw a slice into `values`."""
        words = self._generator.integers(0, 1 << WORD, 2 * coding.coded * math.prod(outputs.shape[:2]), dtype=np.uint16)
        words.flags.writeable = False
        self._position[1] = 0
        _decode(outputs, bases, values, coding, learnt, words, self._position)


def _decode(outputs: Any, bases: Any, values: Any, coding: Coding, learnt: Any, words: Any, position: Any) -> None:
    found = np.empty((coding.coded, *outputs.shape[:2]), dtype=np.int32)
    _code(outputs, bases, found, coding, learnt, np.empty((2, 0), dtype=np.int64), words, position)
    values[...] = found


def _code(outputs: Any, bases: Any, values: Any, coding: Coding, learnt: Any, *rest: Any) -> None:
    """Call `code_sites` with the types and the layout that it is compiled for; compiling for others takes seconds."""
    arrays = (np.require(array, np.int32, ["C", "W"]) for array in (outputs, bases, values))
    code_sites(*arrays, coding, learnt, *rest)
