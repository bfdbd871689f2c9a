"""Several containers, one after the other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pixelpyramids.data.images import Entries
from pixelpyramids.image_files.bit_depth import Pixels


class ConcatenatedEntries:
    """The entries of `parts`, at least one, of one format, in their order."""

    def __init__(self, parts: Sequence[Entries]) -> None:
        self.format = parts[0].format
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def name(self, index: int) -> Path:
        """The name that its part gives entry `index`."""
        part, inside = self._find(index)
        return part.name(inside)

    def read(self, index: int) -> Path | bytes | Pixels:
        """Read entry `index` from its part."""
        part, inside = self._find(index)
        return part.read(inside)

    def _find(self, index: int) -> tuple[Entries, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[number], int(index - self._ends[number]) + len(self._parts[number])
