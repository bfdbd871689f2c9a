"""`data check`: what the splits hold, how fast they are read, their hashes, and images that are in two splits."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.commands.console import counted, describe_conversions, err, out
from pixelpyramids.commands.contamination import warn_of_names
from pixelpyramids.commands.opening import open_images, open_training
from pixelpyramids.data.batches import Batches
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.hub import first_images
from pixelpyramids.data.identity import data_identity, described_pixels
from pixelpyramids.data.images import Images
from pixelpyramids.data.reading import Pixels
from pixelpyramids.data.stream import Stream
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.parameters import Parameters
from pixelpyramids.reading_ahead import make_loader, read_ahead
from pixelpyramids.report.pictures import save_grid

OF_A_STREAM = 100  # training images of a stream that are read
SHEET_MOST, SHEET_LEAST, SHEET_PIXELS = 36, 4, 2**24
READING_SECONDS, READING_STEPS = 10.0, 200
NAMED_AT_MOST = 10  # pairs of images that are in two splits


@dataclass
class Split:
    """What a split holds: `count` images (None: not known), `sizes` "HxW" and how many have them.

    `formats`, `conversions`, `sha256` and `unreadable` describe the first `hashed` images, which were read;
    `unreadable` also has all files that were left out at opening. `identity` is the hash that a run records of its
    training images (None for a stream).
    """

    count: int | None
    sizes: dict[str, int]
    unreadable: list[str]
    hashed: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    conversions: dict[str, int] = field(default_factory=dict)
    sha256: str = ""
    identity: str | None = None


def check(
    config: Parameters,
    data: str | Path | None,
    *,
    picture: Path | None = None,
    first: int | None = None,
    overwrite: bool = False,
    as_json: bool = False,
) -> int:
    """Print what the splits hold, then how fast they are read and what reading them shows, or one JSON object.

    `first` limits how many images of each split are read. Returns the exit status: 1 if images could not be read, an
    image is in two splits, or a split could not be opened, unless it is validation or test and simply does not exist.
    Raises DataError if no split can be opened.
    """
    if picture is not None:
        refuse_existing(picture, overwrite)
    opened: dict[str, Images] = {}
    found: dict[str, Split] = {}
    missing: dict[str, str] = {}
    failed = False
    crops: Batches | None = None
    for name in ("train", "validation", "test"):
        try:
            if name == "train":
                crops = open_training(config, data)
                opened[name] = _looked_at(crops)
            else:
                opened[name] = open_images(config, data, name)
        except DataError as error:
            missing[name] = str(error)
            failed |= name == "train" or not isinstance(error, EmptySplitError)
            continue
        found[name] = count_split(opened[name], crops.count if name == "train" and crops else len(opened[name]))
        if not as_json:
            _print_counts(name, found[name])
    if not found:
        raise DataError(next(iter(missing.values())))
    result: dict[str, Any] = {"missing": missing, "picture": None if picture is None else str(picture)}
    if not as_json:
        for name, reason in missing.items():
            out.print(f"{name}: none; {reason}", soft_wrap=True)
    if crops is not None and "train" in found:
        warn_of_names(config, data, crops)
        result |= time_reading(crops)
        if not as_json:
            _print_speed(result)
    repeated = Repeated()
    shown: list[list[Pixels]] = []
    for name, images in opened.items():
        with counted(f"reading {name} images") as report:
            shown.append(read_split(images, found[name], first, partial(repeated.note, name), report))
        if name != "train" or isinstance(crops, Crops):
            found[name].identity = data_identity(images).sha256
        if not as_json:
            _print_reading(name, found[name], found[name].unreadable[len(images.skipped) :])
    if not as_json:
        _print_repeated(repeated, all(split.hashed == split.count for split in found.values()))
    if picture is not None:
        save_contact_sheet(picture, shown, config)
        if not as_json:
            out.print(f"contact sheet: {picture}", soft_wrap=True)
    result["splits"] = {name: asdict(split) for name, split in found.items()}
    result |= {"in_two_splits": repeated.count, "pairs_in_two_splits": repeated.pairs}
    if as_json:
        print(json.dumps(result))
    return 1 if failed or repeated.count or any(split.unreadable for split in found.values()) else 0


class Repeated:
    """Images with the same pixels in different splits: how many, and the first pairs of their names."""

    def __init__(self) -> None:
        self.count, self.pairs = 0, list[tuple[str, str]]()
        self._known: dict[bytes, tuple[str, str]] = {}

    def note(self, split: str, digest: bytes, name: Path) -> None:
        """Record an image of a split, by the hash of its pixels and its name."""
        other, first = self._known.setdefault(digest, (split, str(name)))
        if other != split:
            self.count += 1
            if self.count <= NAMED_AT_MOST:
                self.pairs.append((first, str(name)))


def count_split(images: Images, count: int | None) -> Split:
    """What is known of a split before its pixels are read."""
    of_one_size = zip(*np.unique(images.sizes, axis=0, return_counts=True), strict=True)
    sizes = {f"{height}x{width}": int(number) for (height, width), number in of_one_size}
    return Split(count, sizes, [str(file) for file in images.skipped])


def read_split(
    images: Images,
    split: Split,
    first: int | None,
    note: Callable[[bytes, Path], None],
    report: Callable[[int, int], None],
) -> list[Pixels]:
    r"""Read the images of a split, or the `first` ones, and fill in `split`; return some of them for a picture.

    The hash is SHA-256 over, for each image that can be read, its shape as the text "C H W\n" and its values, channel
    by channel, row by row, a byte each, or two of them, the lower first, above 8 bits.
    """
    shown: list[Pixels] = []
    digest = hashlib.sha256()
    split.hashed = len(images) if first is None else min(first, len(images))
    for index in range(split.hashed):
        try:
            image = images.read(index)
        except DataError as error:
            split.unreadable.append(str(error))
            continue
        described = described_pixels(image)
        digest.update(described)
        note(hashlib.sha256(described).digest(), images.files[index])
        if len(shown) < SHEET_MOST:
            shown.append(image)
        report(index + 1, split.hashed)
    split.formats = dict(Counter(kind for kind in images.formats[: split.hashed] if kind))
    split.conversions = dict(Counter(chain.from_iterable(images.conversions[: split.hashed])))
    split.sha256 = digest.hexdigest()
    return shown


def save_contact_sheet(path: Path, splits: Sequence[list[Pixels]], config: Parameters) -> None:
    """The first images of each split, in turn, their middle cropped to the parameters' size or padded with black."""
    height, width = config.image_size
    most = min(max(SHEET_PIXELS // (height * width), SHEET_LEAST), SHEET_MOST)
    chosen = [image for images in splits for image in images[: max(most // len(splits), 1)]]
    if not chosen:
        raise DataError("expected at least one readable image for a contact sheet, got none")
    save_grid(path, np.stack([fitted(image, (height, width)) for image in chosen]), config.n_bits)


def fitted(image: Pixels, size: tuple[int, int]) -> Pixels:
    """The middle of an image (C, H, W) in `size` (h, w): cropped where it is larger, black around it where smaller."""
    for axis, side in ((1, size[0]), (2, size[1])):
        more = image.shape[axis] - side
        image = image.take(range(max(more // 2, 0), max(more // 2, 0) + min(side, image.shape[axis])), axis)
        around = [(0, 0)] * 3
        around[axis] = (max(-more, 0) // 2, max(-more, 0) - max(-more, 0) // 2)
        image = np.pad(image, around)
    return image


def time_reading(crops: Batches) -> dict[str, Any]:
    """Images/s of reading, by the loader that training uses, from the second batch on: 10 seconds or 200 batches."""
    loader = make_loader(crops, range(READING_STEPS + 1), crops.in_memory)
    iterator = read_ahead(loader)
    next(iterator)
    begin, read = time.monotonic(), 0
    for _ in iterator:
        read += 1
        if time.monotonic() - begin > READING_SECONDS:
            break
    speed = read * crops.batch_size / (time.monotonic() - begin)
    return {
        "reading_images_per_second": speed,
        "reading_batches": read,
        "batch_size": crops.batch_size,
        "workers": loader.num_workers,
        "kept_in_memory": crops.in_memory,
    }


def _looked_at(crops: Batches) -> Images:
    if isinstance(crops, Crops):
        return crops.folder
    assert isinstance(crops, Stream)
    return first_images(crops.shards, OF_A_STREAM, channels=crops.channels, n_bits=crops.n_bits, size=crops.image_size)


def _print_counts(name: str, split: Split) -> None:
    count = "an unknown number of" if split.count is None else split.count
    sizes = sorted(split.sizes, key=lambda size: [int(side) for side in size.split("x")])
    between = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}, {len(sizes)} sizes"
    out.print(f"{name}: {count} images, {between} (height x width)", soft_wrap=True)
    for reason in split.unreadable:
        err.print(f"  not readable: {reason}", soft_wrap=True)


def _print_speed(result: dict[str, Any]) -> None:
    kept = ", kept in memory once read" if result["kept_in_memory"] else ""
    out.print(
        f"reading: {result['reading_images_per_second']:.1f} images/s ({result['reading_batches']} batches of "
        f"{result['batch_size']}, {result['workers']} workers{kept}); `plan` measures how many training needs",
        soft_wrap=True,
    )


def _print_reading(name: str, split: Split, unreadable: Sequence[str]) -> None:
    formats = ", ".join(f"{number} {kind}" for kind, number in split.formats.items())
    which = f"all {split.hashed}" if split.hashed == split.count else f"only the first {split.hashed}"
    out.print(f"{name}: SHA-256 of the pixels of {which} images ({formats}): {split.sha256}", soft_wrap=True)
    if split.conversions:
        out.print(f"  converted: {describe_conversions(split.conversions)}", soft_wrap=True)
    if split.identity is not None:
        out.print(f"  identity, as runs record it: {split.identity}", soft_wrap=True)
    for reason in unreadable:
        err.print(f"  not readable: {reason}", soft_wrap=True)


def _print_repeated(repeated: Repeated, everything: bool) -> None:
    among = "" if everything else " among those that were read"
    if not repeated.count:
        out.print(f"no image is in two splits{among}", soft_wrap=True)
        return
    err.print(f"{repeated.count} image(s) in two splits{among}; remove one of each pair:", soft_wrap=True)
    for pair in repeated.pairs:
        err.print(f"  {pair[0]} and {pair[1]}", soft_wrap=True)
