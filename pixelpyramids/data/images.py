"""What every collection of images offers, `Images`, and what every container of stored ones does, `Entries`.

A container holds entries, as they are stored: the content of an image file, or plain pixels. What is done to an entry,
decoding, cropping, resizing, quantising, is the same wherever it lies.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.image_files.bit_depth import Pixels

Indices = Sequence[int] | NDArray[np.int64]


class Images(Protocol):
    """The images of one split: `read(i)` gives (channels, H, W), integers in [0, 2**n_bits), uint8 up to 8 bits.

    `files` names each image: a path, or for an entry of a container the container's path and the entry's name below it.
    For each image, `sizes` (count, 2) has H and W, `formats` how it is stored ("JPEG", …), and `conversions` what
    reading it converts ("alpha dropped"). In some containers the last two are "" and () until the image is read.
    `skipped` are the files that could not be read when the split was opened; `in_memory` says whether decoded images
    are kept. Instances can be pickled, and read in workers.
    """

    @property
    def channels(self) -> int: ...
    @property
    def n_bits(self) -> int: ...
    @property
    def files(self) -> Sequence[Path]: ...
    @property
    def sizes(self) -> NDArray[np.integer[Any]]: ...
    @property
    def formats(self) -> Sequence[str]: ...
    @property
    def conversions(self) -> Sequence[tuple[str, ...]]: ...
    @property
    def skipped(self) -> Sequence[Path]: ...
    @property
    def in_memory(self) -> bool: ...

    def __len__(self) -> int: ...

    def read(self, index: int, copy: bool = True) -> Pixels:
        """Image `index`; with `copy` False it may be an array that is kept: not to be written to.

        Raises DataError, naming the image, where it is damaged or not as it should be.
        """
        ...


class Entries(Protocol):
    """Stored images, by index: the content of image files (bytes), or plain pixels (H, W, channels) uint8.

    `names` are as the `files` of `Images`; `format` is that of plain pixels ("HDF5", …), "" for contents of files.
    Instances can be pickled; what is open is opened again, in each worker, at the first read.
    """

    @property
    def names(self) -> Sequence[Path]: ...
    @property
    def format(self) -> str: ...

    def read(self, index: int) -> bytes | Pixels:
        """Entry `index`. Raises DataError, naming it, where it cannot be read."""
        ...


class Shards(Protocol):
    """The images of a split in shards; `read(i)` goes through shard i, (name, content) of one after the other.

    `counts` are the images of each and `total` of all, None where that is not known.
    """

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def counts(self) -> Sequence[int] | None: ...
    @property
    def total(self) -> int | None: ...

    def __len__(self) -> int: ...

    def read(self, shard: int) -> Iterator[tuple[Path, bytes]]:
        """The images of a shard, in its order. Raises DataError, naming the shard, where it is damaged."""
        ...


class Names(Sequence[Path]):
    """Names made when they are asked for, `name(index)` for each index below `count`: a data set may have millions.

    `name` is to be picklable: a function of a module, or a `functools.partial` of one.
    """

    def __init__(self, count: int, name: Callable[[int], Path]) -> None:
        self._count, self._name = count, name

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        picked = range(self._count)[index]
        return [self._name(i) for i in picked] if isinstance(picked, range) else self._name(picked)


def chosen_names(names: Sequence[Path], chosen: Indices) -> Names:
    """The names of the chosen entries."""
    return Names(len(chosen), partial(_chosen_name, names, chosen))


def _chosen_name(names: Sequence[Path], chosen: Indices, index: int) -> Path:
    return names[chosen[index]]
