"""The compact model in integers: it encodes, decodes, rates and samples planes, in the order used for training.

A plane is an integer array (3, H, W). Its first `coded` channels are coded: 3 for a colour image, 1 for a grey one,
which the network sees as three equal channels.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.arguments import convert_like, plain_array, whole_number
from pixelpyramids.codec.coder import PartReader, RandomReader, Symbols
from pixelpyramids.codec.engine import Coding, Engine, SliceModel
from pixelpyramids.codec.integer_network import CHANNELS, PER_COMPONENT, IntegerNetwork
from pixelpyramids.codec.memory import Inheritance, Memory
from pixelpyramids.codec.outputs import coarsest_outputs
from pixelpyramids.codec.parts import Part, Tile, list_parts
from pixelpyramids.errors import DataError
from pixelpyramids.pyramid import octaves
from pixelpyramids.pyramid.bit_map import BitMap
from pixelpyramids.pyramid.rate import Rate

Plane = NDArray[np.uint16]
ArrayOrTensor = TypeVar("ArrayOrTensor")
Number = TypeVar("Number", bound=np.generic)

SliceCoder = Callable[[SliceModel, Any], None]
"""Codes one slice, given its values (C, h, w): a view of the plane to read or fill in."""

Codings = Sequence[Coding]  # of a plane's octaves, finest first, and then of its coarsest pixels


@dataclass(frozen=True)
class CompactConfig:
    """What images the model rates, draws and completes: grey and RGB of 8 bits, of any size."""

    accepted_channels: tuple[int, ...] = (1, CHANNELS)
    n_bits: int = 8
    likelihood: str = "exact"
    image_size: None = None

    def count_steps(self, height: int, width: int) -> int:
        """How many steps, one after the other, draw an image of that size."""
        return octaves.count_slices(height, width)


class CompactModel:
    """The model that .ppyr files use: an integer network and the engine that runs it."""

    config = CompactConfig()
    device = "cpu"

    def __init__(self, network: IntegerNetwork, engine: Engine) -> None:
        self.network, self.engine = network, engine

    @property
    def components(self) -> int:
        """The number of components of its mixtures."""
        return self.network.outputs // PER_COMPONENT

    def encode(self, part: Part, pyramid: Sequence[Plane], codings: Codings, memory: Memory) -> bytes:
        """Return the bytes of a part; `pyramid` holds the octaves' images, finest first. Updates the memory."""
        symbols = Symbols(self.engine)
        self.follow(part, pyramid, codings, memory, lambda _: symbols.add)
        return symbols.to_bytes()

    def decode(self, data: bytes, part: Part, pyramid: Sequence[Plane], codings: Codings, memory: Memory) -> None:
        """Fill in the pixels of a part; the coarser octaves must be there. Raises BitstreamError if it is damaged."""
        reader = PartReader(self.engine, data)
        self.follow(part, pyramid, codings, memory, lambda _: reader.fill)
        reader.close()

    def rate(self, images: Any) -> Rate:
        """Return the code length of each octave of 8-bit images (B, C, H, W), C 1 or 3, integers from 0 to 255.

        The finest octave comes first; the last level is the coarsest pixels. `sample` draws from
        exactly this distribution; files may be shorter, by context mixing. Raises DataError for other images.
        """
        return self.map_bits(images).to_rate(plain_array(images).shape[1])

    def map_bits(self, images: Any) -> BitMap:
        """Return the bits of each pixel of images as `rate` takes them; a level's sum is what `rate` gives.

        Level 0 is the pixels that the finest octave adds to the next one, and so on; the last, the coarsest pixels.
        """
        array = _check_images(images)
        bits, levels = np.zeros(array[:, 0].shape), np.zeros(array.shape[-2:], dtype=np.uint8)
        for image, of_image in zip(array, bits, strict=True):
            pyramid, places = octave_images(three_channels(image.astype(np.uint16))), octave_images(of_image[None])
            slices = chain.from_iterable(_slices(part, places) for part in list_parts(*image.shape[-2:]))
            add = partial(self._fill_bits, slices)
            self._follow_all(pyramid, [Coding(8, 0, len(image))] * len(pyramid), lambda _, add=add: add)  # type: ignore[misc]
        for number, octave in enumerate(octave_images(levels[None])):
            octave[...] = number
        return BitMap(convert_like(images, bits), convert_like(images, levels))

    def _fill_bits(self, places: Iterator[NDArray[Any]], model: SliceModel, values: Any) -> None:
        """Code a slice, and write the bits of its pixels to the next one of the places (1, h, w)."""
        symbols, (place,) = Symbols(self.engine), next(places)
        symbols.add(model, values)
        place[...] = symbols.bits_of_each().reshape(*place.shape, model.coding.coded).sum(axis=-1)

    def sample(self, n: int, height: int, width: int, seed: int = 0, first: int = 0) -> NDArray[np.uint8]:
        """Return n samples (n, 3, height, width), decoded from random bits. Sample i is keyed by (seed, first + i)."""
        n, height, width = whole_number("n", n, 1), whole_number("height", height, 1), whole_number("width", width, 1)
        first = whole_number("first", first, 0)
        drawn = np.zeros((n, CHANNELS, height, width), dtype=np.uint16)
        for number, image in enumerate(drawn):
            self._draw(image, len(octave_images(image)), seed, first + number)
        return drawn.astype(np.uint8)

    def complete(self, coarse: ArrayOrTensor, height: int, width: int, seed: int = 0, first: int = 0) -> ArrayOrTensor:
        """Images (B, C, height, width) that hold `coarse` (B, C, h, w), C 1 or 3, exactly; finer octaves are drawn.

        `coarse` is such an image at scale 2, 4, 8, …, as `decode` returns it: each side is halved once, twice, … and
        rounded down. Seeds are as for `sample`. A tensor is completed to a tensor. Raises DataError if no octave of
        such an image has the size of `coarse`.
        """
        images = _check_images(coarse)
        height, width = whole_number("height", height, 1), whole_number("width", width, 1)
        first = whole_number("first", first, 0)
        octave = octaves.find_octave(images.shape[-2:], height, width)
        completed = np.zeros((*images.shape[:2], height, width), dtype=np.uint16)
        for number, (image, known) in enumerate(zip(completed, images, strict=True)):
            octaves.find_coarse(image, known)[...] = known
            self._draw(image, octave, seed, first + number, known)
        result: ArrayOrTensor = convert_like(coarse, completed.astype(np.uint8))
        return result

    def _draw(self, image: Plane, octave: int, seed: int, number: int, known: NDArray[Any] | None = None) -> None:
        """Fill in the octaves of an image (C, H, W) below `octave`, with the random numbers of sample `number`.

        If the image is so small that its coarsest pixels are drawn, the `known` ones among them are kept.
        """
        draws = RandomReader(self.engine, np.random.default_rng([whole_number("seed", seed, 0), number]))

        def fill(*of_slice: Any) -> None:
            draws.fill(*of_slice)
            if known is not None:
                octaves.find_coarse(image, known)[...] = known

        def coder_of(index: int) -> SliceCoder:
            return fill if index < octave else Symbols(self.engine).add  # which learns from the known octaves

        pyramid = octave_images(three_channels(image))
        self._follow_all(pyramid, [Coding(8, 0, len(image))] * len(pyramid), coder_of)

    def _follow_all(self, pyramid: Sequence[Plane], codings: Codings, coder_of: Callable[[int], SliceCoder]) -> None:
        """Code all parts in order, without mixing: each octave with the coder that `coder_of` returns for it."""
        parts = list_parts(*pyramid[0].shape[-2:])
        inheritance = Inheritance(parts, self.components, 0)
        for number, part in enumerate(parts):
            memory = inheritance.begin(number)
            self.follow(part, pyramid, codings, memory, coder_of)
            inheritance.end(number, memory)

    def follow(
        self,
        part: Part,
        pyramid: Sequence[Plane],
        codings: Codings,
        memory: Memory,
        coder_of: Callable[[int], SliceCoder],
    ) -> None:
        """Code the slices of a part in order, those of each octave with the coder that `coder_of` returns for it."""
        if part.is_base:
            image, coding = pyramid[-1], codings[-1]
            outputs = coarsest_outputs(self.components, CHANNELS, coding.bits).astype(np.int32)
            middle = np.full(image.shape, 2 << coding.bits, dtype=np.int32)
            broadcast = np.broadcast_to(outputs, (*image.shape[-2:], len(outputs)))
            model = SliceModel(broadcast, middle, None, coding, len(octaves.FINE), memory)
            coder_of(len(pyramid) - 1)(model, image)
        for tile in part.tiles:
            self._follow_tile(tile, pyramid, codings[tile.octave], memory, coder_of(tile.octave))

    def _follow_tile(
        self, tile: Tile, pyramid: Sequence[Plane], coding: Coding, memory: Memory, code: SliceCoder
    ) -> None:
        image, coarse = pyramid[tile.octave], pyramid[tile.octave + 1]
        rows, columns = (-(-side // 2) for side in image.shape[-2:])
        top, bottom = _lines_around(tile.top, tile.bottom, self.network.reach, rows)
        left, right = _lines_around(tile.left, tile.right, self.network.reach, columns)
        known = _cut_window(coarse, top - 1, bottom, left - 1, right).astype(_difference_type(coding))
        inputs = octaves.trunk_inputs(known, coding.bits, coding.gain)
        features = np.moveaxis(self.engine.run(0, [inputs], bottom - top, right - left), -1, 0)
        features = features[:, tile.top - top : tile.bottom - top, tile.left - left : tile.right - left]
        known = known[:, tile.top - top : tile.bottom - top + 1, tile.left - left : tile.right - left + 1]
        bands = fine_bands(image, tile)
        steps = octaves.follow(known, features, tuple(band.shape[-2:] for band in bands), coding.gain)
        values = None
        with suppress(StopIteration):
            while True:
                step = steps.send(values)
                band, lattice = octaves.SLICES[step.number]
                number = octaves.FINE.index(band)
                values = bands[number][:, *lattice.sites]
                outputs = self.engine.run(1 + step.number, step.inputs, *step.size)
                outputs = outputs[: values.shape[-2], : values.shape[-1]]
                code(SliceModel(outputs, step.base, step.near, coding, number, memory), values)


def _check_images(images: Any) -> NDArray[Any]:
    """Images as an array. Raises DataError unless they are 8-bit integers (B, C, H, W), C 1 or 3."""
    array = plain_array(images)
    if array.ndim != 4 or array.shape[1] not in (1, CHANNELS) or array.dtype.kind not in "iu" or not array.size:
        raise DataError(
            f"expected integers (B, C, H, W), C 1 (grey) or 3 (RGB), got {array.dtype} {array.shape}; leave alpha out"
        )
    if array.min() < 0 or array.max() > 255:
        raise DataError(f"expected values from 0 to 255, got {array.min()} to {array.max()}")
    return array


def three_channels(image: Plane) -> Plane:
    """Return a plane (3, H, W) on the memory of an image (C, H, W), C 1 or 3."""
    strides = image.strides if len(image) == CHANNELS else (0, *image.strides[1:])
    return np.lib.stride_tricks.as_strided(image, (CHANNELS, *image.shape[1:]), strides)


def octave_images(plane: NDArray[Number]) -> list[NDArray[Number]]:
    """Return the octaves' images, finest first and the coarsest pixels last, as views of the plane."""
    images = [plane]
    for _ in octaves.octave_sizes(*plane.shape[-2:])[1:]:
        images.append(octaves.bands(images[-1]).oo)
    return images


def fine_bands(image: NDArray[Number], tile: Tile) -> tuple[NDArray[Number], NDArray[Number], NDArray[Number]]:
    """Return views of the pixels OE, EO and EE of a tile of an octave's image."""
    _, *fine = octaves.bands(image)
    oe, eo, ee = (band[:, tile.top : tile.bottom, tile.left : tile.right] for band in fine)
    return oe, eo, ee


def _slices(part: Part, pyramid: Sequence[NDArray[Number]]) -> Iterator[NDArray[Number]]:
    """Yield views of the slices of a part, in the order of coding."""
    if part.is_base:
        yield pyramid[-1]
    for tile in part.tiles:
        bands = dict(zip(octaves.FINE, fine_bands(pyramid[tile.octave], tile), strict=True))
        for band, lattice in octaves.SLICES:
            if 0 not in lattice.shape(*bands[band].shape[-2:]):
                yield bands[band][:, *lattice.sites]


def _lines_around(begin: int, end: int, reach: int, sites: int) -> tuple[int, int]:
    """Return [begin, end) with `reach` more lines on each side, within the grid; the same count for every tile."""
    count = min(end - begin + 2 * reach, sites)
    first = min(max(begin - reach, 0), sites - count)
    return first, first + count


def _difference_type(coding: Coding) -> Any:
    """The type in which differences of values in quarters, multiplied by 2**-gain, cannot overflow."""
    return np.int16 if coding.bits + max(-coding.gain, 0) <= 12 else np.int32


def _cut_window(image: Plane, top: int, bottom: int, left: int, right: int) -> Plane:
    """Return rows [top, bottom) and columns [left, right) of an image; beyond its edges, the nearest pixels repeat."""
    rows = np.clip(np.arange(top, bottom), 0, image.shape[-2] - 1)
    columns = np.clip(np.arange(left, right), 0, image.shape[-1] - 1)
    return image[:, rows[:, None], columns]
