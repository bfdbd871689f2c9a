"""LSUN (Yu et al. 2015), the paper's categories, from its LMDB environments or from folders of exported files.

The authors prepare images with torchvision's CenterCrop(256) and Resize(128), which do this to a Pillow image:

    decode, RGB, centre crop 256x256, resize by Pillow's bilinear filter, which averages when it shrinks
"""

from functools import partial
from os import PathLike
from pathlib import Path

from PIL import Image

from pixelpyramids.data.containers.files import FolderEntries
from pixelpyramids.data.containers.lmdb_environment import LmdbEntries
from pixelpyramids.data.images import Entries, Images
from pixelpyramids.data.published_parts import PARTS, open_split
from pixelpyramids.data.reading import center_crop
from pixelpyramids.data.split_names import split_folders
from pixelpyramids.errors import DataError

CROP = 256
"""The shorter side of LSUN's images, and the side of the authors' crop."""

TRAIN_COUNTS = {"bedroom": 3_033_042, "church_outdoor": 126_227, "tower": 708_264}
VAL_COUNT = 300


def open_lsun(
    root: str | PathLike[str],
    category: str,
    split: str,
    size: int,
    *,
    n_bits: int,
    hold_out: bool = True,
    seed: int = 0,
) -> Images:
    """Open one split of a category of the LSUN at `root`, as RGB images of size x size pixels.

    `category` is one of TRAIN_COUNTS. `split` and `hold_out` are those of `open_split`; "test" is LSUN's val. Images
    that already have the size are used as they are; others are prepared as above. Warns if the counts are not LSUN's.

    Raises DataError if `root` has no images of the split, if an image neither has the size nor at least 256x256 pixels
    (the first is checked when the split is opened, others when they are read), or if the data is damaged.
    """
    if category not in TRAIN_COUNTS:
        raise DataError(f"expected a category among {', '.join(TRAIN_COUNTS)}, got {category!r}")
    if not 1 <= size <= CROP:
        raise DataError(f"expected a size of 1 to {CROP} pixels, because LSUN is cropped to {CROP}, got {size}")
    root = Path(root)
    open_part = partial(_open_part, root, category)
    describe_part = partial(_describe_part, root, category)
    counts = {"train": TRAIN_COUNTS[category], "val": VAL_COUNT}
    entries, chosen = open_split(split, open_part, describe_part, counts, hold_out=hold_out, seed=seed)
    return Images.of_one_size(entries, (size, size), chosen, n_bits=n_bits, prepare=partial(_prepare, size))


def _describe_part(root: Path, category: str, part: str) -> str:
    return (
        f"LSUN's {category} in {root}, as the folder {category}_{part}_lmdb from its archive, or as a folder {part} of "
        "images exported from it"
    )


def _open_part(root: Path, category: str, part: str) -> Entries | None:
    environment = root / f"{category}_{part}_lmdb"
    if environment.is_dir():
        return LmdbEntries(environment)
    folder = split_folders(root).get(PARTS[part])
    return None if folder is None else FolderEntries(folder) or None


def _prepare(size: int, image: Image.Image) -> Image.Image:
    if image.size == (size, size):
        return image
    return center_crop(image, CROP).resize((size, size), Image.Resampling.BILINEAR)
