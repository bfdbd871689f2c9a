"""An evaluation as tables for a terminal, and as plain JSON."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from pixelpyramids.pyramid.levels import walk
from pixelpyramids.pyramid.rate import bits_per_dim
from pixelpyramids.training.evaluation import Evaluation

NOTHING = "–"


def levels_table(evaluation: Evaluation, parameter_counts: Sequence[int]) -> Table:
    """What each level costs, finest first: means over images, parameters of the level's network, and a row of totals.

    The size (height x width of the fine half, or of the coarsest image) is told where all images have the same.
    `parameter_counts` has a count for each level.
    """
    images, levels = evaluation.nats.shape
    nats, dimensions = evaluation.nats.mean(axis=0), evaluation.dimensions.mean(axis=0)
    milliseconds = 1000 * evaluation.seconds / images
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("level", no_wrap=True)
    for heading in ("size", "dims", "nats", "bits/dim", "%", "params", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for level, (size, count) in enumerate(zip(_sizes(evaluation), parameter_counts, strict=True)):
        name = "coarsest" if level == levels - 1 else str(level)
        share = _figure(100 * _ratio(nats[level], nats.sum()), 1)
        row = _costs(nats[level], dimensions[level])
        table.add_row(name, size, *row, share, str(count), _figure(milliseconds[level], 1))
    table.add_section()
    row, parameters = _costs(nats.sum(), dimensions.sum()), str(sum(parameter_counts))
    whole = _figure(100 * _ratio(nats.sum(), nats.sum()), 1)
    table.add_row("total", "", *row, whole, parameters, _figure(milliseconds.sum(), 1), style="bold")
    return table


def images_table(
    evaluation: Evaluation, others: Mapping[str, Sequence[float]] | None = None, model_name: str = "model"
) -> Table:
    """Bits/dim of each image, with the model and with other codecs: name -> bits/dim of each image, in order.

    NaN means that a codec has no such image. The best of each row is bold. The last row is bits over all dimensions
    of all images, as `Evaluation.bits_per_dim` is, for codecs that have them all.
    """
    columns = {model_name: list(evaluation.bits_per_dim_of_images), **{k: list(v) for k, v in (others or {}).items()}}
    dimensions = evaluation.dimensions.sum(axis=1)
    table = Table(title="bits/dim of each image", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right")
    for name in columns:
        table.add_column(Text(name), justify="right")
    rows = zip(_names(evaluation.files), evaluation.sizes, zip(*columns.values(), strict=True), strict=True)
    for name, (height, width), figures in rows:
        table.add_row(Text(name), f"{height}x{width}", *_best_in_bold(figures))
    table.add_section()
    totals = [_ratio(float(np.dot(bits, dimensions)), float(dimensions.sum())) for bits in columns.values()]
    table.add_row("all", "", *_best_in_bold(totals))
    return table


def evaluation_json(evaluation: Evaluation, model_name: str) -> dict[str, Any]:
    """The evaluation as what `json` can write; figures that are not finite are None.

    `levels` holds sums over images and the seconds taken in all, finest level first; `per_image` each image's.
    """
    nats, dimensions = evaluation.nats.sum(axis=0), evaluation.dimensions.sum(axis=0)
    return {
        "model": model_name,
        "bits_per_dim": _finite(_bits(float(nats.sum()), float(dimensions.sum()))),
        "standard_error": _finite(evaluation.standard_error),
        "images": len(evaluation.files),
        "dimensions": int(dimensions.sum()),
        "levels": [
            {
                "level": level,
                "dimensions": int(dimensions[level]),
                "nats": _finite(nats[level]),
                "bits_per_dim": _finite(_bits(nats[level], dimensions[level])),
                "share": _finite(_ratio(nats[level], nats.sum())),
                "seconds": _finite(seconds),
            }
            for level, seconds in enumerate(evaluation.seconds)
        ],
        "per_image": [
            {
                "file": str(file),
                "height": int(height),
                "width": int(width),
                "nats": _finite(nats_.sum()),
                "bits_per_dim": _finite(_bits(nats_.sum(), dimensions_.sum())),
                "nats_of_levels": [_finite(value) for value in nats_],
            }
            for file, (height, width), nats_, dimensions_ in zip(
                evaluation.files, evaluation.sizes, evaluation.nats, evaluation.dimensions, strict=True
            )
        ],
        "skipped": [str(file) for file in evaluation.skipped],
    }


def _sizes(evaluation: Evaluation) -> list[str]:
    levels = evaluation.nats.shape[1]
    if len(set(evaluation.sizes)) != 1:
        return [NOTHING] * levels
    stages = walk(*evaluation.sizes[0], (0,) * (levels - 1))
    return [f"{s.height}x{s.width}" if s.axis is None or s.is_split else NOTHING for s in reversed(stages)]


def _costs(nats: float, dimensions: float) -> tuple[str, str, str]:
    return f"{dimensions:.0f}", _figure(nats, 1), _figure(_bits(nats, dimensions), 4)


def _best_in_bold(figures: Sequence[float]) -> list[Text]:
    best = min((figure for figure in figures if math.isfinite(figure)), default=None)
    return [Text(_figure(figure, 3), style="bold" if figure == best else "") for figure in figures]


def _names(files: Sequence[Path]) -> list[str]:
    """The files below the folder that they share."""
    shared = os.path.commonpath([file.parent for file in files]) or os.curdir
    return [os.path.relpath(file, shared) for file in files]


def _bits(nats: float, dimensions: float) -> float:
    return float(bits_per_dim(nats, dimensions)) if dimensions else math.nan


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else math.nan


def _finite(figure: float) -> float | None:
    return float(figure) if math.isfinite(figure) else None


def _figure(figure: float, decimals: int) -> str:
    return f"{figure:.{decimals}f}" if math.isfinite(figure) else NOTHING
