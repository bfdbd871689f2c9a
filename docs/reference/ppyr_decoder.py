"""Decode a `.ppyr` file of version 1 as docs/reference/format.md specifies: one file, slow and obvious, NumPy only.

    python ppyr_decoder.py FILE.ppyr WEIGHTS.safetensors OUT.npy

This decoder shares no code with the package, which is tested against it. WEIGHTS.safetensors holds the weights of the
model that the file names. Pillow is imported only for files that hold a PNG or a WebP. § is a section of format.md.
"""

import hashlib
import json
import math
import re
import sys
import zlib
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import numpy as np

Tile = tuple[int, int, int, int, int]  # octave, top, bottom, left, right: [top, bottom) x [left, right) of its grid

MODEL, WEBP, PNG = 0, 1, 2  # how the image is coded (§3)
FAR, YCBCR = 8, 16  # bits of a plane's `mixed` (§3)
CODED, CONSTANT, STORED = 0, 1, 2  # how a part is coded (§5)
POWERS = np.array([round(2.0 ** (16 - i / 256)) for i in range(257)], np.int64)  # §12
SIGMOIDS = np.array([round(2**24 / (1 + math.exp(-min(i, 1024) / 64))) for i in range(-1024, 1026)], np.int64)
LOGARITHMS = [round(4096 * math.log(1 + (i + 0.5) / 256)) for i in range(256)]  # §13
STRETCHES = [round(4096 * math.log((i + 0.5) / (4095.5 - i))) for i in range(4096)]


class FormatError(Exception):
    """The file is damaged, not a .ppyr file, or too large; or it needs other weights."""


def require(condition: Any, otherwise: str) -> None:
    """Refuse the file with this message unless the condition holds."""
    if not condition:
        raise FormatError(otherwise)


class Fields(BytesIO):
    """Bytes from which fields are taken, from the front."""

    def take(self, count: int) -> bytes:
        """Take the next `count` bytes."""
        data = self.read(count)
        require(len(data) == count, "the file ends too early: it is cut short")
        return data

    def varint(self, limit: int) -> int:
        """Take a number in LEB128, in its shortest form and at most `limit`."""
        number, shift, byte = 0, 0, 128
        while byte > 127:
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            require(number <= limit and shift <= 56, "a number in the header is out of range")
            shift += 7
        require(byte or shift == 7, "a number in the header is not in its shortest form")
        return number

    def packed(self, limit: int) -> bytes:
        """Take both lengths and a zlib stream; return the unpacked bytes, at most `limit` of them."""
        length, unpacked = self.varint(2 * limit + 64), self.varint(limit)
        stream = zlib.decompressobj()
        try:
            data = stream.decompress(self.take(length), unpacked + 1)
        except zlib.error as error:
            raise FormatError(f"packed bytes in the header cannot be unpacked: {error}") from error
        require(len(data) == unpacked and stream.eof and not stream.unused_data, "packed bytes have the wrong length")
        return data


