"""What every collection of images offers, `Images`, and the one of images of a single size, from any container.

A container holds entries, as they are stored: the content of an image file, or plain pixels. What is done to an entry,
decoding, cropping, resizing, quantising, is the same wherever it lies.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelpyramids.data.reading import Pixels, Prepare, decode, pixel_type, quantise
from pixelpyramids.errors import DataError

Indices = Sequence[int] | NDArray[np.int64]

KEPT_BYTES = 512 * 2**20
"""A split that takes at most so much decoded stays in memory as it is read."""

TRIED_AT_MOST = 10  # images, when a split is opened


class Images(Protocol):
    """The images of one split: `read(i)` gives (channels, H, W), integers in [0, 2**n_bits), uint8 up to 8 bits.

    `files` names each image: a path, or for an entry of a container the container's path and the entry's name below it.
    `sizes` are (H, W), `formats` how each is stored ("JPEG", "PNG", …; "" where that is known only once it is read),
    `skipped` what could not be read when the split was opened, `in_memory` whether decoded images are kept. Instances
    can be pickled, and read in workers.
    """

    @property
    def channels(self) -> int: ...
    @property
    def n_bits(self) -> int: ...
    @property
    def files(self) -> Sequence[Path]: ...
    @property
    def sizes(self) -> Sequence[tuple[int, int]]: ...
    @property
    def formats(self) -> Sequence[str]: ...
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


class PreparedImages:
    """The chosen entries of a container as `Images` of one size (H, W), which `prepare` crops and resizes to.

    `chosen` are indices into the entries, all by default; `accept_cmyk` is that of `decode`. An image is read at once,
    so that a wrong size is refused when the split is opened. Raises DataError where there is no entry, or none of the
    first ten can be read.
    """

    def __init__(
        self,
        entries: Entries,
        size: tuple[int, int],
        chosen: Indices | None = None,
        *,
        channels: int = 3,
        n_bits: int = 8,
        prepare: Prepare | None = None,
        accept_cmyk: bool = False,
    ) -> None:
        self.entries, self.size, self.channels, self.n_bits, self.prepare = entries, size, channels, n_bits, prepare
        self.accept_cmyk = accept_cmyk
        self.chosen: Indices = range(len(entries.names)) if chosen is None else chosen
        if not len(self.chosen):
            raise DataError("expected at least one image in the split, got none")
        self.files: Sequence[Path] = chosen_names(entries.names, self.chosen)
        self.sizes: Sequence[tuple[int, int]] = [size] * len(self.chosen)
        self.formats: list[str] = [entries.format] * len(self.chosen)
        self.skipped: list[Path] = []
        decoded = size[0] * size[1] * len(self.chosen) * channels * pixel_type(n_bits).itemsize
        self.in_memory = decoded <= KEPT_BYTES
        self._kept: dict[int, Pixels] = {}
        self._try_the_first()

    def __len__(self) -> int:
        return len(self.chosen)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}

    def read(self, index: int, copy: bool = True) -> Pixels:
        """As of `Images`."""
        image = self._kept.get(index)
        if image is None:
            image = self._decoded(index)
            if self.in_memory:
                self._kept[index] = image
        return image.copy() if copy and self.in_memory else image

    def _try_the_first(self) -> None:
        """Read an image, the first that can be: all are of one size, and some may be damaged."""
        failures: list[DataError] = []
        for index in range(min(len(self), TRIED_AT_MOST)):
            try:
                self.read(index)
            except _WrongSize:
                raise
            except DataError as error:
                failures.append(error)
            else:
                return
        raise failures[0]

    def _decoded(self, index: int) -> Pixels:
        name, stored = self.files[index], self.entries.read(self.chosen[index])
        if isinstance(stored, bytes):
            image, self.formats[index] = decode(
                stored, name, self.channels, self.n_bits, self.prepare, self.accept_cmyk
            )
        else:
            image = quantise(stored, name, self.channels, self.n_bits, self.prepare)
        if image.shape[1:] != self.size:
            (height, width), (h, w) = self.size, image.shape[1:]
            raise _WrongSize(
                f"{name}: expected {height}x{width} pixels (height x width), as the parameters say, got {h}x{w}; "
                "resize the images, or use parameters of their size"
            )
        return image


class _WrongSize(DataError):
    """An image that is not damaged, and not of the size that all are to have."""


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


def center_crop(image: Image.Image, side: int) -> Image.Image:
    """The middle side x side pixels of a Pillow image, offsets rounded half to even, as torchvision's CenterCrop.

    Raises DataError where a side of the image is shorter.
    """
    if min(image.size) < side:
        raise DataError(f"expected an image of at least {side}x{side} pixels to crop, got {image.height}x{image.width}")
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))
