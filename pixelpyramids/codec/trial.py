"""A trial on patches of an image: how much context mixing is worth its time."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.coder import Symbols
from pixelpyramids.codec.compact_model import Codings, CompactModel, Plane
from pixelpyramids.codec.container import FileHeader
from pixelpyramids.codec.engine import SliceModel
from pixelpyramids.codec.memory import ALL_CHANNELS, FAR, YCBCR, initial_memory
from pixelpyramids.codec.octave_pixels import OctavePixels
from pixelpyramids.codec.parts import Part, Tile
from pixelpyramids.codec.planes import codings_of
from pixelpyramids.codec.ycbcr import can_come_from_ycbcr

# What a plane's bits must shrink by, beside the best way before: for mixing some channels, and for mixing all.
LEAST_SAVED = {"fast": (0.02, 0.1), "default": (0.003, 0.01), "max": (0.0, 0.0)}
SOME, ALL = 0, 1
# The ways to mix a plane, by the number of its coded channels, in the order in which they are tried.
WAYS = {3: {0b110: SOME, ALL_CHANNELS | FAR: ALL}, 1: {1 | FAR: ALL}}
PATCH = 64  # sites a side of the finest octave's grid; there are two patches along each side


def choose_mixed(
    compact: CompactModel, header: FileHeader, octaves: OctavePixels, pool: ThreadPoolExecutor
) -> dict[str, tuple[int, ...]]:
    """Return for each effort how the planes are mixed (`FileHeader.mixed`): with more where that saves enough."""
    if not header.octaves:
        return dict.fromkeys(LEAST_SAVED, (0,) * len(header.coded))
    spans = [_spans(-(-side // 2)) for side in (header.height, header.width)]
    patches = [Part(False, 0, (Tile(0, *rows, *columns),)) for rows in spans[0] for columns in spans[1]]
    ways = [_ways(compact, header, octaves, plane) for plane in range(len(header.coded))]

    def count(plane: int, codings: Codings, of_plane: Mapping[int, int]) -> NDArray[Any]:
        surroundings = (octaves.known(patch, plane, compact.network.reach) for patch in patches)
        return _count_bits(compact, surroundings, codings, [0, *of_plane])

    bits = list(pool.map(count, range(len(ways)), codings_of(header), ways))
    return {
        effort: tuple(_best(of_plane, of_bits, least) for of_plane, of_bits in zip(ways, bits, strict=True))
        for effort, least in LEAST_SAVED.items()
    }


def _ways(compact: CompactModel, header: FileHeader, octaves: OctavePixels, plane: int) -> Mapping[int, int]:
    """The ways in which a plane can be mixed."""
    coded = header.coded[plane]
    limited = {mixed | YCBCR: kind for mixed, kind in WAYS[coded].items()}
    can_be_limited = all(header.can_mix(mixed, coded) for mixed in limited)
    bands = (np.moveaxis(numbers, 0, -1) for numbers in octaves.read_bands(0, plane))
    is_limited = can_be_limited and all(can_come_from_ycbcr(one, compact.engine.possible_colours()) for one in bands)
    return limited if is_limited else WAYS[coded]


def _best(ways: Mapping[int, int], bits: NDArray[Any], least: Sequence[float]) -> int:
    """The last way that saves enough beside the best before it; `bits` are those without mixing, and of the ways."""
    best, fewest = 0, bits[0]
    for (mixed, kind), found in zip(ways.items(), bits[1:], strict=True):
        if fewest - found > least[kind] * bits[0]:
            best, fewest = mixed, found
    return best


def _spans(sites: int) -> list[tuple[int, int]]:
    """Where the patches begin and end along a side of the grid; they begin at even sites."""
    if sites <= 2 * PATCH:
        return [(0, sites)]
    begins = [(middle - PATCH // 2) // 2 * 2 for middle in (sites // 4, 3 * sites // 4)]
    return [(begin, begin + PATCH) for begin in begins]


def _count_bits(
    compact: CompactModel,
    patches: Iterable[tuple[Part, Sequence[Plane]]],
    codings: Codings,
    choices: Sequence[int],
) -> NDArray[Any]:
    """The code length of the patches, each in its surroundings, mixed in each of these ways."""
    memories = [initial_memory(compact.components, mixed) for mixed in choices]
    bits = np.zeros(len(choices))

    def add(model: SliceModel, values: Any) -> None:
        for i, (mixed, memory) in enumerate(zip(choices, memories, strict=True)):
            symbols = Symbols(compact.engine)
            symbols.add(model._replace(coding=model.coding._replace(mixed=mixed), memory=memory), values)
            bits[i] += symbols.bits()

    for patch, pyramid in patches:
        compact.follow(patch, pyramid, codings, memories[0], lambda _: add)  # `add` uses memories of its own
    return bits
