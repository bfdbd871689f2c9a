"""Write the photographs that train, choose and test the codec's weights, from packages that distribute them freely.

    apt-get install budgie-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    python -m benchmarks.photographs DIR [--more FOLDER | --no-training]

DIR/train is made of the wallpapers of three Debian packages; DIR/validation (which chooses the weights) and DIR/test
are photographs from scikit-image and scikit-learn. With --no-training, DIR/packaged gets copies of the files of these
two, instead of DIR/train (`train` takes no other folders beside those of the splits). The wallpapers
are JPEGs, so they are reduced by 2, 3 and 5, which removes the JPEG's blocks; every fourth is also made grey. Pictures
that people store are often softer and were JPEGs before, so each is also added as a decoded JPEG, half of these
enlarged by 2 from the smallest size. Authors and licences: pixelpyramids/assets/compact.md.

FOLDER has more training photographs, as small WebP files. Each is written unchanged, at half its size, as a decoded
JPEG, and in one other version: grey, brighter, noisy, sharpened, after a YCbCr round trip, smaller, or a decoded JPEG
at half its size. Versions with a side below 128 pixels are left out, because training crops do not fit into them.
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

import numpy as np
import skimage
import sklearn
from PIL import Image, ImageFilter

WALLPAPERS = Path("/usr/share/backgrounds")
REDUCTIONS = ((2, Image.Resampling.BOX), (3, Image.Resampling.LANCZOS), (5, Image.Resampling.LANCZOS))
SMALLEST = 128  # pixels a side: the crops of a training
QUALITIES = (75, 85, 92, 96)
PACKAGED = {
    Path(skimage.__file__).parent / "data": {
        "validation": ("astronaut.png", "camera.png", "chelsea.png", "coffee.png"),
        "test": ("hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg", "rocket.jpg"),
    },
    Path(sklearn.__file__).parent / "datasets" / "images": {"validation": ("flower.jpg",), "test": ("china.jpg",)},
}


def wallpapers() -> list[Path]:
    """The JPEGs of the three packages, in the order of their names."""
    return sorted(path for path in WALLPAPERS.rglob("*.jpg") if not path.is_symlink())


def write_packaged(folder: Path, as_they_are: bool) -> None:
    """Write the photographs for validation and test as PNG files and, if wanted, copies of their own files."""
    for root, splits in PACKAGED.items():
        for split, names in splits.items():
            (folder / split).mkdir(parents=True, exist_ok=True)
            for name in names:
                Image.open(root / name).convert("RGB").save(folder / split / f"{Path(name).stem}.png")
                if as_they_are:
                    (folder / "packaged").mkdir(exist_ok=True)
                    shutil.copyfile(root / name, folder / "packaged" / name)


def write_train(folder: Path, more: Path | None) -> None:
    """Write the photographs to train on as PNG files."""
    train = folder / "train"
    train.mkdir()
    sources = wallpapers()
    for index, source in enumerate(sources):
        print(f"{index + 1} of {len(sources)}: {source.name}", file=sys.stderr)
        image = Image.open(source).convert("RGB")
        for factor, filter_ in REDUCTIONS:
            small = image.resize((image.width // factor, image.height // factor), filter_)
            small.save(train / f"{source.stem}_{factor}.png", compress_level=1)
            if factor == 3 and index % 4 == 0:
                small.convert("L").convert("RGB").save(train / f"{source.stem}_grey.png", compress_level=1)
            if factor == (3, 5)[index % 2]:
                decode_numbered_jpeg(small, soft=factor == 5, number=index // 2).save(
                    train / f"{source.stem}_jpeg.png", compress_level=1
                )
    for number, source in enumerate(sorted(more.glob("*.webp")) if more else []):
        write_more(source, train, number)


def write_more(source: Path, train: Path, number: int) -> None:
    """Write the versions of one more photograph; its number is the seed of everything random."""
    draw = np.random.default_rng([0, number])
    image = Image.open(source).convert("RGB")
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    versions = {"1": image, "2": half, "jpeg": decode_jpeg(image, draw)}
    match number % 8:
        case 0:
            versions["grey"] = image.convert("L").convert("RGB")
        case 1:
            versions["bright"] = image.point([round(min(255.0, value * 1.3)) for value in range(256)] * 3)
        case 2:
            noisy = np.asarray(image) + draw.normal(0, draw.uniform(1, 5), (image.height, image.width, 3))
            versions["noisy"] = Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))
        case 3:
            versions["sharp"] = image.filter(ImageFilter.UnsharpMask(radius=1, percent=120, threshold=2))
        case 4 | 5:
            versions["ycbcr"] = image.convert("YCbCr").convert("RGB")
        case 6:
            versions["3"] = image.resize((image.width // 3, image.height // 3), Image.Resampling.LANCZOS)
        case 7:
            versions["jpeg_2"] = decode_jpeg(half, draw)
    for name, version in versions.items():
        if min(version.size) >= SMALLEST:
            version.save(train / f"more_{source.stem}_{name}.png", compress_level=1)


def decode_jpeg(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """The image after decoding it from a JPEG of random quality and subsampling; half of the time, enlarged before."""
    if draw.integers(2):
        factor = draw.uniform(1.2, 2)
        image = image.resize((round(factor * image.width), round(factor * image.height)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=int(draw.integers(60, 99)), subsampling=("4:2:0", "4:4:4")[draw.integers(2)])
    return Image.open(buffer).convert("RGB")


def decode_numbered_jpeg(image: Image.Image, *, soft: bool, number: int) -> Image.Image:
    """The image decoded from a JPEG, whose quality and subsampling `number` chooses; `soft` first enlarges it by 2."""
    if soft:
        image = image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    quality, subsampling = QUALITIES[number % 4], ("4:2:0", "4:4:4")[number // 4 % 2]
    image.save(buffer, "jpeg", quality=quality, subsampling=subsampling)
    return Image.open(buffer).convert("RGB")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder that does not exist yet")
    parser.add_argument("--more", type=Path, metavar="FOLDER", help="more training photographs, as WebP files")
    parser.add_argument("--no-training", action="store_true", help="write DIR/packaged instead of DIR/train")
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} exists already; name another folder, or remove it")
    if not arguments.no_training and not wallpapers():
        parser.error(f"no wallpapers in {WALLPAPERS}; install the three Debian packages, or pass --no-training")
    write_packaged(arguments.folder, as_they_are=arguments.no_training)
    if not arguments.no_training:
        write_train(arguments.folder, arguments.more)


if __name__ == "__main__":
    main()
