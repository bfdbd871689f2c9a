"""A trial on a smaller version of an image: which channels are worth coding with context mixing."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.coder import Symbols
from pixelpyramids.codec.compact_model import Codings, CompactModel, Plane, SliceCoder
from pixelpyramids.codec.container import FileHeader
from pixelpyramids.codec.engine import SliceModel
from pixelpyramids.codec.memory import Inheritance
from pixelpyramids.codec.parts import Part
from pixelpyramids.codec.planes import codings_of
from pixelpyramids.pyramid.octaves import octave_sizes

LEAST_SAVED = {"fast": 0.02, "default": 0.003, "max": 0.0}  # of a plane's bits, by mixing a channel
MOST_PIXELS = 2**17  # of the smaller version; it has at least a fourth of that, unless the image has fewer


def choose_mixed(
    compact: CompactModel, header: FileHeader, pyramids: Sequence[Sequence[Plane]], pool: ThreadPoolExecutor
) -> dict[str, tuple[int, ...]]:
    """Return for each effort which channels of each plane to mix, a bit for each: where that saves enough.

    The code lengths of channels hardly depend on each other's mixing, so each channel is tried alone.
    """
    sizes = octave_sizes(header.height, header.width)
    parts = [part for part in header.parts() if part.is_base or np.prod(sizes[part.finest]) <= MOST_PIXELS]

    def count(pyramid: Sequence[Plane], codings: Codings) -> NDArray[Any]:
        return _count_bits(compact, parts, pyramid, codings)

    bits = list(pool.map(count, pyramids, codings_of(header)))
    return {
        effort: tuple(sum(1 << c for c, mixed in enumerate(of[1:]) if of[0] - mixed > least * of[0]) for of in bits)
        for effort, least in LEAST_SAVED.items()
    }


def _count_bits(compact: CompactModel, parts: list[Part], pyramid: Sequence[Plane], codings: Codings) -> NDArray[Any]:
    """The code length of the parts, which are the first ones of a plane: unmixed, and with each channel mixed."""
    masks = [0, *(1 << channel for channel in range(codings[0].coded))]
    inheritances = [Inheritance(parts, compact.components, mask) for mask in masks]
    bits = np.zeros(len(masks))
    for number, part in enumerate(parts):
        memories = [inheritance.begin(number) for inheritance in inheritances]

        def add(model: SliceModel, values: Any, memories: Any = memories) -> None:
            for i, (mask, memory) in enumerate(zip(masks, memories, strict=True)):
                symbols = Symbols(compact.engine)
                coding = model.coding._replace(mixed=0 if model.near is None else mask)
                symbols.add(model._replace(coding=coding, memory=memory), values)
                bits[i] += symbols.bits()

        def coder_of(octave: int, add: SliceCoder = add) -> SliceCoder:
            return add

        compact.follow(part, pyramid, codings, memories[0], coder_of)  # `add` replaces the memory by each of its own
        for inheritance, memory in zip(inheritances, memories, strict=True):
            inheritance.end(number, memory)
    return bits
