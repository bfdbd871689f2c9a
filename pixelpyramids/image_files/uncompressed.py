"""Read and write PBM, PGM and PPM at their own depth, and read .npy files that hold an image of uint8 or uint16.

Pillow scales the values of PGM and PPM unless the maximum is 255 or 65535. A maximum of 2**d - 1 means d bits.
Source: the manual pages pbm(5), pgm(5), ppm(5) of Netpbm.
"""

import io
import math
import re
from typing import IO, Any

import numpy as np

from pixelpyramids.codec.container import MAX_CHANNELS
from pixelpyramids.codec.disk_array import allocate, bands_of, spans_of_rows
from pixelpyramids.codec.fields import ByteSource
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels, pixel_type
from pixelpyramids.image_files.metadata import as_utf_8
from pixelpyramids.image_files.picture import Facts, Inspected, Picture, check_limit

NPY = b"\x93NUMPY"
_NPY_HEADER = 2**16  # bytes, more than NumPy accepts
_SPACE = rb"(?:\s|#[^\n]*\n)"
_HEADER = re.compile(rb"P([1-6])" + _SPACE + rb"+(\d{1,9})" + _SPACE + rb"+(\d{1,9})")
_LARGEST = re.compile(_SPACE + rb"+(\d{1,5})")


def is_netpbm(data: bytes) -> bool:
    """Whether the data begin like a PBM, PGM or PPM."""
    return re.match(rb"P[1-6][\s#]", data) is not None


def inspect_netpbm(data: bytes, max_pixels: int) -> Inspected:
    """Read the header; comments become a text. Raises DataError if the file is damaged or too large."""
    header = _HEADER.match(data)
    if header is None:
        raise DataError("expected a PBM, PGM or PPM with its size, got something else; the file is damaged")
    kind, width, height = (int(group) for group in header.groups())
    if not width or not height:
        raise DataError(f"expected at least one pixel, got {height} x {width}; the file is damaged")
    check_limit(height, width, max_pixels)
    place, largest = header.end(), 1
    if kind not in (1, 4):
        found = _LARGEST.match(data, place)
        if found is None or not 1 <= int(found[1]) <= 0xFFFF:
            raise DataError("expected a maximum value from 1 to 65535, got none; the file is damaged")
        place, largest = found.end(), int(found[1])
    depth = largest.bit_length()
    if largest != (1 << depth) - 1:
        raise DataError(
            f"expected a maximum value that is one less than a power of two, got {largest}; scale the file to 255 or "
            "65535 (pamdepth)"
        )
    comments = b"\n".join(re.findall(rb"#[ \t]*([^\r\n]*)", data if kind < 4 else data[:place]))
    metadata = {"text:Comment": as_utf_8(comments)} if comments else {}
    shape = (height, width, 3) if kind in (3, 6) else (height, width)

    def load() -> Picture:
        pixels = (
            _parse_digits(data[place:], kind) if kind < 4 else _unpack_raster(data[place + 1 :], kind, shape, depth)
        )
        if pixels.size != math.prod(shape) or int(np.max(pixels, initial=0)) > largest:
            raise DataError(
                f"expected {math.prod(shape)} values of at most {largest}, got other values; the file is damaged"
            )
        pixels = pixels.reshape(shape).astype(pixel_type(depth))
        return Picture(1 - pixels if kind in (1, 4) else pixels, depth, metadata, "PPM")

    return Inspected(Facts(shape, pixel_type(depth), depth, metadata), load)


def inspect_npy(source: ByteSource, max_pixels: int) -> Inspected:
    """Read the header. Before allocating memory, raises DataError if the file holds no image or is incomplete."""
    file = io.BytesIO(source.read(0, _NPY_HEADER))
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    is_image = len(shape) in (2, 3) and 0 not in shape and (*shape, 1)[2] <= MAX_CHANNELS
    if dtype not in (np.uint8, np.dtype("<u2"), np.dtype(">u2")) or not is_image:
        raise DataError(
            f"expected an array (H, W) or (H, W, C), C from 1 to {MAX_CHANNELS}, of uint8 or uint16, got {dtype} of "
            f"shape {shape}; convert or divide it"
        )
    check_limit(shape[0], shape[1], max_pixels, (*shape, 1)[2])
    size, begin = math.prod(shape) * dtype.itemsize, file.tell()
    if source.size - begin != size:
        raise DataError(f"expected {size} bytes of pixels, got {source.size - begin}; save it again")
    facts = Facts(shape, dtype.newbyteorder("="), 8 * dtype.itemsize, {})

    def load() -> Picture:
        if is_fortran:
            array = np.frombuffer(source.read(begin, size), dtype).reshape(shape, order="F").astype(facts.dtype, "C")
            return Picture(array, facts.depth, {}, "npy")
        array, of_row = allocate(shape, facts.dtype), size // shape[0]
        for top, bottom in spans_of_rows(array):
            rows = np.frombuffer(source.read(begin + top * of_row, (bottom - top) * of_row), dtype)
            array[top:bottom, :] = rows.reshape(bottom - top, *shape[1:])
        return Picture(array, facts.depth, {}, "npy")

    return Inspected(facts, load)


def write_netpbm(pixels: Any, depth: int, target: IO[bytes]) -> None:
    """Write pixels (H, W), which may be on disk, as a PGM, (H, W, 3) as a PPM."""
    height, width = pixels.shape[:2]
    kind = 6 if pixels.ndim == 3 else 5
    target.write(f"P{kind}\n{width} {height}\n{(1 << depth) - 1}\n".encode())
    for _, band in bands_of(pixels):
        target.write(band.astype(">u2" if depth > 8 else np.uint8).tobytes())


def write_npy(array: Any, target: IO[bytes]) -> None:
    """Write an array, which may be on disk, as an .npy file."""
    descr = np.lib.format.dtype_to_descr(array.dtype)
    np.lib.format.write_array_header_1_0(target, {"descr": descr, "fortran_order": False, "shape": array.shape})
    for _, band in bands_of(array):
        target.write(band.tobytes())


def _parse_digits(data: bytes, kind: int) -> Pixels:
    text = re.sub(rb"#[^\n]*\n?", b" ", data)
    if kind == 1:  # its digits may touch each other
        text = re.sub(rb"\s", b"", text)
        return np.frombuffer(text, dtype=np.uint8) - np.uint8(ord("0"))
    words = text.split()
    if any(len(word) > 5 or not word.isdigit() for word in words):
        raise DataError("expected numbers in a plain PGM or PPM, got something else; the file is damaged")
    return np.array([int(word) for word in words], dtype=np.int64)


def _unpack_raster(data: bytes, kind: int, shape: tuple[int, ...], depth: int) -> Pixels:
    height, width = shape[:2]
    size = height * (-(-width // 8) if kind == 4 else math.prod(shape[1:]) * (1 if depth <= 8 else 2))
    if len(data) != size:
        raise DataError(
            f"expected {size} bytes of pixels, got {len(data)}; replace a file that is cut short, split one of several "
            "pictures"
        )
    if kind == 4:
        return np.unpackbits(np.frombuffer(data, np.uint8).reshape(height, -1), axis=1)[:, :width]
    return np.frombuffer(data, dtype=">u2" if depth > 8 else np.uint8)
