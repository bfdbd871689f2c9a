"""Store the whole image as a lossless PNG or WebP stream if that is smaller than what the model gives.

These formats are better at drawings, screenshots and repeated patterns. A quick trial decides whether to run them,
except for small files, for which a trial is unreliable and saves little time.
"""

import io
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, WebPImagePlugin

from pixelpyramids.codec.container import Content, FileHeader, Kind, build_file
from pixelpyramids.codec.planes import ImageArray
from pixelpyramids.errors import BitstreamError

SMALL = 2**16  # bytes; if our file is smaller, the libraries are always tried
NEAR = 1.1  # the libraries are run in full if the trial is below this multiple of our size
FEW_COLOURS = 256
SAMPLED_PIXELS = 2**14  # enough to recognise most images that have many colours
SORTED_PIXELS = 2**20  # whose colours are sorted at once, which takes about 30 bytes a pixel
REPEATS = 0.3  # if this share of the pixels equal the one to their left, the trial compresses the whole image
COUNTED_PIXELS = 10**6  # among about so many, they are counted
WHOLE_PIXELS = 2**23  # the largest image that is compressed whole in the trial, which takes about 30 bytes a pixel
TRIAL_SIDE = 256  # pixels a side of the squares that it compresses of other large images
WEBP_METHOD, SLOW_WEBP_METHOD = 4, 6  # of 0 to 6; the slow one is 10 to 30 times as slow
SLOW_NEAR = 1.3  # it is run only if the other stream is below this multiple of our size
WEBP_SIDE = 16383  # pixels a side, the limit of WebP
AT_ONCE = 2**16  # bytes that are unpacked at once, or are unpacked to
MOST_PIXELS = 2**27  # the limit of our format for WebP, of which Pillow decodes a third more, and ours for PNG
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_CHUNKS = re.compile(rb"IHDR(PLTE)?(IDAT)+IEND")
_CHUNKS_WITH_ALPHA = re.compile(rb"IHDR(PLTE)?(tRNS)?(IDAT)+IEND")  # tRNS holds a palette's alpha
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel of a PNG, by its colour type
_PALETTE_TYPES = {(bits, 3) for bits in (1, 2, 4, 8)}
_PNG_TYPES = {  # (is the array wide, its channels): bit depths and colour types
    (True, 1): {(16, 0)},
    (False, 1): {(1, 0), (8, 0)},
    (False, 2): {(8, 4)},
    (False, 3): {(8, 2)} | _PALETTE_TYPES,
    (False, 4): {(8, 6)} | _PALETTE_TYPES,
}


def smaller_file(array: Any, header: FileHeader, size: int, always: bool) -> bytes | None:
    """Return the smallest file that holds a PNG or a WebP, if it has fewer than `size` bytes, the size of our file.

    The libraries, which cannot hold 16-bit colours, 16-bit alpha or more than four channels, run if `always` is set, if
    our file is small, or if a trial is promising. They need the whole image in memory, and so images of more than
    MOST_PIXELS are not tried. A library that fails is left out.
    """
    if (header.is_wide, header.channels) not in _PNG_TYPES or header.height * header.width > MOST_PIXELS:
        return None
    pixels = array[:, :].reshape(header.height, header.width, -1)
    if not always and size >= SMALL and not _is_worth_trying(pixels, header, size):
        return None
    streams = _library_streams(pixels, header, round(SLOW_NEAR * size) if always else 0)
    packed = replace(header, model=b"", grey=False, values=None, gains=(), mixed=())
    files = [build_file(replace(packed, content=kind), [(Kind.STORED, stream)]) for kind, stream in streams]
    best = min(files, key=len, default=b"")
    return best if files and len(best) < size else None


def decode_stream(stream: bytes, header: FileHeader) -> ImageArray:
    """Return the pixels (H, W, C) of a stream. Raises BitstreamError if it does not hold the header's image."""
    is_webp = header.content == Content.WEBP
    if not (_is_webp if is_webp else _is_png)(stream, header):
        kind = "lossless WebP" if is_webp else "plain PNG"
        raise BitstreamError(f"the stream is not a {kind} of the image that the header describes; the file is damaged")
    plugin = WebPImagePlugin.WebPImageFile if is_webp else PngImagePlugin.PngImageFile
    try:
        with plugin(io.BytesIO(stream)) as image:
            pixels = _read_pixels(image, header)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise BitstreamError(f"the stream within the file cannot be decoded: {error}") from error
    if int(np.max(pixels, initial=0)) >> header.depth:
        raise BitstreamError("the stream holds a value above the image's depth; the file is damaged")
    return pixels


