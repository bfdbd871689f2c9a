"""Read an image file as integers: value = floor(stored / 2**(stored bits - n_bits)), in [0, 2**n_bits).

Quantising happens here and nowhere else. Pixels come as they are stored, through `image_files.pillow_reading`: no
colour management, no rotation by EXIF, the first frame of an animation. Conversions are reported in words with the
pixels, because the bits/dim of converted images are not those of the files.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

from pixelpyramids.data.damage import explain_damage
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels, pixel_type, widen
from pixelpyramids.image_files.file_source import open_regular
from pixelpyramids.image_files.pillow_reading import (
    MODES,
    SIXTEEN_BITS,
    check_mode,
    open_with_pillow,
    pixels_of,
    readable_formats,
    stored_bits,
)

Prepare = Callable[[Image.Image], Image.Image]
"""A function that prepares a decoded 8-bit image, for example crops or resizes it."""

FileOrContent = str | PathLike[str] | bytes
"""The path of an image file, or its content."""

_GREY = (*SIXTEEN_BITS, "I", "1", "L", "LA", "La")
_WITH_ALPHA = ("LA", "PA", "La", "RGBA", "RGBa")
_MULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_OTHER_COLOURS = ("CMYK", "HSV", "YCbCr")
_CONVERTED = ("I", "HSV", "YCbCr", "RGBX", *_MULTIPLIED)
_SUBSAMPLING = 530  # the TIFF tag YCbCrSubSampling
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class Header(NamedTuple):
    """What is known about a file before its pixels are read, and what `read_decoded` converts."""

    height: int
    width: int
    format: str
    conversions: tuple[str, ...]


class Decoded(NamedTuple):
    """Pixels (channels, H, W) in [0, 2**n_bits), the file's format, and the conversions ("alpha dropped")."""

    pixels: Pixels
    format: str
    conversions: tuple[str, ...]


def read_header(source: FileOrContent, channels: int = 3, n_bits: int = 8, *, name: Path | None = None) -> Header:
    """Read the header of an image for `read_decoded` with the same arguments: size, format, conversions.

    Errors call the source `name`. Raises DataError as `read_decoded` does, but does not notice damaged pixels and takes
    palettes for colour.
    """
    _check_request(channels, n_bits)
    with _open_image(source, name) as image:
        _check_image(image, n_bits)
        conversions = _conversions(image, channels, n_bits, image.mode in _GREY)
        return Header(image.height, image.width, image.format or "unknown", conversions)


def read_decoded(
    source: FileOrContent,
    channels: int | Sequence[int] = 3,
    n_bits: int = 8,
    *,
    name: Path | None = None,
    prepare: Prepare | None = None,
    accept_cmyk: bool = False,
) -> Decoded:
    """Read the pixels of a file as a new array: uint8 up to 8 bits, uint16 above.

    `channels` 1, 2, 3, 4 mean grey, grey and alpha, RGB, RGBA. Of several numbers, the first that keeps a grey image
    grey or a colour image in colour is chosen, else the last. Pillow converts: colour to grey is ITU-R 601 luma; alpha
    is dropped or added as opaque. 16-bit grey can be read with every n_bits; more than 8 bits need 16-bit grey and one
    channel. Pillow opens 16-bit colour as 8-bit. Errors call the source `name`.

    `prepare`, such as a crop and a resize, is applied to the decoded image of 8 bits before quantising. `accept_cmyk`
    is for data sets in which every image counts: CMYK becomes RGB as Pillow does it, without a profile. Red is
    (255 - C)(255 - K) / 255, rounded; green and blue likewise.

    Raises DataError, naming the file, if the file is missing, damaged, not an image, or larger than Pillow's limit for
    untrusted files, or if its pixels are floating-point, CMYK (unless accepted) or L*a*b*, or have too few bits.
    """
    with _open_image(source, name) as image:
        depth, format, is_grey = stored_bits(image), image.format, image.mode in _GREY
        if image.mode in ("P", "PA"):  # the pixels show which colours of the palette are used
            is_grey = pixels_of(image)[0].shape[2:] in ((), (2,))
        if not isinstance(channels, int):
            channels = next((number for number in channels if (number < 3) == is_grey), channels[-1])
        _check_request(channels, n_bits)
        conversions = _conversions(image, channels, n_bits, is_grey)
        if accept_cmyk and image.mode == "CMYK":
            image = image.convert("RGB")
        _check_image(image, n_bits)
        pixels, depth = _convert(image, channels, depth)
        return _quantise(Decoded(pixels, format or "unknown", conversions), depth, channels, n_bits, prepare)


