"""An endless, deterministic stream of training crops from shards that are only read from beginning to end.

The shards are read in V = X Y lanes. Sample b of step s comes from lane (b mod X, s mod Y). So processes that share
batches and workers that share steps read little more than they need, and together see what a single process would see.
`datasets` selects and shuffles the images of a lane in epoch e:

    split_dataset_by_node(images.shuffle(seed, buffer_size=4096 / V, max_buffer_input_shards=1), lane, V), set_epoch(e)

    sample g = s * batch_size + b is a crop, mirrored or not, by generator(seed, g), as in `crops`

An epoch of a lane ends with its shards. So in the long run every image is seen equally often, but not exactly once in
each batch_size * steps_per_epoch samples. Resuming at step s reads again, without decoding, what the lanes had read
since their epoch began, or since step 0 if the number of images in each shard is not known.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, count, islice
from math import gcd
from pathlib import Path
from typing import Any

from pixelpyramids.data.batches import Batches
from pixelpyramids.data.images import refuse_other_size
from pixelpyramids.data.reading import read_decoded
from pixelpyramids.data.shards import Shards
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.bit_depth import Pixels

BUFFER = 4096
"""The number of undecoded images that the buffers of all lanes hold together."""

_EMPTY_EPOCHS, _DAMAGED_IN_A_ROW = 50, 100
_STEPS_IF_UNKNOWN = 1000

_Item = tuple[Path, bytes]


class Stream(Batches):
    """Crops of the images of `shards`, one of each image.

    Ask for steps in ascending order: going back means reading again. If `image_size` (H, W) is given, images of another
    size are refused. `buffer` undecoded images are held in memory. If the number of images is not known,
    `steps_per_epoch` is 1,000. Raises EmptySplitError if there are no images. Reading raises DataError if a hundred
    images in a row cannot be read, if an image does not have `image_size`, or if a shard is damaged.
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
        if shards.total == 0:
            raise EmptySplitError(f"expected images to train on in {shards.names[0]} and the other shards, got none")
        self.shards, self.image_size = shards, image_size
        self.count = self.items_per_epoch = shards.total
        self.steps_per_epoch = _STEPS_IF_UNKNOWN if self.count is None else max(1, self.count // batch_size)
        # 12 divides by 1, 2, 3 and 4, the possible numbers of workers; 8 by most numbers of processes.
        self._steps_apart = next(y for y in (12, 4, 2, 1) if y <= len(shards))
        self._samples_apart = gcd(batch_size, next(x for x in (8, 4, 2, 1) if x * self._steps_apart <= len(shards)))
        self._lanes = self._steps_apart * self._samples_apart
        self._buffer = max(buffer // self._lanes, 1)
        # Both have the same number of shards, so `datasets` deals them in the same order.
        self._images, self._numbers = self._mix(shards.read), self._mix(_list_only)
        self._reading: dict[int, tuple[int, Iterator[_Item]]] = {}
        self._process = os.getpid()
        self._damaged: set[Path] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reading": {}, "_damaged": set()}

    def files_of(self, step: int) -> list[Path]:
        """See `Batches.files_of`. The images are read again. If that could mean all images since step 0, the names
        of the shards are returned instead.
        """
        if self.shards.counts is None:
            return [Path(name) for name in self.shards.names]
        return super().files_of(step)

    def _image(self, sample: int) -> tuple[Path, Pixels]:
        if self._process != os.getpid():  # a forked worker must not share open files with its parent
            self._reading, self._process = {}, os.getpid()
        step, item = divmod(sample, self.batch_size)
        lane = item % self._samples_apart + self._samples_apart * (step % self._steps_apart)
        of_a_step = self.batch_size // self._samples_apart
        position = step // self._steps_apart * of_a_step + item // self._samples_apart
        next_position, items = self._reading.get(lane, (position + 1, iter(())))
        if position < next_position:
            next_position, items = self._start_lane(lane, position)
        for _ in range(position - next_position):
            next(items)
        # An image that cannot be read is replaced by the next of its lane, which is still seen in its own place.
        later: list[_Item] = []
        for name, content in islice(items, _DAMAGED_IN_A_ROW):
            later.append((name, content))
            image = self._decode(name, content)
            if image is not None:
                self._reading[lane] = position + 1, chain(later[1:], items) if later[1:] else items
                return name, image
        raise DataError(f"expected readable images near {name}, got {_DAMAGED_IN_A_ROW} damaged ones in a row")

    def _decode(self, name: Path, content: bytes) -> Pixels | None:
        try:
            image = read_decoded(content, self.channels, self.n_bits, name=name).pixels
        except DataError as error:
            if name not in self._damaged:
                self._damaged.add(name)
                warnings.warn(f"{error}; the next image takes its place", stacklevel=5)
            return None
        if self.image_size is not None:
            refuse_other_size(name, image.shape[1:], self.image_size)
        return image

    def _start_lane(self, lane: int, position: int) -> tuple[int, Iterator[_Item]]:
        """Start reading at the epoch that contains `position`. Returns the epoch's first position, and its items.

        If the shards are counted, earlier epochs are not read.
        """
        begin = 0
        for epoch in count():
            if self.shards.counts is None:
                break
            held = sum(self.shards.counts[shard] for shard in self._deal(self._numbers, lane, epoch))
            if begin + held > position:
                break
            begin += held
        return begin, self._items(lane, epoch)

    def _items(self, lane: int, first_epoch: int) -> Iterator[_Item]:
        last = first_epoch
        for epoch in count(first_epoch):
            for item in self._deal(self._images, lane, epoch):
                last = epoch
                yield item
            if epoch - last >= _EMPTY_EPOCHS:
                raise DataError(
                    f"expected images to train on in {self.shards.names[0]} and the other shards, got none; all of "
                    "them may be held out for validation: train without validation, or add images"
                )

    def _mix(self, read: Callable[[int], Iterable[Any]]) -> Any:
        """An IterableDataset that shuffles what `read` gives for each shard number."""
        # split_dataset_by_node divides by shards only if each lane gets as many; None stands for an empty one.
        numbers = [*range(len(self.shards)), *[None] * (-len(self.shards) % self._lanes)]
        dataset = import_extra("datasets", "data").IterableDataset.from_generator(
            partial(_read_all, read), gen_kwargs={"numbers": numbers}
        )
        # One shard at a time: `datasets` would read several by threads, which a forked worker does not have.
        return dataset.shuffle(seed=self.seed, buffer_size=self._buffer, max_buffer_input_shards=1)

    def _deal(self, dataset: Any, lane: int, epoch: int) -> Iterator[Any]:
        dealt = import_extra("datasets.distributed", "data").split_dataset_by_node(dataset, lane, self._lanes)
        dealt.set_epoch(epoch)
        # iter(dealt) would divide the images again, among a loader's workers.
        for batch in dealt.iter(batch_size=1):
            yield batch["item"][0]


def _read_all(read: Callable[[int], Iterable[Any]], numbers: list[int | None]) -> Iterator[dict[str, Any]]:
    for number in numbers:
        if number is not None:
            for item in read(number):
                yield {"item": item}


def _list_only(number: int) -> list[int]:
    return [number]
