"""A trial on a smaller version of an image: which channels are worth coding with context mixing."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from pixelpyramids.codec.coder import Symbols
from pixelpyramids.codec.compact_model import Codings, CompactModel, Plane
from pixelpyramids.codec.container import FileHeader
from pixelpyramids.codec.engine import SliceModel
from pixelpyramids.codec.memory import Inheritance
from pixelpyramids.codec.parts import Part
from pixelpyramids.codec.planes import codings_of

LEAST_SAVED = {"fast": 0.02, "default": 0.003, "max": 0.0}  # of a plane's bits, by mixing a channel
PIXELS = 2**16  # of a sample, at least, unless the image has fewer


def choose_mixed(
    compact: CompactModel,
    header: FileHeader,
    pyramids: Sequence[Sequence[Plane]],
    effort: str,
    pool: ThreadPoolExecutor,
) -> tuple[int, ...]:
    """Return which channels of each plane to mix, a bit for each: those where it saves enough for the effort.

    Codes the first parts in both ways, and all of them at the effort "max". The code lengths of channels hardly depend
    on each other's mixing, so each channel is tried alone.
    """
    parts, is_whole = header.parts(), effort == "max"

    def choose(pyramid: Sequence[Plane], codings: Codings) -> int:
        trial, coded = _Trial(compact, parts, codings[0].coded), 0
        for number, part in enumerate(parts):
            if is_whole or coded < PIXELS:
                coded += trial.code(number, part, pyramid, codings)
        return trial.choose(LEAST_SAVED[effort])

    return tuple(pool.map(choose, pyramids, codings_of(header)))


class _Trial:
    """Adds up the code lengths of a plane, without mixing and with each channel mixed alone."""

    def __init__(self, compact: CompactModel, parts: list[Part], coded: int) -> None:
        self._compact = compact
        self._masks = [0, *(1 << channel for channel in range(coded))]
        self._lines = [Inheritance(parts, compact.components, mask) for mask in self._masks]
        self._bits = np.zeros(len(self._masks))

    def code(self, number: int, part: Part, pyramid: Sequence[Plane], codings: Codings) -> int:
        """Code the next part in each way; return its number of pixels."""
        memories, pixels = [line.begin(number) for line in self._lines], 0

        def add(model: SliceModel, values: Any) -> None:
            nonlocal pixels
            pixels += values[0].size
            for i, (mask, memory) in enumerate(zip(self._masks, memories, strict=True)):
                symbols = Symbols(self._compact.engine)
                coding = model.coding._replace(mixed=mask if model.near is not None else 0)
                symbols.add(model._replace(coding=coding, memory=memory), values)
                self._bits[i] += symbols.bits()

        self._compact.follow(part, pyramid, codings, memories[0], lambda _: add)
        for line, memory in zip(self._lines, memories, strict=True):
            line.end(number, memory)
        return pixels

    def choose(self, least: float) -> int:
        """The channels whose mixing saves more than that share of all bits."""
        unmixed, *mixed = self._bits
        pairs = zip(self._masks[1:], mixed, strict=True)
        return sum(mask for mask, bits in pairs if unmixed - bits > least * unmixed)
