"""The first minute of `demo`: what the network that comes with the package does on the bundled photographs.

It compares their size with PNG and lossless WebP, and completes small versions of two of them to the original size.
"""

import warnings
from pathlib import Path

import numpy as np
from rich.table import Table

import pixelpyramids as pp
from pixelpyramids.cli.console import progress_bar
from pixelpyramids.cli.report.figures import new_table
from pixelpyramids.cli.report.pictures import save_grid
from pixelpyramids.cli.report.rivals import OURS, PNG, WEBP
from pixelpyramids.data.photographs import photographs
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.loading import Model

NEW = ("test/china.jpg", "train/rocket.jpg")
CHOSE = ("train/astronaut.png", "train/chelsea.png", "train/coffee.png", "test/flower.jpg")
"""The photographs that had no part in choosing the network's weights, and those that chose them."""

CORNERS = ((150, 60), (200, 30))  # left and top of the parts of NEW that are completed
SIDE = 256
SCALE = 4
DRAWN = 3


def compress_photographs(folder: Path) -> Table:
    """Write each photograph to `folder` as NAME.ppyr; return a table of its bytes as .ppyr, PNG and WebP."""
    title = "The bundled photographs without loss, in bytes"
    table = new_table("photograph", "height x width", OURS, PNG.name, WEBP.name, title=title)
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bar("compressing the bundled photographs") as report:
        for names, mark in ((NEW, ""), (CHOSE, " *")):
            sizes = np.zeros((len(names), 3), dtype=np.int64)
            for name, row in zip(names, sizes, strict=True):
                pixels = read_photograph(name)
                file = folder / f"{Path(name).stem}.ppyr"
                pp.save(file, pixels, overwrite=True)
                row[:] = file.stat().st_size, *(len(rival.encode(pixels, 8)) for rival in (PNG, WEBP))
                shape = f"{pixels.shape[0]} x {pixels.shape[1]}"
                table.add_row(file.stem + mark, shape, *(f"{size:,}" for size in row))
                report(table.row_count, len(NEW) + len(CHOSE))
            total = sizes.sum(axis=0)
            table.add_row(f"all{mark}: {OURS} / this", "", *(f"{total[0] / size:.2f}" for size in total), style="bold")
            table.add_section()
    table.caption = "* used to choose the network, so these say less about new photographs"
    table.caption_justify = "left"
    return table


def read_parts() -> Pixels:
    """Parts (N, 3, SIDE, SIDE) of the photographs that had no part in choosing the network."""
    parts = [read_photograph(name, (*corner, SIDE, SIDE)) for name, corner in zip(NEW, CORNERS, strict=True)]
    return np.stack(parts).transpose(0, 3, 1, 2)


def save_completions(path: Path, model: Model, crops: Pixels, seed: int, zoom: int = 1) -> None:
    """Write a picture with a row for each 8-bit crop (N, C, H, W): a small version, completions of it, and the crop."""
    pictures = []
    for crop in crops:
        _, height, width = crop.shape
        small = crop[:, SCALE - 1 :: SCALE, SCALE - 1 :: SCALE]
        drawn = model.complete(np.repeat(small[None], DRAWN, axis=0), height, width, seed)
        pictures += [small.repeat(SCALE, axis=1).repeat(SCALE, axis=2), *drawn, crop]
    save_grid(path, np.stack(pictures), 8, columns=2 + DRAWN, scale=zoom)


def read_photograph(name: str, region: tuple[int, int, int, int] | None = None) -> Pixels:
    """A bundled photograph (H, W, 3), or its part `region` (x, y, width, height)."""
    with (
        warnings.catch_warnings(action="ignore"),
        pp.open(photographs() / name) as image,
    ):  # about JPEG segments that are not kept
        pixels: Pixels = image.read(region=region)
    return pixels
