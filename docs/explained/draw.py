"""Draw the figures of these pages: walk.svg and levels.svg, from the walks that the package follows.

python docs/explained/draw.py
"""

from pathlib import Path

import numpy as np

from pixelpyramids.pyramid.levels import Stage, decompose, walk
from pixelpyramids.pyramid.octaves import SLICES, bands

SIDE, CELL, GAP = 8, 22, 24
COLOURS = ("#2b5c8a", "#4b89b9", "#a6553a", "#dd9a6b", "#7d9c53")
KNOWN, UNKNOWN = "#3a3a3a", "#f2f2f2"

Grid = list[list[tuple[str, str]]]
"""The colour and the text of each pixel."""


def draw_walk() -> str:
    """The order in which an octave's pixels are coded: before the first slice, and after each."""
    order = np.zeros((SIDE, SIDE), dtype=int)  # the slice of each pixel, from 1; 0 is the coarse image
    for number, (band, lattice) in enumerate(SLICES, start=1):
        getattr(bands(order), band)[lattice.sites] = number

    def cell(number: int, now: int) -> tuple[str, str]:
        colour = KNOWN if number == 0 else COLOURS[number - 1] if number <= now else UNKNOWN
        return colour, str(number) if number == now > 0 else ""

    titles = ("known: the coarse image", "1st slice", "2nd slice", "3rd slice", "4th slice", "5th slice")
    panels = {title: [[cell(n, now) for n in row] for row in order.tolist()] for now, title in enumerate(titles)}
    return picture("An octave in five slices", panels)


def draw_levels() -> str:
    """The level of each pixel of a small image, and the slices in which its two finest levels are coded."""
    stages = walk(SIDE, SIDE, n_squeeze=(1, 1, 0, 0))
    image = np.zeros((SIDE, SIDE), dtype=int)
    for index, (fine, _) in decompose(image, stages).items():
        fine[...] = index
    coarsest = len(stages) - 1
    names = [str(index) for index in range(coarsest)] + ["c"]
    levels = [[(KNOWN if n == coarsest else COLOURS[n], names[n]) for n in row] for row in image.tolist()]
    panels = {"the level of each pixel": levels}
    for stage in reversed(stages[-2:]):
        panels[f"level {stage.index} in {len(stage.slices)} slices"] = _slices(stage)
    return picture("The levels of an image, and their slices", panels)


def _slices(stage: Stage) -> Grid:
    """The order in which a level's pixels are coded; coarser pixels are known, finer ones not."""
    order = np.zeros((SIDE, SIDE), dtype=int)
    fine, _ = decompose(order, walk(SIDE, SIDE, (0,) * 4))[stage.index]
    for number, part in enumerate(stage.slices, start=1):
        fine[part.sites] = number
    for finer in range(stage.index):
        decompose(order, walk(SIDE, SIDE, (0,) * 4))[finer][0][...] = -1
    colour = {-1: UNKNOWN, 0: KNOWN}
    return [[(colour.get(n, COLOURS[n - 1]), str(n) if n > 0 else "") for n in row] for row in order.tolist()]


def picture(name: str, panels: dict[str, Grid]) -> str:
    """Panels with titles, three in a row."""
    panel, rows = SIDE * CELL, -(-len(panels) // 3)
    width, height = 3 * panel + 4 * GAP, rows * (panel + 2 * GAP) + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f"<title>{name}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, (title, grid) in enumerate(panels.items()):
        left, top = GAP + number % 3 * (panel + GAP), 2 * GAP + number // 3 * (panel + 2 * GAP)
        lines.append(f'<text x="{left}" y="{top - 8}" font-size="14" fill="#222">{title}</text>')
        for row, cells in enumerate(grid):
            for column, (colour, text) in enumerate(cells):
                x, y = left + column * CELL, top + row * CELL
                lines.append(f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" fill="{colour}"/>')
                if text:
                    lines.append(f'<text x="{x + 7}" y="{y + 16}" font-size="13" fill="white">{text}</text>')
    return "\n".join((*lines, "</svg>\n"))


FIGURES = {"walk.svg": draw_walk, "levels.svg": draw_levels}

if __name__ == "__main__":
    for file, draw in FIGURES.items():
        Path(__file__).with_name(file).write_text(draw(), encoding="utf-8")
