"""Training curves: bits/dim over steps, in total and for each level, beside what other codecs need."""

import math
from collections.abc import Iterable, Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.atomic import replacing
from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.pyramid.rate import bits_per_dim
from pixelpyramids.training.run_directory import log_file, read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Steps, ascending, and the bits/dim at each."""

TRAINING, VALIDATION, LEVEL = "training", "validation", "level"

# Okabe and Ito's blue and vermilion, told apart with any kind of colour vision; levels run through viridis.
COLOURS = {TRAINING: "#0072b2", VALIDATION: "#d55e00"}
INK, FAINT = "#333333", "#767676"
SPARE = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # for further series
LINES = 23  # of text beside the curves, from top to bottom


def read_curve(run: Path, levels: int, window: int = 5) -> dict[str, Series]:
    """The series in the logs of a run's `levels` stages; those without an entry are left out.

    "training": bits/dim of all levels, at steps where each has an entry; "level 0" …: each level's own; both over the
    last `window` entries, nats over dimensions (fewer at the beginning). "validation": bits/dim of all levels.
    """
    logs = [read_log(run, level) if log_file(run, level).exists() else [] for level in range(levels)]
    trained, validated = [_by_step(log, "nats") for log in logs], [_by_step(log, "validation_nats") for log in logs]
    series = {TRAINING: _bits_per_dim(_sum(trained), window), VALIDATION: _bits_per_dim(_sum(validated), 1)}
    series |= {f"{LEVEL} {level}": _bits_per_dim(costs, window) for level, costs in enumerate(trained)}
    return {name: (steps, bits) for name, (steps, bits) in series.items() if len(steps)}


def save_curve(path: Path, series: Mapping[str, Series], title: str, marks: Mapping[str, float] | None = None) -> None:
    """Draw bits/dim over steps, in the format that the path's suffix names (.png, .svg, .pdf).

    Series named "level …" are thin lines, all others thick. `marks` (such as {"PNG": 4.1}) are dashed horizontal
    lines. Names stand at the ends of their lines. What is beyond the values after the first twentieth of the steps is
    cut off at the top. Raises PixelPyramidsError if there is nothing to draw, the format is unknown, or matplotlib is
    missing.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.colors import to_hex
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PixelPyramidsError('drawing curves needs matplotlib: pip install "pixelpyramids[plots]"') from error
    marks = {name: bits for name, bits in (marks or {}).items() if math.isfinite(bits)}
    series = {name: (s[np.isfinite(b)], b[np.isfinite(b)]) for name, (s, b) in series.items()}
    series = {name: (s, b) for name, (s, b) in series.items() if len(s)}
    if not series:
        raise PixelPyramidsError(f"{path}: expected logged steps to draw, got none; train first")

    figure = Figure(figsize=(9, 5.4), dpi=160, layout="constrained")
    kind, known = path.suffix[1:].lower() or "png", figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise PixelPyramidsError(f"{path}: expected a name that ends in .{', .'.join(sorted(known))}, got .{kind}")
    axes = figure.add_subplot()
    thin = [name for name in series if name.startswith(LEVEL)]
    thick = [name for name in series if name not in thin]
    shades = [to_hex(colormaps["viridis"](x)) for x in np.linspace(0.0, 0.72, max(len(thin), 2))]
    spare = cycle(SPARE)
    ends: list[tuple[float, str, str, bool]] = []
    for name, bits in marks.items():
        axes.axhline(bits, color=FAINT, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
        ends.append((bits, f"{name}  {bits:.2f}", FAINT, False))
    for name, colour in zip(thin, shades, strict=False):
        axes.plot(*series[name], color=colour, linewidth=0.8, alpha=0.8, zorder=2)
        ends.append((float(series[name][1][-1]), name, colour, False))
    for name in thick:
        colour = COLOURS.get(name) or next(spare)
        dots = "o" if len(series[name][0]) <= 40 and name != TRAINING else ""
        axes.plot(*series[name], color=colour, linewidth=2.4, marker=dots, markersize=4.5, zorder=3)
        ends.append((float(series[name][1][-1]), f"{name}  {series[name][1][-1]:.2f}", colour, True))

    last = max(int(steps[-1]) for steps, _ in series.values())
    axes.set_xlim(0, max(last, 1))
    axes.set_ylim(*_range(series.values(), marks.values(), last))
    axes.set_title(title, loc="left", fontsize=14, color=INK, pad=12)
    axes.set_xlabel("step", fontsize=12, color=INK)
    axes.set_ylabel("bits / dim", fontsize=12, color=INK)
    axes.tick_params(labelsize=11, color=FAINT, labelcolor=INK)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    _label(axes, ends)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=kind)


