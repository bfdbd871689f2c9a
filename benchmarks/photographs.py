"""The photographs that the codec's weights are trained and chosen on, from packages that distribute them freely.

    apt-get install budgie-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    python -m benchmarks.photographs DIR

Writes DIR/train, from the wallpapers of the three Debian packages, and DIR/validation and DIR/test, from scikit-image
and scikit-learn; DIR/packaged holds copies of these two's files, to be compressed. The wallpapers are JPEGs, so they
are made smaller, by 2, 3 and 5, which leaves nothing of the JPEG's blocks; every fourth is there in grey too.
Pictures that people store are often softer, and were JPEGs before: so each is there as a decoded JPEG as well, half
of them the smallest made larger by 2. Authors and licences: pixelpyramids/assets/compact.md.
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

import skimage
import sklearn
from PIL import Image

WALLPAPERS = Path("/usr/share/backgrounds")
REDUCTIONS = ((2, Image.Resampling.BOX), (3, Image.Resampling.LANCZOS), (5, Image.Resampling.LANCZOS))
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


def write(folder: Path) -> None:
    """Write the three splits as PNG files."""
    train, packaged = folder / "train", folder / "packaged"
    train.mkdir(parents=True)
    packaged.mkdir()
    for root, splits in PACKAGED.items():
        for split, names in splits.items():
            (folder / split).mkdir(exist_ok=True)
            for name in names:
                Image.open(root / name).convert("RGB").save(folder / split / f"{Path(name).stem}.png")
                shutil.copyfile(root / name, packaged / name)
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
                was_jpeg(small, soft=factor == 5, number=index // 2).save(
                    train / f"{source.stem}_jpeg.png", compress_level=1
                )


def was_jpeg(image: Image.Image, *, soft: bool, number: int) -> Image.Image:
    """The image as a JPEG decodes to, its quality and subsampling chosen by number; soft: twice as large before."""
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
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} exists already; name another folder, or remove it")
    if not wallpapers():
        parser.error(f"no wallpapers in {WALLPAPERS}; install the three Debian packages")
    write(arguments.folder)


if __name__ == "__main__":
    main()
