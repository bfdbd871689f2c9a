"""Exact likelihoods of images with PixelPyramids (Mahajan & Roth, ICCV 2021), and a lossless codec built on them.

Names resolve on first use: importing the package imports neither torch nor anything else that is slow.
"""

from typing import Any

from pixelpyramids.errors import BitstreamError, PixelPyramidsError
from pixelpyramids.extras import import_extra

_HOMES = {
    "decode": "pixelpyramids.codec.image",
    "encode": "pixelpyramids.codec.image",
    "Model": "pixelpyramids.loading",
    "load": "pixelpyramids.loading",
    "open": "pixelpyramids.image_files.opening",
    "save": "pixelpyramids.image_files.saving",
    "PixelPyramid": "pixelpyramids.model.pixel_pyramid",
    "Parameters": "pixelpyramids.model.parameters",
    "load_parameters": "pixelpyramids.model.parameters",
    "BitMap": "pixelpyramids.pyramid.bit_map",
    "Rate": "pixelpyramids.pyramid.rate",
}
_MODULES = {"pyramid": "pixelpyramids.pyramid", "walk": "pixelpyramids.pyramid.levels"}

__all__ = ["BitstreamError", "PixelPyramidsError", "__version__", *sorted(_HOMES), *_MODULES]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_extra(_HOMES[name]), name)
    if name in _MODULES:
        return import_extra(_MODULES[name])
    if name == "__version__":
        from importlib.metadata import version

        return version("pixelpyramids")
    raise AttributeError(f"module 'pixelpyramids' has no attribute {name!r}")
