"""Splits of data sets that are published as two containers, one for training and one for evaluation, called `val`.

The evaluation images are the test split. Validation is held out of the training images. Only the containers of the
requested split are opened.
"""

import os
import warnings
from collections.abc import Callable, Mapping

from pixelpyramids.data.images import ConcatenatedEntries, Entries, Indices
from pixelpyramids.data.splits import check_split, hold_out_indices
from pixelpyramids.errors import EmptySplitError

PARTS = {"train": "train", "val": "validation"}
"""The two parts, and the splits that the names of their folders stand for."""

_PARTS_OF = {"train": ("train",), "validation": ("train",), "test": ("val",), "all": ("train", "val")}


def open_split(
    split: str,
    open_part: Callable[[str], Entries | None],
    describe_part: Callable[[str], str],
    counts: Mapping[str, int],
    *,
    hold_out: bool = True,
    seed: int = 0,
) -> tuple[Entries, Indices]:
    """Open the container of a split ("train", "validation", "test", "all"). Returns it and the indices of the split.

    `open_part` opens "train" or "val" and returns None if it is missing; `describe_part` says what is expected.
    `counts` are the published numbers of images of the parts; a UserWarning names other numbers. If `hold_out` is
    False, nothing of train is held out for validation.

    Raises EmptySplitError if the split's part is missing, or if the split is empty.
    """
    check_split(split)
    if split == "validation" and not hold_out:
        raise EmptySplitError(
            "expected another split than validation, because nothing is held out of train here; hold images out, or "
            "use another split"
        )
    parts = {part: entries for part in _PARTS_OF[split] if (entries := open_part(part)) is not None}
    if not parts:
        raise EmptySplitError(f"expected {' or '.join(map(describe_part, _PARTS_OF[split]))}, got nothing there")
    for part, entries in parts.items():
        if len(entries) != counts[part]:
            warnings.warn(
                f"{_shared_folder(entries)}: expected {counts[part]} images in {part}, got {len(entries)}; "
                "figures are not comparable with those of the whole set",
                stacklevel=3,
            )
    entries = ConcatenatedEntries(list(parts.values())) if len(parts) > 1 else next(iter(parts.values()))
    if split in ("test", "all") or not hold_out:
        return entries, range(len(entries))
    chosen = hold_out_indices(len(entries), seed)[split == "validation"]
    if not len(chosen):
        raise EmptySplitError(
            f"{_shared_folder(entries)}: expected at least 2 images for training, to hold out one for validation, got "
            f"{len(entries)}; add images, or hold nothing out (--no-validation)"
        )
    return entries, chosen


def _shared_folder(entries: Entries) -> str:
    """The folder or container of the first entry and the last."""
    return os.path.commonpath([entries.name(0).parent, entries.name(len(entries) - 1).parent])
