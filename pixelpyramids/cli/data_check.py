"""`data check`: what the splits hold, their hashes, and images that are in two splits."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import counted, describe_conversions, stderr, stdout
from pixelpyramids.cli.contamination import warn_of_names
from pixelpyramids.cli.report.pictures import save_grid
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.identity import data_identity, pixel_bytes
from pixelpyramids.data.images import Images
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.model.parameters import AnyParameters

if TYPE_CHECKING:
    from pixelpyramids.data.batches import Batches

OF_A_STREAM = 100  # training images of a stream that are read
SHEET_MOST, SHEET_LEAST, SHEET_PIXELS = 36, 4, 2**24
NAMED_AT_MOST = 10  # pairs of images that are in two splits


@dataclass
class SplitSummary:
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


def data_check(
    params: model_options.LoadedParameters,
    data: model_options.Data = None,
    out: Annotated[Path | None, typer.Option(metavar="PNG", help="Write a sheet of the first images.")] = None,
    first: Annotated[int | None, typer.Option(min=1, help="Images to read of each split (default: all).")] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> int:
    """Count the images of each split, hash them, and find images that are in two splits.

    Status 1 if an image cannot be read or is in two splits, or a split cannot be opened.
    """
    from pixelpyramids.cli.opening import open_images, open_training

    if out is not None:
        refuse_existing(out, overwrite)
    opened: dict[str, Images] = {}
    found: dict[str, SplitSummary] = {}
    missing: dict[str, str] = {}
    failed = False
    crops: Batches | None = None
    for name in ("train", "validation", "test"):
        try:
            if name == "train":
                crops = open_training(params, data)
                opened[name] = _images_of(crops)
            else:
                opened[name] = open_images(params, data, name)
        except DataError as error:
            missing[name] = str(error)
            failed |= name == "train" or not isinstance(error, EmptySplitError)
            continue
        found[name] = count_split(opened[name], crops.count if name == "train" and crops else len(opened[name]))
        if not json:
            _print_counts(name, found[name])
    if not found:
        raise DataError(next(iter(missing.values())))
    result: dict[str, Any] = {"missing": missing, "picture": None if out is None else str(out)}
    if not json:
        for name, reason in missing.items():
            stdout.print(f"{name}: none; {reason}")
    if crops is not None and "train" in found:
        warn_of_names(params, data, crops)
    repeated = Repeated()
    shown: list[list[Pixels]] = []
    for name, images in opened.items():
        with counted(f"reading {name} images") as report:
            shown.append(read_split(images, found[name], first, partial(repeated.note, name), report))
        if name != "train" or isinstance(crops, Crops):
            found[name].identity = data_identity(images).sha256
        if not json:
            _print_reading(name, found[name], found[name].unreadable[len(images.skipped) :])
    if not json:
        _print_repeated(repeated, all(split.hashed == split.count for split in found.values()))
    if out is not None:
        save_contact_sheet(out, shown, params)
        if not json:
            stdout.print(f"contact sheet: {out}")
    result["splits"] = {name: asdict(split) for name, split in found.items()}
    result |= {"in_two_splits": repeated.count, "pairs_in_two_splits": repeated.pairs}
    if json:
        print(dumps(result))
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


def count_split(images: Images, count: int | None) -> SplitSummary:
    """What is known of a split before its pixels are read."""
    of_one_size = zip(*np.unique(images.sizes, axis=0, return_counts=True), strict=True)
    sizes = {f"{height}x{width}": int(number) for (height, width), number in of_one_size}
    return SplitSummary(count, sizes, [str(file) for file in images.skipped])


def read_split(
    images: Images,
    split: SplitSummary,
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
        described = pixel_bytes(image)
        digest.update(described)
        note(hashlib.sha256(described).digest(), images.files[index])
        if len(shown) < SHEET_MOST:
            shown.append(image)
        report(index + 1, split.hashed)
    split.formats = dict(Counter(kind for kind in images.formats[: split.hashed] if kind))
    split.conversions = dict(Counter(chain.from_iterable(images.conversions[: split.hashed])))
    split.sha256 = digest.hexdigest()
    return shown


def save_contact_sheet(path: Path, splits: Sequence[list[Pixels]], config: AnyParameters) -> None:
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


def _images_of(crops: "Batches") -> Images:
    """The images of training batches; of a stream, the first ones."""
    if isinstance(crops, Crops):
        return crops.folder
    from pixelpyramids.data.huggingface import spool
    from pixelpyramids.data.stream import Stream

    assert isinstance(crops, Stream)
    return spool(
        crops.shards.read_all(), OF_A_STREAM, channels=crops.channels, n_bits=crops.n_bits, size=crops.image_size
    )


def _print_counts(name: str, split: SplitSummary) -> None:
    count = "an unknown number of" if split.count is None else split.count
    sizes = sorted(split.sizes, key=lambda size: [int(side) for side in size.split("x")])
    between = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}, {len(sizes)} sizes"
    stdout.print(f"{name}: {count} images, {between} (height x width)")
    for reason in split.unreadable:
        stderr.print(f"  not readable: {reason}")


def _print_reading(name: str, split: SplitSummary, unreadable: Sequence[str]) -> None:
    formats = ", ".join(f"{number} {kind}" for kind, number in split.formats.items())
    which = f"all {split.hashed}" if split.hashed == split.count else f"only the first {split.hashed}"
    stdout.print(f"{name}: SHA-256 of the pixels of {which} images ({formats}): {split.sha256}")
    if split.conversions:
        stdout.print(f"  converted: {describe_conversions(split.conversions)}")
    if split.identity is not None:
        stdout.print(f"  identity, as runs record it: {split.identity}")
    for reason in unreadable:
        stderr.print(f"  not readable: {reason}")


def _print_repeated(repeated: Repeated, everything: bool) -> None:
    among = "" if everything else " among those that were read"
    if not repeated.count:
        stdout.print(f"no image is in two splits{among}")
        return
    stderr.print(f"{repeated.count} image(s) in two splits{among}; remove one of each pair:")
    for pair in repeated.pairs:
        stderr.print(f"  {pair[0]} and {pair[1]}")
