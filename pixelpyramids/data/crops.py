"""An endless, deterministic stream of training crops: what step s sees depends on (seed, s) and the files alone.

An image of H x W has floor(H / h) * floor(W / w) slots, the crops of h x w that it holds side by side; an epoch is one
pass over the N slots of all images in an order of its own, so large images are seen in proportion to their pixels:

    sample g = step * batch_size + b     epoch e = g // N     image = that of slot permutation(seed, e)[g % N]
    offset of the crop, flip ~ generator(seed, g), uniform over all valid offsets
"""

import copy
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.images import Images
from pixelpyramids.data.reading import Pixels, pixel_type
from pixelpyramids.errors import DataError

# Keys of the two random streams: without them, epoch e and sample g = e would draw the same numbers.
_ORDER, _OFFSET = 0, 1


class Crops:
    """Crops of the images of `folder`; `batch(step)`, or `crops[step]`, gives (batch_size, channels, h, w).

    Steps may be asked for in any order and in any process, so a loader of torch's with `batch_size=None`,
    `sampler=range(start, stop)` and any number of workers gives the same batches as none.

    `size` (h, w) in pixels; `flip` mirrors half of the crops left to right.
    Attributes: `count` (images), `items_per_epoch` (N), `steps_per_epoch` (max(1, N // batch_size)), `in_memory`
    (whether decoded images are kept, so that no workers are needed).
    Raises DataError, naming the file, where an image is smaller than the crop.
    """

    def __init__(
        self, folder: Images, size: tuple[int, int], batch_size: int, seed: int = 0, flip: bool = False
    ) -> None:
        height, width = size
        if min(height, width, batch_size) < 1:
            raise ValueError(f"expected a crop and a batch of at least 1, got size {size}, batch_size {batch_size}")
        for file, (h, w) in zip(folder.files, folder.sizes, strict=True):
            if h < height or w < width:
                raise DataError(
                    f"{file}: expected an image of at least {height}x{width} pixels (height x width), as the crop has, "
                    f"got {h}x{w}; use smaller crops, or remove the image"
                )
        self.folder, self.size, self.batch_size, self.seed, self.flip = folder, (height, width), batch_size, seed, flip
        self.count, self.in_memory = len(folder), folder.in_memory
        sizes = np.array(folder.sizes, dtype=np.int64)
        self._last_slot = np.cumsum((sizes[:, 0] // height) * (sizes[:, 1] // width))
        self.items_per_epoch = int(self._last_slot[-1])
        self.steps_per_epoch = max(1, self.items_per_epoch // batch_size)
        self._order: tuple[int, NDArray[np.int64]] | None = None
        self._damaged: set[int] = set()
        self._share = 0, 1

    def shared(self, index: int, count: int) -> "Crops":
        """The same stream for one of `count` processes: of each step's samples every count-th, from `index` on.

        Raises DataError where the batch does not divide among them.
        """
        if self.batch_size % count:
            raise DataError(
                f"expected a batch_size that divides among {count} processes, got {self.batch_size}; "
                "use another number of processes"
            )
        shared = copy.copy(self)
        shared._damaged, shared._share = set(), (index, count)
        return shared

    def __getitem__(self, step: int) -> Pixels:
        return self.batch(step)

    def batch(self, step: int) -> Pixels:
        """The crops of one step, (batch_size, channels, h, w), integers in [0, 2**n_bits), the caller's own.

        Of a shared stream, those of this process alone.

        A file whose pixels turn out to be damaged is named in a UserWarning, once in each process, and the next image
        takes its place. Raises DataError where no image can be read.
        """
        height, width = self.size
        samples = self.samples(step)
        crops = np.empty((len(samples), self.folder.channels, height, width), dtype=pixel_type(self.folder.n_bits))
        for crop, sample in zip(crops, samples, strict=True):
            crop[:] = random_crop(self._image(sample)[1], self.size, self.seed, sample, self.flip)
        return crops

    def samples(self, step: int) -> range:
        """The numbers of the samples that `batch` gives, in its order."""
        index, count = self._share
        return self._samples(step)[index::count]

    def files_of(self, step: int) -> list[Path]:
        """The file of each crop of a step, in the batch's order; of a shared stream, those of all processes."""
        return [self.folder.files[self._image(sample)[0]] for sample in self._samples(step)]

    def _samples(self, step: int) -> range:
        if step < 0:
            raise ValueError(f"expected a step from 0 on, got {step}")
        return range(step * self.batch_size, (step + 1) * self.batch_size)

    def _image(self, sample: int) -> tuple[int, Pixels]:
        epoch, position = divmod(sample, self.items_per_epoch)
        slot = self._permutation(epoch)[position]
        first = int(np.searchsorted(self._last_slot, slot, side="right"))
        for index in (*range(first, len(self.folder)), *range(first)):
            if index in self._damaged:
                continue
            try:
                return index, self.folder.read(index, copy=False)
            except DataError as error:
                self._damaged.add(index)
                warnings.warn(f"{error}\nthe next image takes its place", stacklevel=4)
        raise DataError(
            f"expected at least one readable image among {len(self.folder)}, the first of them {self.folder.files[0]}, "
            "got none; all of their pixels are damaged"
        )

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            draw = np.random.default_rng([_ORDER, self.seed, epoch])
            self._order = epoch, draw.permutation(self.items_per_epoch)
        return self._order[1]


def random_crop(image: Pixels, size: tuple[int, int], seed: int, sample: int, flip: bool) -> Pixels:
    """The crop (channels, h, w) of `image` that sample number `sample` sees, mirrored or not: a view of it."""
    (height, width), draw = size, np.random.default_rng([_OFFSET, seed, sample])
    top = int(draw.integers(image.shape[1] - height + 1))
    left = int(draw.integers(image.shape[2] - width + 1))
    crop = image[:, top : top + height, left : left + width]
    return crop[:, :, ::-1] if flip and draw.integers(2) else crop
