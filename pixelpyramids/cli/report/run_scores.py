"""The part of a run's page about images: the table of the levels, and whether the model's probabilities are right."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.cli.report.charts import BLUE, FAINT, INK, style_axes
from pixelpyramids.cli.report.figures import NOTHING, format_figure, ratio
from pixelpyramids.cli.report.page import Section, chart, notice, paragraph, table
from pixelpyramids.extras import import_extra
from pixelpyramids.model.parameters import PaperFigure
from pixelpyramids.training.calibration import Calibration
from pixelpyramids.training.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 20
_COLUMNS = 3
_HIGHEST = 2.5  # to which the charts go at least


@dataclass(frozen=True)
class Scores:
    """What a page says of images: their likelihood by level, the model's calibration, and what the images are."""

    evaluation: Evaluation
    calibration: Calibration
    images: str
    """Which images they are: "300 test images of DIR"."""
    likelihood: str
    remarks: tuple[str, ...]
    warnings: tuple[str, ...]
    paper: PaperFigure | None

    @property
    def result(self) -> str:
        """A sentence with the bits/dim of all images."""
        return f"It takes {_with_error(*_total(self.evaluation))} bits/dim on {self.images}."


def likelihood_section(scores: Scores) -> Section:
    """The bits/dim of each level with standard errors, beside the paper's figure."""
    evaluation, paper = scores.evaluation, scores.paper
    text = (
        f"What each level takes of {scores.images} (likelihood: {scores.likelihood}). Level 0 is the finest. The "
        "figure after ± is the standard error: how far the mean may be off because other images could have been drawn."
    )
    head = ["level", "values", "bits/dim", "share of all bits", *(["paper"] if paper else [])]
    rest = [NOTHING] if paper else []
    rows = [
        [name, f"{count:,}", _with_error(bits, error), f"{100 * ratio(nats, evaluation.nats.sum()):.1f} %", *rest]
        for name, count, bits, error, nats in zip(
            level_names(evaluation.nats.shape[1]),
            evaluation.dimensions.sum(axis=0),
            evaluation.bits_per_dim_of_levels,
            evaluation.standard_error_of_levels,
            evaluation.nats.sum(axis=0),
            strict=True,
        )
    ]
    of_paper = [f"{paper.bits_per_dim:.2f}"] if paper else []
    total = _with_error(*_total(evaluation))
    rows.append(["all", f"{evaluation.dimensions.sum():,}", total, "100 %", *of_paper])
    note = [paragraph(f"The paper's figure is for the test images of this data set ({paper.note}).")] if paper else []
    return Section(
        "Likelihood",
        [
            *map(notice, scores.warnings),
            paragraph(text),
            *map(paragraph, scores.remarks),
            table(head, rows, "Bits/dim of each level", has_total=True),
            *note,
        ],
    )


def calibration_section(scores: Scores) -> Section:
    """Histograms of the probability integral transform by level, and their distance from the uniform distribution."""
    calibration = scores.calibration
    names = level_names(len(calibration.counts))
    text = (
        "Are the model's probabilities right? For each value of the images, take the model's probability of a lower "
        "value, plus a random part of that of the value itself (the probability integral transform). If the model is "
        "right, the results are spread evenly from 0 to 1: all bars have the height 1. Higher bars at both ends mean "
        "that the model is too sure of itself, higher bars in the middle that it is not sure enough, and a slope that "
        "it expects values that are too high or too low."
    )
    distances = "distance: the largest difference between a level's distribution and an even one, from 0 to 1"
    levels = [level for level, counts in enumerate(calibration.counts) if counts.sum()]
    alt = "; ".join(f"level {names[level]}: distance {calibration.distances[level]:.3f}" for level in levels)
    rows = [
        [names[level], f"{calibration.counts[level].sum():,}", f"{calibration.distances[level]:.4f}"]
        for level in levels
    ]
    figure = _figure(calibration.density(BINS)[levels], [names[level] for level in levels])
    caption = "How often results fell into each twentieth of the range, by level; the line is at 1"
    return Section(
        "Calibration",
        [
            paragraph(text),
            chart(figure, "calibration", f"Calibration. {alt}", caption),
            table(["level", "values", "distance"], rows, distances),
        ],
    )


def level_names(count: int) -> list[str]:
    """The levels as people call them, finest first."""
    names = [str(level) for level in range(count)]
    return names if count == 1 else [f"{names[0]} (finest)", *names[1:-1], "coarsest image"]


def _total(evaluation: Evaluation) -> tuple[float, float]:
    return evaluation.bits_per_dim, evaluation.standard_error


def _with_error(bits: float, error: float) -> str:
    return format_figure(bits, 4) + (f" ± {error:.4f}" if math.isfinite(error) and math.isfinite(bits) else "")


def _figure(densities: NDArray[np.float64], names: list[str]) -> "Figure":
    import_extra("matplotlib", "plots")
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(5.2, 1.7 * rows if columns > 1 else 3), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    middles = (np.arange(BINS) + 0.5) / BINS
    for axes, density, name in zip(grid, densities, names, strict=False):
        axes.bar(middles, density, width=1 / BINS, color=BLUE, linewidth=0)
        axes.axhline(1, color=INK, linewidth=1.2)
        axes.set_title(f"level {name}" if name[0].isdigit() else name, fontsize=10, color=INK)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, max(_HIGHEST, 1.05 * float(densities.max())))
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        style_axes(axes)
        axes.tick_params(labelsize=9)
        axes.grid(axis="y", color=FAINT, linewidth=0.3)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    return figure
