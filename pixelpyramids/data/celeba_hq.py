"""CelebA-HQ (Karras et al. 2018) in the forms in which people have it: folders, a zip, HDF5, TFRecords.

It has 30,000 images, 27,000 for training and 3,000 for test. Only the names of files decide which form it is. If a copy
is divided into splits, these are used. If not, the first nine tenths of the images are for training and the rest for
test. Nothing is cropped or resized. Copies differ in their pixels; `formats` says how an image is stored.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from pixelpyramids.data.containers.files import FileEntries
from pixelpyramids.data.containers.hdf5 import Hdf5Entries, describe_datasets, image_size, list_datasets
from pixelpyramids.data.containers.tfrecord import TfRecordEntries
from pixelpyramids.data.containers.zip_archive import ZipEntries
from pixelpyramids.data.images import ConcatenatedEntries, Entries, Images
from pixelpyramids.data.shard_names import describe_incomplete_sets
from pixelpyramids.data.split_names import NAMES, divide, refuse_linked_splits, resembles_split, shared_depth, split_of
from pixelpyramids.data.splits import hold_out_indices, image_names, named_splits, published_splits, select_split
from pixelpyramids.errors import DataError

TRAIN_COUNT, TEST_COUNT = 27_000, 3_000

_ACCEPTED = (
    "folders train and validation (or val, or test) of images, each with any folders below, or a folder of images "
    "without these names; one zip archive of either; one HDF5 file (.h5, .hdf5) with a dataset of the requested size, "
    "or datasets train and validation (or val, or test); or TFRecords: NAME-r08.tfrecords for 256x256, "
    "NAME-r10.tfrecords for 1024x1024, or shards in train and validation"
)

# CelebAMask-HQ, the source of most copies of 1024x1024, has masks beside the folder of this name.
_IMAGES_OF_CELEBAMASK = "CelebA-HQ-img"

_RESOLUTION = re.compile(r"-r(\d\d)\b")

_Splits = Mapping[str, Sequence[int]]


def open_celeba_hq(
    root: str | PathLike[str], split: str, size: int, *, n_bits: int, hold_out: bool = True, seed: int = 0
) -> Images:
    """Open one split of the CelebA-HQ at `root`, a folder or a file, as RGB images of size x size pixels.

    `split` is "train", "validation", "test" (the published 3,000), or "all". If the copy
    has no validation part, one training image in a hundred (at most 1,000) is held out for validation, unless
    `hold_out` is False. Warns if the counts are not 27,000 and 3,000.

    Raises DataError if `root` has none of the accepted forms or more than one, if the split is empty, if an image has
    another size (the first is checked when the split is opened, others when they are read), or if the data is damaged.
    """
    root = Path(root)
    entries, splits = _open_form(root, size, seed, hold_out)
    chosen = select_split(split, splits, root, hold_out)
    train, test = len(splits["train"]) + len(splits["validation"]), len(splits["test"])
    if (train, test) != (TRAIN_COUNT, TEST_COUNT):
        warnings.warn(
            f"{root}: expected {TRAIN_COUNT} images for training and validation and {TEST_COUNT} for test, as "
            f"CelebA-HQ has, got {train} and {test}; figures are not comparable with those of the whole set",
            stacklevel=2,
        )
    return Images.of_one_size(entries, (size, size), chosen, n_bits=n_bits)


def _open_form(root: Path, size: int, seed: int, hold_out: bool) -> tuple[Entries, _Splits]:
    """Open the images in any form. Returns them and the indices of each split."""

    def choose_held_out(train: Sequence[int]) -> list[int]:
        return [train[index] for index in hold_out_indices(len(train), seed)[1]]

    kind, paths = _find_form(root)
    if kind == "HDF5 file":
        entries, parts = _open_hdf5(paths[0], size)
    elif kind == "TFRecord file":
        entries, parts = _open_records(root, paths, size)
    else:
        entries, top = (ZipEntries(paths[0]), paths[0]) if kind == "zip archive" else (FileEntries(paths), root)
        below = [entries.name(index).relative_to(top) for index in range(len(entries))]
        indices, names = _images_below(below)
        if divide(names, root):
            splits = named_splits(names, root, seed, hold_out)
            return entries, {split: [indices[i] for i in members] for split, members in splits.items()}
        parts = {"": [indices[i] for i in sorted(range(len(names)), key=lambda i: _natural_key(names[i]))]}
    if "" in parts:
        warnings.warn(
            f"{root}: no folders or datasets for splits, so the last tenth of the images is for test; these are not "
            "the published test images: published models may have been trained on them, and figures are not comparable",
            stacklevel=3,
        )
        count = len(parts[""]) * TRAIN_COUNT // (TRAIN_COUNT + TEST_COUNT)
        parts = {"train": parts[""][:count], "test": parts[""][count:]}
    return entries, published_splits(parts, choose_held_out if hold_out else None)


def _find_form(root: Path) -> tuple[str, list[Path]]:
    """Find the kind of files that hold the images, and the files: one zip or HDF5 file, or any number of others."""
    images: list[Path] = []
    beside, below = [root] if root.is_file() else [], []
    if root.is_dir():
        links: dict[str, str] = {}
        images = [root / name for name in sorted(image_names(root, links))]
        refuse_linked_splits(links, root)
        beside = sorted(root.iterdir())
        folders = [path for path in beside if resembles_split(path.name) and path.is_dir()]
        below = [path for folder in folders for path in sorted(folder.iterdir())]
    found = {
        "image file": images,
        "zip archive": _select_files(beside, r"\.zip$"),
        "HDF5 file": _select_files(beside, r"\.(h5|hdf5)$"),
        "TFRecord file": _select_files(beside + below, r"\.tfrecords?(\.\d+)?$"),
    }
    kinds = [kind for kind, members in found.items() if members]
    if len(kinds) != 1 or (kinds[0] in ("zip archive", "HDF5 file") and len(found[kinds[0]]) > 1):
        got = ", ".join(f"{len(found[kind])} {kind}(s), such as {found[kind][0].name}" for kind in kinds)
        if not kinds:
            got = "a folder without them" if root.is_dir() else "another file" if root.exists() else "nothing there"
        raise DataError(f"{root}: expected CelebA-HQ as {_ACCEPTED}, got {got}; pass the folder or file of one form")
    return kinds[0], found[kinds[0]]


def _select_files(paths: Sequence[Path], pattern: str) -> list[Path]:
    """The visible files whose names match. Names are checked first, because there may be many files."""
    named = (path for path in paths if re.search(pattern, path.name, re.IGNORECASE) and not path.name.startswith("."))
    return [path for path in named if path.is_file()]


def _images_below(paths: Sequence[Path]) -> tuple[list[int], list[str]]:
    """The indices of the images among `paths`, and their POSIX paths below the folder that holds them all."""
    indices = [i for i, path in enumerate(paths) if _IMAGES_OF_CELEBAMASK in path.parts] or list(range(len(paths)))
    depth = shared_depth([paths[index].parts[:-1] for index in indices])
    return indices, ["/".join(paths[index].parts[depth:]) for index in indices]


def _natural_key(name: str) -> tuple[list[str | int], str]:
    """A key that sorts numbers in names by value: 10.jpg sorts like 00010.jpg."""
    pieces = re.split("([0-9]+)", name)
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], name


def _open_hdf5(path: Path, size: int) -> tuple[Entries, _Splits]:
    """Open the images of an HDF5 file. Returns them and the indices of each part."""
    datasets = list_datasets(path)
    of_part: dict[str, list[str]] = {}
    for name, (shape, dtype) in datasets.items():
        if image_size(shape) == (size, size) and dtype == np.uint8:
            of_part.setdefault(next(filter(None, map(split_of, name.split("/"))), ""), []).append(name)
    is_unclear = any(resembles_split(part) for name in of_part.get("", ()) for part in name.split("/"))
    if len(of_part) > 1:
        of_part.pop("", None)
    if is_unclear or not of_part or any(len(names) > 1 for names in of_part.values()):
        raise DataError(
            f"{path}: expected one dataset of uint8 images of {size}x{size} pixels, (N, 3, H, W) or (N, H, W, 3), such "
            f"as data{size}x{size}, or one each called {', '.join(NAMES)}, got {describe_datasets(datasets)}; rename "
            "or remove the others"
        )
    return _concatenate({part: [Hdf5Entries(path, names[0])] for part, names in of_part.items()})


def _open_records(root: Path, files: Sequence[Path], size: int) -> tuple[Entries, _Splits]:
    """Open TFRecord files, of the given size if the names say sizes. Returns images, and the indices of each part."""
    top = root if root.is_dir() else root.parent
    names = [file.relative_to(top).as_posix() for file in files]
    if len({"/" in name for name in names}) > 1:
        raise DataError(
            f"{root}: expected TFRecord files either in the folder or in its subfolders, got both; keep one"
        )
    parts = divide(names, root) or {"": list(range(len(files)))}
    shards = {part: _select_shards([files[i] for i in members], size) for part, members in parts.items()}
    return _concatenate({part: [TfRecordEntries(file) for file in members] for part, members in shards.items()})


def _select_shards(files: Sequence[Path], size: int) -> list[Path]:
    """The files of one size in a folder, in order. Raises DataError if one is missing or of another data set."""
    folder, exponent = files[0].parent, f"{size.bit_length() - 1:02d}"
    sizes = {file: match[1] for file in files if (match := _RESOLUTION.search(file.name))}
    if sizes:
        files = [file for file, found in sizes.items() if found == exponent]
    if not files:
        raise DataError(
            f"{folder}: expected TFRecord files with -r{exponent} in their names, for {size}x{size} pixels, got those "
            f"of -r{', -r'.join(sorted(set(sizes.values())))}; get the files of that size, or parameters for another"
        )
    files = sorted(files, key=lambda file: _natural_key(file.name))
    kinds = sorted({re.sub("[0-9]+", "N", file.name) for file in files})
    if len(kinds) > 1:
        raise DataError(f"{folder}: expected the TFRecord files of one data set, got {', '.join(kinds)}; keep one")
    for incomplete in describe_incomplete_sets(files):
        raise DataError(f"{incomplete}; get the others")
    return files


def _concatenate(of_part: Mapping[str, Sequence[Entries]]) -> tuple[Entries, _Splits]:
    """Join the entries of all parts. Returns them and the indices of each part."""
    entries = ConcatenatedEntries([entries for members in of_part.values() for entries in members])
    stops = np.cumsum([sum(map(len, members)) for members in of_part.values()]).tolist()
    return entries, {part: range(start, stop) for part, start, stop in zip(of_part, [0, *stops], stops, strict=False)}
