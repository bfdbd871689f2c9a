"""How well `odd` and raw bits/dim tell odd images from ordinary photographs: areas under the ROC curve (AUROC).

    python -m benchmarks.odd FOLDER

FOLDER has the photographs of the reference: one crop of each of the first 120. Ordinary: crops of the photographs that
test the codec (benchmarks/photographs.py), at half their size, which removes most of their JPEG blocks. Odd: drawings,
pages of text, and the same ordinary crops as decoded JPEGs, enlarged, or with noise. Raw bits/dim is judged by both
directions: odd images have more bits, or fewer. An AUROC of 0.5 is chance, 1 is perfect.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.metrics import roc_auc_score

from benchmarks.photographs import PACKAGED
from pixelpyramids import oddness
from pixelpyramids.loading import load

SIDE = 128
CROPS = 6  # of each ordinary photograph
REFERENCE = 120


def crops(image: Image.Image, count: int, draw: np.random.Generator) -> Iterator[Image.Image]:
    """Random crops of 128 x 128."""
    for _ in range(count):
        left, top = draw.integers(image.width - SIDE + 1), draw.integers(image.height - SIDE + 1)
        yield image.crop((left, top, left + SIDE, top + SIDE))


def drawing(draw: np.random.Generator, side: int = SIDE) -> Image.Image:
    """Filled ellipses and rectangles."""
    image = Image.new("RGB", (side, side), tuple(map(int, draw.integers(0, 256, 3))))
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        left, top, width, height = map(int, draw.integers(0, side, 4))
        shape = pen.ellipse if draw.integers(2) else pen.rectangle
        shape((left, top, left + width, top + height), fill=tuple(map(int, draw.integers(0, 256, 3))))
    return image


def page(draw: np.random.Generator, side: int = SIDE) -> Image.Image:
    """Lines of text, as on a screen."""
    image = Image.new("RGB", (side, side), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(int(draw.integers(9, 16)))
    for top in range(0, side, 16):
        pen.text((4, top), "".join(map(chr, draw.integers(97, 123, 24))), fill="black", font=font)
    return image


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return Image.open(file).convert("RGB")


def enlarged(image: Image.Image, factor: float) -> Image.Image:
    side = round(SIDE * factor)
    middle = (side - SIDE) // 2
    larger = image.resize((side, side), Image.Resampling.BICUBIC)
    return larger.crop((middle, middle, middle + SIDE, middle + SIDE))


def noisy(image: Image.Image, sigma: float, draw: np.random.Generator) -> Image.Image:
    values = np.asarray(image) + draw.normal(0, sigma, (image.height, image.width, 3))
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def describe(images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """The features of each image, and its bits/dim."""
    model, described, bits = load("compact"), [], []
    for image in images:
        pixels = np.asarray(image).transpose(2, 0, 1)
        rate = model.rate(pixels[None])
        described.append(oddness.features(rate, oddness.png_bits_per_dim(pixels)))
        bits.append(float(rate.bits_per_dim[0]))
    return np.array(described), np.array(bits)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photographs for the reference, as WebP files")
    folder = parser.parse_args().folder
    files = sorted(folder.glob("*.webp"))[:REFERENCE]
    if len(files) < REFERENCE:
        parser.error(f"{folder}: expected at least {REFERENCE} WebP files, got {len(files)}")
    draw = np.random.default_rng(0)
    known = [crop for file in files for crop in crops(Image.open(file).convert("RGB"), 1, draw)]
    of_known = describe(known)[0]
    reference = oddness.fit(of_known)
    normal = []
    for root, splits in PACKAGED.items():
        for name in splits["test"]:
            image = Image.open(root / name).convert("RGB")
            half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
            normal += list(crops(half, CROPS, draw))
    odd = {"drawings": [drawing(draw) for _ in normal], "pages of text": [page(draw) for _ in normal]}
    odd |= {f"JPEG of quality {quality}": [as_jpeg(image, quality) for image in normal] for quality in (50, 75, 90)}
    odd |= {f"enlarged {factor} times": [enlarged(image, factor) for image in normal] for factor in (1.5, 2)}
    odd |= {f"noise of sigma {sigma}": [noisy(image, sigma, draw) for image in normal] for sigma in (2, 5, 10)}
    ordinary, ordinary_bits = describe(normal)
    print(f"{len(known)} reference images, {len(normal)} ordinary ones, and as many odd ones of each kind")
    medians = [np.median(reference.oddness(described)) for described in (of_known, ordinary)]
    print(f"median score: {medians[0]:.2f} of the reference images, {medians[1]:.2f} of the ordinary ones\n")
    print("| odd images | `odd` | more bits/dim | fewer bits/dim |\n|---|---|---|---|")
    for kind, images in odd.items():
        described, bits = describe(images)
        truth = np.repeat([0, 1], [len(normal), len(images)])
        ours = roc_auc_score(truth, [*reference.oddness(ordinary), *reference.oddness(described)])
        raw = roc_auc_score(truth, [*ordinary_bits, *bits])
        print(f"| {kind} | {ours:.2f} | {raw:.2f} | {1 - raw:.2f} |")


if __name__ == "__main__":
    main()
