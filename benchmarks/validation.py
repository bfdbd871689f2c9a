"""What the compact network reaches on versions of the photographs that chose it, in bits/dim.

    python -m benchmarks.validation DIR/validation     # DIR is what benchmarks.photographs wrote

Without mixing is what `model.rate` computes; files have context mixing, if it makes them smaller, and headers.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import pixelpyramids as pp


def decoded_jpeg(image: Image.Image, quality: int, subsampling: str) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file).convert("RGB")


VERSIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as they are": lambda image: image,
    "half the size (means of 2 x 2)": lambda image: image.reduce(2),
    "decoded JPEGs, quality 75, 4:2:0": lambda image: decoded_jpeg(image, 75, "4:2:0"),
    "decoded JPEGs, quality 95, 4:4:4": lambda image: decoded_jpeg(image, 95, "4:4:4"),
    "to YCbCr and back (Pillow)": lambda image: image.convert("YCbCr").convert("RGB"),
    "stretched histogram": lambda image: ImageOps.autocontrast(image, cutoff=2),
    "grey (a third of the values)": lambda image: image.convert("L"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    photographs = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))]
    if not photographs:
        parser.error(f"{folder}: expected PNG files, got none; benchmarks.photographs writes them")
    model = pp.load("compact")
    print(f"{len(photographs)} photographs; the mean of their bits/dim\n\n| | without mixing | files |\n|---|---|---|")
    for name, change in VERSIONS.items():
        alone, files = [], []
        for photograph in photographs:
            pixels = np.asarray(change(photograph))
            planes = pixels[None, None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)[None]
            alone.append(float(model.rate(planes).bits_per_dim[0]))
            files.append(8 * len(pp.encode(pixels)) / pixels.size)
        print(f"| {name} | {np.mean(alone):.3f} | {np.mean(files):.3f} |", flush=True)


if __name__ == "__main__":
    main()
