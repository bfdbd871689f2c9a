"""What runs the integer network and the entropy coder: an interface with two implementations that give equal integers.

`codec.native` is the compiled core; `codec.reference` is the same in NumPy and Python.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.integer_network import Activations

Corrections = NDArray[np.int64]  # (3, contexts, numbers): corrections and influences, then their slopes and squares


class Coding(NamedTuple):
    """How values are coded: their bits, the octave's gain, the number of coded channels (the first ones)."""

    bits: int
    gain: int
    coded: int


class Engine(Protocol):
    """Runs the network and the coder. A slice is given as `codec.coder` describes it."""

    def run(self, stack: int, inputs: Sequence[Activations], height: int, width: int) -> NDArray[Any]:
        """Run stack 0, the trunk, which gives activations, uint8; or another one, a head, which gives outputs, int32.

        The inputs are arrays (channels, h, w), one after the other; if some have fewer rows or columns than the others,
        the rest is zero. Returns (height, width, channels).
        """

    def model_slice(
        self,
        outputs: NDArray[np.int32],
        bases: Any,
        values: Any,
        coding: Coding,
        learnt: Corrections,
        intervals: NDArray[np.uint32],
    ) -> None:
        """Write the starts and frequencies of a slice's values to `intervals` (2, symbols), and learn from them."""

    def encode_symbols(self, intervals: NDArray[np.uint32], words: NDArray[np.uint16]) -> tuple[int, int]:
        """Fill `words` from the end. Return the index of the first used word, and the state."""

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
        """Fill in the `values` (coded, h, w) of a slice, and learn from them.

        `position` is the state and the count of words taken; returns both afterwards. If the words run out, the count
        exceeds their number.
        """

    def megapixel_seconds(self, threads: int) -> float:
        """How many seconds it can take to decode a megapixel of a plane: an estimate, on the safe side."""
