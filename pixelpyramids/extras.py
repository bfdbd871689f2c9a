"""Import optional packages when they are used. If one is missing, the error says how to install it."""

from importlib import import_module
from types import ModuleType

from pixelpyramids.errors import PixelPyramidsError


def import_extra(module: str, extra: str = "train,plots") -> ModuleType:
    """Import a module. Raises PixelPyramidsError, naming `extra`, if a package is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if is_own(error):
            raise
        raise PixelPyramidsError(describe_missing(error, extra)) from error


def is_own(error: ModuleNotFoundError) -> bool:
    """Whether a module of this package is missing, which is a bug."""
    return error.name is None or error.name.startswith("pixelpyramids")


def describe_missing(error: ModuleNotFoundError, extra: str = "train,plots") -> str:
    """The package that is not installed, and the line that installs it."""
    return f'{error.name} is not installed; this needs: pip install "pixelpyramids[{extra}]"'
