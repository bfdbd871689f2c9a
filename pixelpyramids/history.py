"""Traces of what was done to a photograph before it was stored: was it a JPEG, and was it enlarged?

Both leave traces in the bits of the finest octave under the network `compact`. A JPEG decoder makes each block of 8 x 8
pixels by itself, so the pixels at its borders take more bits than those within it. An enlarged image has too few bits
in its finest octave beside the next ones, and they repeat with the period of the resampling (Popescu & Farid 2005,
"Exposing digital forgeries by detecting traces of resampling", see this period in linear prediction errors).

Let p[c] be the mean bits of the finest octave's pixels in column c. Its second difference,

    d[c] = p[c] - (p[c - 2] + p[c + 2]) / 2,

compares columns of one parity, because even and odd columns are coded at different times. Its power at the frequency f,
divided by the filter's gain (1 - cos 4 pi f)^2 and by the median of the frequencies around, has a mean of about 1 if
nothing repeats. The same is done with rows.

A third trace needs no network: a decoded JPEG has only colours that the conversion from YCbCr can give, about a quarter
of all. The same is true of other pictures that were 8-bit YCbCr of the full range.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.ycbcr import possible_colours
from pixelpyramids.errors import DataError
from pixelpyramids.pyramid.bit_map import BitMap

SMALLEST = 128  # pixels a side: below that, too few blocks to tell
LARGEST = 512  # pixels a side: of larger images, the centre
BLOCK = 8  # pixels: the side of a JPEG's blocks

BLOCKS_FROM = 30.0  # the power of blocks of 8 x 8 that tells a JPEG: the sum of four that are about 1 if there are none
COLOURS_FROM = 100  # different colours, for the impossible ones among them to tell something
_COLOURS_BELOW = 0.01  # the share of impossible colours in a former JPEG: edited pixels may be in it
_COLOURFUL_FROM = 8  # the difference of two channels: of almost grey colours, all are possible
_FLAT_ABOVE = 0.5  # the share of flat pixels from which the bits tell nothing
_FLAT_BITS = 0.05  # per channel: a pixel that takes fewer is flat

# What tells an enlarged picture: a logistic regression, which `python -m benchmarks.history --fit` fits.
_WEIGHTS = np.array([-14.072, -6.325, 3.782, -1.440, 0.147, 3.187])
_BIAS = -12.403

_LEAST_BITS = 0.001  # of a pixel: a constant image has almost none
_NEAR = 15  # frequencies on each side, for the median of the power
_LEAST_GAIN = 0.05
_FARTHEST = 4.0  # standard deviations, to which outliers are limited: an edge is no period

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """What the bits and colours of an image tell of its past.

    `blocks` is the power of 8 x 8 blocks: about 4 without them. `colours` counts the different colours that are not
    almost grey, and `impossible` is the share of them that no JPEG decoder gives; 0 if there are none. `log_odds` are
    those of an enlarged image against one that was not. `flat` is the share of pixels that take almost no bits.
    """

    blocks: float
    colours: int
    impossible: float
    log_odds: float
    flat: float

    @property
    def is_flat(self) -> bool:
        """Whether most pixels take almost no bits, as in drawings: then the bits do not tell what was done to it."""
        return self.flat > _FLAT_ABOVE

    @property
    def has_blocks(self) -> bool | None:
        """Whether there are blocks of 8 x 8; None if the image is too flat to tell."""
        return None if self.is_flat else self.blocks >= BLOCKS_FROM

    @property
    def has_jpeg_colours(self) -> bool | None:
        """Whether it has only colours that a JPEG decoder gives; None if there are too few to tell."""
        return None if self.colours < COLOURS_FROM else self.impossible < _COLOURS_BELOW

    @property
    def was_jpeg(self) -> bool | None:
        """Whether it was a JPEG at this size; None if nothing tells."""
        answers = (self.has_blocks, self.has_jpeg_colours)
        return True if True in answers else None if answers == (None, None) else False

    @property
    def was_enlarged(self) -> bool | None:
        """Whether it was enlarged; None if the image is too flat to tell."""
        return None if self.is_flat else self.log_odds >= 0


def centre(image: NDArray[np.integer]) -> NDArray[np.integer]:
    """The centre of an image (C, H, W): a square of at most 512 x 512 pixels.

    Raises DataError if a side has less than 128 pixels.
    """
    height, width = image.shape[-2:]
    side = min(height, width, LARGEST) // BLOCK * BLOCK
    if side < SMALLEST:
        raise DataError(f"expected an image of at least {SMALLEST} x {SMALLEST} pixels, got {height} x {width}")
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, top : top + side, left : left + side]


def trace(bit_map: BitMap, image: NDArray[np.integer]) -> History:
    """The history of an 8-bit image (C, H, W), C 1 or 3, from the map of its bits under the network `compact`."""
    x = features(bit_map)
    colours = colourful(image)
    flat = bit_map.bits[0][bit_map.levels == 0] < _FLAT_BITS * len(image)
    return History(
        blocks=math.expm1(x[3]),
        colours=len(colours),
        impossible=impossible_share(colours) if len(colours) else 0.0,
        log_odds=float(x @ _WEIGHTS + _BIAS),
        flat=float(flat.mean()),
    )


def features(bit_map: BitMap) -> Vector:
    """What tells an enlarged image (6,).

    The logarithms of the ratio of each of the three finest octaves' bits per pixel and the next one's, and log(1 + x)
    of the power x of blocks of 8 x 8, of the period 4, and of the other period that has most of it in rows and columns.
    """
    bits, levels = np.asarray(bit_map.bits[0]), np.asarray(bit_map.levels)
    of_octaves = [bits[levels == octave].mean() for octave in range(4)]
    ratios = -np.diff(np.log(np.maximum(of_octaves, _LEAST_BITS)))
    finest = levels == 0
    columns, rows = (_power((bits * finest).sum(axis) / np.maximum(finest.sum(axis), 1)) for axis in (0, 1))
    size = min(len(columns), len(rows))
    both = np.minimum(columns[:size], rows[:size])
    eighth = 2 * (size - 1) // BLOCK
    blocks = sum(power[eighth] + power[3 * eighth] for power in (columns, rows))
    others = np.delete(both, [eighth, 2 * eighth, 3 * eighth])
    return np.array([*ratios, *np.log1p([blocks, both[2 * eighth], others.max()])])


def colourful(image: NDArray[np.integer]) -> NDArray[np.integer]:
    """The different colours (N, C) of an image (C, H, W) that are not almost grey."""
    colours: NDArray[np.integer] = np.unique(image.reshape(len(image), -1), axis=1).T
    colours = colours[np.ptp(colours.astype(np.int64), axis=1) >= _COLOURFUL_FROM]
    return colours


def impossible_share(colours: NDArray[np.integer]) -> float:
    """The share of 8-bit colours (N, 3) that no JPEG decoder gives."""
    red, green, blue = colours.astype(np.intp).T
    possible = possible_colours()[red, green, blue >> 6] >> (blue & 63).astype(np.uint64) & np.uint64(1)
    return float(1 - possible.mean())


def _power(profile: Vector) -> Vector:
    """The power of a profile (N,) at the frequencies 0, 1/n, …, 1/2, relative to that around; n is a multiple of 8."""
    difference = profile[2:-2] - (profile[:-4] + profile[4:]) / 2
    difference = difference[: len(difference) // BLOCK * BLOCK]
    limit = _FARTHEST * 1.4826 * float(np.median(np.abs(difference)))  # the deviation, of a normal distribution
    difference = difference.clip(-limit, limit)
    power = np.abs(np.fft.rfft(difference - difference.mean())) ** 2
    gain = (1 - np.cos(4 * np.pi * np.fft.rfftfreq(len(difference)))) ** 2
    seen = gain >= _LEAST_GAIN
    power[seen] /= gain[seen]
    result = np.zeros(len(power))
    for place in np.flatnonzero(seen):
        near = slice(max(0, place - _NEAR), place + _NEAR + 1)
        usual = np.median(power[near][seen[near]]) / math.log(2)  # a mean, of an exponential distribution
        result[place] = power[place] / usual if usual > 0 else 0
    return result
