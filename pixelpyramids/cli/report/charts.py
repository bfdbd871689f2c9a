"""What charts share: their formats, colours and axes."""

from pathlib import Path
from typing import TYPE_CHECKING

from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#333333", "#767676"
# Okabe and Ito's colours, which can be told apart with any kind of colour vision
BLUE, VERMILION = "#0072b2", "#d55e00"
SPARE = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def chart_format(path: Path) -> str:
    """The format that a path's suffix names (.png, .svg, .pdf), by default PNG.

    Raises PixelPyramidsError if matplotlib is missing or has no such format.
    """
    import_extra("matplotlib", "plots")
    from matplotlib.backend_bases import FigureCanvasBase

    format = path.suffix[1:].lower() or "png"
    if format not in FigureCanvasBase.get_supported_filetypes():
        raise PixelPyramidsError(f"{path}: expected a name that ends in .png, .svg or .pdf; choose another name")
    return format


def style_axes(axes: "Axes") -> None:
    """Leave out the upper and right line, and soften the others."""
    axes.tick_params(labelsize=11, color=FAINT, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
