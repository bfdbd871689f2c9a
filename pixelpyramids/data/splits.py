"""Which images of a folder are for training, validation and test: fixed by names and a seed, never by order on disk.

Where the folder has sub-folders `train`, `validation` or `val`, `test`, they decide. A published evaluation split
without another is the test split, and validation is then a hold-out of the training images, so that choosing the best
weights never looks at test images. Without such sub-folders, files rank by SHA-256(seed, relative path).
"""

import hashlib
import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.reading import readable_formats
from pixelpyramids.errors import DataError

SPLITS = ("train", "validation", "test", "all")

TEST_SHARE = 10  # one in ten, and as many for validation, where no sub-folders decide
HOLD_OUT_SHARE = 100  # one training image in a hundred
HOLD_OUT_MOST = 1000


def find_images(root: str | PathLike[str]) -> list[Path]:
    """All image files below `root`, sorted by relative POSIX path; hidden files and folders are skipped.

    A file counts as an image by its extension, any that Pillow decodes; nothing is opened. Links to folders are
    followed, each folder once. Raises DataError where `root` is no folder, holds no image, or cannot be listed.
    """
    root = Path(root)
    if not root.is_dir():
        came = "a file" if root.exists() else "nothing there"
        raise DataError(f"expected a folder of images at {root}, got {came}; give the folder that holds the images")
    found = _walk(root)
    if not found:
        raise DataError(
            f"expected at least one image (.png, .jpg, .webp, .tif, …) in {root} or below, got none; "
            "hidden files and folders do not count"
        )
    return found


def split_files(root: str | PathLike[str], split: str, seed: int = 0, hold_out: bool = True) -> list[Path]:
    """The image files below `root` that belong to `split`: "train", "validation", "test", or "all" of them.

    - Sub-folders (any of `train`, `validation` or `val`, `test`, searched recursively): train is `train`, test is
      `test`, or `validation` where there is no `test`. Validation is `validation` where there is a `test` too, else a
      hold-out of train: one image in a hundred, at least 1 of 2 or more, at most 1,000.
    - None of them: by rank of SHA-256(seed, relative path), one image in ten is for test (at least 1 of 3 or more), the
      next as many for validation, the rest for training.

    `hold_out` False leaves in train what would be held out for validation, and there is no such validation split.
    The three splits share no file. Raises DataError where the split is unknown or empty, or the folder is.
    """
    if split not in SPLITS:
        raise DataError(f"expected a split among {', '.join(SPLITS)}, got {split!r}")
    files = find_images(root)
    if split == "all":
        return files
    splits = _splits(Path(root), files, seed, hold_out)
    if not splits[split]:
        counts = ", ".join(f"{name} {len(members)}" for name, members in splits.items())
        raise DataError(
            f"expected images in the {split} split of {root}, got none ({counts}, all {len(files)}); "
            + _way_out(split, hold_out)
        )
    return splits[split]


def hold_out(count: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of `count` training images that stay in train, and of those held out for validation, ascending.

    One in a hundred, at least 1 of 2 or more, at most 1,000, is held out, at random by the seed.
    """
    held = min(HOLD_OUT_MOST, _share(count, HOLD_OUT_SHARE, fewest=2))
    order = np.random.default_rng([seed, count]).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def _splits(root: Path, files: list[Path], seed: int, hold_out: bool) -> dict[str, list[Path]]:
    folders = {name for name in ("train", "validation", "val", "test") if (root / name).is_dir()}
    if not folders:
        ranked, share = _ranked(root, files, seed), _share(len(files), TEST_SHARE, fewest=3)
        test, validation = set(ranked[:share]), set(ranked[share : 2 * share]) if hold_out else set()
        train = set(files) - test - validation
    else:
        if {"validation", "val"} <= folders:
            raise DataError(
                f"expected one folder of validation images in {root}, got both validation and val; keep one"
            )
        inside = {name: [file for file in files if file.relative_to(root).parts[0] == name] for name in folders}
        published = inside.get("validation", inside.get("val", []))
        train = set(inside.get("train", []))
        if "test" in folders:
            test, validation = set(inside["test"]), set(published)
        else:
            test, validation = set(published), set()
        own_validation = "test" in folders and bool({"validation", "val"} & folders)
        if hold_out and not own_validation:
            ranked = _ranked(root, train, seed)
            validation = set(ranked[: min(HOLD_OUT_MOST, _share(len(ranked), HOLD_OUT_SHARE, fewest=2))])
            train -= validation
    return {
        name: [file for file in files if file in members]
        for name, members in (("train", train), ("validation", validation), ("test", test))
    }


def _ranked(root: Path, files: Iterable[Path], seed: int) -> list[Path]:
    def rank(file: Path) -> bytes:
        return hashlib.sha256(f"{seed}\0{file.relative_to(root).as_posix()}".encode(errors="surrogateescape")).digest()

    return sorted(files, key=rank)


def _share(count: int, one_in: int, fewest: int) -> int:
    return 0 if count < fewest else max(1, count // one_in)


def _way_out(split: str, hold_out: bool) -> str:
    if split == "validation" and not hold_out:
        return "nothing is held out of train here: hold out, or give the folder sub-folders validation and test"
    if split == "train":
        return "put the training images into a sub-folder train, or ask for the split that has images"
    return f"add images, put some into a sub-folder {split}, or ask for another split, such as all"


def _walk(root: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"expected a folder that can be listed at {error.filename}, got: {error.strerror}") from error

    extensions, seen, found = readable_formats(), set(), []
    for folder, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        identity = os.stat(folder)
        if (identity.st_dev, identity.st_ino) in seen:
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        # In order, so that of two links to one folder always the same one is followed.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in extensions
        ]
    return sorted(found, key=lambda file: file.relative_to(root).as_posix())
