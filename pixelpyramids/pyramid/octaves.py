"""An octave is a row level and a column level together, coded in five slices.

Each slice is coded given the coarse image and the earlier slices.
A pixel of an octave's image is in an even (E) or odd (O) row and column. The coarse image holds the pixels OO. The grid
of an H x W image has ceil(H / 2) x ceil(W / 2) sites (i, j), with the pixels EE (2i, 2j), EO (2i, 2j + 1), OE
(2i + 1, 2j) and OO (2i + 1, 2j + 1); sites in the last row or column may lack some of them. The slices, in order:

    0, 1   OE, at even and at odd j        between the OO to the left and to the right
    2, 3   EO, at even and at odd i        between the OO above and below
    4      EE                              between the EO left and right and the OE above and below

A pixel between two or four known pixels is coded around their mean, the base. A side of 1 is not split: its pixels
count as odd. Works on integer NumPy arrays and torch tensors. "In quarters" means multiplied by four.
"""

from collections.abc import Generator, Sequence
from typing import NamedTuple

from pixelpyramids.arguments import namespace_of
from pixelpyramids.errors import DataError
from pixelpyramids.pyramid.levels import Slice
from pixelpyramids.pyramid.splitting import Array, pad_coarse

FEW_PIXELS = 8  # an image of at most this many pixels is not split into octaves


class Bands(NamedTuple):
    """The pixels of an image (…, H, W) by the parity of their row and column; views."""

    oo: Array
    oe: Array
    eo: Array
    ee: Array


class BandSlice(NamedTuple):
    """One slice of an octave: the sites of one band that it codes."""

    band: str
    lattice: Slice


FINE = ("oe", "eo", "ee")
SLICES = (
    BandSlice("oe", Slice(0, 0, 1, 2)),
    BandSlice("oe", Slice(0, 1, 1, 2)),
    BandSlice("eo", Slice(0, 0, 2, 1)),
    BandSlice("eo", Slice(1, 0, 2, 1)),
    BandSlice("ee", Slice(0, 0, 1, 1)),
)


def octave_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of each octave's image, finest first; the last one is the coarsest image, of few pixels."""
    sizes = [(height, width)]
    while sizes[-1][0] * sizes[-1][1] > FEW_PIXELS:
        sizes.append(coarse_size(*sizes[-1]))
    return sizes


def coarse_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the coarse half of an octave."""
    return max(height // 2, 1), max(width // 2, 1)


def count_slices(height: int, width: int) -> int:
    """The number of slices of an image of that size; the coarsest pixels count as one slice."""
    shapes = [dict(zip(FINE, fine_shapes(*size), strict=True)) for size in octave_sizes(height, width)[:-1]]
    return 1 + sum(0 not in lattice.shape(*bands_[band]) for bands_ in shapes for band, lattice in SLICES)


def find_octave(coarse: tuple[int, int], height: int, width: int) -> int:
    """The index of the octave of size `coarse` in a height x width image. Raises DataError if there is none.

    The image itself does not count. Octaves go down to one pixel here, further than the codec goes.
    """
    sizes = [(height, width)]
    while sizes[-1] != (1, 1):
        sizes.append(coarse_size(*sizes[-1]))
    if coarse not in sizes[1:]:
        names = ", ".join(f"{h} x {w}" for h, w in sizes[1:]) or "none: it has one pixel"
        raise DataError(
            f"expected the coarse image of a {height} x {width} image ({names}), got {coarse[0]} x {coarse[1]}"
        )
    return sizes.index(coarse)


def find_coarse(image: Array, coarse: Array) -> Array:
    """A view of an image (…, H, W): its octave of the size of `coarse`."""
    for _ in range(find_octave((coarse.shape[-2], coarse.shape[-1]), image.shape[-2], image.shape[-1])):
        image = bands(image).oo
    return image


def fine_shapes(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Height and width of OE, EO and EE of an octave of that size."""
    coarse_rows, coarse_columns = coarse_size(height, width)
    rows, columns = height - coarse_rows if height > 1 else 0, width - coarse_columns if width > 1 else 0
    return (coarse_rows, columns), (rows, coarse_columns), (rows, columns)