def quantise(
    pixels: Pixels,
    name: str | PathLike[str],
    format: str,
    channels: int = 3,
    n_bits: int = 8,
    prepare: Prepare | None = None,
) -> Decoded:
    """Quantise 8-bit pixels (H, W, channels) from a container of that format, as `read_decoded` does those of a file.

    Raises DataError for pixels of another type or shape.
    """
    _check_request(channels, n_bits)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != channels or n_bits > 8:
        raise DataError(
            f"{name}: expected uint8 pixels (height, width, {channels}) and at most 8 bits, got {pixels.dtype} of "
            f"shape {pixels.shape} and n_bits {n_bits}"
        )
    conversions = (_describe_reduction(8, n_bits),) if n_bits < 8 else ()
    with _add_name(name):
        return _quantise(Decoded(pixels, format, conversions), 8, channels, n_bits, prepare)


def center_crop(image: Image.Image, side: int) -> Image.Image:
    """Crop a Pillow image to its middle side x side pixels. As in torchvision, offsets are rounded half to even.

    Raises DataError if a side of the image is shorter.
    """
    if min(image.size) < side:
        raise DataError(f"expected an image of at least {side}x{side} pixels to crop, got {image.height}x{image.width}")
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))


@contextmanager
def _open_image(source: FileOrContent, name: Path | None) -> Iterator[Image.Image]:
    """Open an image. Errors raised within the block name the file."""
    path = "" if isinstance(source, bytes) else str(Path(source))
    label = str(name or path or "the image")
    with (
        explain_damage(label, "an image that Pillow can read", "convert, replace or remove the file", *_BOMB),
        _add_name(label),
        io.BytesIO(source) if isinstance(source, bytes) else open_regular(Path(source)) as file,
        open_with_pillow(file, sorted(set(readable_formats().values())), path) as image,
    ):
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise DataError(
                f"expected an image of at most {limit} pixels, got {image.height}x{image.width}; crop or scale it, or "
                "raise PIL.Image.MAX_IMAGE_PIXELS for files that you trust"
            )
        yield image


@contextmanager
def _add_name(name: str | PathLike[str]) -> Iterator[None]:
    """Add the file's name to errors that lack it."""
    try:
        yield
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(f"{name}: ") else f"{name}: {text}") from error


def _quantise(stored: Decoded, depth: int, channels: int, n_bits: int, prepare: Prepare | None) -> Decoded:
    """Prepare and quantise stored pixels, (H, W) or (H, W, channels)."""
    pixels, format, conversions = stored
    if prepare is not None:
        eight = (pixels >> (depth - 8)).astype(np.uint8)
        is_grey = channels == 1 and eight.ndim == 3
        pixels, depth = np.asarray(prepare(Image.fromarray(eight[..., 0] if is_grey else eight))), 8
        if pixels.shape[:2] != stored.pixels.shape[:2]:
            conversions = (f"cropped or resized to {pixels.shape[0]} x {pixels.shape[1]}", *conversions)
    pixels = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1) >> (depth - n_bits)
    return Decoded(np.ascontiguousarray(pixels, dtype=pixel_type(n_bits)), format, conversions)


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


def _check_image(image: Image.Image, n_bits: int) -> None:
    check_mode(image, _CONVERTED)
    _check_tiff(_tiff_tags(image), image.mode)
    depth = max(stored_bits(image), 8) if image.mode in (*SIXTEEN_BITS, "I") else 8
    if n_bits > depth:
        raise DataError(
            f"expected 16-bit grey for n_bits {n_bits}, got {'an' if depth == 8 else 'a'} {depth}-bit source "
            f"(mode {image.mode}); use n_bits {depth} or less"
        )


