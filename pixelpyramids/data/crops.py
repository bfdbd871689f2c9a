"""An endless, deterministic stream of training crops: step s depends only on (seed, s) and the files.

An image of H x W has floor(H / h) * floor(W / w) slots, the crops of h x w that fit in it side by side. An epoch is one
pass over the N slots of all images in a new order, so large images are seen in proportion to their pixels:

    sample g = step * batch_size + b     epoch e = g // N     image = the one of slot permutation(seed, e)[g % N]
    offset of the crop, flip ~ generator(seed, g), uniform over all valid offsets
"""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.batches import Batches, check_crop
from pixelpyramids.data.images import Images
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels

_ORDER = 0  # key of this random stream; the offsets have another key


class Crops(Batches):
    """Crops of the images of `folder`; an epoch has `items_per_epoch` (N) of them and N // batch_size steps, or 1.

    Raises DataError, naming the file, if an image is smaller than the crop.
    """

    items_per_epoch: int

    def __init__(
        self, folder: Images, size: tuple[int, int], batch_size: int, seed: int = 0, flip: bool = False
    ) -> None:
        super().__init__(size, batch_size, seed, flip, folder.channels, folder.n_bits)
        slots = (folder.sizes // np.array(size)).astype(np.int64).prod(axis=1)
        if too_small := np.flatnonzero(slots == 0).tolist():
            first, *others = (folder.files[index] for index in too_small)
            check_crop(first, folder.sizes[too_small[0]], size, others)
        self.folder, self.count, self.in_memory = folder, len(folder), folder.in_memory
        self._last_slot = np.cumsum(slots)
        self.items_per_epoch = int(self._last_slot[-1])
        self.steps_per_epoch = max(1, self.items_per_epoch // batch_size)
        self._order: tuple[int, NDArray[np.int64]] | None = None
        self._damaged: set[int] = set()

    def _image(self, sample: int) -> tuple[Path, Pixels]:
        epoch, position = divmod(sample, self.items_per_epoch)
        slot = self._permutation(epoch)[position]
        first = int(np.searchsorted(self._last_slot, slot, side="right"))
        for index in (*range(first, len(self.folder)), *range(first)):
            if index in self._damaged:
                continue
            try:
                return self.folder.files[index], self.folder.read(index, copy=False)
            except DataError as error:
                self._damaged.add(index)
                warnings.warn(f"{error}; the next image takes its place", stacklevel=4)
        raise DataError(
            f"expected at least one readable image among {len(self.folder)}, the first of them {self.folder.files[0]}, "
            "got none; replace the damaged images"
        )

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            draw = np.random.default_rng([_ORDER, self.seed, epoch])
            self._order = epoch, draw.permutation(self.items_per_epoch)
        return self._order[1]
