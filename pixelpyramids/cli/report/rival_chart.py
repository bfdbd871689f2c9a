"""A chart that compares codecs: bits/dim of each image against ours, and of all images against speed."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from pixelpyramids.atomic import replace_file
from pixelpyramids.cli.report.charts import BLUE, FAINT, INK, SPARE, VERMILION, chart_format, style_axes


def save_chart(path: Path, bits: Mapping[str, Sequence[float]], totals: Mapping[str, tuple[float, float]]) -> None:
    """Draw how codecs compare, in the format that the path's suffix names.

    `bits` are the bits/dim of each image with each codec, ours first, and NaN for images that a codec does not
    support. `totals` are MP/s of encoding and bits/dim over all images. Raises PixelPyramidsError as
    `chart_format`.
    """
    format = chart_format(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), dpi=160, layout="constrained")
    each, all_ = figure.subplots(1, 2)
    (ours, of_ours), *others = bits.items()
    colours = dict(zip(bits, cycle((VERMILION, *SPARE, BLUE))))
    for name, values in others:
        each.scatter(of_ours, values, s=18, color=colours[name], label=name, alpha=0.8, linewidths=0)
    high = 1.05 * max(value for values in bits.values() for value in values if value == value)
    each.plot([0, high], [0, high], color=FAINT, linewidth=1)
    each.set(xlim=(0, high), ylim=(0, high))
    each.set_xlabel(f"bits/dim, {ours}", color=INK)
    each.set_ylabel("bits/dim, the others", color=INK)
    each.set_title(f"each image: above the line {ours} is smaller", loc="left", fontsize=11, color=INK)
    each.legend(frameon=False)
    for codec, at in totals.items():
        all_.scatter(*at, s=45, color=colours[codec])
        all_.annotate(codec, at, xytext=(6, 4), textcoords="offset points", color=INK)
    all_.set_xscale("log")
    all_.margins(x=0.25, y=0.15)
    all_.set_xlabel("encoding, MP/s", color=INK)
    all_.set_ylabel("bits/dim", color=INK)
    all_.set_title("all images", loc="left", fontsize=11, color=INK)
    for axes in (each, all_):
        style_axes(axes)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format=format)
