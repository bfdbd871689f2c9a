"""Bits/dim of a model on images of any size, with the standard error and the share of each level."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pixelpyramids.data.images import Images
from pixelpyramids.errors import DataError
from pixelpyramids.model.models import AnyModel
from pixelpyramids.pyramid.bit_map import BitMap
from pixelpyramids.pyramid.rate import Rate, bits_per_dim, cat
from pixelpyramids.training.reading_ahead import make_loader


class ImageSource(NamedTuple):
    """How an image is stored, and what was converted when it was read."""

    format: str
    conversions: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """Code lengths of images, the finest level first.

    `nats` and `dimensions` (images, levels); `seconds` (levels,), the total time of each level's network and
    likelihood; `files`, `sizes` (height, width), `formats` and `conversions` of the images; `skipped`, files whose
    pixels could not be read.
    """

    nats: NDArray[np.float64]
    dimensions: NDArray[np.int64]
    seconds: NDArray[np.float64]
    files: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    formats: tuple[str, ...]
    conversions: tuple[tuple[str, ...], ...]
    skipped: tuple[Path, ...]

    @property
    def bits_per_dim(self) -> float:
        """Bits over all dimensions: a ratio of sums, so that each pixel of the set counts the same."""
        return float(bits_per_dim(self.nats.sum(), self.dimensions.sum()))

    @property
    def standard_error(self) -> float:
        """Standard error of `bits_per_dim` over images: sd / sqrt(N), linearised for images of mixed sizes."""
        n = len(self.files)
        if n < 2:
            return math.nan
        dimensions = self.dimensions.sum(axis=1)
        residuals = (self.bits_per_dim_of_images - self.bits_per_dim) * dimensions
        return float(residuals.std(ddof=1) / dimensions.mean() / math.sqrt(n))

    @property
    def bits_per_dim_of_levels(self) -> NDArray[np.float64]:
        """Bits/dim of each level, over all images."""
        bits: NDArray[np.float64] = bits_per_dim(self.nats.sum(axis=0), self.dimensions.sum(axis=0))
        return bits

    @property
    def standard_error_of_levels(self) -> NDArray[np.float64]:
        """Standard error of `bits_per_dim_of_levels`, as `standard_error`."""
        n = len(self.files)
        if n < 2:
            return np.full(self.nats.shape[1], math.nan)
        residuals = bits_per_dim(self.nats, 1) - self.bits_per_dim_of_levels * self.dimensions
        errors: NDArray[np.float64] = residuals.std(axis=0, ddof=1) / self.dimensions.mean(axis=0) / math.sqrt(n)
        return errors

    @property
    def bits_per_dim_of_images(self) -> NDArray[np.float64]:
        """Bits/dim of each image."""
        bits: NDArray[np.float64] = bits_per_dim(self.nats.sum(axis=1), self.dimensions.sum(axis=1))
        return bits


def evaluate(
    model: AnyModel,
    images: Images,
    *,
    batch_size: int = 16,
    tile: int | None = None,
    levels: Sequence[int] | None = None,
    chosen: Sequence[int] | None = None,
    report: Callable[[int, int], None] = lambda done, of: None,
    processes: Accelerator | PartialState | None = None,
) -> Evaluation:
    """Score every pixel of every image, in the folder's order. Images larger than tile x tile are scored in tiles.

    By default, a tile has 512 pixels a side, or as many as the training images, if they have more. Consecutive images
    of one size share a batch. `levels` and `chosen` (indices of images) limit what is scored. `report` receives the
    number of images done, and of all images. If there are several `processes`, each scores every N-th image, and all
    return the whole evaluation. Raises DataError if no image can be read.
    """
    tile = default_tile(model) if tile is None else tile
    index, count = (0, 1) if processes is None else (processes.process_index, processes.num_processes)
    mine = (range(len(images)) if chosen is None else chosen)[index::count]
    scored: dict[int, tuple[NDArray[np.float64], NDArray[np.int64], ImageSource]] = {}
    skipped: list[int] = []
    with measure_stages(model) as seconds:
        for indices, batch, sources in same_size_batches(images, batch_size, skipped, mine):
            rate = rate_in_tiles(model, batch, tile, levels, batch_size)
            scored |= zip(indices, zip(rate.nats.numpy(), rate.dimensions.numpy(), sources, strict=True), strict=True)
            report(len(scored) + len(skipped), len(mine))
    parts = [(scored, skipped, seconds)]
    if count > 1:
        parts = gather_object(parts)
    scored = {i: entry for part in parts for i, entry in part[0].items()}
    order = sorted(scored)
    if not order:
        raise DataError(f"none of the {len(images)} images could be read, the first is {images.files[0]}")
    return Evaluation(
        nats=np.stack([scored[i][0] for i in order]),
        dimensions=np.stack([scored[i][1] for i in order]),
        seconds=np.sum([part[2] for part in parts], axis=0),
        files=tuple(images.files[i] for i in order),
        sizes=tuple((int(height), int(width)) for height, width in images.sizes[order]),
        formats=tuple(scored[i][2].format for i in order),
        conversions=tuple(scored[i][2].conversions for i in order),
        skipped=tuple(images.files[i] for i in sorted(i for part in parts for i in part[1])),
    )


def rate_in_tiles(
    model: AnyModel, images: Tensor, tile: int, levels: Sequence[int] | None = None, batch_size: int = 16
) -> Rate:
    """`model.rate`, but images larger than tile x tile are cut into tiles, which are scored as separate images.

    The sum over tiles is an exact code length too: that of an image sent tile by tile. Every pixel counts. Tiles of one
    size are scored together, in batches with at most as many pixels as batch_size training images.
    """
    count, _, height, width = images.shape
    by_shape: dict[tuple[int, int], list[Tensor]] = {}
    for window in list_tiles(height, width, tile):
        part = images[..., *window]
        by_shape.setdefault((part.shape[-2], part.shape[-1]), []).append(part)
    nats = torch.zeros(count, model.config.n_stages, dtype=torch.float64)
    dimensions = torch.zeros(count, model.config.n_stages, dtype=torch.int64)
    for (h, w), parts in by_shape.items():
        tiles, at_once = torch.cat(parts), max(1, batch_size * math.prod(model.config.image_size) // (h * w))
        at_once = min(at_once, batch_size)
        rate = cat([model.rate(tiles[i : i + at_once], levels) for i in range(0, len(tiles), at_once)])
        nats += rate.nats.unflatten(0, (len(parts), count)).sum(dim=0)
        dimensions += rate.dimensions.unflatten(0, (len(parts), count)).sum(dim=0)
    return Rate(nats, dimensions)


def map_in_tiles(model: AnyModel, images: Tensor, tile: int) -> BitMap:
    """`model.map_bits`, but images larger than tile x tile are cut into tiles as `rate_in_tiles` does it."""
    height, width = images.shape[-2:]
    bits = torch.zeros(len(images), height, width, dtype=torch.float64)
    levels = torch.zeros(height, width, dtype=torch.uint8)
    for window in list_tiles(height, width, tile):
        part = model.map_bits(images[..., *window])
        bits[..., *window], levels[window] = part.bits, part.levels
    return BitMap(bits, levels)


def list_tiles(height: int, width: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of each tile. Raises DataError if a tile has no pixels."""
    if tile < 1:
        raise DataError(f"expected tiles of at least 1 pixel a side, got {tile}")
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            yield slice(y, y + tile), slice(x, x + tile)


