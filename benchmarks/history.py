"""How often `score --history` is right: of photographs, of former JPEGs, and of enlarged pictures.

    python -m benchmarks.history
    apt-get install budgie-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    python -m benchmarks.history --fit

The photographs are those that test the codec (benchmarks/photographs.py): they neither trained the network nor chose
anything. Four of the five are JPEGs, so they are reduced first, by random factors, which removes most traces. Then each
picture is made: as it is, as a decoded JPEG, enlarged. What is judged is a random crop, whose blocks start anywhere.

`--fit` fits the weights with which pixelpyramids/history.py tells enlarged pictures, with the wallpapers of Debian's
packages, and prints them.
"""

import argparse
import io
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image, ImageFilter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.odd import drawing, noisy, page
from benchmarks.photographs import PACKAGED, wallpapers
from pixelpyramids import history
from pixelpyramids.loading import Model, load

SIDES = (128, 192)
FITTED_SIDES = (128, 192, 256)
SPARE = 48  # pixels more than a side: room for random crops
CROPS = 8  # of each photograph and kind
QUALITIES = (98, 95, 90, 75, 50)
SUBSAMPLINGS = ("4:4:4", "4:2:0")
FACTORS = (1.25, 1.5, 2, 3, 4)
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
FALSE_ALARMS = 0.03  # of the pictures that were not enlarged, when the weights are fitted

Draw = np.random.Generator


def reduced(image: Image.Image, side: int, draw: Draw) -> Image.Image:
    """A photograph, reduced by a random factor that leaves room for crops."""
    factor = min(image.size) / (side + SPARE) * draw.uniform(0.8, 1)
    return image.resize((round(image.width / factor), round(image.height / factor)), Image.Resampling.LANCZOS)


def crop(image: Image.Image, side: int, draw: Draw) -> Image.Image:
    left, top = draw.integers(image.width - side + 1), draw.integers(image.height - side + 1)
    return image.crop((left, top, left + side, top + side))


def as_jpeg(image: Image.Image, quality: int, subsampling: str) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality, subsampling=subsampling)
    return Image.open(file).convert(image.mode)


def enlarged(image: Image.Image, side: int, factor: float, draw: Draw) -> Image.Image:
    """A part of an image, enlarged with a random filter to a little more than a side."""
    part = crop(image, min(round(side / factor) + 8, *image.size), draw)
    size = (round(part.width * factor), round(part.height * factor))
    return part.resize(size, FILTERS[draw.integers(len(FILTERS))])


def pictures(image: Image.Image, side: int, draw: Draw) -> Iterator[tuple[str, Image.Image]]:
    """One picture of each kind, and the name of its kind."""
    small = reduced(image, side, draw)
    grey = small.convert("L")
    yield "as they are", crop(small, side, draw)
    yield "grey", crop(grey, side, draw)
    for quality in QUALITIES:
        subsampling = SUBSAMPLINGS[draw.integers(2)]
        yield f"JPEG of quality {quality}", crop(as_jpeg(small, quality, subsampling), side, draw)
        yield f"grey JPEG of quality {quality}", crop(as_jpeg(grey, quality, "4:4:4"), side, draw)
    for factor in FACTORS:
        yield f"enlarged {factor} times", crop(enlarged(small, side, factor, draw), side, draw)
    former = as_jpeg(small, int(draw.integers(75, 96)), SUBSAMPLINGS[draw.integers(2)])
    yield "JPEG enlarged 1.5 times", crop(enlarged(former, side, 1.5, draw), side, draw)
    yield "blurred by 1 pixel", crop(small.filter(ImageFilter.GaussianBlur(1)), side, draw)
    yield "sharpened", crop(small.filter(ImageFilter.UnsharpMask(radius=1, percent=120, threshold=2)), side, draw)


def others(image: Image.Image, side: int, draw: Draw) -> Iterator[tuple[str, Image.Image]]:
    """The same of kinds that fitted nothing."""
    small = reduced(image, side, draw)
    yield "noise of sigma 2", noisy(crop(small, side, draw), 2, draw)
    yield "JPEG of quality 75, noise of sigma 1", noisy(crop(as_jpeg(small, 75, "4:2:0"), side, draw), 1, draw)
    yield "enlarged 2 times, noise of sigma 1", noisy(crop(enlarged(small, side, 2, draw), side, draw), 1, draw)
    yield "enlarged 2 times, JPEG of quality 90", crop(as_jpeg(enlarged(small, side, 2, draw), 90, "4:4:4"), side, draw)
    yield "drawings", drawing(draw, side)
    yield "pages of text", page(draw, side)


@cache
def compact() -> Model:
    return load("compact")


def trace(picture: Image.Image) -> tuple[history.History, history.Vector]:
    """What its history seems to be, and the features of an enlarged picture."""
    pixels = np.asarray(picture)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    bit_map = compact().map_bits(pixels[None])
    return history.trace(bit_map, pixels), history.features(bit_map)


def measure() -> None:
    """Print how often each kind is called a former JPEG, or enlarged."""
    for side in SIDES:
        found: dict[str, list[list[bool]]] = {}
        for root, splits in PACKAGED.items():
            for name in splits["test"]:
                image, draw = Image.open(root / name).convert("RGB"), np.random.default_rng(0)
                each_kind = [
                    pair for _ in range(CROPS) for make in (pictures, others) for pair in make(image, side, draw)
                ]
                for kind, picture in each_kind:
                    told = trace(picture)[0]
                    answers = (told.was_jpeg, told.has_blocks, told.has_jpeg_colours, told.was_enlarged)
                    found.setdefault(kind, []).append([*(answer is True for answer in answers), told.is_flat])
        print(f"{side} x {side} pixels, {len(found['as they are'])} crops of each kind\n")
        print("| pictures | called a former JPEG | by blocks | by colours | called enlarged | too flat to tell |")
        print("|---|---|---|---|---|---|")
        for kind, shares in found.items():
            print(f"| {kind} | " + " | ".join(f"{share:.0%}" for share in np.mean(shares, axis=0)) + " |")
        print()


def fit() -> None:
    """Fit and print the weights that tell enlarged pictures."""
    described, truth, blocks = [], [], []
    for number, path in enumerate(wallpapers()):
        image, draw = Image.open(path).convert("RGB"), np.random.default_rng([1, number])
        for kind, picture in (each for side in FITTED_SIDES for each in pictures(image, side, draw)):
            told, features = trace(picture)
            if told.is_flat:
                continue
            described.append(features)
            truth.append("enlarged" in kind)
            if "JPEG of" not in kind:
                blocks.append(told.blocks)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    model.fit(described, truth)
    weights = model[1].coef_[0] / model[0].scale_
    odds = np.array(described) @ weights
    threshold = np.quantile(odds[~np.array(truth)], 1 - FALSE_ALARMS)
    print(f"{len(wallpapers())} wallpapers, {len(truth)} pictures, of which {sum(truth)} are enlarged")
    print(f"blocks where there was no JPEG: at most {np.quantile(blocks, 0.99):.1f} in 99 %, {max(blocks):.1f} in all")
    print(f"enlarged ones found: {np.mean(odds[truth] >= threshold):.0%}, with {FALSE_ALARMS:.0%} false alarms")
    print(f"_WEIGHTS = np.array([{', '.join(f'{each:.3f}' for each in weights)}])\n_BIAS = {-threshold:.3f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="fit the weights that tell enlarged pictures")
    if not parser.parse_args().fit:
        measure()
    elif wallpapers():
        fit()
    else:
        parser.error("there are no wallpapers; install the three Debian packages")


if __name__ == "__main__":
    main()
