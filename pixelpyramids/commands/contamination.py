"""No image that is trained on is scored: what `train` refuses, and which images `evaluate` takes by default."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixelpyramids.commands.console import err
from pixelpyramids.commands.opening import is_plain_folder, named, open_images
from pixelpyramids.data.batches import Batches
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.identity import FILES_AT_MOST, are_files, data_identity, same_files
from pixelpyramids.data.images import Images
from pixelpyramids.data.split_names import split_of
from pixelpyramids.data.splits import find_images, is_divided
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.parameters import Parameters

NAMED_AT_MOST = 3


def refuse_shared_images(config: Parameters, data: str | Path | None, crops: Batches) -> None:
    """Raise DataError if a file to train on stands in the folder for validation or test too.

    A folder without such folders gets a warning instead: which of its files are for test is this package's choice.
    Files are compared by size and ends first, so 30,000 take seconds; other data are not compared, and a line says so.
    """
    root = named(config, data)
    if not isinstance(crops, Crops) or not are_files(crops.folder) or len(crops.folder) > FILES_AT_MOST:
        err.print(
            f"not looked for images to train on among those for validation or test, as in folders of at most "
            f"{FILES_AT_MOST} files: pixelpyramids data check does",
            soft_wrap=True,
        )
        return
    held_out: list[Path] = []
    for split in ("validation", "test"):
        try:
            held_out += open_images(config, data, split, hold_out=False).files
        except EmptySplitError:
            continue
    if not (pairs := same_files(crops.folder.files, held_out)):
        return
    message = (
        f"{root}: expected no image to train on among those for validation or test, got {len(pairs)}, such as "
        f"{', '.join(f'{one} and {other}' for one, other in pairs[:NAMED_AT_MOST])}; remove one of each pair"
    )
    if any(split_of(folder) for folder in pairs[0][1].relative_to(root).parts[:-1]):
        raise DataError(message)
    warnings.warn(message, stacklevel=2)


def choose_images(
    config: Parameters, data: str | Path | None, split: str | None, sessions: Sequence[Mapping[str, Any]]
) -> tuple[str, Images, str]:
    """The split that is scored, its images, and in words which of a folder's images these are, if no folders say it.

    Without a `split` it is "test"; but a folder that nothing divides has a test split only for the model that was
    trained on the rest of it, and "all" of it is scored by others. `sessions` are the trainings of the run.

    Raises DataError as `open_images` does; and if the folder holds, or lies in, one that the run was trained on, and
    its training images are not the run's, so that any split may hold images that were trained on.
    """
    if not is_plain_folder(config, data) or split == "all" or is_divided(root := named(config, data)):
        split = split or "test"
        return split, open_images(config, data, split), ""
    if split is not None:
        images, which = open_images(config, data, split), "by a hash of their paths"
    elif _is_trained_on(config, root, sessions):
        split, which = "test", "of the training folder"
        images = open_images(config, data, split)
    else:
        return "all", open_images(config, data, "all"), ""
    count = len(images) + len(images.skipped)
    return (
        split,
        images,
        f"{count} of {len(find_images(root))} images: the {split} split {which}; --split all scores all",
    )


def _is_trained_on(config: Parameters, root: str, sessions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the training images of an undivided folder are those of a session."""
    trained = [session["training_data"] for session in sessions]
    for hold_out in (True, False) if trained else ():
        try:
            identity = data_identity(open_images(config, root, "train", hold_out))
        except EmptySplitError:
            continue
        if any(identity.sha256 == images["sha256"] for images in trained):
            return True
    place = Path(root).resolve()
    for below in (Path(images["root"]).resolve() for images in trained if "root" in images):
        if below.is_relative_to(place) or place.is_relative_to(below):
            raise DataError(
                f"{root}: expected the folder that the run was trained on, as it was, or another folder, got images "
                f"that changed since in {below}, or others above or below it: any of them may have been trained on; "
                "score another folder, or say --split all"
            )
    return False
