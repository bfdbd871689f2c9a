"""A PNG's chunks, read and written here: Pillow drops some, and cannot tell how deep the pixels were.

Sources: Portable Network Graphics (PNG) Specification, third edition, W3C; its sections 11.2 and 11.3.
"""

import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from pixelpyramids.codec.container import MAX_METADATA
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels, pack_bits
from pixelpyramids.image_files.dpi import of_physical, parsed
from pixelpyramids.image_files.left_out import bytes_after

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_END = 33  # signature and IHDR: what all the chunks that are written here come right behind
KEPT_AS_THEY_ARE = ("gAMA", "cHRM", "sRGB", "cICP", "mDCV", "cLLI", "sBIT", "tIME")
XMP_KEYWORD = "XML:com.adobe.xmp"
_OF_THE_PIXELS = ("IHDR", "PLTE", "tRNS", "IDAT", "IEND")  # in their order
_OF_ANIMATIONS = {"acTL", "fcTL", "fdAT"}
_OF_TEXT = re.compile("(language|translated)(?=[:.])")
_LONG = 1024  # bytes of text, from which on it is packed
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by the type of colour; of a palette those of its colours
_KIND = {1: 0, 2: 4, 3: 2, 4: 6}
_PALETTE = 3
_WHOLE = ((0, 0, 1, 1),)  # the first column and line of each pass, and the steps to the next
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 2**20  # bytes, about, of lines that are filtered or unpacked at once
_FED = 2**16  # bytes that are given to zlib at once


class Png(NamedTuple):
    """What a PNG says of its pixels, and its metadata by the names that .ppyr files keep them under.

    `transparent` is the colour, one value a channel, that is to be seen through, of images without alpha or palette;
    `significant` are the significant bits of each channel, if the file gives them. `not_kept` names the parts of the
    file that a .ppyr file cannot hold.
    """

    bit_depth: int
    channels: int
    has_palette: bool
    transparent: tuple[int, ...] | None
    significant: bytes | None
    metadata: dict[str, bytes]
    not_kept: list[str]


def read_png(data: bytes) -> Png:
    """The facts of a PNG. Raises DataError where its chunks are damaged."""
    chunks = list(_chunks(data))
    by_name: dict[str, bytes] = {}
    for name, content in chunks:
        by_name.setdefault(name, content)
    header = by_name.get("IHDR", b"")
    if chunks[:1] != [("IHDR", header)] or len(header) != 13 or header[9] not in _CHANNELS:
        raise DataError("expected a PNG that begins with its header, got another chunk; the file is damaged")
    kind = header[9]
    _check_order([name for name, _ in chunks if name in _OF_THE_PIXELS], kind)
    key = by_name.get("tRNS") if kind in (0, 2) else None
    if key is not None and len(key) != 2 * _CHANNELS[kind]:
        raise DataError(f"expected a transparent colour of {2 * _CHANNELS[kind]} bytes, got {len(key)}; damaged")
    transparent = None if key is None else struct.unpack(f">{len(key) // 2}H", key)
    colours, alphas = len(by_name.get("PLTE", b"")) // 3, len(by_name.get("tRNS", b"\0"))
    if (
        header[10:] not in (b"\0\0\0", b"\0\0\1")
        or max(transparent or (0,)) >> header[8]
        or (kind == _PALETTE and not 1 <= alphas <= colours)
    ):
        raise DataError(
            "expected a PNG whose methods are known and whose transparent colours are among its own, got another; "
            "save it again"
        )
    metadata = {name: by_name[name] for name in KEPT_AS_THEY_ARE if name in by_name and name != "sBIT"}
    if "iCCP" in by_name:
        metadata["ICC"] = _unpacked(by_name["iCCP"].partition(b"\0")[2][1:], "iCCP")
    if "eXIf" in by_name:
        metadata["EXIF"] = by_name["eXIf"]
    resolution = of_physical(by_name.get("pHYs", b""))
    metadata |= {"resolution": resolution.blob()} if resolution is not None else {}
    metadata |= _texts(chunks)
    counts = Counter(name for name, _ in chunks if name in (*KEPT_AS_THEY_ARE, "iCCP", "eXIf", "pHYs"))
    lost = set(by_name) - {*_OF_THE_PIXELS} - set(KEPT_AS_THEY_ARE) - {"iCCP", "eXIf", "pHYs", "tEXt", "zTXt", "iTXt"}
    lost |= {"pHYs"} & set(by_name) if resolution is None else set()
    not_kept = [f"PNG chunk {name}" for name in sorted(lost)]
    not_kept += [f"PNG chunk {name} but the first one" for name, count in counts.items() if count > 1]
    if surplus := len(data) - sum(12 + len(content) for _, content in chunks) - len(SIGNATURE):
        not_kept.append(bytes_after(surplus, "PNG"))
    return Png(header[8], _CHANNELS[kind], kind == _PALETTE, transparent, by_name.get("sBIT"), metadata, not_kept)