def default_tile(model: AnyModel) -> int:
    """512 pixels, or the longer side of the training images, if that is more."""
    return max(512, *model.config.image_size)


def same_size_batches(
    images: Images, batch_size: int, skipped: list[int], chosen: Sequence[int] | None = None
) -> Iterator[tuple[list[int], Tensor, list[ImageSource]]]:
    """Indices, images (B, C, H, W) and their sources in order, those of one size together.

    An image that cannot be read is named in a UserWarning, and its index is added to `skipped`. `chosen` are the
    indices to read, all by default. Worker processes read images that are not kept in memory.
    """
    indices: list[int] = []
    arrays: list[Tensor] = []
    sources: list[ImageSource] = []
    order = range(len(images)) if chosen is None else chosen
    read = make_loader(_ReadingImages(images), order, images.in_memory)
    for index, (image, source) in zip(order, read, strict=True):
        if image is None:
            skipped.append(index)
            warnings.warn(f"{source}; skipped", stacklevel=2)
            continue
        if arrays and (len(arrays) == batch_size or arrays[0].shape != image.shape):
            yield indices, torch.stack(arrays), sources
            indices, arrays, sources = [], [], []
        indices.append(index)
        arrays.append(image.long())
        sources.append(source)
    if arrays:
        yield indices, torch.stack(arrays), sources


class _ReadingImages(Dataset[tuple[Any, Any]]):
    """Images and their sources for a loader; None and the reason if an image cannot be read."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        try:
            image = self.images.read(index)
        except DataError as error:
            return None, str(error)
        return image, ImageSource(self.images.formats[index], self.images.conversions[index])


@contextmanager
def measure_stages(model: AnyModel) -> Iterator[NDArray[np.float64]]:
    """Yield the seconds of each stage of a model, which grow as the stages compute."""
    seconds = np.zeros(len(model.stages))

    def add(index: int, sign: int) -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        seconds[index] += sign * time.perf_counter()

    handles = []
    for index, stage in enumerate(model.stages):
        handles.append(stage.register_forward_pre_hook(lambda *_, i=index: add(i, -1)))
        handles.append(stage.register_forward_hook(lambda *_, i=index: add(i, 1)))
    try:
        yield seconds
    finally:
        for handle in handles:
            handle.remove()
