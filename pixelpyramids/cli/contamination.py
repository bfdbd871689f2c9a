"""Keep training images out of evaluations: what `train` refuses, and which images `evaluate` scores by default."""

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from glob import has_magic
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from pixelpyramids.cli.console import stderr
from pixelpyramids.cli.data_opening import is_plain_folder, name_images, open_images, open_training
from pixelpyramids.data.batches import Batches
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.identity import (
    ENTRIES_AT_MOST,
    FILES_AT_MOST,
    are_files,
    as_numbers,
    file_fingerprints,
    image_numbers,
    same_files,
)
from pixelpyramids.data.images import Images
from pixelpyramids.data.split_names import is_split_column, resembles_held_out, resembles_split, split_of
from pixelpyramids.data.splits import find_images, is_divided
from pixelpyramids.errors import DataError, EmptySplitError, PixelPyramidsError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.file_source import DAMAGE
from pixelpyramids.image_files.listing import walk_files
from pixelpyramids.model.parameters import AnyParameters
from pixelpyramids.terminal import count_of
from pixelpyramids.training.provenance import read_sessions, read_trained_on
from pixelpyramids.training.session import training_hashes

PAIRS_NAMED = 3
_LONGEST_LINE = 2**16  # that is searched for the names of columns, or of images
_FILES_BESIDE = 10_000  # that are looked at outside the folder of images
_NUMBER = re.compile(r"\d{1,5}|-?\d+\.\d+(e[-+]?\d+)?")  # no name of an image; VOC's are longer, such as 000005
_LIST_NAME = re.compile("split|partition|(test|val|eval|dev)[-_ ]?(list|files|ids|names|classes)", re.IGNORECASE)
_LISTS = {".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".lst", ".mat", ".pkl", ".xml", ".yaml"}


def refuse_among_images(config: AnyParameters, data: str | Path | None, out: Path, what: str) -> None:
    """Raise DataError if pictures written to `out` would be inside the folder of images, and used for training."""
    root = name_images(config, data)
    if is_plain_folder(config, data) and out.resolve().is_relative_to(Path(root).resolve()):
        raise DataError(
            f"{out}: expected a {what} outside the folder of images {root}, because all pictures in it are images of "
            "the data set; choose or move it elsewhere"
        )


def refuse_shared_images(
    config: AnyParameters, data: str | Path | None, crops: Batches, run: Path, hold_out: bool
) -> None:
    """Raise DataError if a training file is also in the folder for validation or test.

    If the package itself held out the other file, because there is no such folder, only warn. Also warn if the run was
    already trained on files that are for validation or test now. Files are compared by their sizes and ends first,
    so 30,000 files take seconds. Other data are not compared, and a line says so.
    """
    root = name_images(config, data)
    place = Path(root.removeprefix("stream:"))
    name = next((part for part in reversed(place.resolve().parts) if not has_magic(part)), "")
    if not root.startswith("hub:") and resembles_held_out(name):
        warnings.warn(
            f"{root}: training on data named {name}, which suggests images for validation or test", stacklevel=2
        )
    warn_of_names(config, data, crops)
    files = _files_of(crops)
    if not 0 < len(files) <= FILES_AT_MOST:
        stderr.print(
            "training images are not compared with validation and test images, because only folders of up to "
            f"{FILES_AT_MOST:,} files are; run `pixelpyramids data check` to compare them"
        )
        return
    held_out: list[Path] = []
    for split in ("validation", "test"):
        with suppress(EmptySplitError):
            held_out += open_images(config, data, split, hold_out).files
    if trained := find_trained(run, held_out):
        warnings.warn(
            f"{run}: an earlier session was trained on at least {len(trained)} of the images that are for validation "
            f"or test now, for example {trained[0]}; do not trust results on them",
            stacklevel=2,
        )
    if pairs := same_files(files, held_out):
        in_folders = [(one, other) for one, other in pairs if _is_in_held_out_folder(other.relative_to(root))]
        named = ", ".join(f"{one} and {other}" for one, other in (in_folders or pairs)[:PAIRS_NAMED])
        message = (
            f"{root}: expected no training image among the validation and test images, got {len(pairs)}, for example "
            f"{named}; remove one of each pair"
        )
        if in_folders:
            raise DataError(message)
        warnings.warn(message, stacklevel=2)


def _is_in_held_out_folder(file: Path) -> bool:
    return any(split_of(folder) not in (None, "train") for folder in file.parts[:-1])


def warn_of_names(config: AnyParameters, data: str | Path | None, crops: Batches) -> None:
    """Warn if files that are trained on are named like held-out images, or if there are lists of splits.

    Many data sets publish their splits as lists, such as `test.txt`, which this package does not read. This function
    looks for them in and beside folders without split folders, and there for pictures in two formats, such as `1.jpg`
    and `1.tif`. It also prints how such a folder is divided, because its folders may be splits with names that this
    package does not know.
    """
    root, files = name_images(config, data), _files_of(crops)
    if is_pooled := is_plain_folder(config, data) and not is_divided(root):
        stderr.print(
            f"{root}: no folders named train, validation or test, so a hash of the paths assigns about a tenth of the "
            "images to test, and a tenth to validation"
        )
    if held_out := [file for file in files if resembles_held_out(file.stem)]:
        warnings.warn(
            f"{count_of(len(held_out), 'training image')} named like validation or test images, for example "
            f"{held_out[0]}; if they are, move them elsewhere",
            stacklevel=3,
        )
    if not is_pooled:
        return
    trained = {(file.stem, file.suffix): file for file in files}
    others, formats = sorted(set(find_images(root)) - set(files)), {suffix for _, suffix in trained}
    named = ((file, trained.get((file.stem, suffix))) for file in others for suffix in formats - {file.suffix})
    if alike := [(file, other) for file, other in named if other is not None]:
        warnings.warn(
            f"{root}: {len(alike)} of the images for validation or test have the name of a training image in another "
            f"format, such as {alike[0][0]} and {alike[0][1]}; if they show the same picture, keep one of each",
            stacklevel=3,
        )
    lists = sorted(file for file in walk_files(Path(root), lambda _: None) if _is_list(Path(root, file)))
    if first := next(chain(lists, _lists_beside(Path(root), files)), None):
        warnings.warn(
            f"{root}: {first} looks like a list of test images, but lists are not read: a hash of the paths "
            "chooses the test images; if it is one, move the images into folders named train and test",
            stacklevel=3,
        )


def _is_list(file: Path) -> bool:
    """Whether a file may say which images are for test, by its name or those of its columns."""
    if Path(file.name.lower().removesuffix(".gz")).suffix not in _LISTS or not os.path.isfile(file):
        return False
    is_named = resembles_split(file.stem) or _LIST_NAME.search(file.stem)
    return bool(is_named) or any(map(is_split_column, _read_columns(file)))


def _lists_beside(root: Path, images: Sequence[Path]) -> Iterator[Path]:
    """Lists in the folder that holds `root`, and in its other folders, that name two or more of the images.

    In that folder itself, the name of a file may suffice, because some lists (CUB-200's) have numbers instead.
    """
    above, stems = root.resolve().parent, {image.stem for image in images}
    for file in filter(_is_list, islice(_files_beside(root.resolve()), _FILES_BESIDE)):
        if (file.parent == above and _LIST_NAME.search(file.stem)) or len(stems & _read_stems(file)) > 1:
            yield file


def _files_beside(root: Path) -> Iterator[Path]:
    """Files in the folder that holds `root` and in its other folders, two deep. None if `root` resembles a split."""
    for folder, inner, names in os.walk(root.parent) if not resembles_split(root.name) else ():
        depth = len(Path(folder).relative_to(root.parent).parts)
        inner[:] = sorted(name for name in inner if depth < 2 and name[0] != "." and Path(folder, name) != root)
        yield from (Path(folder, name) for name in sorted(names))


def _read_stems(file: Path) -> set[str]:
    """The first words of a text that may be names of files, without suffix; none if it cannot be read."""
    with suppress(OSError), open(file, encoding="utf-8-sig", errors="replace") as text:
        words = re.findall(r"[^\s,;:\"'\[\]{}]+", text.read(_LONGEST_LINE))
        return {Path(word).stem for word in words if not _NUMBER.fullmatch(word)}
    return set()


def _read_columns(file: Path) -> list[str]:
    """The columns of a .csv, .tsv or .parquet file, or the keys of a .jsonl file.

    None of other files, if it is damaged, or of a .parquet file if pyarrow is not installed.
    """
    if file.suffix.lower() == ".parquet":
        with suppress(PixelPyramidsError, *DAMAGE):
            return list(import_extra("pyarrow.parquet", "data").read_schema(file).names)
    if file.suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        return []
    with suppress(OSError, ValueError, RecursionError), open(file, encoding="utf-8-sig", errors="replace") as table:
        line = table.readline(_LONGEST_LINE)
        if file.suffix.lower() != ".jsonl":
            return [name.strip("\" '") for name in re.split("[,;\t]", line.strip())]
        return list(row) if isinstance(row := json.loads(line), dict) else []
    return []


def _files_of(crops: Batches) -> Sequence[Path]:
    """The training images, if they are files; otherwise none."""
    return crops.folder.files if isinstance(crops, Crops) and are_files(crops.folder) else ()


def find_trained(run: Path, files: Sequence[Path]) -> list[Path]:
    """The files that the run was trained on; none if that is not recorded, or if the run was trained on a container."""
    known = read_trained_on(run)
    if not len(known):
        return []
    trained = np.logical_or(*np.isin(as_numbers(map(file_fingerprints, files)), known).T)
    return [file for file, was in zip(files, trained, strict=True) if was]


def count_trained(config: AnyParameters, run: Path, images: Images, skipped: Sequence[Path]) -> tuple[int | None, bool]:
    """How many of the images that were not skipped the run was trained on, and whether that is exact or a lower bound.

    A bound is for runs that did not record all their training images, which may be too many, of an earlier version, or
    not files where `images` are files. The number is None if nothing is known: for large containers, or if it is 0.
    """
    known, files = read_trained_on(run), are_files(images)
    if not len(known) or len(images) > _covered(files):
        return None, False
    sessions = read_sessions(run)
    is_complete = _is_recorded(config, sessions) and all(
        _is_comparable(session["training_data"], files) for session in sessions
    )
    count = int(np.isin(image_numbers(images), known).any(axis=1).sum())
    if files:  # entries of containers that cannot be read have no number
        count -= len(find_trained(run, skipped))
    return count or (0 if is_complete else None), is_complete


def _is_comparable(trained: Mapping[str, Any], files: bool) -> bool:
    """Whether a session recorded all its training images, as files or else as entries of a container."""
    return trained.get("files") == files and trained["images"] <= _covered(files)


def _covered(files: bool) -> int:
    return FILES_AT_MOST if files else ENTRIES_AT_MOST


def _is_recorded(config: AnyParameters, sessions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the sessions of a run cover all levels from their first step on."""
    places = [place for session in sessions for place in session["levels"].items()]
    return {str(level) for level in range(config.n_stages)} <= {level for level, at in places if not at["first_step"]}


def choose_images(
    config: AnyParameters, data: str | Path | None, split: str | None, sessions: Sequence[Mapping[str, Any]]
) -> tuple[str, Images, str]:
    """The split to score, its images, and a line that says which images they are ("" if split folders say it).

    The default split is "test". A folder without split folders has a test split only for a model that was trained on
    the rest of the folder; for other models the default is "all". `sessions` are the training sessions of the run.
    If they do not cover the whole training, or one was trained on shards or a stream, whose images cannot be compared
    with files, the line says that some of the images may have been trained on.

    Raises DataError as `open_images` does. Also raises it if the run was trained on this folder, or on one above or
    below it, and the images have changed since: then any split may contain images that were trained on.
    """
    root, trained = name_images(config, data), [session["training_data"] for session in sessions]
    if split == "validation" and trained:
        whole, rest = (_hashes(config, root, hold_out) for hold_out in (False, True))
        if (whole - rest) & {images["sha256"] for images in trained}:
            raise DataError(
                f"{root}: expected validation images that the run was not trained on, but it was trained with "
                "--no-validation, so it held none out; pass --split test"
            )
    if not is_plain_folder(config, data) or split in ("train", "all") or is_divided(root):
        split = split or "test"
        return split, open_images(config, data, split), ""
    others = _other_images(config, root, trained)
    known = len(others) < len(trained)
    if split is None and not known:
        images = open_images(config, data, "all")
        unrecorded = (
            f"all {len(images)} images: the model's training images are not recorded, and may be among these; "
            "--split test scores the test split of its training folder"
        )
        return "all", images, "" if _is_recorded(config, sessions) else unrecorded
    split = split or "test"
    images = open_images(config, data, split)
    count, all_count = len(images) + len(images.skipped), len(find_images(root))
    which = "of the training folder" if known else "by a hash of their paths"
    if not _is_recorded(config, sessions) or not all(_is_comparable(other, True) for other in others):
        which += ", but the run was trained on images that cannot be compared with these, and may be the same"
    return split, images, f"{count} of {all_count} images: the {split} split {which}; --split all scores all"


def _other_images(
    config: AnyParameters, root: str, trained: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Those of `trained` that are not the training split of this undivided folder, or of a copy of it."""
    if not trained:
        return ()
    hashes = _hashes(config, root, True) | _hashes(config, root, False)
    others = [images for images in trained if images["sha256"] not in hashes]
    place = Path(root).resolve()
    for other in (Path(images["root"]).resolve() for images in others if "root" in images):
        if other.is_relative_to(place) or place.is_relative_to(other):
            raise DataError(
                f"{root}: expected a folder that the run was not trained on, or its training folder without any "
                f"change; the run was trained on other images in {other}, which is this folder or one above or below "
                "it, so any image here may have been trained on; score another folder, or pass --split all"
            )
    return others


def _hashes(config: AnyParameters, root: str, hold_out: bool) -> set[str]:
    """The hashes of the training images that sessions may have recorded; none if there are no images."""
    with suppress(DataError):
        return training_hashes(open_training(config, root, hold_out=hold_out))
    return set()
