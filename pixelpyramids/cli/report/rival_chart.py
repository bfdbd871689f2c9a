"""A picture of how codecs compare: each image's bits/subpixel against ours, and the sums over speed."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Protocol

from pixelpyramids.atomic import replacing
from pixelpyramids.errors import PixelPyramidsError

INK, FAINT = "#333333", "#767676"
# Okabe and Ito's, told apart with any kind of colour vision.
COLOURS = ("#d55e00", "#56b4e9", "#009e73", "#e69f00", "#0072b2", "#cc79a7")


class Summed(Protocol):
    """A codec's sums over images."""

    @property
    def codec(self) -> str: ...  # noqa: D102
    @property
    def bits_per_subpixel(self) -> float: ...  # noqa: D102
    @property
    def encode_megapixels_per_second(self) -> float: ...  # noqa: D102


def chart_format(path: Path) -> str:
    """The format that a path's suffix names (.png, .svg, .pdf).

    Raises PixelPyramidsError where matplotlib is missing or has no such format.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise PixelPyramidsError('drawing needs matplotlib: pip install "pixelpyramids[plots]"') from error
    format = path.suffix[1:] or "png"
    if format not in FigureCanvasBase.get_supported_filetypes():
        raise PixelPyramidsError(f"{path}: expected a --plot file that ends in .png, .svg or .pdf; choose another name")
    return format


def save_chart(path: Path, bits: Mapping[str, Sequence[float]], totals: Sequence[Summed]) -> None:
    """Draw it, in the format that the path's suffix names.

    `bits` are each codec's bits/subpixel of each image (NaN where it has no such image), ours first. Raises
    PixelPyramidsError as `chart_format`.
    """
    format = chart_format(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), dpi=160, layout="constrained")
    each, all_ = figure.subplots(1, 2)
    (ours, of_ours), *others = bits.items()
    colours = dict(zip(bits, cycle(COLOURS)))
    for name, values in others:
        each.scatter(of_ours, values, s=18, color=colours[name], label=name, alpha=0.8, linewidths=0)
    high = 1.05 * max(value for values in bits.values() for value in values if value == value)
    each.plot([0, high], [0, high], color=FAINT, linewidth=1)
    each.set(xlim=(0, high), ylim=(0, high))
    each.set_xlabel(f"bits/subpixel, {ours}", color=INK)
    each.set_ylabel("bits/subpixel, the others", color=INK)
    each.set_title(f"each image: above the line {ours} is smaller", loc="left", fontsize=11, color=INK)
    each.legend(frameon=False)
    for total in totals:
        at = (total.encode_megapixels_per_second, total.bits_per_subpixel)
        all_.scatter(*at, s=45, color=colours[total.codec])
        all_.annotate(total.codec, at, xytext=(6, 4), textcoords="offset points", color=INK)
    all_.set_xscale("log")
    all_.margins(x=0.25, y=0.15)
    all_.set_xlabel("encoding, MP/s", color=INK)
    all_.set_ylabel("bits/subpixel", color=INK)
    all_.set_title("all images", loc="left", fontsize=11, color=INK)
    for axes in (each, all_):
        axes.tick_params(color=FAINT, labelcolor=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=format)
