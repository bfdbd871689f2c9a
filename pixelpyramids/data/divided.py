"""Splits of data sets that are published as images for training and images for evaluation, each a container of its own.

The images for evaluation, called `val`, are the test split; validation is a hold-out of those for training. Only the
containers that hold the asked split are opened.
"""

import os
import warnings
from collections.abc import Callable, Mapping

from pixelpyramids.data.containers.joined import JoinedEntries
from pixelpyramids.data.images import Entries, Indices
from pixelpyramids.data.splits import check_split, hold_out
from pixelpyramids.errors import EmptySplitError

PARTS = ("train", "val")


def choose_divided(
    split: str,
    open_part: Callable[[str], Entries | None],
    expected: Callable[[str], str],
    counts: Mapping[str, int],
    *,
    held_out: bool = True,
    seed: int = 0,
) -> tuple[Entries, Indices]:
    """The container that holds a split of "train", "validation", "test", "all", and which of its entries.

    `open_part` opens "train" or "val", None where it is missing; `expected` says of either what should lie where.
    `counts` are the published numbers of images of the parts; where there is another a UserWarning names both. With
    `held_out` False nothing of train is held out for validation.

    Raises EmptySplitError where the split's part is missing, or the split empty.
    """
    check_split(split)
    if split == "validation" and not held_out:
        raise EmptySplitError(
            "expected no validation split, as nothing is held out of train here; hold out, or use another"
        )
    wanted = {"train": PARTS[:1], "validation": PARTS[:1], "test": PARTS[1:], "all": PARTS}[split]
    parts = {part: entries for part in wanted if (entries := open_part(part)) is not None}
    if not parts:
        raise EmptySplitError(f"expected {' or '.join(expected(part) for part in wanted)}, got none of it")
    for part, entries in parts.items():
        if part in counts and len(entries.names) != counts[part]:
            warnings.warn(
                f"{_shared(entries)}: expected {counts[part]} images in {part}, got {len(entries.names)}; "
                "figures are not comparable with those of the whole set",
                stacklevel=3,
            )
    entries = JoinedEntries(list(parts.values())) if len(parts) > 1 else next(iter(parts.values()))
    if split in ("test", "all") or not held_out:
        return entries, range(len(entries.names))
    chosen = hold_out(len(entries.names), seed)[0 if split == "train" else 1]
    if not len(chosen):
        raise EmptySplitError(
            f"{_shared(entries)}: expected at least 2 images for training, to hold out one for validation, got "
            f"{len(entries.names)}; add images, or hold nothing out (--no-validation)"
        )
    return entries, chosen


def _shared(entries: Entries) -> str:
    """What holds the first entry and the last."""
    return os.path.commonpath([entries.names[0].parent, entries.names[-1].parent])
