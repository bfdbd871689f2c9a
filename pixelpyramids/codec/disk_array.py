"""Images in a temporary file, for those that memory should not hold.

`pixels[top:bottom, left:right]` reads a window of a `DiskArray`, and assigning to it writes one, as with a NumPy array.
The system deletes the file when the array or the process ends.
"""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from pixelpyramids.errors import DataError, FullDiskError, is_full_disk

LARGE = 2**27  # bytes: larger images are kept on disk
AT_ONCE = 2**22  # bytes of a band of rows, about


@contextmanager
def report_a_full_disk() -> Iterator[None]:
    """Raise FullDiskError if there is no room for a temporary file, and DataError if it cannot be written."""
    try:
        yield
    except OSError as error:
        kind = FullDiskError if is_full_disk(error) else DataError
        raise kind(
            f"expected room for a temporary file in {tempfile.gettempdir()}, got: {error.strerror}; make room there, "
            "or set TMPDIR to another folder"
        ) from error


class DiskArray:
    """Numbers of shape (H, W) or (H, W, C), zeros at first. Threads may share it."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        with report_a_full_disk():
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            self._file.truncate(self.nbytes)
        self._lock = Lock()

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """The bytes of a value."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """The bytes of all values."""
        return self.size * self.itemsize

    def reshape(self, *shape: int) -> "DiskArray":
        """The same values with other axes, as many as before. At most one side may be -1."""
        known = -math.prod(shape)
        sides = tuple(self.size // known if side == -1 else side for side in shape)
        if math.prod(sides) != self.size:
            raise ValueError(f"expected a shape of {self.size} values, got {shape}")
        other = object.__new__(DiskArray)
        other.__dict__ |= self.__dict__ | {"shape": sides}
        return other

    def __getitem__(self, window: tuple[slice, ...]) -> Any:
        """Read a window: slices of rows, columns and perhaps channels, all with steps of 1."""
        with self._lock:
            found = self._read(*self._lines(window))
        return found[:, :, *window[2:]]

    def __setitem__(self, window: tuple[slice, ...], values: Any) -> None:
        """Write a window."""
        lines = self._lines(window)
        is_partial = len(window) > 2 and window[2].indices(self.shape[2])[:2] != (0, self.shape[2])
        with self._lock:
            found = self._read(*lines) if is_partial else self._empty(*lines)
            found[:, :, *window[2:]] = values
            with report_a_full_disk():
                for place, row in self._pieces(found, *lines):
                    self._file.seek(place)
                    while row:
                        row = row[self._file.write(row) :]

    def _lines(self, window: tuple[slice, ...]) -> list[tuple[int, int]]:
        """Where the window's rows and its columns begin and end."""
        return [one.indices(side)[:2] for one, side in zip(window, self.shape[:2], strict=False)]

    def _empty(self, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
        return np.empty((rows[1] - rows[0], columns[1] - columns[0], *self.shape[2:]), self.dtype)

    def _read(self, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
        found = self._empty(rows, columns)
        for place, row in self._pieces(found, rows, columns):
            self._file.seek(place)
            while row:
                count = self._file.readinto(row)  # the system may return less than requested
                if not count:
                    raise OSError("a temporary file ended early")
                row = row[count:]
        return found

    def _pieces(self, pixels: Any, rows: tuple[int, int], columns: tuple[int, int]) -> Iterator[tuple[int, memoryview]]:
        """The bytes of the pixels of a window that lie side by side in the file, and where they do."""
        pixel = math.prod(self.shape[2:]) * self.itemsize
        of_row = pixel * self.shape[1]
        flat = memoryview(pixels.reshape(-1).view(np.uint8))
        count = 1 if columns[1] - columns[0] == self.shape[1] else rows[1] - rows[0]
        size = len(flat) // max(count, 1)
        for number in range(count):
            yield of_row * (rows[0] + number) + pixel * columns[0], flat[size * number : size * (number + 1)]


def is_large(shape: tuple[int, ...], dtype: DTypeLike) -> bool:
    """Whether an array of that shape and type should be kept on disk."""
    return math.prod(shape) * np.dtype(dtype).itemsize > LARGE


def allocate(shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    """An array of zeros: in memory or, if it is large, on disk."""
    return DiskArray(shape, dtype) if is_large(shape, dtype) else np.zeros(shape, dtype)


def convert_bands(pixels: Any, convert: Callable[[Any], Any]) -> Any:
    """The image whose bands of rows are those of `pixels`, converted, which keep their number of rows."""
    converted = None
    for top, band in bands_of(pixels):
        new = convert(band)
        if converted is None:
            converted = allocate((pixels.shape[0], *new.shape[1:]), new.dtype)
        converted[top : top + len(new), :] = new
    return converted


def copy_chunks(array: Any) -> DiskArray:
    """A copy of an array that is stored in chunks, such as one of zarr or HDF5, read chunk by chunk."""
    copy = DiskArray(array.shape, array.dtype.newbyteorder("="))
    rows, columns = array.chunks[:2]
    for top in range(0, array.shape[0], rows):
        for left in range(0, array.shape[1], columns):
            window = slice(top, min(top + rows, array.shape[0])), slice(left, min(left + columns, array.shape[1]))
            copy[window] = array[window]
    return copy


def spans_of_rows(pixels: Any) -> Iterator[tuple[int, int]]:
    """Yield where bands of whole rows of an image begin and end."""
    height = pixels.shape[0]
    lines = max(AT_ONCE * height // pixels.nbytes, 1)
    for top in range(0, height, lines):
        yield top, min(top + lines, height)


def bands_of(pixels: Any) -> Iterator[tuple[int, Any]]:
    """Yield an image in bands of whole rows, each with the number of its first row."""
    for top, bottom in spans_of_rows(pixels):
        yield top, pixels[top:bottom, :]
