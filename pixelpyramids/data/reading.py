"""One image file to integers: value = floor(stored / 2**(stored bits - n_bits)), in [0, 2**n_bits).

Quantising happens here and nowhere else. Pixels come as they are stored: no colour management, no turning by EXIF, the
first frame of an animation. Conversions on the way are reported in words with the pixels, because figures of converted
images are not figures of the files.
"""

import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelpyramids.errors import DataError
from pixelpyramids.stored_depth import stored_depth

Pixels = NDArray[np.integer[Any]]
Prepare = Callable[[Image.Image], Image.Image]
"""What is done to a decoded 8-bit image: a crop, a resize."""

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

# Pillow knows these by name only: EPS starts another program, the others have no decoder of its own.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

_SIXTEEN_BITS = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_GREY = _SIXTEEN_BITS | {"1", "L", "LA", "La"}
_WITH_ALPHA = frozenset({"LA", "PA", "La", "RGBA", "RGBa"})
_OTHER_COLOURS = frozenset({"CMYK", "HSV", "YCbCr"})
_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La", "YCbCr", "HSV"})
_REFUSED = {
    "F": "floating-point values, which have no exact integer counterpart",
    "CMYK": "four inks, whose colours depend on a profile",
    "LAB": "CIE L*a*b* values, which have no exact RGB counterpart",
}

# What Pillow's decoders raise on damaged and foreign files.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class Header(NamedTuple):
    """What a file says of itself before its pixels are read, and what `read_image` converts."""

    height: int
    width: int
    format: str
    conversions: tuple[str, ...]


class Decoded(NamedTuple):
    """Pixels as `read_image` returns them, the file's format, and the conversions ("alpha dropped")."""

    pixels: Pixels
    format: str
    conversions: tuple[str, ...]


@cache
def readable_formats() -> dict[str, str]:
    """File extension (lower case, with its dot) to format, for what this Pillow decodes by itself."""
    extensions = Image.registered_extensions()
    return {e: f for e, f in extensions.items() if f in Image.OPEN and f not in _NOT_DECODED}


def read_header(path: str | PathLike[str], channels: int = 3, n_bits: int = 8) -> Header:
    """Height, width and format of a file that `read_image` with the same arguments accepts, as far as its header tells.

    Raises DataError, naming the file, as `read_image` does.
    """
    return _header(path, path, channels, n_bits)


def decode_header(content: bytes, name: str | PathLike[str], channels: int = 3, n_bits: int = 8) -> Header:
    """As `read_header`, of an image file's content, called `name` in errors."""
    return _header(io.BytesIO(content), name, channels, n_bits)


def read_image(path: str | PathLike[str], channels: int = 3, n_bits: int = 8) -> Pixels:
    """The file's pixels, (channels, H, W), integers in [0, 2**n_bits): uint8 up to 8 bits, uint16 above.

    `channels` 1, 2, 3, 4 mean grey, grey and alpha, RGB, RGBA; Pillow converts (colour to grey is ITU-R 601 luma, alpha
    is dropped or added as opaque). 16-bit greys serve every n_bits; more than 8 bits needs one of them and one channel.
    Pillow opens 16-bit colour as 8-bit. The array is the caller's own.

    Raises DataError, naming the file, where it is missing, damaged, not an image, larger than Pillow's limit for
    untrusted files, of floating-point, CMYK or L*a*b* pixels, or not deep enough.
    """
    return read_decoded(path, channels, n_bits).pixels


def read_decoded(path: str | PathLike[str], channels: int = 3, n_bits: int = 8) -> Decoded:
    """As `read_image`, with the file's format and what was converted."""
    return _read(path, path, channels, n_bits, None)


def decode(
    content: bytes,
    name: str | PathLike[str],
    channels: int = 3,
    n_bits: int = 8,
    prepare: Prepare | None = None,
    accept_cmyk: bool = False,
) -> Decoded:
    """Decode the content of an image file, which errors call `name`.

    `prepare`, such as a crop and a resize, is done on the decoded image, of 8 bits, before quantising. `accept_cmyk`
    is for data sets in which every image counts: CMYK becomes RGB as Pillow does it, without a profile, red being
    (255 - C)(255 - K) / 255 rounded, green and blue likewise.
    """
    return _read(io.BytesIO(content), name, channels, n_bits, prepare, accept_cmyk)