def _is_webp(stream: bytes, header: FileHeader) -> bool:
    """Whether a stream is the container of one lossless image of the header's size, and nothing else.

    The stream is checked here because the library allocates memory before it reports the size, and ignores what
    follows. It consists of RIFF, its size, WEBP, VP8L, its size, 0x2f, and 14 bits each of width - 1 and height - 1.
    """
    whole, of_chunk, size = (int.from_bytes(stream[at : at + 4], "little") for at in (4, 16, 21))
    is_lossless = stream[:4] == b"RIFF" and stream[8:16] == b"WEBPVP8L" and stream[20:21] == b"\x2f"
    ends = whole + 8 == len(stream) == 20 + of_chunk + of_chunk % 2 and not any(stream[20 + of_chunk :])
    is_of_size = (size & 0x3FFF, size >> 14 & 0x3FFF) == (header.width - 1, header.height - 1)
    return is_lossless and ends and is_of_size and _fits_webp(header)


def _fits_webp(header: FileHeader) -> bool:
    """Whether WebP can hold the image and Pillow can read it."""
    sides = header.height, header.width
    is_small = max(sides) <= WEBP_SIDE and math.prod(sides) <= MOST_PIXELS
    return is_small and not header.is_wide and header.channels in _MODES


def _is_png(stream: bytes, header: FileHeader) -> bool:
    """Whether a stream is one PNG of the header's size and type, with no chunks but those that pixels need.

    A PNG is a signature of 8 bytes and then chunks: length, name, data, and a checksum of 4 bytes. The first, IHDR,
    holds width, height, and a byte each for bit depth, colour type, compression, filter and interlacing. Pillow turns
    many other types into 8 bits, and does not look at the checksums of pixels, nor at what follows them.
    """
    place, names, are_sound = 8, b"", True
    pieces: list[bytes] = []  # of the zlib stream
    while place + 12 <= len(stream):
        length = int.from_bytes(stream[place : place + 4], "big")
        name, data = stream[place + 4 : place + 8], stream[place + 8 : place + 8 + length]
        checksum = stream[place + 8 + length : place + 12 + length]
        are_sound = are_sound and zlib.crc32(name + data).to_bytes(4, "big") == checksum
        names, place = names + name, place + 12 + length
        if name == b"IDAT":
            pieces.append(data)
    size = struct.pack(">II", header.width, header.height)
    chunks = _CHUNKS_WITH_ALPHA if header.channels == 4 else _CHUNKS
    types = _PNG_TYPES.get((header.is_wide, header.channels), set())
    is_described = stream[16:24] == size and tuple(stream[24:26]) in types and stream[28:29] == b"\0"
    is_whole = place == len(stream) and stream[-12:-8] == bytes(4) and are_sound and bool(chunks.fullmatch(names))
    return is_described and is_whole and _unpacks_to(pieces, header.height * _row_bytes(header.width, *stream[24:26]))


