"""Batches of training crops, by step. Several processes can share each batch.

Sample b of step s has the number g = s * batch_size + b. Its crop depends only on (seed, g) and the files.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels, pixel_type

_OFFSET = 1  # key of this random stream; the orders have other keys


class Batches(ABC):
    """Training crops: `batches[step]` gives (batch_size, channels, h, w).

    Ask for steps in any order and in any process: torch's DataLoader with `batch_size=None`, `sampler=range(start,
    stop)` and any number of workers gives the same batches.

    `size` (h, w) in pixels; `flip` mirrors half of the crops left to right.
    Attributes: `count` (images) and `items_per_epoch`, None if they are not known; `steps_per_epoch`; `in_memory`
    (whether decoded images are cached, so that no workers are needed).
    """

    count: int | None
    items_per_epoch: int | None
    steps_per_epoch: int
    in_memory: bool

    def __init__(
        self, size: tuple[int, int], batch_size: int, seed: int, flip: bool, channels: int, n_bits: int
    ) -> None:
        if min(*size, batch_size) < 1:
            raise ValueError(f"expected a crop and a batch of at least 1, got size {size}, batch_size {batch_size}")
        self.size, self.batch_size, self.seed, self.flip = size, batch_size, seed, flip
        self.channels, self.n_bits = channels, n_bits
        self._share = 0, 1

    def share(self, index: int, count: int) -> Self:
        """The same batches for one of `count` processes: every count-th sample of each step, starting at `index`.

        Raises DataError if the batch does not divide by the number of processes.
        """
        if self.batch_size % count:
            raise DataError(
                f"expected a batch_size that divides among {count} processes, got {self.batch_size}; "
                "use another number of processes"
            )
        shared = copy.copy(self)
        shared._share = index, count
        return shared

    def __getitem__(self, step: int) -> Pixels:
        """The crops of one step, (batch_size, channels, h, w), integers in [0, 2**n_bits): a new array.

        After `share`, only those of this process.

        An image that cannot be read is named in a UserWarning, once in each process, and the next image takes its
        place. Raises DataError if too many images cannot be read, or if an image is smaller than the crop.
        """
        samples = self.samples(step)
        crops = np.empty((len(samples), self.channels, *self.size), dtype=pixel_type(self.n_bits))
        for crop, sample in zip(crops, samples, strict=True):
            name, image = self._image(sample)
            check_crop(name, image.shape[1:], self.size)
            crop[:] = self._random_crop(image, sample)
        return crops

    def samples(self, step: int) -> range:
        """The numbers of the samples in `batches[step]`, in its order."""
        index, count = self._share
        return self._samples(step)[index::count]

    def files_of(self, step: int) -> list[Path]:
        """The name of the image of each crop of a step, in the batch's order; after `share`, of all processes."""
        return [self._image(sample)[0] for sample in self._samples(step)]

    @abstractmethod
    def _image(self, sample: int) -> tuple[Path, Pixels]:
        """The name and the pixels (channels, H, W) of the image that a sample is cropped from."""

    def _samples(self, step: int) -> range:
        if step < 0:
            raise ValueError(f"expected a step from 0 on, got {step}")
        return range(step * self.batch_size, (step + 1) * self.batch_size)

    def _random_crop(self, image: Pixels, sample: int) -> Pixels:
        """A sample's crop (channels, h, w) of `image`, mirrored or not, as a view."""
        (height, width), draw = self.size, np.random.default_rng([_OFFSET, self.seed, sample])
        top = int(draw.integers(image.shape[1] - height + 1))
        left = int(draw.integers(image.shape[2] - width + 1))
        crop = image[:, top : top + height, left : left + width]
        return crop[:, :, ::-1] if self.flip and draw.integers(2) else crop


NAMED_AT_MOST = 10  # of the images that are too small


def check_crop(name: Path, got: Sequence[int], size: Sequence[int], others: Sequence[Path] = ()) -> None:
    """Raise DataError if an image is smaller than the crop, as are `others`."""
    (h, w), (height, width) = got, size
    if h < height or w < width:
        raise DataError(
            f"{name}: expected an image of at least {height}x{width} pixels (height x width), the size of the crops, "
            f"got {h}x{w}; move the image out of the folder, or use parameters with smaller crops"
            f"{f'; likewise for {len(others)} more: ' if others else ''}{', '.join(map(str, others[:NAMED_AT_MOST]))}"
        )
