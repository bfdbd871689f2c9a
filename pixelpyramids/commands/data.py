"""`data check`: what lies there, as the networks see it, and whether it is read as fast as it is trained on."""

import copy
import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.commands.console import err, out
from pixelpyramids.commands.opening import open_images, open_training
from pixelpyramids.data.batches import Batches
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.hub import first_images
from pixelpyramids.data.images import Images
from pixelpyramids.data.reading import Pixels
from pixelpyramids.data.stream import Stream
from pixelpyramids.device import bfloat16_is_fast, choose_device, keep_freed_memory
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.level_training import LevelTraining, Origin
from pixelpyramids.model import AnyStage, PixelPyramid, decompose
from pixelpyramids.parameters import Parameters
from pixelpyramids.patches import patches
from pixelpyramids.report.pictures import save_grid
from pixelpyramids.training import loader, read_ahead

SAMPLE = 100  # images of a split that are read and hashed
SHEET_MOST, SHEET_LEAST, SHEET_PIXELS = 36, 4, 2**24
READING_SECONDS, READING_STEPS = 10.0, 200


@dataclass
class Split:
    """What a split holds: `count` images (None: not known), `sizes` "HxW" and how many have them; of its first images
    `formats`, `sha256` and what is `unreadable`, of which files that were left out at opening are all named.
    """

    count: int | None
    sizes: dict[str, int]
    formats: dict[str, int]
    sampled: int
    sha256: str
    unreadable: list[str]


def check(
    config: Parameters,
    data: str | Path | None,
    *,
    picture: Path | None = None,
    steps: int = 3,
    micro_batch: int | None = None,
    device: str | None = None,
    overwrite: bool = False,
    as_json: bool = False,
) -> int:
    """Print what the splits hold and how fast they are read and trained on, or one JSON object.

    Returns the exit status: 1 where images could not be read, or a split not opened but for one beside train that is
    simply not there. Raises DataError where
    no split can be opened.
    """
    if picture is not None:
        refuse_existing(picture, overwrite)
    found: dict[str, Split] = {}
    missing: dict[str, str] = {}
    failed = False
    shown: dict[str, list[Pixels]] = {}
    crops: Batches | None = None
    for split in ("train", "validation", "test"):
        try:
            if split == "train":
                crops = open_training(config, data)
                images, count = _looked_at(crops), crops.count
            else:
                images = open_images(config, data, split)
                count = len(images)
            found[split], shown[split] = describe(images, count)
        except DataError as error:
            missing[split] = str(error)
            failed |= split == "train" or not isinstance(error, EmptySplitError)
    if not found:
        raise DataError(next(iter(missing.values())))
    if picture is not None:
        save_contact_sheet(picture, list(shown.values()), config)
    result: dict[str, Any] = {
        "splits": {name: asdict(split) for name, split in found.items()},
        "missing": missing,
        "picture": None if picture is None else str(picture),
    }
    if crops is not None and "train" in found:
        result |= speeds(config, crops, steps, micro_batch, device)
    if as_json:
        print(json.dumps(result))
    else:
        _print(result)
    return 1 if failed or any(split.unreadable for split in found.values()) else 0


def describe(images: Images, count: int | None) -> tuple[Split, list[Pixels]]:
    r"""A split by its first 100 images, and these, as the networks see them.

    The hash is SHA-256 over, for each image that can be read, its shape as the text "C H W\n" and its values, channel
    by channel, row by row, a byte each, or two of them, the lower first, above 8 bits.
    """
    pixels: list[Pixels] = []
    unreadable = [str(file) for file in images.skipped]
    digest = hashlib.sha256()
    sampled = min(SAMPLE, len(images))
    for index in range(sampled):
        try:
            image = images.read(index)
        except DataError as error:
            unreadable.append(str(error))
            continue
        digest.update("{} {} {}\n".format(*image.shape).encode())
        digest.update(image.astype(image.dtype.newbyteorder("<")).tobytes())
        pixels.append(image)
    of_one_size = zip(*np.unique(images.sizes, axis=0, return_counts=True), strict=True)
    sizes = {f"{height}x{width}": int(number) for (height, width), number in of_one_size}
    formats = Counter(kind for kind in images.formats[:sampled] if kind)
    return Split(count, sizes, dict(formats), sampled, digest.hexdigest(), unreadable), pixels


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