def _check_order(names: list[str], kind: int) -> None:
    """Raise DataError unless each chunk of the pixels is there once, but for IDAT, and before those that need it.

    Libraries read other PNGs differently, or without their palette or transparent colour.
    """
    once = [name for name in names if name != "IDAT"]
    if (
        names != sorted(names, key=_OF_THE_PIXELS.index)
        or len(once) > len(set(once))
        or (kind == _PALETTE and "PLTE" not in names)
    ):
        raise DataError(
            "expected each of a PNG's chunks IHDR, PLTE and tRNS once at most, all before IDAT, a palette's PLTE "
            "among them, got others; save it again"
        )


def has_surplus(data: bytes) -> bool:
    """Whether a PNG's pixel data hold more than its rows. Raises DataError if rows are missing or damaged.

    Pillow would read missing rows as zeros.
    """
    chunks = list(_chunks(data))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    bits = depth * (1 if kind == _PALETTE else _CHANNELS[kind])
    expected = 0
    for x, y, step_x, step_y in _ADAM7 if interlaced else _WHOLE:
        columns, lines = -(-(width - x) // step_x), -(-(height - y) // step_y)
        expected += max(lines, 0) * (1 + -(-columns * bits // 8)) if columns > 0 else 0
    try:
        size = unpacked_size((content for name, content in chunks if name == "IDAT"), expected)
    except zlib.error as error:
        raise DataError(f"the PNG's pixels cannot be unpacked: {error}; replace or remove the file") from error
    if size < expected:
        raise DataError(
            f"expected {expected} bytes of rows in the PNG by its header, got {size}; replace or remove the file"
        )
    return size > expected


def unpacked_size(pieces: Iterable[Any], enough: int) -> int:
    """The size that a zlib stream unpacks to, counted to just above `enough` at most; 0 if its end is missing.

    Raises zlib.error if it is damaged.
    """
    unpacker, size = zlib.decompressobj(), 0
    for piece in pieces:
        for begin in range(0, len(piece), _FED):  # of more, zlib would copy the rest time and again
            part = piece[begin : begin + _FED]
            while part and size <= enough and not unpacker.eof:
                size += len(unpacker.decompress(part, _PIECE))
                part = unpacker.unconsumed_tail
    return size if unpacker.eof or size > enough else 0


def pixels_alone(data: bytes) -> bytes:
    """A PNG that `read_png` has read, without what is not of its pixels: libraries refuse large texts and profiles."""
    pieces, place = [SIGNATURE], len(SIGNATURE)
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        name = data[place + 4 : place + 8].decode("latin-1")
        if name in {*_OF_THE_PIXELS} | _OF_ANIMATIONS:
            pieces.append(data[place:end])
        if name == "IEND":
            break
        place = end
    return b"".join(pieces)


def with_metadata(png: bytes, metadata: Mapping[str, bytes]) -> tuple[bytes, list[str]]:
    """A PNG with the metadata put in right behind its header, and the names of what has no place there."""
    chunks, left_out = [], []
    for name, content in metadata.items():
        if name in KEPT_AS_THEY_ARE:
            chunks.append(_chunk(name, content))
        elif name == "ICC":
            chunks.append(_chunk("iCCP", b"ICC Profile\0\0" + zlib.compress(content, 9)))
        elif name == "EXIF":
            chunks.append(_chunk("eXIf", content))
        elif name == "XMP":
            chunks.append(_chunk("iTXt", XMP_KEYWORD.encode() + b"\0\0\0\0\0" + content))
        elif name == "resolution" and (resolution := parsed(content)) is not None:
            chunks.append(_chunk("pHYs", resolution.physical()))
        elif name.startswith(("text:", "text.")) and "\0" not in name:
            chunks.append(_text_chunk(name, metadata))
        elif (text := _OF_TEXT.sub("text", name)) == name or text not in metadata or b"\0" in content:
            left_out.append(name)
    return png[:HEADER_END] + b"".join(chunks) + png[HEADER_END:], left_out


def plain_png(pixels: Pixels, depth: int) -> bytes:
    """A PNG of values (H, W) or (H, W, C) of 2, 4 or 16 bits: Pillow writes no colour of 16, some no 2 and 4."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    lines = pack_bits(pixels, depth) if depth < 8 else _bytes_of(pixels)
    packer, step = zlib.compressobj(), max(channels * depth // 8, 1)
    pieces, above = [], np.zeros((1, lines.shape[1]), np.uint8)
    count = max(_PIECE // lines.shape[1], 1)
    for top in range(0, height, count):
        some = np.concatenate([above, lines[top : top + count]])
        pieces.append(packer.compress(_filtered(some, step).tobytes()))
        above = some[-1:]
    header = struct.pack(">IIBBBBB", width, height, depth, _KIND[channels], 0, 0, 0)
    chunks = (("IHDR", header), ("IDAT", b"".join([*pieces, packer.flush()])), ("IEND", b""))
    return SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def _bytes_of(pixels: Pixels) -> Any:
    return np.ascontiguousarray(pixels, ">u2").view(np.uint8).reshape(len(pixels), -1)


def _filtered(lines: Any, step: int) -> Any:
    """Lines of bytes but the first, each less its Paeth predictor: the nearest to a + b - c of a, left, b, above, c.

    A 4, the number of that filter, begins each line.
    """
    wide = np.pad(lines.astype(np.int16), ((0, 0), (step, 0)))
    left, above, corner = wide[1:, :-step], wide[:-1, step:], wide[:-1, :-step]
    to_left, to_above, to_corner = abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)
    either = np.where(to_above <= to_corner, above, corner)
    predictor = np.where((to_left <= to_above) & (to_left <= to_corner), left, either)
    return np.pad((lines[1:] - predictor).astype(np.uint8), ((0, 0), (1, 0)), constant_values=4)


def _chunks(data: bytes) -> Iterator[tuple[str, Any]]:
    """The name and content of each chunk up to the end; DataError if one is cut short or damaged."""
    place = len(SIGNATURE)
    while place < len(data):
        head = data[place : place + 8]
        length = int.from_bytes(head[:4], "big")
        end = place + 8 + length
        if len(head) < 8 or end + 4 > len(data):
            raise DataError("expected a whole PNG, got one that is cut short; replace or remove the file")
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise DataError(f"the checksum of the PNG's chunk {head[4:]!r} does not match; replace or remove the file")
        name = head[4:].decode("latin-1")
        yield name, memoryview(data)[place + 8 : end] if name in ("IDAT", "fdAT") else data[place + 8 : end]
        if name == "IEND":
            return
        place = end + 4
    raise DataError("expected a whole PNG, got one without its end; replace or remove the file")


def _texts(chunks: list[tuple[str, bytes]]) -> dict[str, bytes]:
    """The texts in UTF-8: `text:KEYWORD`, from a keyword's second on `text.2:KEYWORD`; languages likewise."""
    texts: dict[str, bytes] = {}
    seen: Counter[str] = Counter()
    size = 0
    for name, content in chunks:
        if name not in ("tEXt", "zTXt", "iTXt"):
            continue
        keyword, _, rest = content.partition(b"\0")
        word = keyword.decode("latin-1")
        language = translated = b""
        if name == "tEXt":
            text = rest.decode("latin-1").encode()
        elif name == "zTXt":
            text = _unpacked(rest[1:], name).decode("latin-1").encode()
        else:
            is_packed, (language, _, rest) = rest[:1] == b"\1", rest[2:].partition(b"\0")
            translated, _, text = rest.partition(b"\0")
            text = _unpacked(text, name) if is_packed else text
        size += len(text)
        if size > MAX_METADATA:
            raise DataError(f"expected at most {MAX_METADATA} bytes of texts in the PNG, got more; remove some of them")
        if name == "iTXt" and word == XMP_KEYWORD and "XMP" not in texts:  # a second one is a text
            texts["XMP"] = text
            continue
        seen[word] += 1
        place = f":{word}" if seen[word] == 1 else f".{seen[word]}:{word}"
        texts |= {f"text{place}": text}
        texts |= {f"{kind}{place}": value for kind, value in _named(language, translated) if value}
    return texts


def _named(language: bytes, translated: bytes) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    return ("language", language), ("translated", translated)


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


def _unpacked(data: bytes, name: str) -> bytes:
    packer = zlib.decompressobj()
    try:
        content = packer.decompress(data, MAX_METADATA + 1)
    except zlib.error as error:
        raise DataError(f"the PNG's chunk {name} cannot be unpacked: {error}; replace or remove the file") from error
    if len(content) > MAX_METADATA:
        raise DataError(f"expected at most {MAX_METADATA} bytes in the PNG's chunk {name}, got more; remove the chunk")
    return content
