"""The parts of a file and the tiles in each of them, octave by octave, from coarse to fine.

The first part, the base, holds the coarsest pixels and every octave whose image has at most 64 pixels a side. Each
finer octave follows as tiles of 256 x 256 sites of its grid, in raster order. A last row or column of tiles with fewer
than 128 sites is merged with the one before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pixelpyramids.pyramid.octaves import octave_sizes

BASE_SIDE = 64  # pixels
TILE = 256  # sites of an octave's grid


@dataclass(frozen=True)
class Tile:
    """Sites [top, bottom) x [left, right) of the grid of octave `octave` (0 is the finest)."""

    octave: int
    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Part:
    """Tiles that are coded together, one after the other; the base starts with the coarsest pixels."""

    is_base: bool
    tiles: tuple[Tile, ...]

    def finest(self, octaves: int) -> int:
        """The finest octave in this part; `octaves`, which means the coarsest pixels, for a base without tiles."""
        return min((tile.octave for tile in self.tiles), default=octaves)


def list_parts(height: int, width: int) -> list[Part]:
    """Return the parts of an image of height x width, in file order."""
    sizes = octave_sizes(height, width)
    octaves = list(reversed(range(len(sizes) - 1)))
    in_base = [octave for octave in octaves if max(sizes[octave]) <= BASE_SIDE]
    base = tuple(tile for octave in in_base for tile in list_tiles(octave, *sizes[octave]))
    rest = [octave for octave in octaves if octave not in in_base]
    return [Part(True, base)] + [Part(False, (tile,)) for octave in rest for tile in list_tiles(octave, *sizes[octave])]


def list_tiles(octave: int, height: int, width: int) -> Iterator[Tile]:
    """Yield the tiles of an octave whose image is height x width, in raster order."""
    for top, bottom in _spans(-(-height // 2)):
        for left, right in _spans(-(-width // 2)):
            yield Tile(octave, top, bottom, left, right)


def part_count(height: int, width: int) -> int:
    """Return the number of parts of an image of height x width, without listing them."""
    finer = [size for size in octave_sizes(height, width)[:-1] if max(size) > BASE_SIDE]
    return 1 + sum(_span_count(-(-rows // 2)) * _span_count(-(-columns // 2)) for rows, columns in finer)


def _span_count(sites: int) -> int:
    return max(1, (sites + TILE // 2) // TILE)


def _spans(sites: int) -> list[tuple[int, int]]:
    count = _span_count(sites)
    return [(TILE * i, TILE * (i + 1) if i + 1 < count else sites) for i in range(count)]
