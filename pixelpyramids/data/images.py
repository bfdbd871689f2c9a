"""`Images`, the images of one split, and `Entries`, the protocol of every container of stored images.

A container holds entries as they are stored: files, contents of files, or plain pixels. Decoding, cropping, resizing
and quantising are the same for all of them.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.reading import Header, Prepare, quantise, read_decoded, read_header
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels, pixel_type

Indices = Sequence[int] | NDArray[np.int64]

CACHE_BYTES = 512 * 2**20
"""A split whose decoded images take at most this many bytes stays in memory once it is read."""

_NAMED_AT_MOST = 10
_TRIED_AT_MOST = 10  # images, when a split of one size is opened


class Entries(Protocol):
    """Stored images by index: a file (its path), the content of an image file (bytes), or pixels (H, W, C) uint8.

    `format` names the container of plain pixels ("HDF5", …); it is "" for files. Instances can be pickled. Each worker
    opens what it needs at its first read.
    """

    @property
    def format(self) -> str: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> Path:
        """The path of a file, or the path of a container followed by the entry's name."""
        ...

    def read(self, index: int) -> Path | bytes | Pixels:
        """Entry `index`. Raises DataError with its name if it cannot be read."""
        ...


class ConcatenatedEntries:
    """The entries of `parts`, at least one, of one format, in their order."""

    def __init__(self, parts: Sequence[Entries]) -> None:
        self.format = parts[0].format
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def name(self, index: int) -> Path:
        part, inside = self._find(index)
        return part.name(inside)

    def read(self, index: int) -> Path | bytes | Pixels:
        part, inside = self._find(index)
        return part.read(inside)

    def _find(self, index: int) -> tuple[Entries, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[number], int(index - self._ends[number]) + len(self._parts[number])


class Images:
    """The images of one split: `read(i)` gives (channels, H, W), integers in [0, 2**n_bits), uint8 up to 8 bits.

    `files` names each image as its container does. For each image, `sizes` (count, 2) has H and W, `formats` says how
    it is stored ("JPEG", …), and `conversions` what is converted when it is read ("alpha dropped"). If the images were
    opened by `of_one_size`, the last two are "" and () until an image is read. `skipped` are the files that could not
    be read when the split was opened. `in_memory` says whether decoded images are cached. Instances can be pickled,
    without the decoded images, and read in workers.
    """

    def __init__(
        self,
        entries: Entries,
        chosen: Indices,
        sizes: NDArray[np.integer[Any]],
        *,
        channels: int,
        n_bits: int,
        prepare: Prepare | None = None,
        accept_cmyk: bool = False,
    ) -> None:
        self.entries, self.chosen, self.sizes = entries, chosen, sizes
        self.channels, self.n_bits = channels, n_bits
        self.prepare, self.accept_cmyk = prepare, accept_cmyk
        self.files: Sequence[Path] = Names(entries, chosen)
        self.formats = [entries.format] * len(chosen)
        self.conversions: list[tuple[str, ...]] = [()] * len(chosen)
        self.skipped: list[Path] = []
        values = int(np.prod(sizes, axis=1, dtype=np.int64).sum()) * channels
        self.in_memory = values * pixel_type(n_bits).itemsize <= CACHE_BYTES
        self._cache: dict[int, Pixels] = {}

    @classmethod
    def of_any_size(
        cls,
        entries: Entries,
        chosen: Indices | None = None,
        *,
        channels: int = 3,
        n_bits: int = 8,
        size: tuple[int, int] | None = None,
    ) -> Self:
        """Open files by their headers, about 20,000 a second. `chosen` are indices into the entries, by default all.

        Files that cannot be read are named in one UserWarning and skipped. Raises DataError if nothing is readable, or
        if `size` (H, W) is given and an image has another size.
        """
        headers: dict[int, Header] = {}
        skipped: dict[Path, str] = {}
        for index in range(len(entries)) if chosen is None else chosen:
            name = entries.name(index)
            try:
                stored = entries.read(index)
                assert isinstance(stored, Path | bytes)
                headers[int(index)] = header = read_header(stored, channels, n_bits, name=name)
            except DataError as error:
                skipped[name] = str(error)
                continue
            if size is not None:
                refuse_other_size(name, header[:2], size)
        _report_unreadable(list(skipped.values()), bool(headers))
        sizes = np.array([header[:2] for header in headers.values()], dtype=np.int32).reshape(-1, 2)
        images = cls(entries, list(headers), sizes, channels=channels, n_bits=n_bits)
        images.formats = [header.format for header in headers.values()]
        images.conversions = [header.conversions for header in headers.values()]
        images.skipped = list(skipped)
        return images

    @classmethod
    def of_one_size(
        cls,
        entries: Entries,
        size: tuple[int, int],
        chosen: Indices | None = None,
        *,
        channels: int = 3,
        n_bits: int = 8,
        prepare: Prepare | None = None,
        accept_cmyk: bool = False,
    ) -> Self:
        """Open images that all have `size` (H, W) after `prepare`, which crops and resizes them.

        `accept_cmyk` is that of `read_decoded`. Only one image is read, to refuse a wrong size early. Raises DataError
        if there is no entry, or if none of the first ten can be read.
        """
        chosen = range(len(entries)) if chosen is None else chosen
        if not len(chosen):
            raise DataError("expected at least one image in the split, got none")
        sizes = np.broadcast_to(np.array(size, dtype=np.int32), (len(chosen), 2))
        images = cls(entries, chosen, sizes, channels=channels, n_bits=n_bits, prepare=prepare, accept_cmyk=accept_cmyk)
        images._read_one()
        return images

    def __len__(self) -> int:
        return len(self.chosen)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}}

    def read(self, index: int, copy: bool = True) -> Pixels:
        """Image `index`. If `copy` is False, do not write to the array: it may be the cached one.

        Raises DataError with the image's name if it is damaged or has another size than `sizes` says.
        """
        image = self._cache.get(index)
        if image is None:
            image = self._decode(index)
            if self.in_memory:
                self._cache[index] = image
        return image.copy() if copy and self.in_memory else image

    def _decode(self, index: int) -> Pixels:
        name = self.files[index]
        stored, request = self.entries.read(self.chosen[index]), (self.channels, self.n_bits)
        if isinstance(stored, Path | bytes):
            decoded = read_decoded(stored, *request, name=name, prepare=self.prepare, accept_cmyk=self.accept_cmyk)
        else:
            decoded = quantise(stored, name, self.entries.format, *request, self.prepare)
        refuse_other_size(name, decoded.pixels.shape[1:], self.sizes[index])
        self.formats[index], self.conversions[index] = decoded.format, decoded.conversions
        return decoded.pixels

    def _read_one(self) -> None:
        failures: list[DataError] = []
        for index in range(min(len(self), _TRIED_AT_MOST)):
            try:
                self.read(index)
                return
            except _WrongSizeError:
                raise
            except DataError as error:
                failures.append(error)
        raise failures[0]


