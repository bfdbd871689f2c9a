"""Which images of a folder are for training, validation and test. Names and a seed decide, never the order on disk.

A published evaluation split is the test split, so that test images never help to choose the weights.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.split_names import divide, refuse_linked_splits
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.image_files.listing import is_hidden, refuse_unlisted, walk_files
from pixelpyramids.image_files.pillow_reading import readable_formats

SPLITS = ("train", "validation", "test", "all")

TEST_SHARE = 10  # one image in ten, and as many for validation, if no sub-folders decide
HOLD_OUT_SHARE = 100  # one training image in a hundred
HOLD_OUT_MOST = 1000


def find_images(root: str | PathLike[str], links: dict[str, str] | None = None) -> list[Path]:
    """All image files below `root`, sorted by relative POSIX path; hidden files and folders are skipped.

    A file is an image if it has an extension of a format that Pillow decodes; no file is opened. Links to folders are
    followed, each folder once; `links` is that of `image_names`. Raises DataError if `root` is not a folder, holds no
    image, or cannot be listed.
    """
    root = Path(root)
    if not root.is_dir():
        got = "a file" if root.exists() else "nothing there"
        raise DataError(f"{root}: expected a folder of images, got {got}; pass the folder that holds the images")
    found = [root / name for name in sorted(image_names(root, links))]
    if not found:
        raise DataError(
            f"{root}: expected at least one image (.png, .jpg, .webp, .tif, …) in the folder or below, got none; "
            "hidden files and folders do not count"
        )
    return found


def split_files(root: str | PathLike[str], split: str, seed: int = 0, hold_out: bool = True) -> list[Path]:
    """The image files below `root` that belong to `split`: "train", "validation", "test", or "all" of them.

    - If there are split folders (see `divide`): test is the test folder, or the validation folder if there is no test
      folder. Validation is the validation folder if there is a test folder too, else a hold-out of train: one image in
      a hundred, at least 1 of 2 or more, at most 1,000.
    - If there are none: by rank of SHA-256(seed, relative path), one image in ten is for test (at least 1 of 3 or
      more), as many again for validation, and the rest for training.

    If `hold_out` is False, the images that would be held out for validation stay in train. The three splits share no
    file. Raises DataError if the split is unknown, or if it or the folder is empty. For splits other than "all", it
    also raises the errors of `divide`, and DataError if a link puts one folder into two splits.
    """
    check_split(split)
    links: dict[str, str] = {}
    files = find_images(root, links)
    if split == "all":
        return files
    refuse_linked_splits(links, root)
    names = [file.relative_to(root).as_posix() for file in files]
    return [files[index] for index in select_split(split, named_splits(names, root, seed, hold_out), root, hold_out)]


def is_divided(root: str | PathLike[str]) -> bool:
    """Whether `root` has split folders. Raises DataError as `divide` does."""
    return bool(divide([file.relative_to(root).as_posix() for file in find_images(root)], root))


def check_split(split: str) -> None:
    """Raise DataError if there is no split of that name."""
    if split not in SPLITS:
        raise DataError(f"expected a split among {', '.join(SPLITS)}, got {split!r}")


def select_split(
    split: str, splits: Mapping[str, Sequence[int]], root: str | PathLike[str], hold_out: bool = True
) -> Sequence[int]:
    """The indices of one split, or of all for "all", ascending. Raises EmptySplitError if there are none.

    Raises DataError as `check_split` does.
    """
    check_split(split)
    everything = sorted(index for members in splits.values() for index in members)
    if split == "all":
        return everything
    if not splits[split]:
        counts = ", ".join(f"{name} {len(members)}" for name, members in splits.items())
        raise EmptySplitError(
            f"expected images in the {split} split of {root}, got none ({counts}, all {len(everything)}); "
            + _way_out(split, hold_out)
        )
    return splits[split]


def hold_out_indices(count: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of `count` training images that stay in train, and of those held out for validation, ascending.

    The seed chooses one image in a hundred at random: at least 1 (of 2 or more), at most 1,000.
    """
    held = _hold_out_count(count)
    order = np.random.default_rng([seed, count]).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def named_splits(
    names: Sequence[str], root: str | PathLike[str], seed: int = 0, hold_out: bool = True
) -> dict[str, list[int]]:
    """The indices of train, validation and test, ascending, of images whose POSIX paths below `root` are `names`.

    The rules are those of `split_files`. Raises DataError as `divide` does.
    """

    def sort_by_rank(indices: Iterable[int]) -> list[int]:
        def rank(index: int) -> bytes:
            return hashlib.sha256(f"{seed}\0{names[index]}".encode(errors="surrogateescape")).digest()

        return sorted(indices, key=rank)

    def choose_held_out(train: Sequence[int]) -> list[int]:
        return sort_by_rank(train)[: _hold_out_count(len(train))]

    parts = divide(names, root)
    if parts:
        return published_splits(parts, choose_held_out if hold_out else None)
    order, share = sort_by_rank(range(len(names))), _share(len(names), TEST_SHARE, fewest=3)
    held = share if hold_out else 0
    return {
        "train": sorted(order[share + held :]),
        "validation": sorted(order[share : share + held]),
        "test": sorted(order[:share]),
    }


def published_splits(
    parts: Mapping[str, Sequence[int]], held_out: Callable[[Sequence[int]], Iterable[int]] | None
) -> dict[str, list[int]]:
    """The indices of train, validation and test of a data set that is already divided into `parts`.

    Unless there are both a validation and a test part, `held_out` chooses the training images that become validation.
    If it is None, validation is then empty.
    """
    train, published = list(parts.get("train", [])), list(parts.get("validation", []))
    if "test" in parts:
        test, validation = list(parts["test"]), published
    else:
        test, validation = published, []
    if held_out is not None and not ("test" in parts and published):
        chosen = set(held_out(train))
        validation = [index for index in train if index in chosen]
        train = [index for index in train if index not in chosen]
    return {"train": train, "validation": validation, "test": test}


def _hold_out_count(count: int) -> int:
    return min(HOLD_OUT_MOST, _share(count, HOLD_OUT_SHARE, fewest=2))


def _share(count: int, one_in: int, fewest: int) -> int:
    return 0 if count < fewest else max(1, count // one_in)


def _way_out(split: str, hold_out: bool) -> str:
    if split == "validation" and not hold_out:
        return "nothing is held out of train here: hold images out, or make sub-folders validation and test"
    if split == "train":
        return "put the training images into a sub-folder train, or choose the split that has images"
    if split == "validation":
        return "add images, so that there are at least three, or pass --no-validation to train on all of them"
    return f"add images, put some into a sub-folder {split}, or choose another split, such as all"


def image_names(root: Path, links: dict[str, str] | None = None) -> Iterator[str]:
    """The POSIX paths below `root` of what `find_images` finds, in no particular order.

    If a folder is reached a second time, it is not entered, and `links` receives its second path and its first.
    """
    extensions = readable_formats()
    for name in walk_files(root, refuse_unlisted, links):
        if not is_hidden(name) and os.path.splitext(name)[1].lower() in extensions:
            yield name


def is_image_name(path: str, *suffixes: str) -> bool:
    """Whether a path in an archive is not hidden and has the suffix of an image, or one of `suffixes`."""
    if any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts):
        return False
    suffix = os.path.splitext(path)[1].lower()
    return suffix in suffixes or suffix in readable_formats()
