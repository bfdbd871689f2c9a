"""Plain pixels in one dataset of an HDF5 file, by h5py.

The file is opened for each read, which costs 0.2 ms: HDF5 keeps what is open in state of the whole process, which a
forked worker would share with its parent, down to the offset in the file.
"""

from collections.abc import Sequence
from functools import partial
from math import prod
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pixelpyramids.data.images import Names
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.bit_depth import Pixels

# What h5py raises on damaged and foreign files: errors of the library come as these, by their kind.
_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, LookupError, OverflowError, MemoryError)

_COLOURS_AT_MOST = 4


class Hdf5Entries:
    """Images (H, W, C) uint8 of the dataset `dataset` in the file at `path`: (N, C, H, W) or (N, H, W, C) there.

    The axis of at most 4 is that of the colours. Names are the file's path, the dataset's below it, and the index.
    Datasets with more than one image in a chunk serve, but each read then decompresses the whole chunk.

    Raises DataError where the file is damaged, the dataset is missing, not written to its end, virtual, or another
    kind of array; PixelPyramidsError where h5py is missing.
    """

    format = "HDF5"

    def __init__(self, path: str | PathLike[str], dataset: str) -> None:
        self.path, self.dataset = Path(path), dataset
        self._name = self.path / dataset.strip("/")
        found = hdf5_datasets(self.path)
        if dataset.strip("/") not in found:
            raise DataError(f"{self._name}: expected a dataset there, got {listed(found)}")
        shape, dtype = found[dataset.strip("/")]
        self.colours_first = image_size(shape) is not None and shape[1] <= _COLOURS_AT_MOST
        if image_size(shape) is None or dtype != np.uint8:
            raise DataError(
                f"{self._name}: expected uint8 images (N, C, H, W) or (N, H, W, C), got {dtype} of shape {shape}"
            )
        self._check_whole()
        self.names: Sequence[Path] = Names(shape[0], partial(_numbered, self._name))

    def _check_whole(self) -> None:
        """What was never written, or a virtual dataset's absent file, HDF5 gives as zeros: black images."""
        try:
            with _h5py().File(self.path, "r") as file:
                array = file[self.dataset]
                if array.is_virtual:
                    raise DataError(
                        f"{self._name}: expected images in the file itself, got a virtual dataset, of other files; "
                        "h5py copies it into one: new[name] = old[name][:]"
                    )
                if array.chunks is None:
                    stored, expected, unit = array.id.get_storage_size(), array.nbytes, "bytes"
                else:
                    chunks = (-(-length // chunk) for length, chunk in zip(array.shape, array.chunks, strict=True))
                    stored, expected, unit = array.id.get_num_chunks(), prod(chunks), "chunks"
        except _DAMAGE as error:
            raise _damaged(self._name, "an array", error) from error
        if stored < expected:
            raise DataError(
                f"{self._name}: expected {expected} {unit} of images, got {stored} and nothing in place of the "
                "others; get or make the file again"
            )

    def read(self, index: int) -> Pixels:
        """Image `index`, (H, W, C) uint8. Raises DataError where it cannot be read."""
        try:
            with _h5py().File(self.path, "r") as file:
                image = np.asarray(file[self.dataset][index])
        except _DAMAGE as error:
            raise _damaged(self.names[index], "an image", error) from error
        return image.transpose(1, 2, 0) if self.colours_first else image


def hdf5_datasets(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Path below the file, without a leading /, to shape and type, for every array in it. Raises DataError."""
    h5py = _h5py()
    found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}

    def visit(name: str | bytes, item: object) -> None:
        # A damaged name is bytes.
        if isinstance(name, str) and isinstance(item, h5py.Dataset) and item.shape is not None:
            found[name] = tuple(item.shape), np.dtype(item.dtype)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except _DAMAGE as error:
        raise _damaged(path, "a file", error) from error
    return found


def image_size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(H, W) of an array of images, (N, C, H, W) or (N, H, W, C); None where it is none, or both."""
    if len(shape) != 4 or (shape[1] <= _COLOURS_AT_MOST) == (shape[3] <= _COLOURS_AT_MOST):
        return None
    return (shape[2], shape[3]) if shape[1] <= _COLOURS_AT_MOST else (shape[1], shape[2])


def listed(datasets: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> str:
    """What a file holds, for people."""
    return ", ".join(f"{name} ({dtype} {shape})" for name, (shape, dtype) in datasets.items()) or "no dataset"


def _damaged(name: Path, wanted: str, error: Exception) -> DataError:
    return DataError(
        f"{name}: expected {wanted} that HDF5 can read, got {type(error).__name__}: {error}; get the file again"
    )


def _h5py() -> ModuleType:
    return import_extra("h5py", "data")


def _numbered(name: Path, index: int) -> Path:
    return name / f"{index:05d}"
