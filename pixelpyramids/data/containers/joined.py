"""Several containers, one behind the other."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.images import Entries, Names
from pixelpyramids.image_files.bit_depth import Pixels


class JoinedEntries:
    """The entries of `parts`, at least one, of one format, in their order."""

    def __init__(self, parts: Sequence[Entries]) -> None:
        self.format = parts[0].format
        self._parts = parts
        # Entry i lies in the first part whose last entry is beyond it.
        self._ends = np.cumsum([len(part.names) for part in parts], dtype=np.int64)
        self.names: Sequence[Path] = Names(int(self._ends[-1]), partial(_name, parts, self._ends))

    def read(self, index: int) -> bytes | Pixels:
        """As of the part that holds entry `index`."""
        part, inside = _place(self._ends, index)
        return self._parts[part].read(inside)


def _name(parts: Sequence[Entries], ends: NDArray[np.int64], index: int) -> Path:
    part, inside = _place(ends, index)
    return parts[part].names[inside]


def _place(ends: NDArray[np.int64], index: int) -> tuple[int, int]:
    part = int(np.searchsorted(ends, index, side="right"))
    return part, index - (int(ends[part - 1]) if part else 0)
