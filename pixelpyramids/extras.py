"""Modules that need an extra: imported when they are used, and the line that installs them where they are missing."""

from importlib import import_module
from types import ModuleType

from pixelpyramids.errors import PixelPyramidsError


def imported(module: str, extra: str = "train,plots") -> ModuleType:
    """The module of that name. Raises PixelPyramidsError, naming `extra`, where a package is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("pixelpyramids"):
            raise
        raise PixelPyramidsError(
            f'{error.name} is not installed; this needs: pip install "pixelpyramids[{extra}]"'
        ) from error
