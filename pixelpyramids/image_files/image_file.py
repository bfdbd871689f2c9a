"""Image files as pictures, and back: the pixels as they are stored, at the source's depth, and what goes with them.

Nothing is turned, scaled or managed on the way, and no bit is lost silently. What Pillow would cut to 8 bits is read by
imagecodecs and tifffile (the `images` extra) or refused. If a second library can read a PNG or TIFF too, both must
agree. What a format cannot hold is refused, or named in a warning.
"""

import io
import math
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from pixelpyramids.codec.image import MAX_PIXELS
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files import left_out, tiff_reader
from pixelpyramids.image_files import metadata as blobs
from pixelpyramids.image_files.bit_depth import Pixels, narrow, pixel_type, widen
from pixelpyramids.image_files.file_source import DAMAGE, open_regular
from pixelpyramids.image_files.library_messages import catch_messages
from pixelpyramids.image_files.lossy_sources import LOSSY, is_lossy
from pixelpyramids.image_files.netpbm import is_netpbm, read_netpbm, too_large, write_netpbm
from pixelpyramids.image_files.pillow_gaps import find_gaps
from pixelpyramids.image_files.pillow_reading import add_alpha, open_image, pixels_of, read_head
from pixelpyramids.image_files.png import SIGNATURE, Png, has_surplus, pixels_alone, plain_png, read_png, with_metadata
from pixelpyramids.image_files.stored_depth import stored_depth
from pixelpyramids.image_files.tiff_writer import write_tiff
from pixelpyramids.terminal import explain

FORMATS = {
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
    "webp": (".webp",),
    "ppm": (".ppm", ".pgm"),
    "bmp": (".bmp",),
    "npy": (".npy",),
}
"""The formats that are written, and the endings of their files' names."""

READ = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "MPO", "JPEG2000", "AVIF", "QOI", "PCX", "TGA")
"""The formats that are read, beside PBM, PGM, PPM and npy, by the names of Pillow's plugins."""

_NPY = b"\x93NUMPY"
_PNG_DEPTHS = {1: (1, 2, 4, 8, 16), 2: (8, 16), 3: (8, 16), 4: (8, 16)}


class Picture(NamedTuple):
    """Pixels (H, W) or (H, W, C), uint8 up to a depth of 8 bits, uint16 above; values are below 2**depth.

    `metadata` are blobs by the names of metadata.py, `source_format` is what the file was ("PNG", …), `is_lossy`
    whether it had been packed with loss: a JPEG, say, which is smaller than its pixels in any lossless file.
    `not_kept` names what else the file holds.
    """

    array: Pixels
    depth: int
    metadata: dict[str, bytes]
    source_format: str
    is_lossy: bool
    not_kept: tuple[str, ...] = ()