def _row_bytes(width: int, bits: int, colour_type: int) -> int:
    """The bytes of a row of a PNG, with the one that names its filter."""
    return 1 + -(-width * bits * _SAMPLES[colour_type] // 8)


def _unpacks_to(pieces: Sequence[bytes], count: int) -> bool:
    """Whether the pieces are one zlib stream of `count` bytes, and nothing else."""
    unpacker, left = zlib.decompressobj(), count
    try:
        for piece in pieces:
            for begin in range(0, len(piece), AT_ONCE):
                packed = piece[begin : begin + AT_ONCE]
                while packed and left >= 0 and not unpacker.eof:
                    left -= len(unpacker.decompress(packed, AT_ONCE))
                    packed = unpacker.unconsumed_tail
                if packed or unpacker.unused_data or left < 0:
                    return False
        left -= len(unpacker.flush())
    except zlib.error:
        return False
    return unpacker.eof and left == 0


def _is_worth_trying(pixels: Any, header: FileHeader, size: int) -> bool:
    """Whether a quick setting of a library comes near our size; False if it fails.

    Squares of a large image say little about a screenshot, whose pixels often equal the one to their left.
    """
    if _find_colours(pixels) is not None:
        return True
    fits = header.is_wide or _fits_webp(header)  # the trial of a wide image is a PNG
    is_whole = fits and header.height * header.width <= WHOLE_PIXELS and _share_of_repeats(pixels) > REPEATS
    some = pixels if is_whole else _trial_pixels(pixels)
    with suppress(Exception):  # whatever a library does, our own file is there
        stream = _save(_to_pillow(some), "PNG", compress_level=1) if header.is_wide else _to_webp(some, 50, 1)
        return bool(len(stream) * (pixels.size / some.size) < NEAR * size)
    return False


def _share_of_repeats(pixels: Any) -> float:
    """The share of the pixels that equal the one to their left, in some of the rows."""
    rows = pixels[:: 1 + pixels.shape[0] * pixels.shape[1] // COUNTED_PIXELS]
    equal = (rows[:, 1:] == rows[:, :-1]).all(2)
    return float(equal.mean()) if equal.size else 0.0


def _trial_pixels(pixels: Any) -> Any:
    """Return the image or, if it is large, four squares from the middle of its quarters, one above the other.

    If the image is too narrow for squares, return as many pixels from its beginning. No side exceeds WebP's limit.
    """
    height, width = pixels.shape[:2]
    if height * width <= 4 * TRIAL_SIDE**2 and max(height, width) <= WEBP_SIDE:
        return pixels
    if min(height, width) < 2 * TRIAL_SIDE:
        length = min(4 * TRIAL_SIDE**2 // min(height, width) + 1, WEBP_SIDE)
        return pixels[:length, :length]
    tops, lefts = ([side // 4 - TRIAL_SIDE // 2, 3 * side // 4 - TRIAL_SIDE // 2] for side in (height, width))
    return np.concatenate([pixels[top : top + TRIAL_SIDE, left : left + TRIAL_SIDE] for top in tops for left in lefts])


def _library_streams(pixels: Any, header: FileHeader, slow_below: int) -> list[tuple[Content, bytes]]:
    """Return the streams of the libraries that do not fail. A WebP below so many bytes is also made in the slow way."""
    streams: list[tuple[Content, bytes]] = []
    with suppress(Exception):
        streams.append((Content.PNG, to_png(pixels, header.depth)))
    if _fits_webp(header):
        with suppress(Exception):
            streams.append((Content.WEBP, _to_webp(pixels, 100, WEBP_METHOD)))
            if len(streams[-1][1]) < slow_below:
                streams.append((Content.WEBP, _to_webp(pixels, 100, SLOW_WEBP_METHOD)))
    return streams


def _to_webp(pixels: Any, quality: int, method: int) -> bytes:
    return _save(_to_pillow(pixels), "WEBP", lossless=True, quality=quality, method=method, exact=True)


def to_png(pixels: Any, depth: int) -> bytes:
    """Return the smallest PNG of pixels (H, W, C): with a palette for few colours, with 1 bit for a bilevel image."""
    if pixels.shape[2] == 1 and depth == 1 and pixels.dtype == np.uint8:
        return _save(Image.fromarray(pixels[..., 0] > 0), "PNG", optimize=True)
    streams = [_save(_to_pillow(pixels), "PNG", optimize=True)]
    few = _find_palette(pixels)
    if few is not None:
        colours, numbers = few
        image = Image.fromarray(numbers)
        image.putpalette(colours[:, :3].tobytes(), "RGB")
        alpha = {"transparency": colours[:, 3].tobytes()} if colours.shape[1] == 4 else {}
        streams.append(_save(image, "PNG", optimize=True, **alpha))
    return min(streams, key=len)


def _find_palette(pixels: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Return the colours (count, C) and each pixel's index; None if the image is grey or has more than 256 colours."""
    found = _find_colours(pixels)
    if found is None:
        return None
    indices = [np.searchsorted(found, numbers).astype(np.uint8) for numbers in _numbers_in_pieces(pixels)]
    colours = found.astype(">u4").view(np.uint8).reshape(-1, 4)[:, : pixels.shape[2]]
    return colours, np.concatenate(indices).reshape(pixels.shape[:2])


def _find_colours(pixels: Any) -> NDArray[np.uint32] | None:
    """Return the numbers of the colours in ascending order; None if the image is grey or has more than 256 colours."""
    if pixels.shape[2] < 3 or pixels.dtype != np.uint8:
        return None
    flat = pixels.reshape(-1, pixels.shape[2])
    found = np.unique(_to_numbers(flat[:: max(1, len(flat) // SAMPLED_PIXELS)]))
    for numbers in _numbers_in_pieces(pixels):
        if len(found) > FEW_COLOURS:
            return None
        found = np.union1d(found, numbers)
    return found if len(found) <= FEW_COLOURS else None


def _numbers_in_pieces(pixels: Any) -> Iterator[NDArray[np.uint32]]:
    """The numbers of the pixels' colours, a million at a time."""
    flat = pixels.reshape(-1, pixels.shape[2])
    for begin in range(0, len(flat), SORTED_PIXELS):
        yield _to_numbers(flat[begin : begin + SORTED_PIXELS])


def _to_numbers(colours: Any) -> NDArray[np.uint32]:
    """One number for each colour (N, C), in the same order: much quicker to sort."""
    padded = np.zeros((len(colours), 4), dtype=np.uint8)
    padded[:, : colours.shape[1]] = colours
    return padded.view(">u4")[:, 0].astype(np.uint32)


def _to_pillow(pixels: Any) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))


def _read_pixels(image: Image.Image, header: FileHeader) -> ImageArray:
    """Return an image's pixels in the header's channels and type. Raises ValueError if the image has others."""
    if header.content == Content.WEBP and header.channels in (1, 3) and image.mode != "RGB":
        raise ValueError(f"expected RGB, got {image.mode}")
    if image.mode == "P" and 3 * int(np.max(np.asarray(image))) >= len(image.getpalette() or ()):
        raise ValueError("a pixel has an index beyond the end of the palette")
    if header.is_wide:
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)[..., None]
    if header.channels <= 2 and image.mode in ("RGB", "RGBA"):
        red, green, blue = image.split()[:3]
        if not red.tobytes() == green.tobytes() == blue.tobytes():
            raise ValueError("expected equal colours in a grey image, got different ones")
    pixels: NDArray[np.uint8] = np.array(image.convert(_MODES[header.channels]))
    return pixels.reshape(header.height, header.width, header.channels)


def _save(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
