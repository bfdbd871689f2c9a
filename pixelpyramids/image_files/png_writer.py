"""Write PNGs of every depth, with metadata. Pillow writes no 16-bit colour and drops some chunks.

Sources: Portable Network Graphics (PNG) Specification, third edition, W3C; its sections 9, 11.2 and 11.3.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
from PIL import Image

from pixelpyramids.codec.disk_array import DiskArray, bands_of
from pixelpyramids.image_files.bit_depth import pack_bits, widen
from pixelpyramids.image_files.metadata import PNG_CHUNKS, warn_left_out
from pixelpyramids.image_files.png_reader import XMP_KEYWORD
from pixelpyramids.image_files.png_rows import SIGNATURE
from pixelpyramids.image_files.resolution import parse_resolution

HEADER_END = 33  # bytes of the signature and IHDR; added chunks come right after them
_DEPTHS = {1: (1, 2, 4, 8, 16), 2: (8, 16), 3: (8, 16), 4: (8, 16)}
_KIND = {1: 0, 2: 4, 3: 2, 4: 6}
_OF_TEXT = re.compile("(language|translated)(?=[:.])")
_LONG = 1024  # bytes: longer texts are compressed


def write_png(pixels: Any, depth: int, metadata: Mapping[str, bytes], target: IO[bytes], about: str = "") -> None:
    """Write pixels (H, W) or (H, W, C), which may be on disk, as a PNG.

    Depths that PNG lacks are widened to 8 or 16 bits, and sBIT holds the depth.
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    metadata = dict(metadata)
    left_out, bits = [], depth
    if "sBIT" in metadata and len(metadata["sBIT"]) != channels:  # it is for another number of channels
        left_out.append("sBIT")
        del metadata["sBIT"]
    if depth not in _DEPTHS[channels]:
        bits, metadata["sBIT"] = 8 if depth < 8 else 16, bytes([depth] * channels)
    chunks, without_place = _metadata_chunks(metadata)
    if bits in (2, 4) or (bits == 16 and channels > 1) or isinstance(pixels, DiskArray):
        pieces = _encode_pixels(pixels, depth, bits)
    else:
        file, pixels = io.BytesIO(), widen(pixels, depth, bits)
        Image.fromarray(np.ascontiguousarray(pixels > 0 if bits == 1 else pixels)).save(file, "PNG")
        pieces = iter((file.getvalue()[:HEADER_END], file.getvalue()[HEADER_END:]))
    target.write(next(pieces) + chunks)
    for piece in pieces:
        target.write(piece)
    warn_left_out(left_out + without_place, f"{about}PNG")


def add_metadata(png: bytes, metadata: Mapping[str, bytes]) -> tuple[bytes, list[str]]:
    """Insert metadata after a PNG's header. Returns the PNG, and the names of the metadata that it cannot hold."""
    chunks, left_out = _metadata_chunks(metadata)
    return png[:HEADER_END] + chunks + png[HEADER_END:], left_out


def _metadata_chunks(metadata: Mapping[str, bytes]) -> tuple[bytes, list[str]]:
    """The chunks of metadata, and the names of the metadata that a PNG cannot hold."""
    chunks, left_out = [], []
    for name, content in metadata.items():
        if name in PNG_CHUNKS:
            chunks.append(_chunk(name, content))
        elif name == "ICC":
            chunks.append(_chunk("iCCP", b"ICC Profile\0\0" + zlib.compress(content, 9)))
        elif name == "EXIF":
            chunks.append(_chunk("eXIf", content))
        elif name == "XMP":
            chunks.append(_chunk("iTXt", XMP_KEYWORD.encode() + b"\0\0\0\0\0" + content))
        elif name == "resolution" and (resolution := parse_resolution(content)) is not None:
            chunks.append(_chunk("pHYs", resolution.physical()))
            if not resolution.fits_physical():
                left_out.append("resolution's fractions")
        elif name.startswith(("text:", "text.")) and "\0" not in name:
            chunks.append(_text_chunk(name, metadata))
        elif (text := _OF_TEXT.sub("text", name)) == name or text not in metadata or b"\0" in content:
            left_out.append(name)
    return b"".join(chunks), left_out


def _encode_pixels(pixels: Any, depth: int, bits: int) -> Iterator[bytes]:
    """Yield the pieces of a PNG of `bits` bits with values (H, W) or (H, W, C) of `depth` bits, the front first.

    Pillow writes no colours of 16 bits, no grey of 2 or 4 bits, and only images in memory.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    yield SIGNATURE + _chunk("IHDR", struct.pack(">IIBBBBB", width, height, bits, _KIND[channels], 0, 0, 0))
    packer, step = zlib.compressobj(), max(channels * bits // 8, 1)
    above = np.zeros((1, -(-width * channels * bits // 8)), np.uint8)
    for _, band in bands_of(pixels):
        wide = widen(band, depth, bits)
        lines = pack_bits(wide, bits) if bits < 8 else np.ascontiguousarray(wide, f">u{bits // 8}").view(np.uint8)
        some = np.concatenate([above, lines.reshape(len(band), -1)])
        if packed := packer.compress(_paeth_filter(some, step).tobytes()):
            yield _chunk("IDAT", packed)
        above = some[-1:]
    yield _chunk("IDAT", packer.flush()) + _chunk("IEND", b"")


def _paeth_filter(lines: Any, step: int) -> Any:
    """Subtract the Paeth predictor (filter 4) from all lines of bytes but the first, which is only a neighbour.

    The predictor is the nearest to a + b - c of a (left), b (above) and c (above left).
    """
    wide = np.pad(lines.astype(np.int16), ((0, 0), (step, 0)))
    left, above, corner = wide[1:, :-step], wide[:-1, step:], wide[:-1, :-step]
    to_left, to_above, to_corner = abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)
    either = np.where(to_above <= to_corner, above, corner)
    predictor = np.where((to_left <= to_above) & (to_left <= to_corner), left, either)
    return np.pad((lines[1:] - predictor).astype(np.uint8), ((0, 0), (1, 0)), constant_values=4)


def _text_chunk(name: str, metadata: Mapping[str, bytes]) -> bytes:
    text, place = metadata[name], name.removeprefix("text")
    named = (metadata.get(f"{kind}{place}", b"") for kind in ("language", "translated"))
    language, translated = (b"" if b"\0" in value else value for value in named)
    keyword = place.partition(":")[2].encode("latin-1") + b"\0"
    try:
        plain = None if language or translated else text.decode().encode("latin-1")
    except UnicodeError:
        plain = None
    is_long = len(text) > _LONG
    if plain is None or b"\0" in plain:
        body = zlib.compress(text, 9) if is_long else text
        return _chunk("iTXt", keyword + bytes([is_long, 0]) + language + b"\0" + translated + b"\0" + body)
    if is_long:
        return _chunk("zTXt", keyword + b"\0" + zlib.compress(plain, 9))
    return _chunk("tEXt", keyword + plain)


def _chunk(name: str, content: bytes) -> bytes:
    body = name.encode("latin-1") + content
    return len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