def read_picture(source: Path | BinaryIO, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in a file. UserWarnings name the parts of the file that are not kept, and what a library printed.

    Raises DataError if the file is missing, damaged, above the limit of pixels, animated, or of pixels that would not
    come back exactly (float, signed, CMYK, …), and PixelPyramidsError if an extra is needed to read it, with its name.
    """
    name = str(source) if isinstance(source, Path) else str(getattr(source, "name", "the image"))
    data, printed = _content(source, name), list[str]()
    try:
        with catch_messages() as printed:
            picture = _read(data, max_pixels)
        blobs.check_size(picture.metadata)
    except PixelPyramidsError as error:
        raise type(error)(f"{name}: {error}") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: {error}; raise max_pixels (--max-pixels) and PIL.Image.MAX_IMAGE_PIXELS") from error
    except DAMAGE as error:
        reason = "; ".join([str(error).strip() or type(error).__name__, *printed])
        raise DataError(f"{name}: expected an image that can be read, got: {reason}; replace or remove it") from error
    for line in printed:
        warnings.warn(f"an image library says: {line}", stacklevel=2)
    if picture.not_kept:
        warnings.warn(f"not kept: {', '.join(picture.not_kept)}", stacklevel=2)
    return picture


def lossy_format(source: Path | BinaryIO) -> str:
    """The format of a file that was compressed with loss, by its header; "" for other files.

    No pixels are decoded, so damage in them is not found.
    """
    if not isinstance(source, Path):
        return _lossy_format(source)
    with open_regular(source) as file:
        return _lossy_format(file)


def write_picture(picture: Picture, target: BinaryIO, format: str) -> None:
    """Write a picture as one of `FORMATS`. Raises DataError if the format cannot hold its pixels as they are.

    A UserWarning names the metadata that the format has no place for.
    """
    pixels, depth, metadata = picture.array, picture.depth, picture.metadata
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    pixels = (pixels[..., 0] if pixels.ndim == 3 and channels == 1 else pixels).astype(pixel_type(depth), copy=False)
    if format == "png":
        target.write(_png(pixels, channels, depth, metadata))
    elif format == "tiff":
        write_tiff(pixels, depth, metadata, target)
    elif format == "ppm":
        _expect(channels in (1, 3), "no alpha", "alpha", format)
        blobs.tell_left_out(list(metadata), "PPM")
        write_netpbm(pixels, depth, target)
    elif format == "npy":
        left_out = [f"depth of {depth} bits"] if depth != 8 * picture.array.itemsize else []
        blobs.tell_left_out([*metadata, *left_out], "npy")
        np.save(target, picture.array)
    elif format == "webp":
        _expect(depth == 8, "8 bits", f"{depth} bits", format)
        _expect(channels >= 3, "colour", "grey, which WebP knows as colour only", format)
        _save(pixels, target, "WEBP", lossless=True, exact=True, **blobs.save_options(metadata, "WEBP"))
    elif format == "bmp":
        _expect(depth == 8 or (depth == 1 and channels == 1), "8 bits, or 1 bit of grey", f"{depth} bits", format)
        _expect(channels in (1, 3), "no alpha", "alpha", format)
        blobs.tell_left_out(list(metadata), "BMP")
        _save(pixels > 0 if depth == 1 else pixels, target, "BMP")
    else:
        raise DataError(f"expected a format among {', '.join(FORMATS)}, got {format}")


def _lossy_format(file: BinaryIO) -> str:
    try:
        if tiff_reader.is_tiff(read_head(file, 4)):
            return "TIFF" if tiff_reader.is_lossy_tiff(file.read()) else ""
        with _open(file, LOSSY) as image:
            is_one_picture = image.format == "MPO" or getattr(image, "n_frames", 1) == 1
            return image.format or "" if is_one_picture and is_lossy(image, file) else ""
    except (PixelPyramidsError, Image.DecompressionBombError, *DAMAGE):  # `read_picture` reports it
        return ""


def _content(source: Path | BinaryIO, name: str) -> bytes:
    try:
        if not isinstance(source, Path):
            return source.read()
        with open_regular(source) as file:
            return file.read()
    except FileNotFoundError as error:
        raise DataError(f"{name}: expected an image, but there is no such file") from error
    except OSError as error:
        raise DataError(explain(error, name)) from error


def _read(data: bytes, max_pixels: int) -> Picture:
    if data.startswith(_NPY):
        return _of_npy(data, max_pixels)
    if is_netpbm(data):
        pixels, depth, comments = read_netpbm(data, max_pixels)
        return Picture(pixels, depth, {"text:Comment": blobs.as_utf_8(comments)} if comments else {}, "PPM", False)
    if tiff_reader.is_tiff(data):
        tiff = tiff_reader.read_tags(data)
        _check_limit(tiff.height, tiff.width, max_pixels)
        pixels, depth = tiff_reader.read_tiff(data, tiff)
        return Picture(pixels, depth, tiff.metadata, "TIFF", tiff.is_lossy, tuple(tiff.not_kept))
    png = read_png(data) if data.startswith(SIGNATURE) else None
    data = data if png is None else pixels_alone(data)
    with _open(io.BytesIO(data), READ) as image:
        _check_limit(image.height, image.width, max_pixels)
        frames = getattr(image, "n_frames", 1)
        not_kept = () if png is not None else find_gaps(image, data) + left_out.names_of(image.format or "", data)
        if frames > 1 and image.format == "MPO":  # a camera's JPEG, of which the first is the picture
            not_kept = ("the JPEG's further pictures (previews, gain maps)",)
        elif frames != 1:
            raise DataError(f"expected one picture, got {frames} (an animation, or pages); take it apart first")
        if png is not None:
            return _of_png(png, image, data)
        depth = stored_depth(image, data)
        if depth > 8 and (depth < 16 or image.mode not in ("I;16", "I;16B", "I;16L")):
            raise DataError(f"expected 8 bits, got {depth} of {image.format}, which are not read exactly; convert it "
                            "to a 16-bit PNG")  # fmt: skip
        metadata = blobs.of_image(image)
        if depth < 8 and image.mode == "P":
            raise DataError(
                f"expected palette indices of 8 bits, got {depth} bits in the {image.format}; convert it to PNG"
            )
        pixels, read = pixels_of(image)
        if depth < 8:  # as JPEG 2000 alone has; Pillow appends zeros
            pixels, read = pixels >> (8 - depth), depth
        return Picture(pixels, read, metadata, image.format or "unknown", is_lossy(image, io.BytesIO(data)), not_kept)


def _open(file: BinaryIO, formats: Sequence[str]) -> Image.Image:
    try:
        return open_image(file, formats)
    except UnidentifiedImageError as error:
        raise DataError(
            f"expected an image ({', '.join(formats)}, PPM or npy), got {error}; convert or replace it"
        ) from error


def _of_npy(data: bytes, max_pixels: int) -> Picture:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_transposed, dtype = read(file)
    if dtype not in (np.uint8, np.dtype("<u2"), np.dtype(">u2")) or len(shape) not in (2, 3) or 0 in shape:
        raise DataError(
            f"expected an array (H, W) or (H, W, C) of uint8 or uint16, got {dtype} of shape {shape}; make it one first"
        )
    _check_limit(shape[0], shape[1], max_pixels)
    count, begin = math.prod(shape), file.tell()
    if len(data) - begin != count * dtype.itemsize:
        raise DataError(f"expected {count * dtype.itemsize} bytes of pixels, got {len(data) - begin}; it is damaged")
    order: Any = "F" if is_transposed else "C"
    array = np.frombuffer(data, dtype, count, begin).reshape(shape, order=order)
    native = np.ascontiguousarray(array, dtype.newbyteorder("="))
    return Picture(native, 8 * native.itemsize, {}, "npy", False)


def _of_png(png: Png, image: Image.Image, data: bytes) -> Picture:
    bits, metadata, not_kept = png.bit_depth, dict(png.metadata), list(png.not_kept)
    if has_surplus(data):
        not_kept.append("data after the PNG's last row")
    if bits == 16 and png.channels > 1:
        pixels = import_extra("imagecodecs", "images").png_decode(data)
        second = np.array(image)  # the upper byte of each value, grey as colour, no alpha for a transparent colour
        second = second[..., [0, 3]] if png.channels == 2 else second
        is_same = np.array_equal(pixels[..., : second.shape[2]] >> 8, second)
    else:
        if png.has_palette:
            pixels, bits = pixels_of(image)
        else:
            image.info.pop("transparency", None)
            pixels, read = pixels_of(image)
            pixels = pixels if read == bits else pixels >> (read - bits)
            if png.transparent is not None:
                pixels = add_alpha(pixels, png.transparent, bits)
        is_same = _is_what_libpng_reads(pixels, bits, data)
    if not is_same:
        raise DataError("two libraries read different pixels from this PNG; save it again")
    depth, significant = bits, png.significant
    if significant is not None:
        said = set(significant)
        flat = None
        if not png.has_palette and png.transparent is None and len(said) == 1 and 0 < min(said) < bits:
            flat = narrow(pixels, bits, min(said))
        if flat is not None:
            pixels, depth = flat, min(said)
        elif said != {bits}:
            is_kept = len(significant) == (pixels.shape[2] if pixels.ndim == 3 else 1)
            metadata |= {"sBIT": significant} if is_kept else {}
            not_kept += [] if is_kept else ["PNG chunk sBIT"]
    return Picture(pixels, depth, metadata, "PNG", False, tuple(not_kept))


def _is_what_libpng_reads(pixels: Pixels, bits: int, data: bytes) -> bool:
    """Whether libpng reads the same pixels in 8 or 16 bits; true if imagecodecs, which includes it, is missing."""
    try:
        imagecodecs = import_extra("imagecodecs", "images")
    except PixelPyramidsError:
        return True
    second = imagecodecs.png_decode(data)
    second = second.reshape(*second.shape[:2], -1)
    first = widen(pixels, bits, max(bits, 8)).reshape(*pixels.shape[:2], -1)
    if first.shape[2] < 3 <= second.shape[2]:  # a palette of greys
        first = np.concatenate([first[..., [0, 0, 0]], first[..., 1:]], axis=2)
    return np.array_equal(first, second)


def _check_limit(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise too_large(height, width, max_pixels)


def _png(pixels: Pixels, channels: int, depth: int, metadata: dict[str, bytes]) -> bytes:
    metadata = dict(metadata)
    left_out, bits = [], depth
    if "sBIT" in metadata and len(metadata["sBIT"]) != channels:  # for other channels than are written
        left_out.append("sBIT")
        del metadata["sBIT"]
    if depth not in _PNG_DEPTHS[channels]:
        bits = 8 if depth < 8 else 16
        pixels, metadata["sBIT"] = widen(pixels, depth, bits), bytes([depth] * channels)
    if bits in (2, 4) or (bits == 16 and channels > 1):
        plain = plain_png(pixels, bits)
    else:
        file = io.BytesIO()
        _save(pixels > 0 if bits == 1 else pixels, file, "PNG")
        plain = file.getvalue()
    png, without_place = with_metadata(plain, metadata)
    blobs.tell_left_out(left_out + without_place, "PNG")
    return png


def _save(pixels: Any, target: BinaryIO, kind: str, **options: Any) -> None:
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(target, kind, **options)
    except (ValueError, struct.error, SyntaxError) as error:
        raise DataError(f"Pillow cannot write this picture as {kind}: {error}; choose another format") from error


def _expect(sound: bool, expected: str, got: str, format: str) -> None:
    if not sound:
        raise DataError(f"expected {expected} for {format}, got {got}; choose png or tiff")
