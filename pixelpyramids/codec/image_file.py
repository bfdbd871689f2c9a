"""Image files as pictures, and back: pixels, depth and metadata, through Pillow, 8 bits."""

from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelpyramids.errors import DataError

FORMATS = {
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
    "webp": (".webp",),
    "ppm": (".ppm", ".pgm"),
}


class Picture(NamedTuple):
    """An image's pixels, (H, W) or (H, W, C), their depth in bits, metadata by name, and what file it was."""

    array: NDArray[np.integer[Any]]
    depth: int
    metadata: dict[str, bytes]
    source_format: str
    is_lossy: bool


def read_picture(source: Path | BinaryIO) -> Picture:
    """The picture in a file. Raises DataError where there is none."""
    try:
        with Image.open(source) as image:
            if image.mode not in ("L", "LA", "RGB", "RGBA"):
                raise DataError(f"expected 8-bit pixels, got mode {image.mode}")
            profile = image.info.get("icc_profile")
            metadata = {"icc": profile} if profile else {}
            return Picture(np.asarray(image), 8, metadata, image.format or "", image.format in ("JPEG", "AVIF"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, PermissionError):
            raise
        raise DataError(f"expected an image, got {error}") from error


def write_picture(picture: Picture, target: BinaryIO, format: str) -> None:
    """Write a picture. Raises DataError where the format has no such pixels."""
    if picture.depth != 8:
        raise DataError(f"expected 8 bits, got {picture.depth}")
    options: dict[str, Any] = {"lossless": True, "exact": True} if format == "webp" else {}
    if "icc" in picture.metadata:
        options["icc_profile"] = picture.metadata["icc"]
    Image.fromarray(picture.array).save(target, format, **options)