def bands(image: Array) -> Bands:
    """The bands of an image (…, H, W). If a side is 1, some of them are empty."""
    even, odd = (image[..., 0::2, :], image[..., 1::2, :]) if image.shape[-2] > 1 else (image[..., :0, :], image)
    if image.shape[-1] > 1:
        return Bands(odd[..., 1::2], odd[..., 0::2], even[..., 1::2], even[..., 0::2])
    return Bands(odd, odd[..., :0], even, even[..., :0])


def add_border(array: Array) -> Array:
    """Repeat the first row and the first column."""
    xp = namespace_of(array)
    array = xp.concat([array[..., :1, :], array], axis=-2)
    return xp.concat([array[..., :1], array], axis=-1)


def compand(quarters: Array, gain: int) -> Array:
    """Signed differences (…, C, h, w), in quarters of values / 2**gain, as 2C channels of uint8: plus, then minus.

    A magnitude a becomes min(a, 72 + a // 4, 124 + a // 8, 255), which is exact up to 24 values.
    """
    xp = namespace_of(quarters)
    magnitude = xp.abs(quarters)
    if gain:
        magnitude = magnitude >> gain if gain > 0 else magnitude << -gain
    level = xp.minimum(xp.minimum(magnitude, 72 + (magnitude >> 2)), 124 + (magnitude >> 3))
    level = xp.astype(xp.clip(level, 0, 255), xp.uint8)
    return xp.concat([level * xp.astype(sign, xp.uint8) for sign in (quarters > 0, quarters < 0)], axis=-3)


def trunk_inputs(coarse: Array, n_bits: int, gain: int) -> Array:
    """The trunk's inputs (…, 6C, h, w), uint8, from coarse (…, C, h + 1, w + 1), with the lines above and left of it.

    They are each value's distance above and below the middle of the range, and its differences to the left and above.
    """
    xp = namespace_of(coarse)
    here = coarse[..., 1:, 1:]
    signed = 2 * (here << 8 - n_bits if n_bits < 8 else here >> n_bits - 8) - 255
    above, below = (xp.astype(xp.clip(distance, 0, 255), xp.uint8) for distance in (signed, -signed))
    left, up = 4 * (here - coarse[..., 1:, :-1]), 4 * (here - coarse[..., :-1, 1:])
    return xp.concat([above, below, compand(left, gain), compand(up, gain)], axis=-3)


class Step(NamedTuple):
    """The coding of one slice: its number, its head's inputs, the base (…, C, rows, columns), and known pixels near it.

    `inputs` are arrays (…, channels, h, w), one after the other, on a grid of `size`; if some of them lack its last row
    or column, that is zero (see `join_inputs`). The base is in quarters, and only of the existing sites: rows and
    columns are at most `size`. `near` are two of the pixels that the base is the mean of, one on either side, like it.
    """

    number: int
    inputs: tuple[Array, ...]
    size: tuple[int, int]
    base: Array
    near: tuple[Array, Array]


def join_inputs(inputs: Sequence[Array], rows: int, columns: int) -> Array:
    """The inputs of a step as one array (…, channels, rows, columns)."""
    xp = namespace_of(*inputs)
    joined = []
    for part in inputs:
        *leading, height, width = part.shape
        if height < rows:
            zeros = xp.zeros((*leading, rows - height, width), dtype=part.dtype, device=part.device)
            part = xp.concat([part, zeros], axis=-2)
        if width < columns:
            zeros = xp.zeros((*leading, rows, columns - width), dtype=part.dtype, device=part.device)
            part = xp.concat([part, zeros], axis=-1)
        joined.append(part)
    return xp.concat(joined, axis=-3)


