"""Open image files with Pillow and return their pixels as they are stored. Palette indices become colours.

Two readers use this module: `image_files.opening` returns the pixels exactly as they are stored or refuses them, and
`data.reading` converts them for a model.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from pixelpyramids.codec.container import MAGIC
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.image_files.file_source import read_head
from pixelpyramids.image_files.pixel_coding import stored_depth

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's modes of 8 bits by their number of channels."""

SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")

# Pillow lists these but does not decode them: EPS needs another program, PPYR is our plugin, the rest have no decoder.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PPYR", "WMF"})
_CHANNELS = {"1": 1, "L": 1, "RGB": 3} | dict.fromkeys(SIXTEEN_BITS, 1)
_HEAD = 16  # bytes that formats are recognised by


@cache
def readable_formats() -> dict[str, str]:
    """A dictionary from file suffix (lower case, with its dot) to format: what this Pillow decodes by itself."""
    return {e: f for e, f in Image.registered_extensions().items() if f in Image.OPEN and f not in _NOT_DECODED}


def open_with_pillow(file: BinaryIO, formats: Iterable[str], name: str = "") -> Image.Image:
    """Open an image of one of the formats, without Pillow's own limit of pixels.

    That limit cannot be set for one call, so the caller must check the size. A disguised file never reaches a decoder
    that starts another program. Raises UnidentifiedImageError, which says what the file is instead.
    """
    Image.init()
    head, reason = read_head(file, _HEAD), ""
    for format in formats:
        if format not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[format]
        accepted: bool | str = False
        try:
            accepted = accept is None or accept(head)  # some formats, such as TGA, have no mark
            if isinstance(accepted, str):  # Pillow recognises the format but cannot read it here
                reason = reason or f"{format}: {accepted}"
            elif accepted:
                file.seek(0)
                return factory(file, name)
        except (SyntaxError, LookupError, TypeError, EOFError, struct.error) as error:
            if accepted and accept:
                reason = reason or f"a {format} that is damaged, or of a kind that is not read ({error})"
    if head.startswith(MAGIC):
        reason = "a .ppyr file, which must be decompressed first"
    raise UnidentifiedImageError(reason or ("something else" if head else "an empty file"))


def stored_bits(image: Image.Image) -> int:
    """Bits per value in the file; call this before reading the pixels. Pillow opens deeper colour as 8-bit."""
    arguments = [tile[3] for tile in getattr(image, "tile", [])]  # for the decoders: "RGB;16B", …
    if image.mode in (*SIXTEEN_BITS, "I"):
        return 12 if "I;12" in str(arguments) else 16
    numbers = [part for parts in arguments if isinstance(parts, tuple) for part in parts if type(part) is int]
    is_deep = image.format == "PPM" and max(numbers, default=0) > 255  # PPM gives its largest value
    if is_deep or re.search(";16[BLN]", str(arguments)):
        return 16
    file: BinaryIO | None = getattr(image, "fp", None)
    if file is not None and image.format in ("AVIF", "JPEG2000"):
        place = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(place)
        with suppress(ValueError, DataError):  # the file names no depth, or one that the codec refuses
            return stored_depth(image, data)
    return 1 if image.mode == "1" else 8


def check_mode(image: Image.Image, accepted: Sequence[str] = ()) -> None:
    """Raise DataError if pixels of this mode cannot be stored exactly (CMYK, LAB, …), unless it is `accepted`."""
    if image.mode not in (*_CHANNELS, "LA", "RGBA", "P", "PA", *accepted):
        raise DataError(f"expected grey or RGB pixels, got mode {image.mode}; convert to 8- or 16-bit RGB or grey")


def pixels_of(image: Image.Image) -> tuple[Pixels, int]:
    """Pixels (H, W) or (H, W, C), and their depth. Raises DataError as `check_mode` does.

    A transparent colour (`info["transparency"]`) becomes a channel of alpha.
    """
    check_mode(image)
    mode = image.mode
    if mode in ("P", "PA"):
        return _look_up_palette(image), 8
    array: Any = np.array(image)
    pixels: Pixels = array.astype(np.uint16 if mode in SIXTEEN_BITS else np.uint8, copy=False)
    depth = {"1": 1}.get(mode, 8 * pixels.itemsize)
    key = image.info.get("transparency")
    if isinstance(key, int | tuple) and mode in _CHANNELS:
        colour = key if isinstance(key, tuple) else (key / 255 if mode == "1" else key,)  # in mode 1, white is 255
        if len(colour) == _CHANNELS[mode]:
            pixels = add_alpha(pixels, colour, depth)
    return pixels, depth


@contextmanager
def refuse_cut_images() -> Iterator[None]:
    """Within the block, Pillow raises OSError for cut images even if the program has set LOAD_TRUNCATED_IMAGES.

    Only one thread at a time may do this.
    """
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def add_alpha(pixels: Pixels, colour: Sequence[float], depth: int) -> Pixels:
    """Add alpha: pixels of that colour become transparent, others opaque."""
    colours = pixels.reshape(*pixels.shape[:2], -1)
    alpha = (colours != np.array(colour)).any(axis=-1, keepdims=True) * ((1 << depth) - 1)
    return np.concatenate([colours, alpha.astype(pixels.dtype)], axis=-1)


def _look_up_palette(image: Image.Image) -> Pixels:
    """Colours, or greys if all are grey; with alpha if the palette has it."""
    is_transparent = image.palette is not None and image.palette.mode == "RGBA"
    has_alpha = image.mode == "PA" or "transparency" in image.info or is_transparent
    pixels: Pixels = np.array(image.convert("RGBA"))
    if (pixels[..., :1] == pixels[..., 1:3]).all():
        return np.ascontiguousarray(pixels[..., 2:] if has_alpha else pixels[..., 0])
    return np.ascontiguousarray(pixels if has_alpha else pixels[..., :3])