def quantise(
    pixels: Pixels,
    name: str | PathLike[str],
    format: str,
    channels: int = 3,
    n_bits: int = 8,
    prepare: Prepare | None = None,
) -> Decoded:
    """Quantise 8-bit pixels (H, W, channels) from a container of that format, as `decode` does those of a file.

    Raises DataError for pixels of another type or shape.
    """
    _check_request(channels, n_bits)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != channels or n_bits > 8:
        raise DataError(
            f"{name}: expected uint8 pixels (height, width, {channels}) and at most 8 bits, got {pixels.dtype} of "
            f"shape {pixels.shape} and n_bits {n_bits}"
        )
    conversions = (bits_reduced(8, n_bits),) if n_bits < 8 else ()
    return _quantised(Decoded(pixels, format, conversions), 8, name, channels, n_bits, prepare)


def _header(source: str | PathLike[str] | BinaryIO, name: str | PathLike[str], channels: int, n_bits: int) -> Header:
    _check_request(channels, n_bits)
    try:
        with _open(source) as image:
            _check_image(image, name, n_bits)
            conversions = _conversions(image, channels, n_bits)
            return Header(image.height, image.width, image.format or "unknown", conversions)
    except _BOMB as error:
        raise _too_large(name, error) from error
    except _DAMAGE as error:
        raise _unreadable(name, error) from error


def _read(
    source: str | PathLike[str] | BinaryIO,
    name: str | PathLike[str],
    channels: int,
    n_bits: int,
    prepare: Prepare | None,
    accept_cmyk: bool = False,
) -> Decoded:
    _check_request(channels, n_bits)
    try:
        with _open(source) as file:
            conversions, depth = _conversions(file, channels, n_bits), _stored_bits(file)
            image: Image.Image = file.convert("RGB") if accept_cmyk and file.mode == "CMYK" else file
            _check_image(image, name, n_bits)
            stored, stored_bits = _pixels(image, name, channels, depth)
            decoded = Decoded(stored, file.format or "unknown", conversions)
            return _quantised(decoded, stored_bits, name, channels, n_bits, prepare)
    except _BOMB as error:
        raise _too_large(name, error) from error
    except _DAMAGE as error:
        raise _unreadable(name, error) from error


def _quantised(
    stored: Decoded,
    stored_bits: int,
    name: str | PathLike[str],
    channels: int,
    n_bits: int,
    prepare: Prepare | None,
) -> Decoded:
    """Stored pixels, (H, W) or (H, W, channels), prepared and quantised."""
    pixels, format_, conversions = stored
    if prepare is not None:
        eight = (pixels >> (stored_bits - 8)).astype(np.uint8)
        grey = channels == 1 and eight.ndim == 3
        try:
            pixels, stored_bits = np.asarray(prepare(Image.fromarray(eight[..., 0] if grey else eight))), 8
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        if pixels.shape[:2] != stored.pixels.shape[:2]:
            conversions = (f"cropped or resized to {pixels.shape[0]} x {pixels.shape[1]}", *conversions)
    pixels = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1) >> (stored_bits - n_bits)
    return Decoded(np.ascontiguousarray(pixels, dtype=pixel_type(n_bits)), format_, conversions)


def pixel_type(n_bits: int) -> np.dtype[np.integer[Any]]:
    """The type of an image's values: uint8 up to 8 bits, uint16 above."""
    return np.dtype(np.uint8 if n_bits <= 8 else np.uint16)


def _check_request(channels: int, n_bits: int) -> None:
    if channels not in MODES:
        raise DataError(f"expected 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels, got {channels}")
    if not 1 <= n_bits <= 16:
        raise DataError(f"expected 1 to 16 bits a value, got n_bits {n_bits}")
    if n_bits > 8 and channels != 1:
        raise DataError(
            f"expected 1 channel for {n_bits} bits, got {channels}: more than 8 bits are read from grey images only; "
            "use n_bits 8 or less, or one channel"
        )


def _open(path: str | PathLike[str] | BinaryIO) -> Image.Image:
    if isinstance(path, str | PathLike) and not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("no regular file")  # a pipe would wait for ever
    # Formats are named so that a file in disguise never reaches a decoder that starts another program.
    image = Image.open(path, formats=sorted(set(readable_formats().values())))
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        image.close()
        raise Image.DecompressionBombError(f"it has {image.width}x{image.height} pixels, Pillow's limit is {limit}")
    return image


def _check_image(image: Image.Image, path: str | PathLike[str], n_bits: int) -> None:
    if image.mode in _REFUSED:
        raise DataError(
            f"{path}: expected grey or RGB pixels, got mode {image.mode} ({_REFUSED[image.mode]}); "
            "convert the file to 8-bit RGB or 16-bit grey"
        )
    if image.mode not in _SIXTEEN_BITS | _EIGHT_BITS:
        raise DataError(f"{path}: expected grey or RGB pixels, got mode {image.mode}; convert the file to 8-bit RGB")
    depth = _stored_bits(image) if image.mode in _SIXTEEN_BITS else 8
    if n_bits > depth:
        raise DataError(
            f"{path}: expected 16-bit grey for n_bits {n_bits}, got {'an' if depth == 8 else 'a'} {depth}-bit source "
            f"(mode {image.mode}); use n_bits {depth} or less"
        )