def speeds(
    config: Parameters, crops: Batches, steps: int, micro_batch: int | None, device: str | None
) -> dict[str, Any]:
    """Images/s of reading, by the training's own loader, and of training, and how each was timed.

    Reading is timed from the second batch on, for 10 seconds or 200 batches. Of training, each level in turn takes one
    step and then `steps` that are timed, forward, backward and update, so one level at a time is in memory.
    """
    keep_freed_memory()
    batches = loader(crops, range(READING_STEPS + 1))
    iterator = read_ahead(batches)
    first = next(iterator)
    begin, read = time.monotonic(), 0
    for _ in iterator:
        read += 1
        if time.monotonic() - begin > READING_SECONDS:
            break
    reading = read * crops.batch_size / (time.monotonic() - begin)
    del iterator
    accelerator = Accelerator(cpu=choose_device(device).type == "cpu")
    seconds = seconds_of_levels(config, first, crops.samples(0), steps, micro_batch, accelerator)
    return {
        "reading_images_per_second": reading,
        "reading_batches": read,
        "workers": batches.num_workers,
        "kept_in_memory": crops.in_memory,
        "training_images_per_second": crops.batch_size / sum(seconds),
        "training_images_per_second_of_levels": [crops.batch_size / each for each in seconds],
        "training_steps": steps,
        "batch_size": crops.batch_size,
        "device": str(accelerator.device),
    }


def seconds_of_levels(
    config: Parameters,
    images: Tensor,
    samples: Sequence[int],
    steps: int,
    micro_batch: int | None,
    accelerator: Accelerator,
) -> list[float]:
    """Mean seconds of a step of each level on a batch of images (B, C, H, W), after one that is not timed."""
    device = accelerator.device
    pairs = decompose(images.to(device).long(), config.walk(*config.image_size))
    model, seconds = PixelPyramid(config), []
    for index in range(config.L):
        stage = copy.deepcopy(model.stages[index]).to(device)
        average = copy.deepcopy(stage)
        assert isinstance(stage, AnyStage) and isinstance(average, AnyStage)
        level = LevelTraining(config, index, stage, average, accelerator, Origin(0, False, 0))
        fine, coarse = patches(*pairs[index], config.patch_size, seed=0, level=index, samples=samples)
        begin = 0.0
        for step in range(steps + 1):
            if step == 1:
                begin = time.monotonic()
            level.update(fine, coarse, 0.0, micro_batch, bfloat16_is_fast(device))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append((time.monotonic() - begin) / steps)
        accelerator.free_memory()
    return seconds


def _looked_at(crops: Batches) -> Images:
    if isinstance(crops, Crops):
        return crops.folder
    assert isinstance(crops, Stream)
    return first_images(crops.shards, SAMPLE, channels=crops.channels, n_bits=crops.n_bits, size=crops.image_size)


def _print(result: dict[str, Any]) -> None:
    for name, split in result["splits"].items():
        count = "an unknown number of" if split["count"] is None else split["count"]
        sizes = sorted(split["sizes"], key=lambda size: [int(side) for side in size.split("x")])
        between = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}, {len(sizes)} sizes"
        formats = ", ".join(f"{number} {kind}" for kind, number in split["formats"].items())
        out.print(f"{name}: {count} images, {between} (height x width)", soft_wrap=True)
        out.print(f"  the first {split['sampled']}: {formats}; SHA-256 {split['sha256']}", soft_wrap=True)
        for reason in split["unreadable"]:
            err.print(f"  not readable: {reason}", soft_wrap=True)
    for name, reason in result["missing"].items():
        out.print(f"{name}: none; {reason}", soft_wrap=True)
    if result["picture"] is not None:
        out.print(f"contact sheet: {result['picture']}", soft_wrap=True)
    if "reading_images_per_second" not in result:
        return
    reading, training = result["reading_images_per_second"], result["training_images_per_second"]
    kept = ", kept in memory once read" if result["kept_in_memory"] else ""
    fastest = max(result["training_images_per_second_of_levels"])
    out.print(
        f"reading: {reading:.1f} images/s ({result['reading_batches']} batches of {result['batch_size']}, "
        f"{result['workers']} workers{kept})",
        soft_wrap=True,
    )
    out.print(
        f"training: {training:.1f} images/s for all levels, {fastest:.1f} for the fastest alone "
        f"({result['training_steps']} steps of each level in turn, on {result['device']})",
        soft_wrap=True,
    )
    verdict = "keeps up" if reading >= training else "does not keep up: training will wait for images"
    if training <= reading < fastest:
        verdict += " with all levels together, not with the fastest level alone"
    out.print(f"reading {verdict}", soft_wrap=True)
