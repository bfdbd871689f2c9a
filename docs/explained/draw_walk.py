"""Draw walk.svg: the order in which an octave's pixels are coded, from `SLICES`, which the codec follows.

python docs/explained/draw_walk.py >docs/explained/walk.svg
"""

import numpy as np

from pixelpyramids.pyramid.octaves import SLICES, bands

SIDE, CELL, GAP = 8, 22, 24
COLOURS = ("#2b5c8a", "#4b89b9", "#a6553a", "#dd9a6b", "#7d9c53")
KNOWN, UNKNOWN = "#3a3a3a", "#f2f2f2"
TITLES = ("known: the coarse image", "1st slice", "2nd slice", "3rd slice", "4th slice", "5th slice")


def order() -> np.ndarray:
    """The slice of each pixel, from 1; the pixels of the coarse image are 0."""
    image = np.zeros((SIDE, SIDE), dtype=int)
    for number, (band, lattice) in enumerate(SLICES, start=1):
        getattr(bands(image), band)[lattice.sites] = number
    return image


def draw() -> str:
    """The picture: a panel before the first slice, and one after each."""
    panel = SIDE * CELL
    width, height = 3 * panel + 4 * GAP, 2 * (panel + 2 * GAP) + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        "<title>An octave in five slices</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for now, title in enumerate(TITLES):
        left, top = GAP + now % 3 * (panel + GAP), 2 * GAP + now // 3 * (panel + 2 * GAP)
        lines.append(f'<text x="{left}" y="{top - 8}" font-size="14" fill="#222">{title}</text>')
        for (row, column), number in np.ndenumerate(order()):
            colour = KNOWN if number == 0 else COLOURS[number - 1] if number <= now else UNKNOWN
            x, y = left + column * CELL, top + row * CELL
            lines.append(f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" fill="{colour}"/>')
            if number == now > 0:
                lines.append(f'<text x="{x + 7}" y="{y + 16}" font-size="13" fill="white">{number}</text>')
    return "\n".join((*lines, "</svg>"))


if __name__ == "__main__":
    print(draw())
