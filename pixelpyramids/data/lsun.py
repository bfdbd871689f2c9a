"""LSUN (Yu et al. 2015), the categories of the paper: its LMDB environments, or folders of files exported from them.

The authors prepare images as torchvision's CenterCrop(256) and Resize(128) do with a Pillow image:

    decode, RGB, centre crop 256x256, resize by Pillow's bilinear filter, which averages where it shrinks
"""

from functools import partial
from os import PathLike
from pathlib import Path

from PIL import Image

from pixelpyramids.data.containers.files import files_below
from pixelpyramids.data.containers.lmdb_environment import LmdbEntries
from pixelpyramids.data.divided import choose_divided
from pixelpyramids.data.images import Entries, Images
from pixelpyramids.data.prepared import PreparedImages, center_crop
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
    """One split of a category of LSUN that lies at `root`: RGB images of size x size pixels.

    `category` is one of TRAIN_COUNTS. `split` is "train", "validation" (held out of train, 1,000 images of the whole
    set), "test" (LSUN's val), or "all"; where `hold_out` is False nothing is held out. Images of the size are taken as
    they are, others are prepared as above. Warns where the counts are not LSUN's.

    Raises DataError where nothing of the split lies at `root`, or an image is neither of the size nor at least 256x256
    (the first when the split is opened, others when they are read), or what lies there is damaged.
    """
    if category not in TRAIN_COUNTS:
        raise DataError(f"expected a category among {', '.join(TRAIN_COUNTS)}, got {category!r}")
    if not 1 <= size <= CROP:
        raise DataError(f"expected LSUN at a size of 1 to {CROP} pixels, to which its images are cropped, got {size}")
    root = Path(root)
    entries, chosen = choose_divided(
        split,
        partial(_open_part, root, category),
        partial(_expected, root, category),
        {"train": TRAIN_COUNTS[category], "val": VAL_COUNT},
        held_out=hold_out,
        seed=seed,
    )
    return PreparedImages(entries, (size, size), chosen, n_bits=n_bits, prepare=partial(_prepare, size))


def _expected(root: Path, category: str, part: str) -> str:
    return (
        f"LSUN's {category} in {root}, as the folder {category}_{part}_lmdb that its archive holds, or as a folder "
        f"{part} of images exported from it"
    )


def _open_part(root: Path, category: str, part: str) -> Entries | None:
    environment = root / f"{category}_{part}_lmdb"
    if environment.is_dir():
        return LmdbEntries(environment)
    folder = split_folders(root).get({"train": "train", "val": "validation"}[part])
    entries = files_below(folder) if folder is not None else None
    return entries if entries is not None and len(entries.names) else None


def _prepare(size: int, image: Image.Image) -> Image.Image:
    if image.size == (size, size):
        return image
    return center_crop(image, CROP).resize((size, size), Image.Resampling.BILINEAR)
