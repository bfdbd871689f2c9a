"""Write PNGs of every depth, with metadata. Pillow writes no 16-bit colour and drops some chunks.

Sources: Portable Network Graphics (PNG) Specification, third edition, W3C; its sections 9, 11.2 and 11.3.
"""

import io
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from pixelpyramids.image_files.bit_depth import Pixels, pack_bits, widen
from pixelpyramids.image_files.metadata import PNG_CHUNKS, warn_left_out
from pixelpyramids.image_files.png_reader import SIGNATURE, XMP_KEYWORD
from pixelpyramids.image_files.resolution import parse_resolution

HEADER_END = 33  # bytes of the signature and IHDR; added chunks come right after them
_DEPTHS = {1: (1, 2, 4, 8, 16), 2: (8, 16), 3: (8, 16), 4: (8, 16)}
_KIND = {1: 0, 2: 4, 3: 2, 4: 6}
_OF_TEXT = re.compile("(language|translated)(?=[:.])")
_LONG = 1024  # bytes: longer texts are compressed
_PIECE = 2**20  # about as many bytes are filtered at a time


def write_png(pixels: Pixels, depth: int, metadata: Mapping[str, bytes], about: str = "") -> bytes:
    """Return the bytes of a PNG. Depths that PNG lacks are widened to 8 or 16 bits, and sBIT holds the depth."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    metadata = dict(metadata)
    left_out, bits = [], depth
    if "sBIT" in metadata and len(metadata["sBIT"]) != channels:  # it is for another number of channels
        left_out.append("sBIT")
        del metadata["sBIT"]
    if depth not in _DEPTHS[channels]:
        bits = 8 if depth < 8 else 16
        pixels, metadata["sBIT"] = widen(pixels, depth, bits), bytes([depth] * channels)
    if bits in (2, 4) or (bits == 16 and channels > 1):
        plain = encode_pixels(pixels, bits)
    else:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels > 0 if bits == 1 else pixels)).save(file, "PNG")
        plain = file.getvalue()
    png, without_place = add_metadata(plain, metadata)
    warn_left_out(left_out + without_place, f"{about}PNG")
    return png


def add_metadata(png: bytes, metadata: Mapping[str, bytes]) -> tuple[bytes, list[str]]:
    """Insert metadata after a PNG's header. Returns the PNG, and the names of the metadata that it cannot hold."""
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
    return png[:HEADER_END] + b"".join(chunks) + png[HEADER_END:], left_out


def encode_pixels(pixels: Pixels, depth: int) -> bytes:
    """Encode values (H, W) or (H, W, C) of 2, 4 or 16 bits, which Pillow cannot write, or only as grey."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    lines = pack_bits(pixels, depth) if depth < 8 else np.ascontiguousarray(pixels, ">u2").view(np.uint8)
    lines = lines.reshape(height, -1)
    packer, step = zlib.compressobj(), max(channels * depth // 8, 1)
    pieces, above = [], np.zeros((1, lines.shape[1]), np.uint8)
    count = max(_PIECE // lines.shape[1], 1)
    for top in range(0, height, count):
        some = np.concatenate([above, lines[top : top + count]])
        pieces.append(packer.compress(_paeth_filter(some, step).tobytes()))
        above = some[-1:]
    header = struct.pack(">IIBBBBB", width, height, depth, _KIND[channels], 0, 0, 0)
    chunks = (("IHDR", header), ("IDAT", b"".join([*pieces, packer.flush()])), ("IEND", b""))
    return SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


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
