"""Training curves: bits/dim over steps, in total and for each level, with lines for other codecs."""

import math
from collections.abc import Iterable, Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.atomic import replace_file
from pixelpyramids.cli.report.charts import BLUE, FAINT, INK, SPARE, VERMILION, chart_format, style_axes
from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.extras import import_extra
from pixelpyramids.pyramid.rate import bits_per_dim
from pixelpyramids.training.run_directory import log_file, read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Steps, ascending, and the bits/dim at each."""

TRAINING, VALIDATION, LEVEL = "training", "validation", "level"

COLOURS = {TRAINING: BLUE, VALIDATION: VERMILION}


def read_curve(run: Path, levels: int, window: int = 5) -> dict[str, Series]:
    """The series in the logs of a run's `levels` stages. Series without an entry are left out.

    "training" is bits/dim of all levels, at steps that all levels have logged; "level 0" … is each level's own. Both
    are nats over dimensions of the last `window` entries. "validation" is bits/dim of all levels.
    """
    logs = [read_log(run, level) if log_file(run, level).exists() else [] for level in range(levels)]
    trained, validated = [_by_step(log, "nats") for log in logs], [_by_step(log, "validation_nats") for log in logs]
    series = {
        TRAINING: _bits_per_dim(_sum_levels(trained), window),
        VALIDATION: _bits_per_dim(_sum_levels(validated), 1),
    }
    series |= {f"{LEVEL} {level}": _bits_per_dim(costs, window) for level, costs in enumerate(trained)}
    return {name: (steps, bits) for name, (steps, bits) in series.items() if len(steps)}


def save_curve(path: Path, series: Mapping[str, Series], title: str, marks: Mapping[str, float] | None = None) -> None:
    """Draw bits/dim over steps, in the format that the path's suffix names (.png, .svg, .pdf).

    Series named "level …" are thin lines, all others thick. `marks` (such as {"PNG": 4.1}) are dashed horizontal
    lines. The legend gives the last value of each. The axis is scaled to the values after the first twentieth of the
    steps; higher ones are cut off. Raises PixelPyramidsError if there is nothing to draw, the format is unknown, or
    matplotlib is missing.
    """
    format = chart_format(path)
    from matplotlib.figure import Figure

    marks = {name: bits for name, bits in (marks or {}).items() if math.isfinite(bits)}
    series = finite_series(series)
    if not series:
        raise PixelPyramidsError(f"{path}: expected logged steps to draw, got none; train first")
    figure = Figure(figsize=(9, 5.4), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, series, marks)
    axes.set_title(title, loc="left", fontsize=14, color=INK)
    figure.legend(loc="outside right upper", frameon=False, fontsize=11, labelcolor=INK)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format=format)


def curve_figure(series: Mapping[str, Series]) -> "Figure":
    """Bits/dim over steps for a page, drawn as `save_curve` does; at least one series."""
    import_extra("matplotlib", "plots")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    _draw(figure.add_subplot(), series, {})
    columns = 2 if len(series) <= 2 else 3
    figure.legend(loc="outside lower center", frameon=False, fontsize=10, labelcolor=INK, ncols=columns)
    return figure


def finite_series(series: Mapping[str, Series]) -> dict[str, Series]:
    """The series without values that are not finite; those with none left are left out."""
    finite = {name: (s[np.isfinite(b)], b[np.isfinite(b)]) for name, (s, b) in series.items()}
    return {name: (s, b) for name, (s, b) in finite.items() if len(s)}


def _draw(axes: "Axes", series: Mapping[str, Series], marks: Mapping[str, float]) -> None:
    from matplotlib import colormaps

    spare = cycle(SPARE)
    shades = iter(colormaps["viridis"](np.linspace(0.0, 0.9, len(series))))
    for (name, mark), style in zip(marks.items(), cycle(("--", "-.", ":"))):
        axes.axhline(mark, color=FAINT, linestyle=style, linewidth=1.3, label=f"{name}  {mark:.2f}")
    for name, (steps, bits) in series.items():
        is_thin = name.startswith(LEVEL)
        colour = next(shades) if is_thin else COLOURS.get(name) or next(spare)
        dots = "o" if len(steps) <= 40 and not is_thin and name != TRAINING else ""
        axes.plot(
            steps, bits, color=colour, label=f"{name}  {bits[-1]:.2f}", marker=dots, markersize=4.5,
            linewidth=0.8 if is_thin else 2.4, zorder=2 if is_thin else 3,
        )  # fmt: skip
    last = max(int(steps[-1]) for steps, _ in series.values())
    axes.set_xlim(0, max(last, 1))
    axes.set_ylim(*_value_range(series.values(), marks.values(), last))
    axes.set_xlabel("step", fontsize=12, color=INK)
    axes.set_ylabel("bits / dim", fontsize=12, color=INK)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    style_axes(axes)


def _by_step(log: list[dict[str, float]], key: str) -> dict[int, tuple[float, float]]:
    """Step -> (nats, dimensions) of the entries that have the key. The last entry of a step counts."""
    return {int(entry["step"]): (entry[key], entry["dimensions"]) for entry in log if key in entry}


def _sum_levels(levels: list[dict[int, tuple[float, float]]]) -> dict[int, tuple[float, float]]:
    shared = set.intersection(*(set(level) for level in levels)) if levels else set()
    return {s: (sum(level[s][0] for level in levels), sum(level[s][1] for level in levels)) for s in shared}


def _bits_per_dim(costs: dict[int, tuple[float, float]], window: int) -> Series:
    """At each step, nats over dimensions of the last `window` steps. Levels without dimensions give no steps."""
    steps = sorted(step for step, (_, dimensions) in costs.items() if dimensions > 0)
    sums = np.cumsum(np.array([(0.0, 0.0)] + [costs[step] for step in steps]), axis=0)
    ends = np.arange(1, len(steps) + 1)
    nats, dimensions = (sums[ends] - sums[np.maximum(ends - window, 0)]).T
    return np.array(steps, np.int64), bits_per_dim(nats, dimensions)


def _value_range(series: Iterable[Series], marks: Iterable[float], last: int) -> tuple[float, float]:
    values = np.concatenate([bits[(steps >= last / 20) | (steps == steps[-1])] for steps, bits in series])
    values = np.concatenate([values, np.fromiter(marks, float)])
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.5
    return max(low - margin, 0.0), high + margin
