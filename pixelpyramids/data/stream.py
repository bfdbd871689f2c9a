"""An endless, deterministic stream of training crops from shards that are only read from beginning to end.

The shards are read in lanes, each with shards, an order and a buffer of its own. Sample b of step s comes from lane
(b mod X, s mod Y), so that processes that share batches and workers that share steps read what they need and little
else, and all of them together see what one alone would see:

    lane l of V = X Y, epoch e:  shards permutation(seed, e)[l::V], one after the other, through a buffer from which
                                 generator(seed, e, l) draws: full, it gives one image for each that comes in
    sample g = s * batch_size + b sees a crop, mirrored or not, by generator(seed, g), as in `crops`

An epoch of a lane ends with its shards. So in the long run every image is seen as often as the others, though not once
in each batch_size * steps_per_epoch samples to the letter. To go on from step s takes reading, not decoding, what the
lanes had read since their epoch began; all of it since step 0 where it is not known how many images the shards hold.
"""

import warnings
from collections import deque
from collections.abc import Iterator
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from pixelpyramids.data.batches import Batches
from pixelpyramids.data.images import Shards
from pixelpyramids.data.reading import decode
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.image_files.bit_depth import Pixels

BUFFER = 4096
"""Images, as they are stored, that the buffers of all lanes hold."""

# Keys of the random streams, beside those of crops and patches.
_ORDER, _DRAW = 3, 4
_BARREN, _DAMAGED_IN_A_ROW = 50, 100
_STEPS_OF_UNKNOWN = 1000


class Stream(Batches):
    """Crops of the images of `shards`, one of each image.

    Steps are best asked for in ascending order: going back means reading once more. With `image_size` (H, W) images of
    another size are refused. `buffer` images are held as they are stored. Where the count of images is not known,
    `steps_per_epoch` is 1,000. Raises EmptySplitError where there is no image; `batch` raises DataError where a hundred
    in a row cannot be read, an image is not of `image_size`, or a shard is damaged.
    """

    in_memory = False

    def __init__(
        self,
        shards: Shards,
        size: tuple[int, int],
        batch_size: int,
        seed: int = 0,
        flip: bool = False,
        *,
        channels: int = 3,
        n_bits: int = 8,
        image_size: tuple[int, int] | None = None,
        buffer: int = BUFFER,
    ) -> None:
        super().__init__(size, batch_size, seed, flip, channels, n_bits)
        if buffer < 1:
            raise ValueError(f"expected a buffer of at least 1 image, got {buffer}")
        if shards.total == 0:
            raise EmptySplitError(f"expected images to train on in {shards.names[0]} and the other shards, got none")
        self.shards, self.image_size = shards, image_size
        self.count = self.items_per_epoch = shards.total
        self.steps_per_epoch = _STEPS_OF_UNKNOWN if self.count is None else max(1, self.count // batch_size)
        # 12 divides by 1, 2, 3 and 4, as many workers as training has; 8 by most counts of processes.
        self._steps_apart = next(y for y in (12, 4, 2, 1) if y <= len(shards))
        self._samples_apart = gcd(batch_size, next(x for x in (8, 4, 2, 1) if x * self._steps_apart <= len(shards)))
        self._lanes = self._steps_apart * self._samples_apart
        self._buffer = max(buffer // self._lanes, 1)
        self._reading: dict[int, _Lane] = {}
        self._damaged: set[Path] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reading": {}, "_damaged": set()}

    def files_of(self, step: int) -> list[Path]:
        """As of `Batches`. The images are read once more; where that could mean all since step 0, the names of
        the shards come instead.
        """
        if self.shards.counts is None:
            return [Path(name) for name in self.shards.names]
        return [self._image(sample)[0] for sample in self._samples(step)]

    def _image(self, sample: int) -> tuple[Path, Pixels]:
        step, item = divmod(sample, self.batch_size)
        number = item % self._samples_apart + self._samples_apart * (step % self._steps_apart)
        of_a_step = self.batch_size // self._samples_apart
        position = step // self._steps_apart * of_a_step + item // self._samples_apart
        lane = self._reading.get(number)
        if lane is None or position < lane.position:
            lane = self._reading[number] = self._lane(number, position)
        for place in range(position, position + _DAMAGED_IN_A_ROW):
            name, content = lane.item(place, keep_from=position)
            try:
                image = decode(content, name, self.channels, self.n_bits).pixels
            except DataError as error:
                if name not in self._damaged:
                    self._damaged.add(name)
                    warnings.warn(f"{error}; the next image takes its place", stacklevel=4)
                continue
            self._check_size(name, image)
            return name, image
        raise DataError(f"expected readable images near {name}, got {_DAMAGED_IN_A_ROW} damaged ones in a row")

    def _check_size(self, name: Path, image: Pixels) -> None:
        (h, w), (height, width) = image.shape[1:], self.image_size or self.size
        if (h, w) != (height, width) and (self.image_size is not None or h < height or w < width):
            least = "" if self.image_size else "at least "
            raise DataError(
                f"{name}: expected an image of {least}{height}x{width} pixels (height x width), as the parameters say, "
                f"got {h}x{w}; resize or remove it, or use other parameters"
            )

    def _lane(self, number: int, position: int) -> "_Lane":
        """The lane, from the epoch in which `position` lies: earlier ones need no reading where they are counted."""
        epoch = begin = 0
        if self.shards.counts is not None:
            while begin + (held := sum(self.shards.counts[s] for s in self._dealt(number, epoch))) <= position:
                begin, epoch = begin + held, epoch + 1
        return _Lane(self._items(number, epoch), begin)

    def _dealt(self, lane: int, epoch: int) -> list[int]:
        """The shards of a lane in an epoch, in the order in which it reads them."""
        order = np.random.default_rng([_ORDER, self.seed, epoch]).permutation(len(self.shards))
        return [int(shard) for shard in order[lane :: self._lanes]]

    def _items(self, lane: int, epoch: int) -> Iterator[tuple[Path, bytes]]:
        barren = 0
        while barren < _BARREN:
            draw = np.random.default_rng([_DRAW, self.seed, epoch, lane])
            kept: list[tuple[Path, bytes]] = []
            barren += 1
            for shard in self._dealt(lane, epoch):
                for item in self.shards.read(shard):
                    barren = 0
                    kept.append(item)
                    if len(kept) > self._buffer:
                        yield _drawn(kept, draw)
            while kept:
                yield _drawn(kept, draw)
            epoch += 1
        raise DataError(
            f"expected images to train on in {self.shards.names[0]} and the other shards, got none; there may be no "
            "more than those held out for validation: train without a validation, or give more"
        )


class _Lane:
    """Items of an endless iterator by their position, of which `position` is the first that can still be asked for."""

    def __init__(self, items: Iterator[tuple[Path, bytes]], position: int) -> None:
        self._items, self.position = items, position
        self._ahead: deque[tuple[Path, bytes]] = deque()

    def item(self, position: int, keep_from: int) -> tuple[Path, bytes]:
        """Item `position`; those before `keep_from` are given up."""
        while self.position < keep_from:
            if self._ahead:
                self._ahead.popleft()
            else:
                next(self._items)
            self.position += 1
        while len(self._ahead) <= position - self.position:
            self._ahead.append(next(self._items))
        return self._ahead[position - self.position]


def _drawn(kept: list[tuple[Path, bytes]], draw: np.random.Generator) -> tuple[Path, bytes]:
    """One of what is kept, at random, taken out."""
    index = int(draw.integers(len(kept)))
    kept[index], kept[-1] = kept[-1], kept[index]
    return kept.pop()
