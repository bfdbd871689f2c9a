"""Charts that compare codecs: bits/dim of each image against ours, and of all images against speed."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from pixelpyramids.atomic import replace_file
from pixelpyramids.cli.report.charts import BLUE, FAINT, INK, SPARE, VERMILION, chart_format, style_axes
from pixelpyramids.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Bits = Mapping[str, Sequence[float]]
"""Bits/dim of each image with each codec, ours first; NaN for images that a codec does not support."""

Totals = Mapping[str, tuple[float, float]]
"""MP/s of a codec, and its bits/dim over all images."""


def save_chart(path: Path, bits: Bits, totals: Totals) -> None:
    """Draw how codecs compare, by the speed of encoding, in the format that the path's suffix names.

    Raises PixelPyramidsError as `chart_format`.
    """
    format = chart_format(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), dpi=160, layout="constrained")
    each, all_ = figure.subplots(1, 2)
    _draw_images(each, bits)
    each.set_title(f"each image: above the line {next(iter(bits))} is smaller", loc="left", fontsize=11, color=INK)
    _draw_totals(all_, totals, "encoding, MP/s")
    all_.set_title("all images", loc="left", fontsize=11, color=INK)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format=format)


def images_figure(bits: Bits) -> "Figure":
    """The bits/dim of each image with other codecs against ours, for a page."""
    figure, axes = _for_page()
    _draw_images(axes, bits)
    return figure


def totals_figure(totals: Totals, label: str) -> "Figure":
    """The bits/dim of all images against a speed, which `label` names, for a page."""
    figure, axes = _for_page()
    _draw_totals(axes, totals, label)
    return figure


def _for_page() -> "tuple[Figure, Axes]":
    import_extra("matplotlib", "plots")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.9), layout="constrained")
    return figure, figure.subplots()


def _draw_images(axes: "Axes", bits: Bits) -> None:
    (ours, of_ours), *others = bits.items()
    colours = _colours(bits)
    for name, values in others:
        axes.scatter(of_ours, values, s=18, color=colours[name], label=name, alpha=0.8, linewidths=0)
    high = 1.05 * max(value for values in bits.values() for value in values if value == value)
    axes.plot([0, high], [0, high], color=FAINT, linewidth=1)
    axes.set(xlim=(0, high), ylim=(0, high))
    axes.set_xlabel(f"bits/dim, {ours}", color=INK)
    axes.set_ylabel("bits/dim, the others", color=INK)
    axes.legend(frameon=False)
    style_axes(axes)


def _draw_totals(axes: "Axes", totals: Totals, label: str) -> None:
    colours = _colours(totals)
    for number, (codec, at) in enumerate(totals.items()):
        axes.scatter(*at, s=45, color=colours[codec])
        beside = (6, -12 if number % 2 else 4)  # so that two that are close can be read
        axes.annotate(codec, at, xytext=beside, textcoords="offset points", color=INK)
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.15)
    axes.set_xlabel(label, color=INK)
    axes.set_ylabel("bits/dim", color=INK)
    style_axes(axes)


def _colours(codecs: Mapping[str, object]) -> dict[str, str]:
    return dict(zip(codecs, cycle((VERMILION, *SPARE, BLUE))))
