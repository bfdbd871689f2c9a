"""Create a model of either kind."""

from pixelpyramids.model.compact_pyramid import CompactPyramid
from pixelpyramids.model.parameters import AnyParameters, CompactParameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid

AnyModel = PixelPyramid | CompactPyramid


def new_model(config: AnyParameters, seed: int = 0) -> AnyModel:
    """An untrained model, in evaluation mode."""
    return CompactPyramid(config, seed) if isinstance(config, CompactParameters) else PixelPyramid(config, seed)
