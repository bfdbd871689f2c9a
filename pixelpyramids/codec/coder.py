"""The entropy coder: asymmetric numeral systems (rANS; Duda 2013), of 48 bits, 16-bit words, frequencies of 2**24.

    decode:  slot = state mod 2**24;  state = frequency * (state >> 24) + slot - start
             while state < 2**32: state = state * 2**16 + the next word
    encode:  the same backwards, from the state 2**32, once all starts and frequencies are known

A part of a file is the last state, big-endian in 5 or 6 bytes, and then the words in the order of decoding, each
little-endian. If a decoder does not end in the state 2**32 with all bytes consumed, the part is damaged.

A symbol is a value or, if the value's channel is mixed, a decision about it (see `codec.mixing`).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.distributions import START, TOTAL_BITS, WORD
from pixelpyramids.codec.engine import Engine, SliceModel
from pixelpyramids.errors import BitstreamError

if TYPE_CHECKING:
    from numpy.random import Generator


class Symbols:
    """The starts and frequencies of the symbols of a part, slice by slice; `to_bytes` encodes them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._intervals = [np.empty((2, 0), dtype=np.uint32)]

    def add(self, model: SliceModel, values: Any) -> None:
        """Add a slice's values (3, h, w)."""
        intervals = np.empty((2, model.capacity), dtype=np.uint32)
        count = self._engine.model_slice(model, values, intervals)
        self._intervals.append(intervals if count == model.capacity else intervals[:, :count].copy())

    def bits(self) -> float:
        """Return the code length in bits: the sum of -log2(frequency / 2**24)."""
        return float(sum(_bits_of(some).sum() for _, some in self._intervals))

    def bits_of_each(self) -> NDArray[np.float64]:
        """Return the bits of each symbol, in the order of coding."""
        return np.concatenate([_bits_of(some) for _, some in self._intervals])

    def to_bytes(self) -> bytes:
        """Encode the symbols as the bytes of a part."""
        intervals = np.concatenate(self._intervals, axis=1)
        words = np.empty(2 * intervals.shape[1] + 1, dtype=np.uint16)
        first, state = self._engine.encode_symbols(intervals, words)
        return state.to_bytes(6 if state >> 40 else 5, "big") + words[first:].astype("<u2").tobytes()


def _bits_of(frequencies: NDArray[np.uint32]) -> NDArray[np.float64]:
    """The bits of symbols of some frequencies."""
    return TOTAL_BITS - np.log2(frequencies, dtype=np.float64)


class PartReader:
    """Decodes one part. Raises BitstreamError if the bytes are not those of a part."""

    def __init__(self, engine: Engine, data: bytes) -> None:
        head = 5 if len(data) % 2 else 6
        if len(data) < head:
            raise BitstreamError(f"expected a part of at least 5 bytes, got {len(data)}; the file is damaged")
        state = int.from_bytes(data[:head], "big")
        if state < START or (head == 6) != (state >> 40 > 0):
            raise BitstreamError("a part begins with an invalid state; the file is damaged")
        self._engine = engine
        self._words = np.frombuffer(data, dtype="<u2", offset=head).astype(np.uint16)
        self._position = state, 0

    def fill(self, model: SliceModel, values: Any) -> None:
        """Decode a slice into `values` (3, h, w), a view of a plane."""
        found = np.empty((model.coding.coded, *model.outputs.shape[:2]), dtype=np.int32)
        self._position = self._engine.decode_slice(model, found, self._words, self._position)
        if self._position[1] > len(self._words):
            raise BitstreamError("a part ends before its last symbol; the file is damaged")
        values[...] = found

    def close(self) -> None:
        """Check that all bytes were consumed. Raises BitstreamError if not."""
        if self._position != (START, len(self._words)):
            raise BitstreamError("a part does not end where its last symbol does; the file is damaged")


class RandomReader:
    """Decodes random bits instead of a part, which draws values from the model's distribution."""

    def __init__(self, engine: Engine, generator: "Generator") -> None:
        self._engine, self._generator = engine, generator
        self._state = int(generator.integers(START, START << WORD))

    def fill(self, model: SliceModel, values: Any) -> None:
        """Draw a slice into `values` (3, h, w), a view of a plane."""
        words = self._generator.integers(0, 1 << WORD, 2 * model.capacity, dtype=np.uint16)
        found = np.empty((model.coding.coded, *model.outputs.shape[:2]), dtype=np.int32)
        self._state, _ = self._engine.decode_slice(model, found, words, (self._state, 0))
        values[...] = found
