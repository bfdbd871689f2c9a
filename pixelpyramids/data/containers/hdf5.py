"""Plain pixels in one dataset of an HDF5 file, read by h5py.

The file is opened for each read, which takes 0.2 ms. HDF5 keeps the state of open files for the whole process, even the
offset in the file, which a forked worker would share with its parent.
"""

from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from pixelpyramids.data.damage import explain_damage
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.image_files.file_source import check_regular

_COLOURS_AT_MOST = 4
_IMPOSSIBLE = "get the file again", MemoryError  # which h5py raises for shapes that cannot be

Datasets = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


class Hdf5Entries:
    """Images (H, W, C) uint8 of `dataset` in the file at `path`, an array (N, C, H, W) or (N, H, W, C).

    The axis of at most 4 holds the colours. If a chunk holds more than one image, each read decompresses all of it.

    Raises DataError if the file is damaged, or if the dataset is missing, virtual, or not completely written: HDF5
    would then return zeros, that is, black images. Raises PixelPyramidsError if h5py is missing.
    """

    format = "HDF5"

    def __init__(self, path: str | PathLike[str], dataset: str) -> None:
        self.path, self.dataset = Path(path), dataset
        self._name = self.path / dataset
        check_regular(self.path)
        with explain_damage(self._name, "an array that HDF5 can read", *_IMPOSSIBLE), _open(self.path) as file:
            array = file[dataset]
            self._count, self.colours_first = len(array), array.shape[1] <= _COLOURS_AT_MOST
            if array.is_virtual:
                raise DataError(
                    f"{self._name}: expected images in the file itself, got a virtual dataset that refers to other "
                    "files; copy it with h5py: new[name] = old[name][:]"
                )
            if array.chunks is None:
                stored, expected, unit = array.id.get_storage_size(), array.nbytes, "bytes"
            else:
                chunks = (-(-length // chunk) for length, chunk in zip(array.shape, array.chunks, strict=True))
                stored, expected, unit = array.id.get_num_chunks(), prod(chunks), "chunks"
        if stored < expected:
            raise DataError(
                f"{self._name}: expected {expected} {unit} of images, got only {stored}; get or make the file again"
            )

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> Path:
        return self._name / f"{index:05d}"

    def read(self, index: int) -> Pixels:
        with explain_damage(self.name(index), "an image that HDF5 can read", *_IMPOSSIBLE), _open(self.path) as file:
            image = np.asarray(file[self.dataset][index])
        return image.transpose(1, 2, 0) if self.colours_first else image


def list_datasets(path: Path) -> Datasets:
    """The shape and type of every array in a file, by its path there, without a leading /."""
    found: Datasets = {}

    def visit(name: str | bytes, item: object) -> None:
        # A damaged name is bytes.
        if isinstance(name, str) and isinstance(item, import_extra("h5py", "data").Dataset) and item.shape is not None:
            found[name] = tuple(item.shape), np.dtype(item.dtype)

    with explain_damage(path, "a file that HDF5 can read", *_IMPOSSIBLE), _open(path) as file:
        file.visititems(visit)
    return found


def image_size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(H, W) of an array of images, (N, C, H, W) or (N, H, W, C); None if it is neither or could be both."""
    if len(shape) != 4 or (shape[1] <= _COLOURS_AT_MOST) == (shape[3] <= _COLOURS_AT_MOST):
        return None
    return (shape[2], shape[3]) if shape[1] <= _COLOURS_AT_MOST else (shape[1], shape[2])


def describe_datasets(datasets: Datasets) -> str:
    """Describe the datasets of a file in words."""
    return ", ".join(f"{name} ({dtype} {shape})" for name, (shape, dtype) in datasets.items()) or "no dataset"


def _open(path: Path) -> Any:
    return import_extra("h5py", "data").File(path, "r")
