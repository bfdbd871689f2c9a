"""Save an array as an image file: `pixelpyramids.save`.

    pixelpyramids.save("photograph.png", array)
    pixelpyramids.save("scan.ppyr", array, depth=12, metadata=image.metadata)

If a format cannot hold the pixels exactly, that is an error. If it cannot hold some metadata, a warning names them.
"""

import shutil
import struct
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
from PIL import Image

from pixelpyramids.atomic import replace_file
from pixelpyramids.codec.container import MAX_CHANNELS, check_metadata
from pixelpyramids.codec.disk_array import LARGE
from pixelpyramids.codec.image import check_effort, encode_to
from pixelpyramids.codec.planes import check_array
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.file_source import as_path
from pixelpyramids.image_files.metadata import warn_left_out, webp_options
from pixelpyramids.image_files.png_writer import write_png
from pixelpyramids.image_files.tiff_writer import write_tiff
from pixelpyramids.image_files.uncompressed import write_netpbm, write_npy
from pixelpyramids.terminal import explain

FORMATS = {
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
    "webp": (".webp",),
    "ppm": (".ppm", ".pgm"),
    "bmp": (".bmp",),
    "npy": (".npy",),
}
"""The formats that can be written, besides ppyr, and the suffixes of their files."""

_HELD: dict[str, dict[int, Sequence[int]]] = {  # depths in bits, by the number of channels
    "png": dict.fromkeys((1, 2, 3, 4), range(1, 17)),
    "tiff": {1: (1, 2, 4, 8, 12, 16)} | dict.fromkeys(range(2, MAX_CHANNELS + 1), (8, 16)),
    "webp": {3: (8,), 4: (8,)},
    "ppm": dict.fromkeys((1, 3), range(1, 17)),
    "bmp": {1: (1, 8), 3: (8,)},
    "npy": dict.fromkeys(range(1, MAX_CHANNELS + 1), range(1, 17)),
}
_BY_SUFFIX = {suffix: format for format, suffixes in FORMATS.items() for suffix in suffixes} | {".ppyr": "ppyr"}


def save(
    path_or_file: str | PathLike[str] | BinaryIO,
    array: Any,
    depth: int | None = None,
    metadata: Mapping[str, bytes] | None = None,
    effort: str = "default",
    format: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write an array (H, W) or (H, W, C), uint8 or uint16 with values below 2**depth, as an image file.

    A large array of zarr or HDF5 is read chunk by chunk, and kept in a temporary file.
    The suffix decides the format (.ppyr, .png, .tif, .webp, .ppm, .pgm, .bmp, .npy), unless `format` is given; a file
    without a name needs it. `effort` is that of `pixelpyramids.encode`, for .ppyr files. An existing file is replaced
    only if `overwrite` is True. Raises DataError if the array is not an image, if the format cannot hold its pixels
    exactly, or if the file exists or cannot be written.
    """
    array, depth = check_array(array, depth)
    check_effort(effort)
    metadata = {} if metadata is None else metadata
    check_metadata(metadata)
    path = as_path(path_or_file)
    name = str(getattr(path_or_file, "name", "") if path is None else path)
    format = format or _BY_SUFFIX.get(Path(name).suffix.lower())
    if format is None:
        raise DataError(
            f"expected a name that ends in {', '.join(_BY_SUFFIX)}, got {name!r}; rename it, or pass format="
        )
    with tempfile.SpooledTemporaryFile(LARGE) as content:
        if format == "ppyr":
            encode_to(content, array, depth, effort, metadata)
        else:
            write_image(content, array, depth, metadata, format, f"{name}: " if name else "")
        content.seek(0)
        if path is None:
            shutil.copyfileobj(content, cast(BinaryIO, path_or_file))
        else:
            _copy_to(path, content, overwrite)


def _copy_to(path: Path, content: IO[bytes], overwrite: bool) -> None:
    """Write the content to a file, completely or not at all. Raises DataError if that fails."""
    try:
        with replace_file(path, new=not overwrite) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(content, file)
    except FileExistsError as error:
        if error.filename != str(path):  # the folder is a file
            raise DataError(f"{error.filename}: expected a folder, got a file; choose another folder") from error
        raise DataError(f"{path}: exists already; choose another name, or pass overwrite=True") from error
    except OSError as error:
        raise DataError(explain(error, str(path))) from error


def write_image(
    target: IO[bytes], array: Any, depth: int, metadata: Mapping[str, bytes], format: str, about: str = ""
) -> None:
    """Write pixels, which may be on disk, as one of `FORMATS`. Raises DataError if it cannot hold them exactly.

    A UserWarning, which starts with `about`, names the metadata that the format cannot hold.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    pixels = array.reshape(*array.shape[:2]) if array.ndim == 3 and channels == 1 else array
    if format not in FORMATS:
        raise DataError(f"expected a format among {', '.join(FORMATS)}, got {format}")
    held, others = _HELD[format], [name for name, of in _HELD.items() if depth in of.get(channels, ())]
    if channels not in held:
        raise DataError(f"expected {_any_of(held)} channels for {format}, got {channels}; choose {_any_of(others)}")
    if depth not in held[channels]:
        depths = _any_of(held[channels])
        raise DataError(f"expected a depth of {depths} bits for {format}, got {depth}; choose {_any_of(others)}")
    if format == "png":
        write_png(pixels, depth, metadata, target, about)
    elif format == "tiff":
        write_tiff(pixels, depth, metadata, target, about)
    elif format == "ppm":
        warn_left_out(list(metadata), f"{about}PPM")
        write_netpbm(pixels, depth, target)
    elif format == "npy":
        left_out = [f"depth ({depth} bits)"] if depth != 8 * array.itemsize else []
        warn_left_out([*metadata, *left_out], f"{about}npy")
        write_npy(array, target)
    elif format == "webp":
        _save_with_pillow(
            pixels[:, :].astype(np.uint8), target, "WEBP", lossless=True, exact=True, **webp_options(metadata, about)
        )
    else:
        warn_left_out(list(metadata), f"{about}BMP")
        bits = pixels[:, :].astype(np.uint8)
        _save_with_pillow(bits > 0 if depth == 1 else bits, target, "BMP")


def _any_of(choices: Iterable[object]) -> str:
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}" if others else last


def _save_with_pillow(pixels: Any, target: IO[bytes], kind: str, **options: Any) -> None:
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(target, kind, **options)
    except (ValueError, struct.error, SyntaxError) as error:
        raise DataError(f"Pillow cannot write this picture as {kind}: {error}; choose another format") from error
