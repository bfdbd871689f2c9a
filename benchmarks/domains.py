"""The images of the evidence, by domain: those that scikit-image and scikit-learn ship, and drawings.

None of them trained the network or chose anything about it. (astronaut, camera, chelsea, coffee and flower, which the
same packages ship, did, and are not here.) Sources and licences are those that the packages state.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage
import sklearn
from PIL import Image

from benchmarks import drawings
from benchmarks.deep import sum_blocks

FOLDERS = Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images"
MOTORCYCLE = "Middlebury Stereo 2014, scaled down by 4 for scikit-image"
HUBBLE = "NASA, ESA; a JPEG; public domain"
DRAWN = "drawn by benchmarks/drawings.py"


class Sample(NamedTuple):
    """An image; `load` returns its pixels (H, W) or (H, W, C) and its depth in bits."""

    name: str
    source: str
    load: Callable[[], tuple[np.ndarray, int]]
    is_lossy: bool = False


def open_packaged(file: str) -> Image.Image:
    (path,) = (folder / file for folder in FOLDERS if (folder / file).exists())
    return Image.open(path)


def packaged(file: str, source: str) -> Sample:
    """A file as Pillow decodes it, to 8 bits."""
    is_lossy = file.endswith(".jpg")
    return Sample(Path(file).stem, source, lambda: (np.asarray(open_packaged(file)), 8), is_lossy)


def halved(file: str, source: str) -> Sample:
    """The means of blocks of 2 x 2 pixels."""
    return Sample(
        f"{Path(file).stem}, half size", source, lambda: (np.asarray(open_packaged(file).reduce(2)), 8), False
    )


def summed(file: str, side: int, source: str) -> Sample:
    """The sums of blocks of side x side pixels, which keep all bits."""
    depth = 8 + 2 * (side.bit_length() - 1)
    name = f"{Path(file).stem}, {side} x {side} added"
    return Sample(name, source, lambda: (sum_blocks(np.asarray(open_packaged(file)), side), depth))


def drawn(name: str, draw: Callable[[], Image.Image], source: str = DRAWN) -> Sample:
    """A drawing."""
    return Sample(name, source, lambda: (np.asarray(draw()), 8))


def disparities() -> tuple[np.ndarray, int]:
    """The distances of the motorcycle, in 256ths of a pixel; 0 where they are not known."""
    with np.load(FOLDERS[0] / "motorcycle_disp.npz") as file:
        values = file["arr_0"]
    return np.rint(256 * np.where(np.isfinite(values), values, 0)).astype(np.uint16), 16


DOMAINS = {
    "Photographs": (
        packaged("motorcycle_left.png", MOTORCYCLE),
        packaged("motorcycle_right.png", MOTORCYCLE),
    ),
    "Photographs reduced further": (
        halved("motorcycle_left.png", f"{MOTORCYCLE}, and by 2 here"),
        halved("motorcycle_right.png", f"{MOTORCYCLE}, and by 2 here"),
    ),
    "Decoded JPEGs": (
        packaged("china.jpg", "danielbuechele, CC BY 2.0"),
        packaged("rocket.jpg", "SpaceX, public domain"),
        packaged("retina.jpg", "Mikael Häggström, Wikimedia Commons, CC0"),
    ),
    "Astronomy": (
        packaged("hubble_deep_field.jpg", HUBBLE),
        packaged("moon.png", "surface of the moon; scikit-image names no author"),
    ),
    "Microscopy and medicine": (
        packaged("cell.png", "phase image, Paul Müller and others, CC0"),
        packaged("ihc.png", "stained tissue, Center for Microscopy and Molecular Imaging; no known restrictions"),
        packaged("microaneurysms.png", "part of a retina, High-Resolution Fundus Image Database, CC0"),
    ),
    "Scans and text": (
        packaged("page.png", "scanned page; scikit-image names no author"),
        packaged("text.png", "photographed handwriting, Wikipedia, public domain"),
    ),
    "Grey photographs and textures": (
        packaged("brick.png", "CC0Textures, CC0"),
        packaged("grass.png", "linolafett, DeviantArt, CC0"),
        packaged("gravel.png", "CC0Textures, CC0"),
        packaged("coins.png", "Brooklyn Museum; no known restrictions"),
        packaged("clock_motion.png", "Stefan van der Walt, public domain"),
    ),
    "Screenshots and drawings": (
        drawn("page of text", drawings.page),
        drawn("terminal", drawings.terminal),
        drawn("chart", drawings.chart),
        drawn("diagram", drawings.diagram),
        drawn("window", lambda: drawings.window(open_packaged("rocket.jpg").reduce(2)), f"{DRAWN}, with rocket inside"),
    ),
    "Alpha": (
        packaged("logo.png", "the logo of scikit-image"),
        packaged("horse.png", "Andreas Preuss, openclipart, CC0"),
        drawn("chart, transparent", partial(drawings.chart, transparent=True)),
    ),
    "More than 8 bits": (
        summed("motorcycle_right.png", 2, f"{MOTORCYCLE}; sums of pixels"),
        summed("hubble_deep_field.jpg", 4, f"{HUBBLE}; sums of pixels"),
        Sample("motorcycle_disp", "Middlebury Stereo 2014; distances in 256ths of a pixel", disparities),
    ),
    "Synthetic": (
        packaged("phantom.png", "Shepp and Logan's phantom of a head"),
        packaged("color.png", "a wheel of colours, scikit-image"),
        packaged("chessboard_RGB.png", "scikit-image; the upper 8 of its 16 bits"),
        packaged("chessboard_GRAY.png", "scikit-image"),
        drawn("spheres", drawings.spheres),
    ),
}