def _stored_bits(image: Image.Image) -> int:
    """Bits per value in the file, before its pixels are read: Pillow opens deeper colour as 8-bit."""
    arguments = [tile[3] for tile in getattr(image, "tile", [])]  # of the decoders: "RGB;16B", …
    if image.mode in _SIXTEEN_BITS:
        return 12 if "I;12" in str(arguments) else 16
    if re.search(";16[BLN]", str(arguments)) or (image.format == "PPM" and _largest_value(arguments) > 255):
        return 16
    file: BinaryIO | None = getattr(image, "fp", None)
    if file is not None and image.format in ("AVIF", "JPEG2000"):
        place = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(place)
        with suppress(ValueError, DataError):  # it does not say, or says what the codec refuses
            return stored_depth(image, data)
    return 1 if image.mode == "1" else 8


def _largest_value(arguments: list[Any]) -> int:
    """The largest value (maxval) that a PPM file declares."""
    return max(
        (part for parts in arguments if isinstance(parts, tuple) for part in parts if type(part) is int), default=0
    )


def _conversions(image: Image.Image, channels: int, n_bits: int) -> tuple[str, ...]:
    """The conversions that `read_image` will make, in words, for an image whose pixels are not read yet."""
    is_grey, depth = image.mode in _GREY, _stored_bits(image)
    has_alpha = image.mode in _WITH_ALPHA or "transparency" in image.info
    found = {
        # Of a Photoshop file the first "frame" is the whole picture.
        "first of several frames": image.format != "PSD" and getattr(image, "is_animated", False),
        f"{image.mode} to RGB": image.mode in _OTHER_COLOURS,
        "premultiplied alpha divided out": image.mode in ("La", "RGBa"),
        "colour to grey": channels < 3 and not is_grey,
        "grey repeated as red, green and blue": channels >= 3 and is_grey,
        "alpha dropped": channels in (1, 3) and has_alpha,
        "opaque alpha added": channels in (2, 4) and not has_alpha,
        bits_reduced(depth, n_bits): depth > n_bits,
    }
    return tuple(conversion for conversion, is_done in found.items() if is_done)


def bits_reduced(depth: int, n_bits: int) -> str:
    """The conversion of values of `depth` bits to n_bits, in words."""
    return f"{depth} bits reduced to {n_bits}"


def _pixels(image: Image.Image, path: str | PathLike[str], channels: int, depth: int) -> tuple[Pixels, int]:
    """Stored values, (H, W) or (H, W, channels), and their bits: `depth` for grey above 8 bits."""
    if image.mode in _SIXTEEN_BITS:
        grey = np.asarray(image)
        # Mode I holds 32 bits; Pillow opens some 16-bit formats so.
        least, most = int(grey.min()), int(grey.max())
        if least < 0 or most >= 1 << depth:
            raise DataError(
                f"{path}: expected values in 0 … {(1 << depth) - 1}, got {least} … {most}; "
                "convert the file to 16-bit grey"
            )
        grey = grey.astype(np.uint16)
        if channels == 1:
            return grey, depth
        # Pillow would clip 16 bits to 255 instead of scaling them.
        image = Image.fromarray((grey >> (depth - 8)).astype(np.uint8))
    elif image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    elif "transparency" in image.info or image.mode == "PA":
        # One step at a time: Pillow's direct conversions lose a transparent colour or a palette's alpha.
        image = image.convert("RGBA")
    return np.asarray(image.convert(MODES[channels])), 8


def _unreadable(path: str | PathLike[str], error: BaseException) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: expected an image, but there is no such file")
    return DataError(
        f"{path}: expected an image that Pillow can read, got {_reason(error, path)}; replace or remove the file"
    )


def _too_large(path: str | PathLike[str], error: BaseException) -> DataError:
    return DataError(
        f"{path}: expected an image of at most {Image.MAX_IMAGE_PIXELS} pixels, got a larger one ({error}); "
        "crop or scale it, or raise PIL.Image.MAX_IMAGE_PIXELS for files that you trust"
    )


def _reason(error: BaseException, path: str | PathLike[str]) -> str:
    text = str(error).strip()
    if text.startswith("cannot identify image file"):
        return f"a file that is none (its name says {Path(path).suffix or 'nothing'})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