def follow(
    coarse: Array, features: Array, shapes: tuple[tuple[int, int], ...], gain: int
) -> Generator[Step, Array, tuple[Array, Array, Array]]:
    """Go through the slices of an octave, or of a tile of it: receive each slice's values, and return OE, EO and EE.

    `coarse` (…, C, rows + 1, columns + 1) holds OO on the whole grid, with the lines above and left of it (repeated at
    the image's edge); `features` (…, F, rows, columns) are the trunk's outputs; `shapes` are the heights and widths of
    OE, EO and EE. Scoring sends the true values; sampling and decoding send what they drew or decoded.
    """
    xp = namespace_of(coarse)
    *batch, channels, _, _ = coarse.shape
    rows, columns = features.shape[-2:]
    device = features.device
    here, left, above = coarse[..., 1:, 1:], coarse[..., 1:, :-1], coarse[..., :-1, 1:]
    bases = {"oe": 2 * (left + here), "eo": 2 * (above + here)}  # in quarters
    near = {"oe": (left, here), "eo": (above, here)}
    values = {
        band: xp.zeros((*batch, channels, *shape), dtype=coarse.dtype, device=device)
        for band, shape in zip(FINE, shapes, strict=True)
    }
    known = {
        band: xp.zeros((*batch, 2 * channels, rows, columns), dtype=features.dtype, device=device)
        for band in ("oe", "eo")
    }
    for index, (band, lattice) in enumerate(SLICES):
        height, width = values[band].shape[-2:]
        if 0 in lattice.shape(height, width):
            continue
        inputs = lines_of(features, index)
        if index == 4:
            below, right = (pad_coarse(values[side], (rows, columns)) for side in ("oe", "eo"))
            left, above = add_border(right)[..., 1:, :-1], add_border(below)[..., :-1, 1:]
            bases["ee"] = left + right + above + below
            near["ee"] = left, above
            cross = xp.astype(_differences(left, right, above, below, gain), features.dtype)
            inputs, size = [*inputs, known["oe"], known["eo"], cross], (rows, columns)
        elif band == "oe":  # even and odd columns side by side, then what is known of the even ones
            inputs, size = [*inputs, known["oe"][..., 0::2]][: 2 + index], (rows, (columns + 1) // 2)
        else:
            inputs = [*inputs, *lines_of(known["oe"], index), known["eo"][..., 0::2, :]][: 2 + index]
            size = (rows + 1) // 2, columns
        at = (..., *lattice.sites)
        base = bases[band][..., :height, :width][at]
        first, second = (side[..., :height, :width][at] for side in near[band])
        chosen = xp.astype((yield Step(index, tuple(inputs), size, base, (first, second))), coarse.dtype)
        values[band][at] = chosen
        if band != "ee":
            known[band][..., :height, :width][at] = xp.astype(compand(4 * chosen - base, gain), features.dtype)
    return values["oe"], values["eo"], values["ee"]


def lines_of(array: Array, number: int) -> list[Array]:
    """Views of an array (…, h, w) that a head has side by side: even and odd columns or rows, or all, by its slice."""
    if number < 2:
        return [array[..., 0::2], array[..., 1::2]]
    if number < 4:
        return [array[..., 0::2, :], array[..., 1::2, :]]
    return [array]


def merge_bands(bands_: Bands, height: int, width: int) -> Array:
    """The image (…, height, width) with these bands: the inverse of `bands`."""
    xp = namespace_of(bands_.oo)
    image = xp.zeros((*bands_.oo.shape[:-2], height, width), dtype=bands_.oo.dtype, device=bands_.oo.device)
    for part, whole in zip(bands_, bands(image), strict=True):
        whole[...] = part
    return image


def _differences(left: Array, right: Array, above: Array, below: Array, gain: int) -> Array:
    """The last slice's inputs (…, 6C, h, w) from the four pixels around each site."""
    horizontal, vertical = 4 * (right - left), 4 * (below - above)
    mixed = 2 * (left + right - above - below)
    return namespace_of(left).concat([compand(d, gain) for d in (horizontal, vertical, mixed)], axis=-3)
