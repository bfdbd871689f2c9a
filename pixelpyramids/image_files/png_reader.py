"""Read PNGs at their own depth, with all their chunks. Pillow drops some chunks and does not report the depth.

Sources: Portable Network Graphics (PNG) Specification, third edition, W3C; its sections 11.2 and 11.3.
"""

import io
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import PngImagePlugin

from pixelpyramids.codec.container import MAX_METADATA
from pixelpyramids.codec.disk_array import DiskArray, bands_of, convert_bands, is_large
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.bit_depth import Pixels, narrow, pixel_type, widen
from pixelpyramids.image_files.file_source import FileSource
from pixelpyramids.image_files.left_out import bytes_after
from pixelpyramids.image_files.metadata import PNG_CHUNKS
from pixelpyramids.image_files.picture import Facts, Inspected, Picture, check_limit
from pixelpyramids.image_files.pillow_reading import add_alpha, pixels_of
from pixelpyramids.image_files.png_rows import SIGNATURE, read_rows
from pixelpyramids.image_files.resolution import parse_physical

XMP_KEYWORD = "XML:com.adobe.xmp"
_OF_THE_PIXELS = ("IHDR", "PLTE", "tRNS", "IDAT", "IEND")  # in their order
_OF_ANIMATIONS = ("acTL", "fcTL", "fdAT")
_TEXTS = ("tEXt", "zTXt", "iTXt")
_KEPT_ONCE = (*PNG_CHUNKS, "iCCP", "eXIf", "pHYs")
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; for a palette, the channels of its colours
_PALETTE = 3
_WHOLE = ((0, 0, 1, 1),)  # the first column and line of each pass, and the steps to the next
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 2**20  # bytes that are unpacked at a time
_FED = 2**16  # bytes that zlib gets at a time


class Chunk(NamedTuple):
    """A chunk: its name, its content (empty for pixels), and where all its bytes are in the file."""

    name: str
    content: bytes
    begin: int
    size: int


class Png(NamedTuple):
    """A PNG's header and chunks, and the content of the first chunk of each name.

    `transparent` is the transparent colour of an image without alpha or palette, one value per channel.
    """

    source: FileSource
    height: int
    width: int
    bit_depth: int
    kind: int
    is_interlaced: bool
    transparent: tuple[int, ...] | None
    chunks: list[Chunk]
    first: dict[str, bytes]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its pixels, unless it has a palette: (H, W) or (H, W, C)."""
        channels = _CHANNELS[self.kind] + (self.transparent is not None)
        return (self.height, self.width, channels)[: 2 + (channels > 1)]

    def packed_rows(self) -> Iterator[bytes]:
        """Yield the zlib stream of the rows in pieces."""
        for chunk in self.chunks:
            if chunk.name == "IDAT":
                yield from self.source.pieces(chunk.begin + 8, chunk.size - 12)


def inspect_png(source: FileSource, max_pixels: int) -> Inspected:
    """Read a PNG's chunks. Raises DataError if they are damaged."""
    png = _read_chunks(source)
    check_limit(png.height, png.width, max_pixels)
    metadata, not_kept, facts = _metadata_of(png), _find_not_kept(png), None
    if png.kind != _PALETTE and set(png.first.get("sBIT", b"")) <= {png.bit_depth}:
        facts = Facts(png.shape, pixel_type(png.bit_depth), png.bit_depth, metadata)
    return Inspected(facts, lambda: _read_pixels(png, dict(metadata), not_kept[:]))


def _read_pixels(png: Png, metadata: dict[str, bytes], not_kept: list[str]) -> Picture:
    """Decode a PNG. Its depth is what sBIT says, if that loses nothing."""
    frames, has_palette = int.from_bytes(png.first.get("acTL", b"\0\0\0\1")[:4], "big"), png.kind == _PALETTE
    if frames != 1:
        raise DataError(f"expected one picture, got {frames} (an animation); save one of them as a file")
    if _has_surplus(png):
        not_kept.append("data after the PNG's last row")
    depth = png.bit_depth
    if is_large(png.shape, pixel_type(depth)) and depth >= 8 and not has_palette and not png.is_interlaced:
        pixels = _read_large(png)
    else:
        pixels, depth = _read_whole(png)
    significant, flat = png.first.get("sBIT"), None
    if significant is not None and (said := set(significant)) != {depth}:
        if not has_palette and png.transparent is None and len(said) == 1 and 0 < min(said) < depth:
            flat = _narrow(pixels, depth, min(said))
        if flat is not None:
            pixels, depth = flat, min(said)
        elif len(significant) == (pixels.shape[2] if pixels.ndim == 3 else 1):
            metadata["sBIT"] = significant
        else:
            not_kept.append("PNG chunk sBIT")
    return Picture(pixels, depth, metadata, "PNG", False, tuple(not_kept))


