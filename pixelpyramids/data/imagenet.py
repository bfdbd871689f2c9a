"""ImageNet of ILSVRC 2012 (Russakovsky et al. 2015): the original images, or downsampled ones.

The authors' release has no loader for it, and their paper does not say how its images were brought to 128x128. Ours:

    decode, RGB, centre crop to the shorter side, resize by Pillow's box filter

Each pixel of the result is the mean of the source pixels whose centres lie in it. So each source pixel counts once, no
overlap makes neighbours similar, and no ringing adds detail that the bits/dim would measure. If an image is smaller
than the result, its pixels are repeated. The downsampled ImageNet of Chrabaszcz et al. (2017) uses the same filter, but
squeezes the whole image into a square instead of cropping it.
"""

from functools import partial
from os import PathLike
from pathlib import Path

from PIL import Image

from pixelpyramids.data.containers.files import FolderEntries
from pixelpyramids.data.containers.npz import NpzEntries
from pixelpyramids.data.containers.tar import TarEntries
from pixelpyramids.data.images import ConcatenatedEntries, Entries, Images
from pixelpyramids.data.published_parts import PARTS, open_split
from pixelpyramids.data.reading import center_crop
from pixelpyramids.data.split_names import resembles_held_out, split_folders, split_of, splits_in
from pixelpyramids.errors import DataError

COUNTS = {"train": 1_281_167, "val": 50_000}

_TREES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")


def open_imagenet(
    root: str | PathLike[str], split: str, size: int, *, n_bits: int, hold_out: bool = True, seed: int = 0
) -> Images:
    """Open one split of the ImageNet at `root`, as RGB images of size x size pixels.

    `split` and `hold_out` are those of `open_split`; "test" is ImageNet's val. The original images, some of which are
    CMYK, are prepared as above; downsampled ones must already have the size. Warns if the counts are not ILSVRC's.

    Raises DataError if `root` has no images of the split, or has both original and downsampled images, if a downsampled
    image has another size (the first is checked when the split is opened, others when they are read), or if the data
    is damaged.
    """
    root = Path(root)
    downsampled = [path for part in PARTS for path in _find_downsampled(root, part, size)]
    originals = [path for part in PARTS for path in _find_originals(root, part)]
    if downsampled and originals:
        raise DataError(
            f"{root}: expected either downsampled images or ILSVRC's own, got both {downsampled[0].name} and "
            f"{originals[0].relative_to(root)}, whose pixels differ; keep one of the two in the folder"
        )
    open_part = partial(_open_downsampled, root, size) if downsampled else partial(_open_originals, root)
    describe_part = partial(_describe_part, root, size)
    entries, chosen = open_split(split, open_part, describe_part, COUNTS, hold_out=hold_out, seed=seed)
    prepare = None if downsampled else partial(_prepare, size)
    return Images.of_one_size(
        entries, (size, size), chosen, n_bits=n_bits, prepare=prepare, accept_cmyk=prepare is not None
    )


def _describe_part(root: Path, size: int, part: str) -> str:
    return (
        f"ImageNet in {root}, as a folder {part} or ILSVRC/Data/CLS-LOC/{part} of images, the archive "
        f"ILSVRC2012_img_{part}.tar, or downsampled as a folder {part}_{size}x{size} or files {part}*.npz"
    )


def _find_downsampled(root: Path, part: str, size: int) -> list[Path]:
    """Find the folder of images of that size, or the .npz files, of a part."""
    if folder := split_folders(root, f"_{size}x{size}").get(PARTS[part]):
        return [folder]
    files = [file for file in sorted(root.glob("*.npz")) if set(map(split_of, splits_in(file.stem))) == {PARTS[part]}]
    if part == "train" and (unclear := [file.name for file in files if resembles_held_out(file.stem)]):
        raise DataError(
            f"{root}: expected only training images in files named {part}, got {unclear[0]}, which is named like "
            "validation or test images too; move it elsewhere, or rename it"
        )
    return files


def _open_downsampled(root: Path, size: int, part: str) -> Entries | None:
    paths = _find_downsampled(root, part, size)
    if not paths:
        return None
    if paths[0].suffix == ".npz":
        return ConcatenatedEntries([NpzEntries(path) for path in paths])
    return FolderEntries(paths[0]) or None


def _find_originals(root: Path, part: str) -> list[Path]:
    """Find the folders of images, and then the archive, of a part."""
    folders = [split_folders(root / tree).get(PARTS[part]) for tree in _TREES]
    archive = root / f"ILSVRC2012_img_{part}.tar"
    return [folder for folder in folders if folder is not None] + [archive] * archive.is_file()


def _open_originals(root: Path, part: str) -> Entries | None:
    """Open the first of `_find_originals` that is not empty."""
    for path in _find_originals(root, part):
        if path.is_file():
            return TarEntries([path])
        # The archive of train contains one archive of each class; some people unpack only the outer one.
        if classes := sorted(path.glob("n*.tar")):
            return TarEntries(classes)
        if entries := FolderEntries(path):
            return entries
    return None


def _prepare(size: int, image: Image.Image) -> Image.Image:
    return center_crop(image, min(image.size)).resize((size, size), Image.Resampling.BOX)