class Names(Sequence[Path]):
    """The names of the chosen entries, made when they are asked for, because a data set may have millions."""

    def __init__(self, entries: Entries, chosen: Indices) -> None:
        self._entries, self._chosen = entries, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._entries.name(int(i)) for i in self._chosen[index]]
        return self._entries.name(int(self._chosen[index]))


class _WrongSizeError(DataError):
    """An image is readable, but not of the size that all images of its split must have."""


def refuse_other_size(name: Path, got: Sequence[int], size: Sequence[int]) -> None:
    """Raise DataError if an image does not have the size (H, W) that its parameters or its header said."""
    if tuple(got) != tuple(size):
        (height, width), (h, w) = size, got
        raise _WrongSizeError(
            f"{name}: expected {height}x{width} pixels (height x width), got {h}x{w}; resize the image, or use "
            "parameters of its size; do not change images while they are in use"
        )


def _report_unreadable(reasons: Sequence[str], is_any_readable: bool) -> None:
    more = [f"… and {len(reasons) - _NAMED_AT_MOST} more"] if len(reasons) > _NAMED_AT_MOST else []
    listed = " | ".join([*reasons[:_NAMED_AT_MOST], *more])
    if not is_any_readable:
        raise DataError(f"expected at least one readable image in the split, got none: {listed}".removesuffix(": "))
    if reasons:
        warnings.warn(f"skipped {len(reasons)} unreadable image(s): {listed}", stacklevel=4)
