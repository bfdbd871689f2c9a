"""ImageNet of ILSVRC 2012 (Russakovsky et al. 2015), as it comes or downsampled.

The authors' release has no loader for it and their paper does not say how its images were brought to 128x128. Ours:

    decode, RGB, centre crop to the shorter side, resize by Pillow's box filter

Each pixel of the result is the mean of those of the source whose centres lie in it: each of the source counts once, and
no overlap makes neighbours alike, no ringing adds detail, which the bits/dim would measure. An image that is smaller
than the result repeats its pixels. The downsampled ImageNet of Chrabaszcz et al. (2017) has the same filter, but there
the whole image is squeezed into a square instead of cropped.
"""

from functools import partial
from os import PathLike
from pathlib import Path

from PIL import Image

from pixelpyramids.data.containers.files import files_below
from pixelpyramids.data.containers.joined import JoinedEntries
from pixelpyramids.data.containers.npz import NpzEntries
from pixelpyramids.data.containers.tar import TarEntries
from pixelpyramids.data.divided import PARTS, choose_divided
from pixelpyramids.data.images import Entries, Images
from pixelpyramids.data.prepared import PreparedImages, center_crop
from pixelpyramids.data.split_names import resembles_held_out, split_folders, split_of, splits_in
from pixelpyramids.errors import DataError

COUNTS = {"train": 1_281_167, "val": 50_000}

_TREES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
_SPLITS = {"train": "train", "val": "validation"}


def open_imagenet(
    root: str | PathLike[str], split: str, size: int, *, n_bits: int, hold_out: bool = True, seed: int = 0
) -> Images:
    """One split of the ImageNet that lies at `root`: RGB images of size x size pixels.

    `split` is "train", "validation" (held out of train, 1,000 images of the whole set), "test" (ImageNet's val), or
    "all"; where `hold_out` is False nothing is held out. ILSVRC's images, its CMYK ones among them, are prepared as
    above; downsampled ones must have the size. Warns where the counts are not ILSVRC's.

    Raises DataError where nothing of the split lies at `root`, or both ILSVRC's images and downsampled ones, where a
    downsampled image has another size (the first when the split is opened, others when they are read), or what lies
    there is damaged.
    """
    root = Path(root)
    downsampled = [path for part in PARTS for path in _downsampled(root, part, size)]
    originals = [path for part in PARTS for path in _originals(root, part)]
    if downsampled and originals:
        raise DataError(
            f"{root}: expected either downsampled images or ILSVRC's own, got both {downsampled[0].name} and "
            f"{originals[0].relative_to(root)}, whose pixels differ; keep one of the two in the folder"
        )
    entries, chosen = choose_divided(
        split,
        partial(_open_downsampled, root, size) if downsampled else partial(_open_original, root),
        partial(_expected, root, size),
        COUNTS,
        held_out=hold_out,
        seed=seed,
    )
    if downsampled:
        return PreparedImages(entries, (size, size), chosen, n_bits=n_bits)
    prepare = partial(_prepare, size)
    return PreparedImages(entries, (size, size), chosen, n_bits=n_bits, prepare=prepare, accept_cmyk=True)


def _expected(root: Path, size: int, part: str) -> str:
    return (
        f"ImageNet in {root}, as a folder {part} or ILSVRC/Data/CLS-LOC/{part} of images, the archive "
        f"ILSVRC2012_img_{part}.tar, or downsampled as a folder {part}_{size}x{size} or files "
        f"{part}*.npz"
    )


def _downsampled(root: Path, part: str, size: int) -> list[Path]:
    """The folder of images of that size, or the .npz files, of a part."""
    if folder := split_folders(root, f"_{size}x{size}").get(_SPLITS[part]):
        return [folder]
    files = [file for file in sorted(root.glob("*.npz")) if set(map(split_of, splits_in(file.stem))) == {_SPLITS[part]}]
    if part == "train" and (unclear := [file.name for file in files if resembles_held_out(file.stem)]):
        raise DataError(
            f"{root}: expected only training images in files named {part}, got {unclear[0]}, which is named like "
            "validation or test images too; move it elsewhere, or rename it"
        )
    return files


def _open_downsampled(root: Path, size: int, part: str) -> Entries | None:
    paths = _downsampled(root, part, size)
    if not paths:
        return None
    if paths[0].suffix == ".npz":
        return JoinedEntries([NpzEntries(path) for path in paths])
    return _filled(files_below(paths[0]))


def _originals(root: Path, part: str) -> list[Path]:
    """The folders of images, and the archive, of a part; of folders the first counts, and then the archive."""
    folders = [split_folders(root / tree).get(_SPLITS[part]) for tree in _TREES]
    archive = root / f"ILSVRC2012_img_{part}.tar"
    return [folder for folder in folders if folder is not None] + [archive] * archive.is_file()


def _open_original(root: Path, part: str) -> Entries | None:
    for path in _originals(root, part):
        if path.is_file():
            return TarEntries([path])
        # The archive of train holds one of each class; some unpack it and leave these.
        if classes := sorted(path.glob("n*.tar")):
            return TarEntries(classes)
        if entries := _filled(files_below(path)):
            return entries
    return None


def _filled(entries: Entries) -> Entries | None:
    return entries if len(entries.names) else None


def _prepare(size: int, image: Image.Image) -> Image.Image:
    return center_crop(image, min(image.size)).resize((size, size), Image.Resampling.BOX)
