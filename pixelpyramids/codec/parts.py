"""The parts of a file and the tiles in each of them, octave by octave, from coarse to fine.

The first part, the base, holds the coarsest pixels and every octave whose image has at most 64 pixels a side. Each
finer octave follows as tiles of 256 x 256 sites of its grid, in raster order. A last row or column of tiles with fewer
than 128 sites is merged with the one before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from pixelpyramids.pyramid.octaves import octave_sizes

BASE_SIDE = 64  # pixels
TILE = 256  # sites of an octave's grid
MOST_TEACHERS = 64  # tiles of an octave that hand on what they learnt


@dataclass(frozen=True)
class Tile:
    """Sites [top, bottom) x [left, right) of the grid of octave `octave` (0 is the finest)."""

    octave: int
    top: int
    bottom: int
    left: int
    right: int

    def holds_some_of(self, top: int, bottom: int, left: int, right: int) -> bool:
        """Whether the tile holds some pixels of a window of its octave's image."""
        rows = top // 2 < self.bottom and self.top <= (bottom - 1) // 2
        return rows and left // 2 < self.right and self.left <= (right - 1) // 2


@dataclass(frozen=True)
class Part:
    """Tiles that are coded together, one after the other; the base starts with the coarsest pixels.

    `finest` is the finest octave in the part. For a base without tiles, it is the number of octaves.
    """

    is_base: bool
    finest: int
    tiles: tuple[Tile, ...]

    def depends_on(self, coarser: "Part", reach: int) -> bool:
        """Whether the part, of one tile, is decoded from pixels of a part of the next coarser octave.

        A tile uses `reach` + 1 lines of the coarser image around it.
        """
        (tile,) = self.tiles
        window = tile.top - reach - 1, tile.bottom + reach, tile.left - reach - 1, tile.right + reach
        return coarser.is_base or coarser.tiles[0].holds_some_of(*window)


def list_parts(height: int, width: int) -> list[Part]:
    """Return the parts of an image of height x width, in file order."""
    sizes = octave_sizes(height, width)[:-1]
    tiles = [tile for octave in reversed(range(len(sizes))) for tile in list_tiles(octave, *sizes[octave])]
    in_base = sum(max(size) <= BASE_SIDE for size in sizes)  # octaves, each of one tile
    base = Part(True, len(sizes) - in_base, tuple(tiles[:in_base]))
    return [base] + [Part(False, tile.octave, (tile,)) for tile in tiles[in_base:]]


def find_teachers(parts: list[Part]) -> list[int | None]:
    """Return, for each part, the number of the one whose memory it begins with; None for the base.

    It is the part of the next coarser octave that holds the tile's middle. But a tile of an octave with many tiles
    hands on what it began with, and so its own teacher counts.
    """
    teachers: list[int | None] = [None]
    first, rows, columns = 0, 1, 1  # the first part of the next coarser octave, and how many it has along each side
    for _, of_octave in groupby(range(1, len(parts)), lambda number: parts[number].finest):
        numbers = list(of_octave)
        tiles = [parts[number].tiles[0] for number in numbers]
        for tile in tiles:
            row, column = (tile.top + tile.bottom) // 4 // TILE, (tile.left + tile.right) // 4 // TILE
            parent = first + min(row, rows - 1) * columns + min(column, columns - 1)
            teachers.append(teachers[parent] if rows * columns > MOST_TEACHERS else parent)
        first, columns = numbers[0], sum(tile.top == 0 for tile in tiles)
        rows = len(tiles) // columns
    return teachers


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
