"""Compare lossless codecs with ours on the same pixels, without metadata: bytes, encoding and decoding time.

.ppyr            all processors
PNG              Pillow, optimize; with a palette or one bit if that is smaller; 16-bit colour by libpng, level 6
lossless WebP    Pillow, method 6, quality 100 (the most it does), exact; one thread; 8 bits only
JXL (JPEG XL)    libjxl by imagecodecs (the `images` extra), lossless, efforts 7 and 9; all processors

Two more are slow, so they run only if they are asked for:

JXL -e 10        the same, effort 10, its highest
JXL -I 100       `cjxl -e 9 -g 3 -E 3 -I 100`, decoded by `djxl`; times include the start of these programs
"""

import io
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelpyramids.archive.comparison import UNLIMITED
from pixelpyramids.cli.report.jpeg_xl_programs import decode_with_djxl, encode_with_cjxl, require_programs
from pixelpyramids.codec import fallback
from pixelpyramids.codec.bundled import available_threads
from pixelpyramids.codec.container import Content, FileHeader
from pixelpyramids.codec.fallback import WEBP_SIDE
from pixelpyramids.codec.image import decode, encode
from pixelpyramids.errors import BitstreamError, DataError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.bit_depth import widen
from pixelpyramids.image_files.pillow_reading import MODES

IntegerArray = NDArray[np.integer[Any]]

OURS = ".ppyr"


class Codec(NamedTuple):
    """`encode(pixels (H, W, C), depth)` returns bytes, `decode` their pixels; DataError for images it cannot hold."""

    name: str
    encode: Callable[[IntegerArray, int], bytes]
    decode: Callable[[bytes, FileHeader], IntegerArray]


class Cost(NamedTuple):
    """What an image costs with a codec."""

    bytes: int
    encode_seconds: float
    decode_seconds: float


def codecs(effort: str, strongest: bool = False) -> list[Codec]:
    """Ours first, then the others."""
    return [ours(effort), *rivals(strongest)]


def ours(effort: str) -> Codec:
    """Ours at an effort."""
    return Codec(OURS, partial(encode, effort=effort), lambda data, _: decode(data, max_pixels=UNLIMITED))


def rivals(strongest: bool) -> list[Codec]:
    """PNG, WebP and, if it is installed, JPEG XL, at its usual settings or also at its strongest.

    Raises PixelPyramidsError if something that the strongest settings need is not installed.
    """
    efforts: tuple[int, ...] = (7, 9) if find_spec("imagecodecs") else ()
    if strongest:
        import_extra("imagecodecs", "images")
        require_programs()
        efforts = 7, 9, 10
    jpeg_xl = [Codec(f"JXL -e {e}", partial(_to_jpeg_xl, effort=e), _from_jpeg_xl) for e in efforts]
    return [PNG, WEBP, *jpeg_xl, *([JPEG_XL_BY_CJXL] if strongest else [])]


def warm_up(codec: Codec) -> None:
    """Make a codec load what it needs, so that the first image is timed like the others."""
    pixels = np.arange(72 * 72 * 3, dtype=np.uint32).astype(np.uint8).reshape(72, 72, 3)
    cost(codec, pixels, 8)


def cost(codec: Codec, array: IntegerArray, depth: int) -> Cost | None:
    """What an image (H, W) or (H, W, C) costs; None if another codec cannot hold it, or returns a different one.

    Raises BitstreamError if ours returns a different one.
    """
    pixels = array.reshape(*array.shape[:2], -1)
    height, width, channels = pixels.shape
    header = FileHeader(height, width, channels, True, pixels.itemsize == 2, depth, Content.PNG)
    if channels not in MODES and codec.name != OURS:  # the libraries know up to four channels
        return None
    begin = time.perf_counter()
    try:
        data = codec.encode(pixels, depth)
        middle = time.perf_counter()
        decoded = codec.decode(data, header)
        end = time.perf_counter()
    except DataError:
        return None
    if np.array_equal(decoded.reshape(*decoded.shape[:2], -1), pixels):
        return Cost(len(data), middle - begin, end - middle)
    if codec.name == OURS:
        raise BitstreamError("decoding gave other pixels than those encoded; please report this with the image")
    return None


def _to_png(pixels: IntegerArray, depth: int) -> bytes:
    if pixels.itemsize == 2 and pixels.shape[2] > 1:  # Pillow has no such mode
        return bytes(import_extra("imagecodecs", "images").png_encode(widen(pixels, depth, 16), level=6))
    return fallback.to_png(pixels, depth)


def _from_png(data: bytes, header: FileHeader) -> IntegerArray:
    if header.is_wide and header.channels > 1:
        wide: IntegerArray = import_extra("imagecodecs", "images").png_decode(data)
        return wide >> (16 - header.depth)
    return fallback.decode_stream(data, header)


def _to_webp(pixels: IntegerArray, depth: int) -> bytes:
    if pixels.itemsize > 1 or max(pixels.shape[:2]) > WEBP_SIDE:
        raise DataError(f"expected 8 bits and at most {WEBP_SIDE} pixels a side, got {depth} and {pixels.shape[:2]}")
    file = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(file, "WEBP", lossless=True, quality=100, method=6, exact=True)
    return file.getvalue()


def _from_webp(data: bytes, header: FileHeader) -> IntegerArray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert(MODES[header.channels]))
    except Image.DecompressionBombError as error:
        raise DataError(f"Pillow does not decode a WebP as large as this: {error}") from error


def _to_jpeg_xl(pixels: IntegerArray, depth: int, effort: int) -> bytes:
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    options = {"bitspersample": depth, "numthreads": available_threads()}
    return bytes(import_extra("imagecodecs", "images").jpegxl_encode(flat, lossless=True, effort=effort, **options))


def _from_jpeg_xl(data: bytes, header: FileHeader) -> IntegerArray:
    decoded: IntegerArray = import_extra("imagecodecs", "images").jpegxl_decode(data, numthreads=available_threads())
    return decoded


def _to_jpeg_xl_by_cjxl(pixels: IntegerArray, depth: int) -> bytes:
    return encode_with_cjxl(pixels, depth, *STRONGEST.split())


def _from_jpeg_xl_by_djxl(data: bytes, header: FileHeader) -> IntegerArray:
    return decode_with_djxl(data, header.height, header.width, header.depth)


PNG, WEBP = Codec("PNG", _to_png, _from_png), Codec("WebP", _to_webp, _from_webp)
STRONGEST = "-e 9 -g 3 -E 3 -I 100"
JPEG_XL_BY_CJXL = Codec("JXL -I 100", _to_jpeg_xl_by_cjxl, _from_jpeg_xl_by_djxl)
