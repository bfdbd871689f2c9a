"""What runs the integer network and the entropy coder: an interface with two implementations that give equal integers.

`codec.native` is the compiled core; `codec.reference` is the same in NumPy and Python.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.integer_network import Activations
from pixelpyramids.codec.memory import ALL_CHANNELS, DECISIONS, Corrections, Memory, Mixing


class Coding(NamedTuple):
    """How values are coded: their bits, the octave's gain, the number of coded channels (the first ones).

    `mixed` has a bit for each channel that is coded with context mixing, and FAR and YCBCR (`codec.memory`).
    """

    bits: int
    gain: int
    coded: int
    mixed: int = 0


class SliceModel(NamedTuple):
    """What gives the distribution of a slice's values: its surroundings, and what was learnt before."""

    outputs: NDArray[np.int32]  # (h, w, O), of the network
    bases: Any  # integers (3, h, w), in quarters
    near: tuple[Any, Any] | None  # integers (3, h, w): the known pixels on either side; only mixing uses them
    coding: Coding
    band: int  # whose corrections are used
    memory: Memory  # which is updated

    @property
    def corrections(self) -> Corrections:
        """What was learnt for the band."""
        return self.memory.corrections[self.band]

    def needed_for_mixing(self) -> tuple[Mixing, tuple[Any, Any]]:
        """Return what the mixing has learnt, and the pixels on either side. Raises ValueError if there are none."""
        if self.memory.mixing is None or self.near is None:
            raise ValueError("expected near pixels and a memory of the mixing, because channels are mixed, got none")
        return self.memory.mixing, self.near

    @property
    def capacity(self) -> int:
        """The most symbols that the slice can have."""
        height, width, _ = self.outputs.shape
        return (
            int(height) * int(width) * (self.coding.coded + DECISIONS * (self.coding.mixed & ALL_CHANNELS).bit_count())
        )


class Engine(Protocol):
    """Runs the network and the coder. A slice is given as `codec.coder` describes it."""

    def run(self, stack: int, inputs: Sequence[Activations], height: int, width: int) -> NDArray[Any]:
        """Run stack 0, the trunk, which gives activations, uint8; or another one, a head, which gives outputs, int32.

        The inputs are arrays (channels, h, w), one after the other; if some have fewer rows or columns than the others,
        the rest is zero. Returns (height, width, channels).
        """

    def model_slice(self, model: SliceModel, values: Any, intervals: NDArray[np.uint32]) -> int:
        """Learn from a slice's values (3, h, w), and write their symbols' starts and frequencies to `intervals`.

        These are (2, n), n at least the model's capacity. Returns the number of symbols.
        """

    def encode_symbols(self, intervals: NDArray[np.uint32], words: NDArray[np.uint16]) -> tuple[int, int]:
        """Fill `words` from the end. Return the index of the first used word, and the state."""

    def decode_slice(
        self, model: SliceModel, values: NDArray[np.int32], words: NDArray[np.uint16], position: tuple[int, int]
    ) -> tuple[int, int]:
        """Fill in the `values` (coded, h, w) of a slice, and learn from them.

        `position` is the state and the count of words taken; returns both afterwards. If the words run out, the count
        exceeds their number.
        """

    def possible_colours(self) -> NDArray[np.uint64]:
        """See `ycbcr.possible_colours`."""

    def megapixel_seconds(self, threads: int) -> float:
        """How many seconds it can take to decode a megapixel of a plane: an estimate, on the safe side."""