def _read_whole(png: Png) -> tuple[Any, int]:
    """The pixels and their depth. Raises DataError if two libraries read different ones."""
    # Without other chunks, because libraries refuse large texts and profiles.
    of_pixels = [chunk for chunk in png.chunks if chunk.name in (*_OF_THE_PIXELS, *_OF_ANIMATIONS)]
    plain = SIGNATURE + b"".join(png.source.read(chunk.begin, chunk.size) for chunk in of_pixels)
    depth, channels, has_palette = png.bit_depth, _CHANNELS[png.kind], png.kind == _PALETTE
    with PngImagePlugin.PngImageFile(io.BytesIO(plain)) as image:
        if depth == 16 and channels > 1:
            pixels = import_extra("imagecodecs", "images").png_decode(plain)
            second = np.array(image)  # upper bytes only, grey as colour, no alpha for a transparent colour
            second = second[..., [0, 3]] if channels == 2 else second
            is_same = np.array_equal(pixels[..., : second.shape[2]] >> 8, second)
        else:
            if not has_palette:
                image.info.pop("transparency", None)
            pixels, read = pixels_of(image)
            depth = read if has_palette else depth
            pixels = pixels >> (read - depth)
            if png.transparent is not None:
                pixels = add_alpha(pixels, png.transparent, depth)
            is_same = _is_what_libpng_reads(pixels, depth, plain)
    if not is_same:
        raise DataError("two libraries read different pixels from this PNG; save it again")
    return pixels, depth


def _read_large(png: Png) -> DiskArray:
    """The pixels of a large PNG with 8 or 16 bits, read in bands of rows."""
    pixels, channels, top = DiskArray(png.shape, pixel_type(png.bit_depth)), _CHANNELS[png.kind], 0
    for rows in read_rows(png.packed_rows(), png.height, png.width, channels, png.bit_depth):
        band = rows if png.transparent is None else add_alpha(rows, png.transparent, png.bit_depth)
        pixels[top : top + len(band), :] = band.reshape(len(band), *png.shape[1:])
        top += len(band)
    return pixels


def _narrow(pixels: Any, bits: int, depth: int) -> Any:
    """`narrow` for pixels that may be on disk."""
    if any(narrow(band, bits, depth) is None for _, band in bands_of(pixels)):
        return None
    return convert_bands(pixels, lambda band: narrow(band, bits, depth))


def _is_what_libpng_reads(pixels: Pixels, bits: int, data: bytes) -> bool:
    """Whether libpng reads the same pixels in 8 or 16 bits; True if imagecodecs, which contains libpng, is missing."""
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


def _read_chunks(source: FileSource) -> Png:
    """Read the chunks. Raises DataError if they are damaged."""
    chunks = list(_chunks(source))
    first = {chunk.name: chunk.content for chunk in reversed(chunks)}
    header = first.get("IHDR", b"")
    if chunks[0].name != "IHDR" or len(header) != 13 or header[9] not in _CHANNELS:
        raise DataError("expected a PNG that begins with its header, got another chunk; the file is damaged")
    width, height, depth, kind = struct.unpack_from(">IIBB", header)
    _check_order([chunk.name for chunk in chunks if chunk.name in _OF_THE_PIXELS], kind)
    key = first.get("tRNS") if kind in (0, 2) else None
    if key is not None and len(key) != 2 * _CHANNELS[kind]:
        raise DataError(f"expected a transparent colour of {2 * _CHANNELS[kind]} bytes, got {len(key)}; save it again")
    transparent = None if key is None else struct.unpack(f">{len(key) // 2}H", key)
    colours, alphas = len(first.get("PLTE", b"")) // 3, len(first.get("tRNS", b"\0"))
    if (
        header[10:] not in (b"\0\0\0", b"\0\0\1")
        or max(transparent or (0,)) >> depth
        or (kind == _PALETTE and not 1 <= alphas <= colours)
    ):
        raise DataError("expected a PNG with known methods and valid transparent colours, got others; save it again")
    return Png(source, height, width, depth, kind, header[12] == 1, transparent, chunks, first)


def _metadata_of(png: Png) -> dict[str, bytes]:
    """The metadata but sBIT, which may be the depth of the pixels."""
    metadata = {name: png.first[name] for name in PNG_CHUNKS if name in png.first and name != "sBIT"}
    if "iCCP" in png.first:
        metadata["ICC"] = _unpack(png.first["iCCP"].partition(b"\0")[2][1:], "iCCP")
    if "eXIf" in png.first:
        metadata["EXIF"] = png.first["eXIf"]
    if (resolution := parse_physical(png.first.get("pHYs", b""))) is not None:
        metadata["resolution"] = resolution.blob()
    return metadata | _read_texts((chunk.name, chunk.content) for chunk in png.chunks if chunk.name in _TEXTS)


def _find_not_kept(png: Png) -> list[str]:
    """The parts of a file that a .ppyr file cannot hold."""
    lost = set(png.first) - {*_OF_THE_PIXELS, *_KEPT_ONCE, *_TEXTS}
    if "pHYs" in png.first and parse_physical(png.first["pHYs"]) is None:
        lost.add("pHYs")
    counts = Counter(chunk.name for chunk in png.chunks if chunk.name in _KEPT_ONCE)
    again = [f"all PNG chunks {name} except the first one" for name, count in counts.items() if count > 1]
    surplus = png.source.size - len(SIGNATURE) - sum(chunk.size for chunk in png.chunks)
    return [f"PNG chunk {name}" for name in sorted(lost)] + again + bytes_after(surplus, "PNG")