def _tiff_tags(image: Image.Image) -> Mapping[int, Any]:
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}


def _check_tiff(tags: Mapping[int, Any], mode: str) -> None:
    """Raise DataError for a TIFF that Pillow decodes to other values without an error."""
    is_deep, channels = max(tags.get(Tag.BitsPerSample, (8,))) > 8, tags.get(Tag.SamplesPerPixel, 1)
    is_planar, is_plain = tags.get(Tag.PlanarConfiguration) == 2, tags.get(Tag.Compression, 1) == 1
    if is_planar and (channels == 2 or (channels > 2 and is_deep and is_plain)):
        raise DataError("expected the channels of the TIFF pixel by pixel, got one after the other; convert it to PNG")
    if is_deep and tags.get(Tag.PhotometricInterpretation) == 0:
        raise DataError("expected 0 to be black in a TIFF of more than 8 bits, got white; convert it to PNG")
    is_ycbcr, is_subsampled = tags.get(Tag.PhotometricInterpretation) == 6, tags.get(_SUBSAMPLING, (2, 2)) != (1, 1)
    if is_plain and is_ycbcr and (is_subsampled or mode != "YCbCr"):  # Pillow 12 takes the values for RGB
        raise DataError(
            "expected RGB in an uncompressed TIFF, got YCbCr, which this Pillow misreads; convert it to PNG"
        )


def _conversions(image: Image.Image, channels: int, n_bits: int, is_grey: bool) -> tuple[str, ...]:
    """The conversions that `read_decoded` will make, in words. Only palettes may have been decoded before."""
    depth = stored_bits(image)
    has_alpha = image.mode in _WITH_ALPHA or "transparency" in image.info
    found = {
        # The first "frame" of a Photoshop file is the whole picture.
        "first of several frames": image.format != "PSD" and getattr(image, "is_animated", False),
        f"{image.mode} to RGB": image.mode in _OTHER_COLOURS,
        "premultiplied alpha divided out": image.mode in _MULTIPLIED,
        "colour to grey": channels < 3 and not is_grey,
        "grey repeated as red, green and blue": channels >= 3 and is_grey,
        "alpha dropped": channels in (1, 3) and has_alpha,
        "further channels dropped": _tiff_tags(image).get(Tag.SamplesPerPixel, 1) > len(image.getbands()),
        "opaque alpha added": channels in (2, 4) and not has_alpha,
        _describe_reduction(depth, n_bits): depth > n_bits,
    }
    return tuple(conversion for conversion, is_done in found.items() if is_done)


def _describe_reduction(depth: int, n_bits: int) -> str:
    return f"{depth} bits reduced to {n_bits}"


def _convert(image: Image.Image, channels: int, depth: int) -> tuple[Pixels, int]:
    """Stored values, (H, W) or (H, W, channels), and their bits: `depth` for grey above 8 bits, else 8."""
    if image.mode in _MULTIPLIED:
        image = image.convert(_MULTIPLIED[image.mode])
    elif image.mode == "I":  # 32 bits: Pillow opens some 16-bit formats this way
        image = _narrow(image, depth)
    elif image.mode in _CONVERTED:
        image = image.convert(MODES[channels])
    pixels, bits = pixels_of(image)
    if bits == 16:
        if channels == 1:
            return pixels if pixels.ndim == 2 else pixels[..., 0], depth
        pixels = (pixels >> (depth - 8)).astype(np.uint8)
    pixels = widen(pixels, bits, 8) if bits < 8 else pixels
    if (1 if pixels.ndim == 2 else pixels.shape[2]) != channels:
        pixels = np.asarray(Image.fromarray(pixels).convert(MODES[channels]))
    return pixels, 8


def _narrow(image: Image.Image, depth: int) -> Image.Image:
    """Convert an image of 32-bit integers to 16 bits. Raises DataError for values of more than `depth` bits."""
    grey = np.asarray(image)
    least, most = int(grey.min()), int(grey.max())
    if least < 0 or most >= 1 << depth:
        raise DataError(
            f"expected values in 0 … {(1 << depth) - 1}, got {least} … {most}; convert the file to 16-bit grey"
        )
    return Image.fromarray(grey.astype(np.uint16))
