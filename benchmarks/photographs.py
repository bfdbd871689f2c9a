"""The photographs that the codec's weights are trained and chosen on, from packages that distribute them freely.

    apt-get install budgie-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    python -m benchmarks.photographs DIR

Writes DIR/train, from the wallpapers of the three Debian packages, and DIR/validation and DIR/test, from scikit-image
and scikit-learn. The wallpapers are JPEGs, so they are made smaller, by 2, 3 and 5, which leaves nothing of the JPEG's
blocks; every fourth is there in grey too. Authors and licences: pixelpyramids/assets/compact.md.
"""

import argparse
import sys
from pathlib import Path

import skimage
import sklearn
from PIL import Image

WALLPAPERS = Path("/usr/share/backgrounds")
REDUCTIONS = ((2, Image.Resampling.BOX), (3, Image.Resampling.LANCZOS), (5, Image.Resampling.LANCZOS))
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
    train = folder / "train"
    train.mkdir(parents=True)
    for root, splits in PACKAGED.items():
        for split, names in splits.items():
            (folder / split).mkdir(exist_ok=True)
            for name in names:
                Image.open(root / name).convert("RGB").save(folder / split / f"{Path(name).stem}.png")
    sources = wallpapers()
    for index, source in enumerate(sources):
        print(f"{index + 1} of {len(sources)}: {source.name}", file=sys.stderr)
        image = Image.open(source).convert("RGB")
        for factor, filter_ in REDUCTIONS:
            small = image.resize((image.width // factor, image.height // factor), filter_)
            small.save(train / f"{source.stem}_{factor}.png", compress_level=1)
            if factor == 3 and index % 4 == 0:
                small.convert("L").convert("RGB").save(train / f"{source.stem}_grey.png", compress_level=1)


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