def _check_order(names: list[str], kind: int) -> None:
    """Raise DataError for chunks in another order, and for several of a kind: libraries read these PNGs differently."""
    once = [name for name in names if name != "IDAT"]
    if (
        names != sorted(names, key=_OF_THE_PIXELS.index)
        or len(once) > len(set(once))
        or (kind == _PALETTE and "PLTE" not in names)
    ):
        raise DataError(
            "expected the PNG's chunks IHDR, PLTE and tRNS before IDAT, each at most once, and PLTE if it has a "
            "palette, got other chunks; save it again"
        )


def _has_surplus(png: Png) -> bool:
    """Whether pixel data follow the last row. Raises DataError if rows are missing, which Pillow reads as zeros."""
    bits = png.bit_depth * (1 if png.kind == _PALETTE else _CHANNELS[png.kind])
    expected = 0
    for x, y, step_x, step_y in _ADAM7 if png.is_interlaced else _WHOLE:
        columns, lines = -(-(png.width - x) // step_x), -(-(png.height - y) // step_y)
        expected += max(lines, 0) * (1 + -(-columns * bits // 8)) if columns > 0 else 0
    size = unpacked_size(png.packed_rows(), expected)
    if size < expected:
        raise DataError(f"expected {expected} bytes of rows in the PNG, as its header says, got {size}; replace it")
    return size > expected


def unpacked_size(pieces: Iterable[Any], enough: int) -> int:
    """The unpacked size of a zlib stream; 0 if its end is missing. Counting stops soon after `enough` bytes."""
    unpacker, size = zlib.decompressobj(), 0
    for piece in pieces:
        for begin in range(0, len(piece), _FED):  # zlib copies what is left each time
            part = piece[begin : begin + _FED]
            while part and size <= enough and not unpacker.eof:
                size += len(unpacker.decompress(part, _PIECE))
                part = unpacker.unconsumed_tail
    return size if unpacker.eof or size > enough else 0


def _chunks(source: FileSource) -> Iterator[Chunk]:
    """Yield the chunks. Raises DataError if one is cut short or damaged."""
    place = len(SIGNATURE)
    while place < source.size:
        head = source.read(place, 8)
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8 or place + 12 + length > source.size:
            raise DataError("expected a whole PNG, got one that is cut short; replace or remove the file")
        name, crc = head[4:].decode("latin-1"), zlib.crc32(head[4:])
        is_kept = name not in ("IDAT", "fdAT")
        content = source.read(place + 8, length) if is_kept else b""
        for piece in [content] if is_kept else source.pieces(place + 8, length):
            crc = zlib.crc32(piece, crc)
        if crc != int.from_bytes(source.read(place + 8 + length, 4), "big"):
            raise DataError(f"the checksum of the PNG's chunk {head[4:]!r} does not match; replace or remove the file")
        yield Chunk(name, content, place, 12 + length)
        if name == "IEND":
            return
        place += 12 + length
    raise DataError("expected a whole PNG, got one without its end; replace or remove the file")


def _read_texts(chunks: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """The texts in UTF-8 as `text:KEYWORD`, the second text of a keyword as `text.2:KEYWORD`; languages likewise."""
    texts: dict[str, bytes] = {}
    seen: Counter[str] = Counter()
    size = 0
    for name, content in chunks:
        keyword, _, rest = content.partition(b"\0")
        word = keyword.decode("latin-1")
        language = translated = b""
        if name == "tEXt":
            text = rest.decode("latin-1").encode()
        elif name == "zTXt":
            text = _unpack(rest[1:], name).decode("latin-1").encode()
        else:
            is_packed, (language, _, rest) = rest[:1] == b"\1", rest[2:].partition(b"\0")
            translated, _, text = rest.partition(b"\0")
            text = _unpack(text, name) if is_packed else text
        size += len(text)
        if size > MAX_METADATA:
            raise DataError(f"expected at most {MAX_METADATA} bytes of texts in the PNG, got more; remove some of them")
        if name == "iTXt" and word == XMP_KEYWORD and "XMP" not in texts:  # a second one is a text
            texts["XMP"] = text
            continue
        seen[word] += 1
        place = f":{word}" if seen[word] == 1 else f".{seen[word]}:{word}"
        texts[f"text{place}"] = text
        if language:
            texts[f"language{place}"] = language
        if translated:
            texts[f"translated{place}"] = translated
    return texts


def _unpack(data: bytes, name: str) -> bytes:
    content = zlib.decompressobj().decompress(data, MAX_METADATA + 1)
    if len(content) > MAX_METADATA:
        raise DataError(f"expected at most {MAX_METADATA} bytes in the PNG's chunk {name}, got more; remove the chunk")
    return content
