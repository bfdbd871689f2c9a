"""Plain pixels in the array `data` of an .npz file (a zip of .npy files), the form of the downsampled ImageNet.

(N, 3 H W): all of the first channel in raster order, then the second and the third, square images; or (N, H, W, 3).

A stored array, as `numpy.savez` writes it, is mapped into memory from its place in the file. A compressed array, as
`numpy.savez_compressed` writes it, is read whole, by each process that does not inherit it from a fork.
"""

import struct
import zipfile
from math import isqrt, prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.damage import explain_damage
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.image_files.file_source import check_regular

_MEMBER = "data.npy"

# APPNOTE 4.3.7: the lengths of the name and of the extra field end the 30 bytes before the name.
_LOCAL_HEADER = struct.Struct("<26xHH")


class NpzEntries:
    """Images (H, W, 3) uint8 of the array `data` of the file at `path`.

    Raises DataError if the file is missing or damaged, or if there is no such array.
    """

    format = "NPZ"

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        check_regular(self.path)
        self._array: NDArray[np.uint8] | None = _load_array(self.path)
        self._count = len(self._array)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> Path:
        return self.path / f"{index:06d}"

    def read(self, index: int) -> Pixels:
        if self._array is None:
            self._array = _load_array(self.path)
        if len(self._array) != self._count:
            raise DataError(
                f"{self.path}: expected {self._count} images, as when it was opened, got {len(self._array)}; do "
                "not change the file while it is in use"
            )
        image = np.asarray(self._array[index])
        if image.ndim == 3:
            return image
        side = isqrt(len(image) // 3)
        return image.reshape(3, side, side).transpose(1, 2, 0)


def _load_array(path: Path) -> NDArray[np.uint8]:
    with explain_damage(path, "an .npz file with an array data", "get the file again", MemoryError):
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            if _MEMBER not in archive.namelist():
                arrays = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:10]) or "none"
                raise DataError(
                    f"{path}: expected an array called data, got {arrays}; write the images again by that name, with "
                    "numpy.savez(path, data=images)"
                )
            info = archive.getinfo(_MEMBER)
            with archive.open(info) as member:
                is_first = np.lib.format.read_magic(member) == (1, 0)
                read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
                shape, is_fortran, dtype = read(member)
                header = member.tell()
            _check_array(path, shape, dtype, info.file_size - header)
            if info.compress_type != zipfile.ZIP_STORED:
                with archive.open(info) as member:
                    array: NDArray[np.uint8] = np.lib.format.read_array(member, allow_pickle=False)
                return array
            file.seek(info.header_offset)
            start = info.header_offset + 30 + sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size)))
        return np.memmap(path, np.uint8, "r", start + header, shape, "F" if is_fortran else "C")


def _check_array(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> None:
    is_flat = len(shape) == 2 and shape[1] > 0 and shape[1] == 3 * isqrt(shape[1] // 3) ** 2
    if dtype != np.uint8 or not (is_flat or (len(shape) == 4 and shape[3] == 3)) or not prod(shape):
        raise DataError(
            f"{path}: expected an array data of uint8, (N, 3 H W) of square images or (N, H, W, 3), got {dtype} of "
            f"shape {shape}"
        )
    if size != prod(shape):
        raise DataError(f"{path}: expected {prod(shape)} bytes of data, got {size}; get the file again")
