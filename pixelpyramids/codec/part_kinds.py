"""The kinds of parts: coded by the model, constant, or stored as they are (docs/reference/format.md, section 9)."""

from collections.abc import Sequence

import numpy as np

from pixelpyramids.codec.compact_model import Codings, CompactModel, Plane, fine_bands
from pixelpyramids.codec.container import Kind
from pixelpyramids.codec.memory import Inheritance, Memory
from pixelpyramids.codec.parts import Part
from pixelpyramids.errors import BitstreamError


def encode_part(
    compact: CompactModel,
    part: Part,
    pyramid: Sequence[Plane],
    codings: Codings,
    inheritance: Inheritance,
    number: int,
) -> tuple[Kind, bytes]:
    """Encode a part of a plane, whose number there is given, in the smallest way; return its kind and its bytes."""
    memory = inheritance.begin(number)
    learnt = memory.copy()
    kind, data = _smallest_part(compact, part, pyramid, codings, learnt)
    inheritance.end(number, learnt if kind == Kind.MODEL else memory)
    return kind, data


def _smallest_part(
    compact: CompactModel, part: Part, pyramid: Sequence[Plane], codings: Codings, memory: Memory
) -> tuple[Kind, bytes]:
    """Return the kind and the bytes of a part: all equal, by the model, or as they are. Updates the memory."""
    bits, coded = codings[-1].bits, codings[-1].coded
    fields = _coded_pixels(part, pyramid, coded)
    first = [field[:, :1, :1] for field in fields if field.size]
    if all((field == first[0]).all() for field in fields):
        return Kind.CONSTANT, first[0].astype("<u2").tobytes()
    data = compact.encode(part, pyramid, codings, memory)
    plain = -(-sum(field.size for field in fields) * bits // 8)
    if len(data) <= plain:
        return Kind.MODEL, data
    numbers = np.concatenate([field.ravel() for field in fields])
    digits = numbers[:, None] >> np.arange(bits - 1, -1, -1, dtype=np.uint16) & 1
    return Kind.STORED, np.packbits(digits.astype(np.uint8)).tobytes()


def decode_part(
    compact: CompactModel,
    kind: Kind,
    data: bytes,
    part: Part,
    pyramid: Sequence[Plane],
    codings: Codings,
    memory: Memory,
) -> None:
    """Fill in the pixels of a part, and update the memory if it is coded by the model.

    Raises BitstreamError if the bytes are not a valid part of this kind.
    """
    bits, coded = codings[-1].bits, codings[-1].coded
    if kind == Kind.MODEL:
        compact.decode(data, part, pyramid, codings, memory)
        return
    fields = _coded_pixels(part, pyramid, coded)
    count = sum(field.size for field in fields)
    expected = 2 * coded if kind == Kind.CONSTANT else -(-count * bits // 8)
    if len(data) != expected:
        raise BitstreamError(f"expected a part of {expected} bytes, got {len(data)}; the file is damaged")
    if kind == Kind.CONSTANT:
        numbers = np.frombuffer(data, dtype="<u2")
        if int(numbers.max()) >> bits:
            raise BitstreamError("a part holds a value above the image's depth; the file is damaged")
        for field in fields:
            field[...] = numbers[:, None, None]
        return
    digits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
    if digits[count * bits :].any():
        raise BitstreamError("a part ends with padding bits that are not zero; the file is damaged")
    numbers = np.zeros(count, dtype=np.uint16)
    for digit in digits[: count * bits].reshape(count, bits).T:
        numbers = numbers << 1 | digit
    first = 0
    for field in fields:
        field[...] = numbers[first : first + field.size].reshape(field.shape)
        first += field.size


def _coded_pixels(part: Part, pyramid: Sequence[Plane], coded: int) -> list[Plane]:
    """Return views of the coded pixels of a part: the base's finest image, or a tile's OE, EO and EE."""
    if part.is_base:
        return [pyramid[part.finest][:coded]]
    (tile,) = part.tiles
    return [band[:coded] for band in fine_bands(pyramid[tile.octave], tile)]
