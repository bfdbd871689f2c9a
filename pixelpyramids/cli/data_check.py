"""`data check`: count and hash the images of each split, and find images that are in two splits."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import describe_conversions, print_json, progress_bar, stderr, stdout
from pixelpyramids.cli.report.pictures import save_grid
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.identity import data_identity, pixel_bytes
from pixelpyramids.data.images import Images
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.terminal import count_of

if TYPE_CHECKING:
    from pixelpyramids.data.batches import Batches
    from pixelpyramids.model.parameters import AnyParameters

STREAM_IMAGES = 100  # of a stream, only the first training images are read
MAX_IN_SHEET, MIN_IN_SHEET, SHEET_PIXELS = 36, 4, 2**24
PAIRS_LISTED = 10  # further pairs of equal images are only counted


@dataclass
class SplitSummary:
    """What a split holds: `count` images (None: not known), `sizes` "HxW" and how many have them.

    `formats`, `conversions`, `sha256` and `unreadable` describe the first `hashed` images, which were read;
    `unreadable` also lists the files that could not be opened. `identity` is the hash that a run records of its
    training images (None for a stream).
    """

    count: int | None
    sizes: dict[str, int]
    unreadable: list[str]
    hashed: int
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
    from pixelpyramids.cli.contamination import refuse_among_images, warn_of_names
    from pixelpyramids.cli.data_opening import open_images, open_training

    if out is not None:
        refuse_among_images(params, data, out, "contact sheet")
        refuse_existing(out, overwrite)
    show: Callable[[str], None] = (lambda line: None) if json else stdout.print
    show_fault: Callable[[str], None] = (lambda line: None) if json else stderr.print
    found: dict[str, tuple[Images, SplitSummary]] = {}
    missing: dict[str, str] = {}
    failed = False
    for name in ("train", "validation", "test"):
        try:
            batches = open_training(params, data) if name == "train" else None
            images = open_images(params, data, name) if batches is None else _images_of(batches)
        except DataError as error:
            missing[name] = str(error)
            failed |= name == "train" or not isinstance(error, EmptySplitError)
            continue
        split = _count_split(images, len(images) if batches is None else batches.count, first)
        found[name] = images, split
        show(f"{name}: {_describe_counts(split)}")
        if batches is None or isinstance(batches, Crops):
            split.identity = data_identity(images).sha256
        if batches is not None:
            warn_of_names(params, data, batches)
    if not found:
        raise DataError(next(iter(missing.values())))
    for name, reason in missing.items():
        show(f"{name}: none; {reason}")
    first_of_pixels: dict[bytes, tuple[str, str]] = {}
    pairs: list[tuple[str, str]] = []
    shown: list[list[Pixels]] = []
    for name, (images, split) in found.items():
        shown.append([])
        for image, file, digest in _read_split(name, images, split):
            if len(shown[-1]) < MAX_IN_SHEET:
                shown[-1].append(image)
            other, before = first_of_pixels.setdefault(digest, (name, file))
            if other != name:
                pairs.append((before, file))
        for line in _describe_reading(split):
            show(line if line.startswith(" ") else f"{name}: {line}")
        for reason in split.unreadable:
            show_fault(f"  not readable: {reason}")
    splits = {name: split for name, (_, split) in found.items()}
    among = "" if all(split.hashed == split.count for split in splits.values()) else " among those that were read"
    if pairs:
        show_fault(f"{count_of(len(pairs), 'image')} in two splits{among}; remove one of each pair:")
    else:
        show(f"no image is in two splits{among}")
    for pair in pairs[:PAIRS_LISTED]:
        show_fault(f"  {pair[0]} and {pair[1]}")
    if out is not None:
        save_contact_sheet(out, shown, params)
        show(f"contact sheet: {out}")
    if json:
        summaries = {name: asdict(split) for name, split in splits.items()}
        result = {"missing": missing, "picture": None if out is None else str(out), "splits": summaries}
        print_json(result | {"in_two_splits": len(pairs), "pairs_in_two_splits": pairs[:PAIRS_LISTED]})
    return 1 if failed or pairs or any(split.unreadable for split in splits.values()) else 0


def save_contact_sheet(path: Path, splits: Sequence[list[Pixels]], config: "AnyParameters") -> None:
    """Write a picture of the first images of each split, each cropped or padded with black to the parameters' size."""
    height, width = config.image_size
    most = min(max(SHEET_PIXELS // (height * width), MIN_IN_SHEET), MAX_IN_SHEET)
    chosen = [image for images in splits for image in images[: max(most // len(splits), 1)]]
    if not chosen:
        raise DataError("expected at least one readable image for a contact sheet, got none")
    save_grid(path, np.stack([fit_middle(image, height, width) for image in chosen]), config.n_bits)


def fit_middle(image: Pixels, height: int, width: int) -> Pixels:
    """An image (C, H, W) at another size: its middle if it is larger, padded with black if it is smaller."""
    missing = [max(side - own, 0) for own, side in zip(image.shape, (0, height, width), strict=True)]
    image = np.pad(image, [(each // 2, each - each // 2) for each in missing])
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width]


def _images_of(batches: "Batches") -> Images:
    """The images of training batches; of a stream, the first ones."""
    if isinstance(batches, Crops):
        return batches.folder
    from pixelpyramids.data.containers.spool import SpooledEntries
    from pixelpyramids.data.stream import Stream

    assert isinstance(batches, Stream)
    channels, n_bits, size = batches.channels, batches.n_bits, batches.image_size
    spooled = SpooledEntries(islice(batches.shards.read_all(), STREAM_IMAGES))
    return Images.of_any_size(spooled, channels=channels, n_bits=n_bits, size=size)


def _count_split(images: Images, count: int | None, first: int | None) -> SplitSummary:
    """What is known about a split before its pixels are read."""
    of_one_size = zip(*np.unique(images.sizes, axis=0, return_counts=True), strict=True)
    sizes = {f"{height}x{width}": int(number) for (height, width), number in of_one_size}
    hashed = len(images) if first is None else min(first, len(images))
    return SplitSummary(count, sizes, [str(file) for file in images.skipped], hashed)


def _read_split(name: str, images: Images, split: SplitSummary) -> Iterator[tuple[Pixels, str, bytes]]:
    r"""Read the first images of a split, and fill in `split`. Yields each image, its file and the hash of its pixels.

    The split's hash is SHA-256 over all images that can be read: for each, its shape as the text "C H W\n", then its
    values, channel by channel and row by row. A value is one byte, or two bytes (little-endian) above 8 bits.
    """
    digest = hashlib.sha256()
    read: list[int] = []
    with progress_bar(f"reading {name} images") as report:
        for index in range(split.hashed):
            try:
                image = images.read(index)
            except DataError as error:
                split.unreadable.append(str(error))
                continue
            read.append(index)
            content = pixel_bytes(image)
            digest.update(content)
            yield image, str(images.files[index]), hashlib.sha256(content).digest()
            report(index + 1, split.hashed)
    split.formats = dict(Counter(images.formats[index] for index in read))
    split.conversions = dict(Counter(chain.from_iterable(images.conversions[index] for index in read)))
    split.sha256 = digest.hexdigest()


def _describe_counts(split: SplitSummary) -> str:
    count = "an unknown number of images" if split.count is None else count_of(split.count, "image")
    sizes = sorted(split.sizes, key=lambda size: [int(side) for side in size.split("x")])
    between = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}, {len(sizes)} sizes"
    return f"{count}, {between} (height x width)"


def _describe_reading(split: SplitSummary) -> Iterator[str]:
    formats = ", ".join(f"{number} {kind}" for kind, number in split.formats.items())
    images = count_of(sum(split.formats.values()), "readable image" if split.unreadable else "image")
    which = "all" if split.hashed == split.count else "only the first"
    yield f"SHA-256 of the pixels of {which} {images} ({formats}): {split.sha256}"
    if split.conversions:
        yield f"  converted: {describe_conversions(split.conversions)}"
    if split.identity is not None:
        yield f"  identity, as runs record it: {split.identity}"
