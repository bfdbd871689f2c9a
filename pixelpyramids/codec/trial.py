"""A trial on a smaller version of an image: how much context mixing is worth its time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.coder import Symbols
from pixelpyramids.codec.compact_model import Codings, CompactModel, Plane, SliceCoder
from pixelpyramids.codec.container import FileHeader
from pixelpyramids.codec.engine import SliceModel
from pixelpyramids.codec.memory import ALL_CHANNELS, FAR, YCBCR, Inheritance
from pixelpyramids.codec.parts import Part
from pixelpyramids.codec.planes import codings_of
from pixelpyramids.codec.ycbcr import can_come_from_ycbcr
from pixelpyramids.pyramid.octaves import octave_sizes

# By the number of coded channels: none are mixed, some, or all. Those of a plane are tried in this order.
CHOICES = {3: (0, 0b110, ALL_CHANNELS | FAR), 1: (0, 1 | FAR)}
LEAST_SAVED = {"fast": 0.02, "default": 0.003, "max": 0.0}  # of a plane's bits, by one choice beside those before it
MOST_PIXELS = 2**16  # of the smaller version; it has at least a fourth of that, unless the image has fewer


def choose_mixed(
    compact: CompactModel, header: FileHeader, pyramids: Sequence[Sequence[Plane]], pool: ThreadPoolExecutor
) -> dict[str, tuple[int, ...]]:
    """Return for each effort how the planes are mixed (`FileHeader.mixed`): with more where that saves enough."""
    sizes = octave_sizes(header.height, header.width)
    parts = [part for part in header.parts() if part.is_base or np.prod(sizes[part.finest]) <= MOST_PIXELS]
    choices = [_choices(compact, header, pyramid[0], coded) for pyramid, coded in zip(pyramids, header.coded, strict=True)]

    def count(pyramid: Sequence[Plane], codings: Codings, of_plane: Sequence[int]) -> NDArray[Any]:
        return _count_bits(compact, parts, pyramid, codings, of_plane)

    bits = list(pool.map(count, pyramids, codings_of(header), choices))
    return {
        effort: tuple(_best(of_plane, of_bits, least) for of_plane, of_bits in zip(choices, bits, strict=True))
        for effort, least in LEAST_SAVED.items()
    }


def _choices(compact: CompactModel, header: FileHeader, plane: Plane, coded: int) -> list[int]:
    """The ways in which a plane can be mixed."""
    mixed = CHOICES[coded]
    limited = [one | YCBCR if one else one for one in mixed]
    is_limited = all(header.can_mix(one, coded) for one in limited) and can_come_from_ycbcr(
        np.moveaxis(plane, 0, -1), compact.engine.possible_colours()
    )
    return limited if is_limited else list(mixed)


def _best(choices: Sequence[int], bits: NDArray[Any], least: float) -> int:
    """The last of the choices that saves enough beside the best one before it."""
    best = 0
    for i in range(1, len(choices)):
        if bits[best] - bits[i] > least * bits[0]:
            best = i
    return choices[best]


def _count_bits(
    compact: CompactModel, parts: list[Part], pyramid: Sequence[Plane], codings: Codings, masks: Sequence[int]
) -> NDArray[Any]:
    """The code length of the parts, which are the first ones of a plane, mixed in each of these ways."""
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