def _by_step(log: list[dict[str, float]], key: str) -> dict[int, tuple[float, float]]:
    """Step -> (nats, dimensions) of the entries that have the key; a step logged twice counts as logged last."""
    return {int(entry["step"]): (entry[key], entry["dimensions"]) for entry in log if key in entry}


def _sum(levels: list[dict[int, tuple[float, float]]]) -> dict[int, tuple[float, float]]:
    shared = set.intersection(*(set(level) for level in levels)) if levels else set()
    return {s: (sum(level[s][0] for level in levels), sum(level[s][1] for level in levels)) for s in shared}


def _bits_per_dim(costs: dict[int, tuple[float, float]], window: int) -> Series:
    """Nats over dimensions of the last `window` steps before and at each; levels without sites give none."""
    steps = sorted(step for step, (_, dimensions) in costs.items() if dimensions > 0)
    sums = np.cumsum(np.array([(0.0, 0.0)] + [costs[step] for step in steps]), axis=0)
    ends = np.arange(1, len(steps) + 1)
    nats, dimensions = (sums[ends] - sums[np.maximum(ends - window, 0)]).T
    return np.array(steps, np.int64), bits_per_dim(nats, dimensions)


def _range(series: Iterable[Series], marks: Iterable[float], last: int) -> tuple[float, float]:
    lines = list(series)
    values = np.concatenate([bits[(steps >= last / 20) | (steps == steps[-1])] for steps, bits in lines])
    values = np.concatenate([values, np.fromiter(marks, float)])
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.5
    return max(low - margin, 0.0), high + margin


def _label(axes: "Axes", ends: list[tuple[float, str, str, bool]]) -> None:
    """Write each line's name at its end, the names moved apart so that none covers another."""
    low, high = axes.get_ylim()
    ends = sorted((min(max(value, low), high), text, colour, strong) for value, text, colour, strong in ends)
    heights = _spread([end[0] for end in ends], (high - low) / LINES, low, high)
    beside = axes.get_yaxis_transform()
    for (value, text, colour, strong), height in zip(ends, heights, strict=True):
        leader = [value, height, height]
        axes.plot([1, 1.025, 1.035], leader, color=colour, linewidth=0.8, transform=beside, clip_on=False)
        weight = "bold" if strong else "normal"
        axes.text(1.042, height, text, color=colour, fontsize=11, fontweight=weight, va="center", transform=beside)


def _spread(heights: list[float], apart: float, low: float, high: float) -> list[float]:
    """The ascending heights moved as little as needed to be `apart`, in [low, high] where they have room there.

    Neighbours that touch form a group around their mean.
    """

    def centre(group: list[float]) -> float:
        half = apart * (len(group) - 1) / 2
        return max(min(sum(group) / len(group), high - half), low + half)

    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1:
            needed = apart * (len(groups[-1]) + len(groups[-2])) / 2
            if centre(groups[-1]) - centre(groups[-2]) >= needed * (1 - 1e-9):
                break
            groups[-2:] = [groups[-2] + groups[-1]]
    return [centre(group) + apart * (i - (len(group) - 1) / 2) for group in groups for i in range(len(group))]
