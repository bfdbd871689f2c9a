"""The pixels of an image, octave by octave, in memory or on disk; and windows of them, as the planes that are coded.

A part is coded within a small pyramid, of its tile and what surrounds it. So only the tiles that are being coded need
memory beside the pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from pixelpyramids.codec.compact_model import Plane, octave_images, three_channels
from pixelpyramids.codec.container import FileHeader
from pixelpyramids.codec.disk_array import spans_of_rows
from pixelpyramids.codec.parts import Part, Tile
from pixelpyramids.errors import BitstreamError
from pixelpyramids.pyramid import octaves


class Window(NamedTuple):
    """Lines [top, bottom) and columns [left, right) of an octave's image."""

    top: int
    bottom: int
    left: int
    right: int

    def touches(self, tile: Tile) -> bool:
        """Whether a tile of the octave holds some pixels of the window."""
        return tile.holds_some_of(*self)

    @property
    def height(self) -> int:
        """The number of lines."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """The number of columns."""
        return self.right - self.left

    def lines_within(self, other: "Window") -> tuple[slice, slice]:
        """The lines and columns, counted from the first ones of a window that holds this one."""
        rows, columns = (self.top, self.bottom), (self.left, self.right)
        return slice(*(row - other.top for row in rows)), slice(*(column - other.left for column in columns))

    def common_with(self, other: "Window") -> "Window":
        """What both windows hold, perhaps nothing."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Window(top, max(min(self.bottom, other.bottom), top), left, max(min(self.right, other.right), left))


class OctavePixels:
    """The images of an image's octaves, finest first, and the numbers of its planes in them.

    Each of the `arrays` (h, w, C) has the image's own type and values. It holds the window of its octave that `windows`
    gives, or all of it. If an array is None, its octave is not read, and what is written to it is dropped.
    """

    def __init__(self, header: FileHeader, arrays: Sequence[Any], windows: Sequence[Window] | None = None) -> None:
        self.arrays, self._header = arrays, header
        self._sizes = octaves.octave_sizes(header.height, header.width)
        self._windows = windows or [Window(0, height, 0, width) for height, width in self._sizes]
        self._firsts = list(accumulate(header.planes, initial=0))  # channels of each plane
        self._values, self._numbers = None, None
        if header.values is not None:
            self._values = np.array(header.values, dtype=np.uint16)
            self._numbers = np.zeros(1 << header.depth, dtype=np.uint16)
            self._numbers[self._values] = np.arange(len(self._values))

    def known(self, part: Part, plane: int, reach: int) -> tuple[Part, list[Plane]]:
        """Return all pixels that a part is coded with: a pyramid of its surroundings, and the part there.

        Beside the tile, the pyramid has `reach` + 1 lines of its grid, as far as the image goes.
        """
        if part.is_base:
            return part, _pyramid_of(part.finest, self._read(part.finest, plane, self._whole(part.finest)))
        here, window = self._surroundings(part, reach)
        return here, _pyramid_of(part.finest, self._read(part.finest, plane, window))

    def unknown(self, part: Part, plane: int, reach: int) -> tuple[Part, list[Plane]]:
        """Return what `known` does, with zeros in place of all pixels that the next coarser octave lacks."""
        coded = self._header.coded[plane]
        here, window = (part, self._whole(part.finest)) if part.is_base else self._surroundings(part, reach)
        size = window.bottom - window.top, window.right - window.left
        image = np.zeros((coded, *size), dtype=np.uint16)
        if not part.is_base:
            coarse, top, left = octaves.bands(image).oo, window.top // 2, window.left // 2
            of_coarse = Window(top, top + coarse.shape[1], left, left + coarse.shape[2])
            coarse[...] = self._read(part.finest + 1, plane, of_coarse)[:coded]
        return here, _pyramid_of(part.finest, three_channels(image))

    def write(self, part: Part, plane: int, here: Part, pyramid: Sequence[Plane]) -> None:
        """Take over the pixels of a part from what `unknown` returned, now filled in.

        Raises BitstreamError if a number has no value.
        """
        if part.is_base:
            for octave in range(part.finest, len(self._sizes)):
                self._write(octave, plane, self._whole(octave), pyramid[octave])
            return
        (tile,), (inner,), (height, width) = part.tiles, here.tiles, self._sizes[part.finest]
        window = Window(2 * tile.top, min(2 * tile.bottom, height), 2 * tile.left, min(2 * tile.right, width))
        numbers = pyramid[part.finest][:, 2 * inner.top :, 2 * inner.left :]
        self._write(part.finest, plane, window, numbers[:, : window.height, : window.width])

    def read_bands(self, octave: int, plane: int) -> Iterator[Plane]:
        """Yield the numbers of a plane in bands of rows. Each begins with the last row of the one before it."""
        for top, bottom in spans_of_rows(self.arrays[octave]):
            yield self._read(octave, plane, Window(max(top - 1, 0), bottom, 0, self._sizes[octave][1]))

    def cut(self, octave: int, window: Window) -> Any:
        """Return a window (h, w, C) of an octave's image."""
        return self.arrays[octave][*window.lines_within(self._windows[octave])]

    def _whole(self, octave: int) -> Window:
        height, width = self._sizes[octave]
        return Window(0, height, 0, width)

    def _surroundings(self, part: Part, reach: int) -> tuple[Part, Window]:
        """The part of one tile in a window of its octave's image, and that window."""
        (tile,) = part.tiles
        height, width = self._sizes[tile.octave]
        top, left = max(tile.top - reach - 1, 0), max(tile.left - reach - 1, 0)
        bottom, right = min(2 * (tile.bottom + reach), height), min(2 * (tile.right + reach), width)
        inner = Tile(tile.octave, tile.top - top, tile.bottom - top, tile.left - left, tile.right - left)
        return replace(part, tiles=(inner,)), Window(2 * top, bottom, 2 * left, right)

    def _read(self, octave: int, plane: int, window: Window) -> Plane:
        """The numbers (3, h, w) of a plane in a window of an octave."""
        first, coded = self._firsts[plane], self._header.coded[plane]
        lines = window.lines_within(self._windows[octave])
        pixels = np.moveaxis(self.arrays[octave][*lines, first : first + coded], -1, 0)
        numbers = pixels if self._numbers is None else self._numbers[pixels]
        return three_channels(np.ascontiguousarray(numbers, dtype=np.uint16))

    def _write(self, octave: int, plane: int, window: Window, numbers: Plane) -> None:
        """Write the numbers (3, h, w) of a window as far as the octave's array holds it."""
        array, at = self.arrays[octave], self._windows[octave]
        first, count = self._firsts[plane], self._header.planes[plane]
        found: Any = numbers[:count]  # of a grey plane, three equal channels
        if self._values is not None:
            if int(found.max()) >= len(self._values):
                raise BitstreamError("a pixel holds a value that the header does not list; the file is damaged")
            found = self._values[found]
        inner = window.common_with(at)
        if array is not None and inner.height and inner.width:
            rows, columns = inner.lines_within(window)
            array[*inner.lines_within(at), first : first + count] = np.moveaxis(found[:, rows, columns], 0, -1)


def _pyramid_of(octave: int, image: Plane) -> list[Plane]:
    """The octaves' images by their numbers, from that of an octave on. The image stands for finer ones too."""
    return [image] * octave + octave_images(image)
