"""The compact model in integers: it encodes, decodes, rates and samples planes of an image by the walk of the training.

A plane is an integer array (3, H, W) of which the first `coded` channels are coded: 3 of a colour image, 1 of grey,
which enters as three equal channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids import octave
from pixelpyramids.codec.coder import Reader, Symbols
from pixelpyramids.codec.engines import Engine
from pixelpyramids.codec.integer_network import IntegerNetwork
from pixelpyramids.codec.outputs import coarsest_outputs
from pixelpyramids.codec.parts import Part, Tile
from pixelpyramids.octave import fine_shapes, octave_sizes

Plane = NDArray[np.int32]
CHANNELS = 3  # that the network sees

Choose = Callable[[NDArray[np.int32], Any, Any], Any]
"""(outputs (h, w, O), bases in quarters (C, h, w), where: a view of the sites in the plane) -> their values (C, h, w)."""


@dataclass(frozen=True)
class Format:
    """What of an image the coding of its planes depends on, beside the values."""

    height: int
    width: int
    bits: int
    gain: int
    coded: int

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Of each octave's image, finest first, the coarsest pixels last."""
        return octave_sizes(self.height, self.width)


class Pyramid:
    """The images of a plane's octaves, finest first: views of one array for encoding, arrays being filled for decoding."""

    def __init__(self, images: list[Plane]) -> None:
        self.images = images

    @classmethod
    def of(cls, plane: Plane) -> "Pyramid":
        """The octaves of a plane: views of it."""
        images = [plane]
        for _ in octave_sizes(*plane.shape[-2:])[1:]:
            images.append(octave.bands(images[-1]).oo)
        return cls(images)


def follow(part: Part, pyramid: Pyramid, format_: Format, model: "CompactModel", choose: Choose) -> None:
    """Go through the slices of a part in order, and let `choose` say, or take, their values, in place in the pyramid."""
    if part.is_base:
        image = pyramid.images[-1]
        height, width = image.shape[-2:]
        outputs = np.broadcast_to(model.coarsest(format_.bits), (height, width, model.network.outputs))
        middle = np.full(image.shape, 4 << format_.bits >> 1, dtype=np.int32)
        choose(outputs, middle, image)
    for tile in part.tiles:
        _follow_tile(tile, pyramid, format_, model.engine, choose, model.network.trunk.reach)


def _follow_tile(tile: Tile, pyramid: Pyramid, format_: Format, engine: Engine, choose: Choose, reach: int) -> None:
    image, coarse = pyramid.images[tile.octave], pyramid.images[tile.octave + 1]
    rows, columns = (-(-side // 2) for side in image.shape[-2:])
    top, bottom = max(tile.top - reach, 0), min(tile.bottom + reach, rows)
    left, right = max(tile.left - reach, 0), min(tile.right + reach, columns)
    around = _window(coarse, top - 1, bottom, left - 1, right)
    inputs = octave.trunk_inputs(around, format_.bits, format_.gain).astype(np.uint8)
    height, width = tile.bottom - tile.top, tile.right - tile.left
    inner = slice(tile.top - top, tile.top - top + height), slice(tile.left - left, tile.left - left + width)
    features = engine.trunk(inputs)[:, inner[0], inner[1]]
    bands = octave.bands(image)
    shapes = [
        (min(max(h - tile.top, 0), height), min(max(w - tile.left, 0), width))
        for h, w in fine_shapes(*image.shape[-2:])
    ]
    near = around[:, inner[0].start : inner[0].stop + 1, inner[1].start : inner[1].stop + 1]
    steps = octave.follow(near, features, tuple(shapes), format_.gain)
    try:
        step = next(steps)
        while True:
            band, lattice = octave.SLICES[step.number]
            inside = getattr(bands, band)[:, tile.top : tile.bottom, tile.left : tile.right][:, *lattice.sites]
            outputs = engine.head(step.number, step.inputs)[: step.base.shape[-2], : step.base.shape[-1]]
            choose(outputs, step.base, inside)
            step = steps.send(inside)
    except StopIteration:
        pass


def _window(image: Plane, top: int, bottom: int, left: int, right: int) -> Plane:
    """Lines [top, bottom) and columns [left, right), those outside of the image repeating its nearest."""
    rows = np.clip(np.arange(top, bottom), 0, image.shape[-2] - 1)
    columns = np.clip(np.arange(left, right), 0, image.shape[-1] - 1)
    return image[:, rows[:, None], columns]


class CompactModel:
    """The model of files: an integer network, and the engine that runs it."""

    def __init__(self, network: IntegerNetwork, engine: Engine) -> None:
        self.network, self.engine = network, engine
        components = network.outputs // (1 + 2 * CHANNELS + CHANNELS)
        self._components = components

    def coarsest(self, bits: int) -> NDArray[np.int32]:
        """The outputs of the coarsest pixels' mixture."""
        return coarsest_outputs(self._components, CHANNELS, bits).astype(np.int32)

    def symbols(self, part: Part, pyramid: Pyramid, format_: Format) -> Symbols:
        """What the coder writes of a part."""
        capacity = sum(3 * (t.bottom - t.top) * (t.right - t.left) for t in part.tiles) + octave.FEW_PIXELS
        symbols = Symbols(format_.coded * capacity)

        def add(outputs: NDArray[np.int32], bases: Any, values: Any) -> None:
            symbols.add(outputs, bases, values, format_.bits, format_.gain, format_.coded)

        follow(part, pyramid, format_, self, add)
        return symbols

    def encode(self, part: Part, pyramid: Pyramid, format_: Format) -> bytes:
        """The bytes of a part."""
        return self.symbols(part, pyramid, format_).encoded()

    def decode(self, data: bytes, part: Part, pyramid: Pyramid, format_: Format) -> None:
        """Fill in what a part holds; the parts before it that it depends on are there. Raises BitstreamError."""
        reader = Reader(data)

        def fill(outputs: NDArray[np.int32], bases: Any, values: Any) -> None:
            values[...] = reader.values(outputs, bases, format_.bits, format_.gain, format_.coded)

        follow(part, pyramid, format_, self, fill)
        reader.close()
