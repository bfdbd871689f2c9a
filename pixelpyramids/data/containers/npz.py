"""Plain pixels in the array `data` of an .npz file (a zip of .npy files), as the downsampled ImageNet comes.

(N, 3 H W): all of the first channel in raster order, then the second, the third, square images; or (N, H, W, 3).

An array that is stored, as by `numpy.savez`, is mapped into memory from its place in the file. One that is compressed,
as by `numpy.savez_compressed`, is read at once, whole, in each process that does not inherit it by a fork.
"""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from math import isqrt, prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.images import Names
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels

# What zipfile and NumPy raise on damaged and foreign files.
_DAMAGE = (
    zipfile.BadZipFile, OSError, ValueError, LookupError, EOFError, RuntimeError, OverflowError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip

_MEMBER = "data.npy"

# APPNOTE 4.3.7: the lengths of the name and of the extra field end the 30 bytes before the name.
_LOCAL_HEADER = struct.Struct("<26xHH")


class NpzEntries:
    """Images (H, W, 3) uint8 of the array `data` of the file at `path`; names are the file's path and the index.

    Raises DataError where the file is missing, damaged, or the array another.
    """

    format = "NPZ"

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._array = _array(self.path)
        self.names: Sequence[Path] = Names(len(self._array), partial(_numbered, self.path))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}

    def read(self, index: int) -> Pixels:
        """Image `index`. Raises DataError where the file, opened again in another process, is another."""
        if self._array is None:
            self._array = _array(self.path)
        if len(self._array) != len(self.names):
            raise DataError(
                f"{self.path}: expected {len(self.names)} images, as when it was opened, got {len(self._array)}; leave "
                "the file as it is while it is in use"
            )
        image = np.asarray(self._array[index])
        if image.ndim == 3:
            return image
        side = isqrt(len(image) // 3)
        return image.reshape(3, side, side).transpose(1, 2, 0)


def _array(path: Path) -> NDArray[np.uint8]:
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            if _MEMBER not in archive.namelist():
                arrays = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:10]) or "none"
                raise DataError(
                    f"{path}: expected an array called data, got {arrays}; write the images again by that name, with "
                    "numpy.savez(path, data=images)"
                )
            info = archive.getinfo(_MEMBER)
            with archive.open(info) as member:
                shape, fortran, dtype = _header(member)
                header = member.tell()
            _check(path, shape, dtype, info.file_size - header)
            if info.compress_type != zipfile.ZIP_STORED:
                with archive.open(info) as member:
                    array: NDArray[np.uint8] = np.lib.format.read_array(member, allow_pickle=False)
                return array
            file.seek(info.header_offset)
            start = info.header_offset + 30 + sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size)))
        return np.memmap(path, np.uint8, "r", start + header, shape, "F" if fortran else "C")
    except _DAMAGE as error:
        raise DataError(
            f"{path}: expected an .npz file with an array data, got {type(error).__name__}: {error}; get it again"
        ) from error


def _header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(member)
    return np.lib.format.read_array_header_2_0(member)


def _check(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> None:
    flat = len(shape) == 2 and shape[1] > 0 and shape[1] == 3 * isqrt(shape[1] // 3) ** 2
    if dtype != np.uint8 or not (flat or (len(shape) == 4 and shape[3] == 3)) or not prod(shape):
        raise DataError(
            f"{path}: expected an array data of uint8, (N, 3 H W) of square images or (N, H, W, 3), got {dtype} of "
            f"shape {shape}"
        )
    if size != prod(shape):
        raise DataError(f"{path}: expected {prod(shape)} bytes of data, got {size}; get the file again")


def _numbered(path: Path, index: int) -> Path:
    return path / f"{index:06d}"