def read_header(fields: Fields, max_pixels: int) -> SimpleNamespace:
    """Read the header (§3) and the metadata (§4)."""
    require(fields.take(4) == b"\x8fPPY", "this is not a .ppyr file")
    version, flags, depth, channels = fields.take(4)
    require(version > 0, "expected a file of version 1, got version 0, a draft")
    require(version == 1, f"expected a file of version 1, got {version}, which needs a newer reader")
    height, width, content = fields.varint(2**30), fields.varint(2**30), flags >> 2 & 3
    has_axis, is_wide, is_grey, has_values, has_metadata = (bool(flags >> bit & 1) for bit in (0, 1, 4, 5, 6))
    sound = height and width and content < 3 and not flags >> 7 and 1 <= channels <= 64
    sound = sound and 1 <= depth <= (16 if is_wide else 8) and (has_axis or channels == 1)
    sound = sound and (channels in (3, 4) or not is_grey) and (content == MODEL or not (is_grey or has_values))
    require(sound, "the header contradicts itself")
    sound = height * width * max(channels, 4) <= 4 * max_pixels
    require(sound, f"the image has {height} x {width} x {channels} values, over the limit of {max_pixels} pixels")
    header = SimpleNamespace(height=height, width=width, channels=channels, has_axis=has_axis, is_wide=is_wide)
    header.depth, header.bits, header.content, header.metadata = depth, depth, content, {}
    header.planes = [3] * (channels // 3) + [1] * (channels % 3)  # the number of channels of each plane
    header.coded = [1 if is_grey else header.planes[0], *header.planes[1:]]
    if content == MODEL:
        header.model, header.values = fields.take(8), list(range(2**depth))
        header.mixed = list(fields.take(len(header.coded)))  # of each plane: bit c is 1 if channel c is mixed
        may_be_ycbcr = depth == 8 and channels <= 4 and not has_values
        for mixed, coded in zip(header.mixed, header.coded, strict=True):
            require(not mixed & 7 >> coded << coded and mixed < 32, "the header mixes channels that are not coded")
            require(mixed & 7 or not mixed, "the header says how to mix, but no channel is mixed")
            require(not mixed & YCBCR or (mixed & 4 and may_be_ycbcr), "the header limits colours that are no colours")
        if has_values:
            bitmap = np.frombuffer(fields.packed(max(2**depth, 8) // 8), np.uint8)
            header.values = np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).tolist()
            sound = 8 * len(bitmap) == max(2**depth, 8) and header.values and header.values[-1] < 2**depth
            require(sound, "the header lists impossible values")
            header.bits = max((len(header.values) - 1).bit_length(), 1)
        octaves = len(octave_sizes(height, width)) - 1
        header.gains = [[header.bits - 8] * octaves for _ in header.coded]  # of each plane's octaves, finest first
        if header.bits > 8:
            header.gains = [list(fields.take(octaves)) for _ in header.coded]
            require(all(gain <= header.bits - 8 for gains in header.gains for gain in gains), "a gain is out of range")
    if has_metadata:
        blobs = Fields(fields.packed(2**24))
        while blobs.tell() < len(blobs.getvalue()):
            name = blobs.take(blobs.varint(255)).decode("latin-1")
            require(name not in header.metadata and len(header.metadata) < 2**12, "metadata is repeated or too long")
            header.metadata[name] = blobs.take(blobs.varint(2**24))
    return header


def read_parts(fields: Fields, count: int) -> list[tuple[int, bytes]]:
    """Read the kind and the bytes of each part (§5), and compare all checksums."""
    require(len(fields.getvalue()) - fields.tell() >= 5 * count, "the file ends within its index: it is cut short")
    entries = []
    for _ in range(count):
        number = fields.varint(2**40)
        require(number & 3 != 3, "a part has an unknown kind")
        entries.append((number & 3, number >> 2, int.from_bytes(fields.take(4), "little")))
    checksum = zlib.crc32(fields.getvalue()[: fields.tell()])
    require(int.from_bytes(fields.take(4), "little") == checksum, "the header's checksum does not match")
    parts = []
    for kind, length, checksum in entries:
        data = fields.take(length)
        require(zlib.crc32(data) == checksum, f"the checksum of part {len(parts) + 1} of {count} does not match")
        parts.append((kind, data))
    require(not fields.read(1), "bytes follow the last part")
    return parts


def octave_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Return the size of each octave's image, finest first, and of the coarsest pixels last."""
    sizes = [(height, width)]
    while height * width > 8:
        height, width = max(height // 2, 1), max(width // 2, 1)
        sizes.append((height, width))
    return sizes


def part_count(height: int, width: int) -> int:
    """Count the parts of a plane without allocating memory, since a header may claim any size."""
    finer = [size for size in octave_sizes(height, width)[:-1] if max(size) > 64]
    return 1 + sum(math.prod(max(1, ((side + 1) // 2 + 128) // 256) for side in size) for size in finer)


def part_tiles(height: int, width: int) -> list[list[Tile]]:
    """Return the tiles of each part (§8), first those of the base, which may have none."""
    sizes = octave_sizes(height, width)
    parts: list[list[Tile]] = [[]]
    for octave in reversed(range(len(sizes) - 1)):
        rows, columns = (spans((side + 1) // 2) for side in sizes[octave])
        tiles = [(octave, *of_rows, *of_columns) for of_rows in rows for of_columns in columns]
        parts = [parts[0] + tiles] if max(sizes[octave]) <= 64 else parts + [[tile] for tile in tiles]
    return parts


def spans(sites: int) -> list[tuple[int, int]]:
    """Return where tiles begin and end along a side."""
    begins = [256 * i for i in range(max(1, (sites + 128) // 256))]
    return list(zip(begins, [*begins[1:], sites], strict=True))


def lines(side: int, parity: int) -> slice:
    """Select the even (0) or odd (1) lines of a side; the only line of a side of 1 is odd."""
    return slice(parity, None, 2) if side > 1 else slice(0, parity)


def fine_bands(image: Any, tile: Tile) -> list[Any]:
    """Return the pixels OE, EO and EE of a tile, as views of the octave's image."""
    _, top, bottom, left, right = tile
    bands = [image[:, lines(image.shape[1], y), lines(image.shape[2], x)] for y, x in ((1, 0), (0, 1), (0, 0))]
    return [band[:, top:bottom, left:right] for band in bands]


class Network:
    """The network of a safetensors file; it works on arrays (channels, height, width)."""

    def __init__(self, file: bytes) -> None:
        try:
            length = int.from_bytes(file[:8], "little")
            entries, rest = json.loads(file[8 : 8 + length]), file[8 + length :]
            entries.pop("__metadata__", None)
            types, self.tensors = {"I8": "<i1", "I32": "<i4"}, {}
            for name, entry in entries.items():
                begin, end = entry["data_offsets"]
                self.tensors[name] = np.frombuffer(rest[begin:end], types[entry["dtype"]]).reshape(entry["shape"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"the weights are not a safetensors file of integers: {error!r}") from error
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            shape = " ".join(str(side) for side in self.tensors[name].shape)
            digest.update(f"{name} {shape}\n".encode() + self.tensors[name].tobytes())
        self.name = digest.digest()[:8]

    def convolution(self, name: str, activations: Any) -> Any:
        """Compute the sums of w a + b, with zeros outside; they are below 2**24, so float32 is exact."""
        weight = self.tensors[f"{name}.weight"].astype(np.float32)
        _, height, width = activations.shape
        size, reach = weight.shape[2], weight.shape[2] // 2
        padded = np.pad(activations, ((0, 0), (reach, reach), (reach, reach))).astype(np.float32)
        sums = np.zeros((len(weight), height, width), np.float32)
        for y, x in np.ndindex(size, size):
            sums += np.tensordot(weight[:, :, y, x], padded[:, y : y + height, x : x + width], axes=1)
        return sums + self.tensors[f"{name}.bias"].astype(np.float32)[:, None, None]

    def body(self, name: str, inputs: Any) -> Any:
        """Compute the activations of the trunk, or of a head before its last convolution."""
        activations = rescale(self.convolution(f"{name}.0", inputs))
        block = 1
        while f"{name}.{block}.first.weight" in self.tensors:
            inner = rescale(self.convolution(f"{name}.{block}.first", activations))
            activations = rescale(self.convolution(f"{name}.{block}.second", inner) + 128 * activations)
            block += 1
        return activations


def rescale(sums: Any) -> Any:
    """Divide sums by 128, round half to even, and clamp to 0 … 255."""
    return np.clip(np.rint(sums / 128), 0, 255)


def compand(quarters: Any, gain: int) -> Any:
    """Turn differences (C, height, width), in quarters, into 2 C channels of activations: positive, then negative."""
    magnitude = abs(quarters) >> gain if gain >= 0 else abs(quarters) << -gain
    level = np.minimum(np.minimum(magnitude, 72 + magnitude // 4), np.minimum(124 + magnitude // 8, 255))
    return np.concatenate([np.where(quarters > 0, level, 0), np.where(quarters < 0, level, 0)])


def window(image: Any, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """Return rows and columns [begin, end) of an image (C, height, width); outside, the nearest line repeats."""
    i, j = (np.clip(np.arange(*span), 0, side - 1) for span, side in zip((rows, columns), image.shape[1:], strict=True))
    return image[:, i][:, :, j]


def interleave(array: Any, axis: int) -> Any:
    """Return the even lines along an axis and, as further channels, the odd ones; a missing last line is zero."""
    array = np.pad(array, [(0, array.shape[axis] % 2 if axis == i else 0) for i in range(3)])
    return np.concatenate([array.take(range(first, array.shape[axis], 2), axis) for first in range(2)])


def share_below(mixture: tuple[Any, Any, Any], edge: int) -> tuple[Any, Any]:
    """Return an edge's place on each logistic, in 65536ths of its scale, and the share of 2**24 below it."""
    mean, inverse, shift = mixture  # means and edges in 512ths of a value from the base
    place = np.clip((edge - mean) * inverse >> shift, -(2**20), 2**20)
    return place, sigmoid(place)


def sigmoid(place: Any) -> Any:
    """Return the share of 2**24 below a place, from -2**20 to 2**20 65536ths: interpolate SIGMOIDS."""
    index, rest = (place >> 10) + 1024, place & 1023
    return SIGMOIDS[index] + ((SIGMOIDS[index + 1] - SIGMOIDS[index]) * rest >> 10)


def logarithm(frequency: int) -> int:
    """Return the natural logarithm of a frequency, in 4096ths."""
    exponent = frequency.bit_length() - 1
    return 2839 * exponent + LOGARITHMS[(frequency << 8 >> exponent) - 256]


def normalise(weights: Any) -> Any:
    """Scale weights to add up to 2**24, each at least 1; the first of the largest takes the remainder."""
    scaled = np.maximum(weights * (2**62 // int(weights.sum())) >> 38, 1)
    scaled[weights.argmax()] += 2**24 - scaled.sum()
    return scaled


def components_of(numbers: Any) -> tuple[Any, Any, Any, Any]:
    """Return views of a site's outputs: logits; means, log-scales and weights of distances, each (components, 3)."""
    count = len(numbers) // 10
    return numbers[:count], *numbers[count:].reshape(3, count, 3)


class Memory:
    """What is learnt while a plane is decoded, and handed from coarse to fine (§8)."""

    def __init__(self, size: int) -> None:
        # Corrections, slopes and squares for OE, EO, EE and the coarsest pixels (§12)
        self.corrections = np.zeros((4, 3, 8, size + 12), np.int64)
        # Shares and ages of the counters; and for each channel and decision the weights and the map (§13)
        self.shares, self.ages = array("H", [2048]) * 2**20, array("B", [0]) * 2**20
        self.weights = [[[52000, 8000, 8000, 8000] for _ in range(18)] for _ in range(3)]
        self.maps = [[(SIGMOIDS[:2049:64] >> 8).tolist() for _ in range(18)] for _ in range(3)]


def inherited(handed_on: dict[Tile, Memory], tile: Tile) -> Memory:
    """Return the memory that the parent of a tile handed on: the tile around its middle, one octave coarser (§8)."""
    octave, top, bottom, left, right = tile
    i, j = (top + bottom) // 4, (left + right) // 4
    for (coarser, *rows, begin, end), memory in handed_on.items():
        if coarser == octave + 1 and i in range(*rows) and j in range(begin, end):
            return memory
    raise AssertionError("each octave beyond the base has a coarser one")


def scramble(key: int, number: int) -> int:
    """Return a hash of both numbers (§13)."""
    key = (key ^ number * 0x9E3779B1) * 0x85EBCA6B % 2**32
    return key ^ key >> 15


def counter_keys(
    channel: int, value: list[int], near: list[int], opposite: list[int], left: list[int]
) -> list[tuple[int, int]]:
    """Return `from` and the key of a channel's counters, by the pixel's earlier channels and other pixels (§13)."""
    table = [  # from, a and b of each counter of each channel
        [(0, near[0], opposite[0]), (0, 0, 0), (left[0], 0, 0)],
        [
            (value[0], near[1] - near[0], opposite[1] - opposite[0]),
            (0, value[0], 0),
            (opposite[1], value[0] - opposite[0], 0),
        ],
        [
            (value[1], value[1] - value[0], 0),
            (0, value[1], 0),
            (opposite[2], value[1] - opposite[1], value[0] - opposite[0]),
        ],
    ]
    return [
        (origin, scramble(scramble((3 * channel + i) * 0x27D4EB2F, a), b))
        for i, (origin, a, b) in enumerate(table[channel], 1)
    ]


@cache
def possible_blues(red: int, green: int) -> list[int]:
    """The blues of the colours that a conversion from YCbCr gives (§13), for a red and a green."""
    luma, chroma = np.arange(256), np.arange(-128, 128)
    y, cr = np.nonzero((luma[:, None] + (91881 * chroma + 2**15 >> 16)).clip(0, 255) == red)
    cb = chroma[:, None]
    greens = (y + (-22554 * cb - 46802 * chroma[cr] + 2**15 >> 16)).clip(0, 255)
    blues = (y + (116130 * cb + 2**15 >> 16)).clip(0, 255)
    return np.unique(blues[greens == green]).tolist()


class Coder:
    """Decodes the bytes of one part, and learns from what it decodes."""

    def __init__(self, data: bytes, bits: int, coded: int, mixed: int, memory: Memory) -> None:
        self.bits, self.coded, self.mixed, self.memory = bits, coded, mixed, memory
        head = 5 if len(data) % 2 else 6
        require(len(data) >= head, "a part is shorter than a state of the coder")
        self.state = int.from_bytes(data[:head], "big")
        require(self.state >= (2**32 if head == 5 else 2**40), "a part begins with an invalid state")
        self.words = np.frombuffer(data, "<u2", offset=head).tolist()[::-1]

    def take(self, start: int, end: int) -> None:
        """Take the symbol whose interval is [start, end)."""
        self.state = (end - start) * (self.state >> 24) + self.state % 2**24 - start
        while self.state < 2**32:
            require(self.words, "a part ends before its last symbol")
            self.state = self.state << 16 | self.words.pop()

    def bisect(self, cumulative: Callable[[int], int], begin: int, end: int) -> int:
        """Take one symbol: the value within [begin, end), which is stretched to [0, 2**24)."""
        place = begin + ((self.state % 2**24 + 1) * (end - begin) - 1 >> 24)
        low, high = 0, 1 << self.bits  # cumulative(low) <= place < cumulative(high)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if cumulative(middle) <= place else (low, middle)
        self.take(*((cumulative(x) - begin) * 2**24 // (end - begin) for x in (low, low + 1)))
        return low

    def value(
        self,
        weights: Any,
        mixture: tuple[Any, Any, Any],
        base: int,
        earlier: list[int],
        keys: list[tuple[int, int]] | None,
    ) -> int:
        """Decode the next value: as one symbol or, with the keys of its counters, as decisions (§13).

        `earlier` are the values of the channels before.
        """
        channel = len(earlier)
        n = 1 << self.bits

        def cumulative(x: int) -> int:
            total = int((weights * share_below(mixture, 512 * x - 256 - 128 * base)[1]).sum())
            return x + ((total >> 24) * (2**24 - n) >> 24) if 0 < x < n else x // n * 2**24

        if keys is None:
            return self.bisect(cumulative, 0, 2**24)
        mean = int(((weights >> 8) * mixture[0] >> 16).sum()) + 128 * base
        middle = min(max(mean + 256 >> 9, 0), n - 1)
        possible: Sequence[int] = range(n)
        if channel == 2 and self.mixed & YCBCR:
            possible = possible_blues(earlier[0], earlier[1])
        at = min(bisect_left(possible, middle), len(possible) - 1)  # then the nearest; of two, the smaller one
        if at and middle - possible[at - 1] <= abs(possible[at] - middle):
            at -= 1

        def down(i: int) -> int:
            return cumulative(possible[i - 1] + 1) if i else 0

        def up(i: int) -> int:
            return cumulative(possible[i + 1]) if i + 1 < len(possible) else 2**24

        if self.decide(channel, 0, possible[at], up(at) - down(at), 2**24 - (up(at) - down(at)), keys):
            return possible[at]
        is_above = self.decide(channel, 1, possible[at], 2**24 - up(at), down(at), keys)
        for decision in range(2, 18 if channel == 2 or self.mixed & FAR else 4):
            at += 1 if is_above else -1
            yes, no = (up(at) - up(at - 1), 2**24 - up(at)) if is_above else (down(at + 1) - down(at), down(at))
            if self.decide(channel, decision, possible[at], yes, no, keys):
                return possible[at]
        return self.bisect(cumulative, up(at), 2**24) if is_above else self.bisect(cumulative, 0, down(at))

    def decide(self, channel: int, decision: int, value: int, yes: int, no: int, keys: list[tuple[int, int]]) -> bool:
        """Decode a decision, to which the network gives the frequencies `yes` and `no`, and learn from it."""
        if not yes or not no:
            return yes > 0
        weights, map_ = self.memory.weights[channel][decision], self.memory.maps[channel][decision]
        shares, ages, counters = self.memory.shares, self.memory.ages, []
        for origin, key in keys:
            group = scramble(key + 1 if decision == 1 else key, value - origin >> 3)
            counters.append(8 * (group >> 15) + (value - origin & 7))
        inputs = [logarithm(yes) - logarithm(no)] + [STRETCHES[shares[counter]] for counter in counters]
        total = sum(weight * input_ for weight, input_ in zip(weights, inputs, strict=True))
        place = min(max(total >> 12, -(2**20)), 2**20)
        sigma, j = int(sigmoid(place)), min(place + 2**20 >> 16, 31)
        r = place + 2**20 - (j << 16)
        mapped = map_[j] * (65536 - r) + map_[j + 1] * r >> 8
        share = min(max(sigma + mapped >> 1, 1), 2**24 - 1)
        answer = bool(self.state % 2**24 < share)
        self.take(*((0, share) if answer else (share, 2**24)))
        error = 65536 * answer - (sigma >> 8)
        for i, input_ in enumerate(inputs):
            weights[i] = min(max(weights[i] + (input_ * error + 2**18 >> 19), -(2**20)), 2**20)
        for counter in counters:
            step = (4095 * answer - shares[counter]) * (131072 // (2 * ages[counter] + 3))
            shares[counter] += step + 2**15 >> 16
            ages[counter] = min(ages[counter] + 1, 15)
        nearest = min(j + (r >> 15), 32)
        map_[nearest] += 65535 * answer - map_[nearest] >> 6
        return answer

    def values(self, outputs: Any, references: Any, band: Any, gain: int, number: int) -> None:
        """Fill in a slice (3, height, width) of the band of that number, row by row, and learn from each.

        References are the base and, where values may be mixed, the pixels near and opposite.
        """
        learnt, size = self.memory.corrections[number], len(outputs)
        corrections, slopes, squares = learnt
        above = np.zeros((band.shape[2], 2, 3), np.int64)  # scores of the channels, by shift and by width
        for y in range(band.shape[1]):
            left = np.zeros((2, 3), np.int64)
            for x in range(band.shape[2]):
                logits, _, scales, _ = components_of(outputs[:, y, x])
                context = min(max((scales[logits.argmax(), 0] >> 12) + 2, 0), 7)
                corrected = outputs[:, y, x] + (corrections[context, :size] >> 8)
                around = np.stack([left[0], above[x, 0], left[1], above[x, 1]], axis=1)
                moves = (corrections[context, size:].reshape(3, 4) * around).reshape(3, 2, 2).sum(axis=2)
                base, *pixels = references[:, :, y, x].tolist()
                if pixels:  # near, opposite, and then left
                    pixels.append(band[:, y, x - 1].tolist() if x else pixels[0])
                slope, scores = self.site(corrected, base[: self.coded], pixels, band[:, y, x], gain, moves)
                slope = np.concatenate([slope, (scores.repeat(2, axis=0).T * around >> 12).ravel()])
                learnt[1:, context] += np.stack([slope, slope * slope])
                for kept in (left, above[x]):
                    kept[0], kept[1] = scores[0], kept[1] + (scores[1] - kept[1] >> 2)
            steps = np.clip((slopes << 31) // (squares + 2**28), -(2**16), 2**16)
            corrections[...] = np.clip(corrections - steps, -(2**21), 2**21)
            squares -= np.where(slopes == 0, 0, squares >> 3)
            slopes[...] = 0

    def site(self, outputs: Any, bases: list[int], pixels: list[list[int]], values: Any, gain: int, moves: Any) -> Any:
        """Fill in the values of a site by channel; return the slopes of its nats by the outputs, and scores."""
        slopes, pulls, n, distances = np.zeros_like(outputs), np.zeros((len(outputs) // 10, 3), int), 2**self.bits, []
        logits, means, scales, factors = components_of(outputs)
        by_logit, by_mean, by_scale, by_factor = components_of(slopes)
        d = logits.max() - logits
        weights = priors = normalise(np.maximum(POWERS[((d & 4095) + 8) >> 4] << 8 >> np.minimum(d >> 12, 62), 1))
        for channel, base in enumerate(bases):
            mean = means[:, channel] << gain if gain >= 0 else means[:, channel] >> -gain
            pairs = np.s_[:, channel * (channel - 1) // 2 : channel * (channel + 1) // 2]
            mean = mean + (np.clip(factors[pairs], -8192, 8192) * np.array(distances, np.int64) >> 5).sum(axis=1)
            scale = scales[:, channel] + 4096 * gain + (moves[channel, 1] >> 20)
            scale = np.clip(scale, -6 * 4096, (4 + self.bits) * 4096)
            part = ((scale & 4095) + 8) >> 4
            mean = mean + ((moves[channel, 0] >> 16) * POWERS[256 - part] >> 22 - (scale >> 12))
            mixture = mean, POWERS[part], 9 + (scale >> 12)
            is_mixed = pixels and self.mixed >> channel & 1
            keys = counter_keys(channel, values.tolist(), *pixels) if is_mixed else None
            value = self.value(weights, mixture, base, values[:channel].tolist(), keys)
            edge = 512 * value - 256 - 128 * base
            (place, low), (_, high) = share_below(mixture, edge), share_below(mixture, edge + 512)
            low, high = low * (value > 0), high if value < n - 1 else np.full_like(high, 2**24)
            pull, narrowness = 2**24 - low - high, mixture[1] << 9 >> mixture[2]
            spread = (high * (2**24 - high) >> 24) * narrowness // np.maximum(high - low, 1) >> 4
            slope = pull * narrowness >> 20
            by_mean[:, channel] = (8 * slope << gain if gain >= 0 else 8 * slope >> -gain) >> 8
            by_scale[:, channel], pulls[:, channel] = (place * pull >> 28) + spread, pull >> 12
            by_factor[pairs] = slope[:, None] * np.array(distances, np.int64) >> 10
            products = weights * (high - low)
            products = products >> 17 if products.sum() >= 2**31 else products
            weights = normalise(products) if products.any() else weights
            distances.append(4 * value - base)
            values[channel:] = value  # if one channel is coded, all three equal it
        shares = np.concatenate([np.full_like(weights, 2**24), np.tile(weights.repeat(3), 3)])
        by_logit[:] = (priors - weights) >> 12
        slopes = np.clip(slopes, -(2**16), 2**16)
        widths = np.clip(weights @ components_of(slopes)[2] >> 24, -(2**14), 2**14)
        return shares * slopes >> 24, np.stack([weights @ pulls >> 24, widths])


def trunk_features(network: Network, coarse: Any, rows: int, columns: int, bits: int, gain: int) -> Any:
    """Run the trunk on the coarser image, on the whole grid of the octave."""
    here = window(coarse, (0, rows), (0, columns))
    signed = 2 * ((here << 8) >> bits) - 255
    left = 4 * (here - window(coarse, (0, rows), (-1, columns - 1)))
    above = 4 * (here - window(coarse, (-1, rows - 1), (0, columns)))
    inputs = [np.maximum(signed, 0), np.maximum(-signed, 0), compand(left, gain), compand(above, gain)]
    return network.body("trunk", np.concatenate(inputs))


def decode_tile(coder: Coder, network: Network, features: Any, images: list[Any], tile: Tile, gain: int) -> None:
    """Fill in the pixels of a tile of an octave's image, slice by slice."""
    octave, top, bottom, left, right = tile
    coarse, (oe, eo, ee) = images[octave + 1], fine_bands(images[octave], tile)
    features = features[:, top:bottom, left:right]
    rows, columns = features.shape[1:]
    here = window(coarse, (top, bottom), (left, right))
    west, north = (window(coarse, (top - y, bottom - y), (left - x, right - x)) for y, x in ((0, 1), (1, 0)))
    # Of each slice: the base, and the pixels near and opposite
    oe_references = np.stack([2 * (west + here), west, here])
    eo_references = np.stack([2 * (north + here), north, here])
    oe_known, eo_known = np.zeros((6, rows, columns), np.int64), np.zeros((6, rows, columns), np.int64)

    def decode_slice(number: int, inputs: list[Any], band: Any, references: Any, known: Any = None) -> None:
        """Fill in a slice of a band, and what later slices see of it; all arrays are those of the slice's sites."""
        height, width = band.shape[1:]
        references = references[..., :height, :width]
        activations = network.body(f"heads.{number}.body", np.concatenate(inputs))
        outputs = network.convolution(f"heads.{number}.last", activations).astype(np.int64)
        coder.values(outputs, references, band, gain, number // 2)
        if known is not None:
            known[:, :height, :width] = compand(4 * band - references[0], gain)

    by_columns, by_rows = interleave(features, 2), interleave(features, 1)
    even, odd = np.s_[..., 0::2], np.s_[..., 1::2]
    decode_slice(0, [by_columns], oe[even], oe_references[even], oe_known[even])
    decode_slice(1, [by_columns, oe_known[even]], oe[odd], oe_references[odd], oe_known[odd])
    even, odd = np.s_[..., 0::2, :], np.s_[..., 1::2, :]
    inputs = [by_rows, interleave(oe_known, 1)]
    decode_slice(2, inputs, eo[even], eo_references[even], eo_known[even])
    decode_slice(3, [*inputs, eo_known[even]], eo[odd], eo_references[odd], eo_known[odd])
    if ee.size:
        west, east = window(eo, (0, rows), (-1, columns - 1)), window(eo, (0, rows), (0, columns))
        north, south = window(oe, (-1, rows - 1), (0, columns)), window(oe, (0, rows), (0, columns))
        cross = [4 * (east - west), 4 * (south - north), 2 * (west + east - north - south)]
        inputs = [features, oe_known, eo_known] + [compand(difference, gain) for difference in cross]
        decode_slice(4, inputs, ee, np.stack([west + east + north + south, west, north]))


def coarsest_outputs(bits: int, count: int, shape: tuple[int, int]) -> Any:
    """Return the fixed outputs (10 count, height, width) of the coarsest pixels: components evenly over the range."""
    means = [round(256 * (2 * k + 1 - count) * 2**bits / count) for k in range(count) for _ in range(3)]
    outputs = [0] * count + means + [4096 * (bits - 4)] * (3 * count) + [0] * (3 * count)
    return np.broadcast_to(np.array(outputs)[:, None, None], (10 * count, *shape))


def fill_uncoded(kind: int, data: bytes, fields: list[Any], bits: int, coded: int) -> None:
    """Fill in the fields (3, height, width) of a part that is constant or stored."""
    count = coded * sum(pixels[0].size for pixels in fields)
    expected = 2 * coded if kind == CONSTANT else (count * bits + 7) // 8
    require(len(data) == expected, f"expected a part of {expected} bytes, got {len(data)}")
    if kind == CONSTANT:
        of_channels = np.frombuffer(data, "<u2").astype(np.int64)
        require(of_channels.max() < 2**bits, "a part holds a value above the image's depth")
        numbers = np.concatenate([of_channels.repeat(pixels[0].size) for pixels in fields])
    else:
        digits = np.unpackbits(np.frombuffer(data, np.uint8))
        require(not digits[count * bits :].any(), "a part ends with padding bits that are not zero")
        numbers = digits[: count * bits].reshape(count, bits) @ (1 << np.arange(bits - 1, -1, -1))
    for pixels in fields:
        pixels[...] = numbers[: coded * pixels[0].size].reshape(coded, *pixels.shape[1:])
        numbers = numbers[coded * pixels[0].size :]


def decode_planes(header: SimpleNamespace, fields: Fields, network: Network) -> list[Any]:
    """Decode the planes (3, height, width) of the image from its parts."""
    require(header.model == network.name, f"expected the weights {header.model.hex()}, got {network.name.hex()}")
    parts = iter(read_parts(fields, part_count(header.height, header.width) * len(header.coded)))
    layout, bits = part_tiles(header.height, header.width), header.bits
    planes = [[np.zeros((3, header.height, header.width), np.int64)] for _ in header.coded]
    for images in planes:  # the octaves' images, finest first: views of the whole
        for height, width in octave_sizes(header.height, header.width)[:-1]:
            images.append(images[-1][:, lines(height, 1), lines(width, 1)])
    features: dict[tuple[int, int], Any] = {}  # of each plane and octave
    size, tiles_of = len(network.tensors["heads.0.last.bias"]), Counter(tile[0] for tiles in layout for tile in tiles)
    handed_on: list[dict[Tile, Memory]] = [{} for _ in planes]  # what each tile hands on
    for is_base, tiles in zip([True] + [False] * len(layout), layout, strict=False):
        for plane, (images, coded) in enumerate(zip(planes, header.coded, strict=True)):
            kind, data = next(parts)
            inheritance = Memory(size) if is_base else inherited(handed_on[plane], tiles[0])
            memory = deepcopy(inheritance)
            teaches = kind == CODED and all(tiles_of[tile[0]] <= 64 for tile in tiles)
            handed_on[plane].update(dict.fromkeys(tiles, memory if teaches else inheritance))
            if kind != CODED:
                finest = images[tiles[-1][0]] if tiles else images[-1]
                fill_uncoded(kind, data, [finest] if is_base else fine_bands(finest, tiles[0]), bits, coded)
                continue
            coder = Coder(data, bits, coded, header.mixed[plane], memory)
            if is_base:
                outputs = coarsest_outputs(bits, size // 10, images[-1].shape[1:])
                coder.values(outputs, np.full((1, *images[-1].shape), 2 * 2**bits), images[-1], 0, 3)
            for tile in tiles:
                octave, gain = tile[0], header.gains[plane][tile[0]]
                if (plane, octave) not in features:
                    rows, columns = ((side + 1) // 2 for side in images[octave].shape[1:])
                    features[plane, octave] = trunk_features(network, images[octave + 1], rows, columns, bits, gain)
                decode_tile(coder, network, features[plane, octave], images, tile, gain)
            require(coder.state == 2**32 and not coder.words, "a part does not end where its last symbol does")
    return [images[0] for images in planes]


def check_png(stream: bytes, header: SimpleNamespace, types: list[tuple[int, int]]) -> None:
    """Refuse a PNG of another size or type, or one that holds more than its pixels (§14)."""
    names, packed, place = b"", b"", 8
    while place + 12 <= len(stream):  # a chunk is a length, a name, data of that length and a checksum
        name, end = stream[place + 4 : place + 8], place + 8 + int.from_bytes(stream[place : place + 4], "big")
        checksum = zlib.crc32(stream[place + 4 : end]).to_bytes(4, "big")
        require(stream[end : end + 4] == checksum, "the checksum of a chunk differs")
        packed += stream[place + 8 : end] if name == b"IDAT" else b""
        names, place = names + name, end + 4
    chunks = rb"IHDR(PLTE)?(tRNS)?(IDAT)+IEND" if header.channels == 4 else rb"IHDR(PLTE)?(IDAT)+IEND"
    sound = tuple(stream[24:26]) in types and place == len(stream) and re.fullmatch(chunks, names)
    sound = sound and stream[16:24] == header.width.to_bytes(4, "big") + header.height.to_bytes(4, "big")
    require(sound and stream[28] == 0 and stream[-12:-8] == bytes(4), "the header does not allow this PNG")
    bits = header.width * stream[24] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[stream[25]]
    size, unpacker = header.height * (1 + (bits + 7) // 8), zlib.decompressobj()
    try:
        unpacked = len(unpacker.decompress(packed, size + 1))
    except zlib.error as error:
        raise FormatError(f"the stream cannot be unpacked: {error}") from error
    sound = unpacked == size and unpacker.eof and not unpacker.unused_data
    require(sound, "the stream does not hold exactly the rows of the image")


def decode_stream(stream: bytes, header: SimpleNamespace) -> Any:
    """Decode the pixels (height, width, channels) of a PNG or a WebP (§14)."""
    from PIL import Image, PngImagePlugin, WebPImagePlugin

    is_webp, alpha, palettes = header.content == WEBP, header.channels in (2, 4), [(bits, 3) for bits in (1, 2, 4, 8)]
    require(header.channels <= 4, "no kind of stream holds more than four channels")
    types = {1: [(1, 0), (8, 0)], 2: [(8, 4)], 3: [(8, 2), *palettes], 4: [(8, 6), *palettes]}[header.channels]
    types = [(16, 0)] * (header.channels == 1) if header.is_wide else types  # bit depths and colour types
    if is_webp:
        length = int.from_bytes(stream[16:20], "little")
        sound = stream[:4] + stream[8:16] == b"RIFFWEBPVP8L" and stream[20 + length :] == bytes(length % 2)
        sound = sound and int.from_bytes(stream[4:8], "little") == len(stream) - 8 and not header.is_wide
        require(sound and header.height * header.width <= 2**27, "the header does not allow this WebP")
    else:
        check_png(stream, header, types)
    try:
        image: Any = (WebPImagePlugin.WebPImageFile if is_webp else PngImagePlugin.PngImageFile)(BytesIO(stream))
        same = image.size == (header.width, header.height) and getattr(image, "n_frames", 1) == 1
        same = same and (image.mode != "P" or 3 * int(np.max(image)) < len(image.getpalette() or ()))
        require(same and (not is_webp or alpha or image.mode == "RGB"), "the stream holds another image")
        pixels = np.asarray(image if image.mode in ("I;16", "I", "1") else image.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise FormatError(f"the stream cannot be decoded: {error}") from error
    if pixels.ndim == 2:
        return pixels[..., None].astype(np.int64)
    require(
        header.channels >= 3 or (pixels[..., :2] == pixels[..., 1:3]).all(), "the stream of a grey image has colours"
    )
    return pixels[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[header.channels]]


def decode(data: bytes, weights: bytes, max_pixels: int = 2**28) -> Any:
    """Decode a file's bytes to an array, with the bytes of the weights. Raises FormatError if the file is refused."""
    fields = Fields(data)
    header = read_header(fields, max_pixels)
    if header.content == MODEL:
        planes = decode_planes(header, fields, Network(weights))
        pixels = np.concatenate([plane[:count] for plane, count in zip(planes, header.planes, strict=True)])
        require(pixels.max() < len(header.values), "a pixel holds a value that the header does not list")
        pixels = np.array(header.values)[pixels.transpose(1, 2, 0)]
    else:
        ((kind, stream),) = read_parts(fields, 1)
        require(kind == STORED, "the stream is not a stored part")
        pixels = decode_stream(stream, header)
        require(pixels.max() < 2**header.depth, "the stream holds a value above the image's depth")
    array = pixels.astype(np.uint16 if header.is_wide else np.uint8)
    return array if header.has_axis else array[..., 0]


def main(arguments: list[str]) -> int:
    """Decode the given file. Returns the exit status: 0, or 2 if the file cannot be decoded."""
    try:
        require(len(arguments) == 3, "usage: python ppyr_decoder.py FILE.ppyr WEIGHTS.safetensors OUT.npy")
        with open(arguments[0], "rb") as file, open(arguments[1], "rb") as weights:
            array = decode(file.read(), weights.read())
        with open(arguments[2], "xb") as file:  # never overwrites a file
            np.save(file, array)
    except (FormatError, OSError) as error:
        print(*arguments[:1], error, sep=": ", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
