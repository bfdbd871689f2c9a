"""An evaluation as tables for a terminal, and as plain JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from pixelpyramids.cli.report.figures import (
    NOTHING,
    best_in_bold,
    format_figure,
    names_in_common_folder,
    new_table,
    ratio,
)
from pixelpyramids.pyramid.levels import walk
from pixelpyramids.pyramid.rate import bits_per_dim
from pixelpyramids.training.evaluation import Evaluation


def levels_table(evaluation: Evaluation, parameter_counts: Sequence[int]) -> Table:
    """What each level costs, finest first: means over images, parameters of the level's network, and a row of totals.

    The size (of the fine half, or of the coarsest image) is given if all images have the same, and their tiles together
    have as many pixels. The last level is that of the coarsest image, unless it is the only one.
    `parameter_counts` has a count for each level.
    """
    images, levels = evaluation.nats.shape
    nats, dimensions = evaluation.nats.mean(axis=0), evaluation.dimensions.mean(axis=0)
    milliseconds = 1000 * evaluation.seconds / images
    table = new_table("level", "height x width", "dims", "nats", "bits/dim", "%", "params", "ms")
    for level, (size, count) in enumerate(zip(_level_sizes(evaluation), parameter_counts, strict=True)):
        name = "coarsest" if 0 < level == levels - 1 else str(level)
        share = format_figure(100 * ratio(nats[level], nats.sum()), 1)
        row = _format_costs(nats[level], dimensions[level])
        table.add_row(name, size, *row, share, str(count), format_figure(milliseconds[level], 1))
    table.add_section()
    row, parameters = _format_costs(nats.sum(), dimensions.sum()), str(sum(parameter_counts))
    whole = format_figure(100 * ratio(nats.sum(), nats.sum()), 1)
    table.add_row("total", "", *row, whole, parameters, format_figure(milliseconds.sum(), 1), style="bold")
    return table


def images_table(evaluation: Evaluation, others: Mapping[str, Sequence[float]]) -> Table:
    """Bits/dim of each image, with the model and with other codecs: name -> bits/dim of each image, in order.

    NaN means that a codec does not support the image. The best of each row is bold. The last row is bits over all
    dimensions of all images, as `Evaluation.bits_per_dim` is, for codecs that have them all.
    """
    columns = {"model": evaluation.bits_per_dim_of_images.tolist(), **others}
    dimensions = evaluation.dimensions.sum(axis=1)
    table = new_table("file", "height x width", *columns, title="bits/dim of each image")
    names = names_in_common_folder(evaluation.files)
    for name, (height, width), *figures in zip(names, evaluation.sizes, *columns.values(), strict=True):
        table.add_row(name, f"{height} x {width}", *best_in_bold(figures))
    table.add_section()
    totals = [ratio(float(np.dot(bits, dimensions)), float(dimensions.sum())) for bits in columns.values()]
    table.add_row("all", "", *best_in_bold(totals))
    return table


def evaluation_json(evaluation: Evaluation, model_name: str, parameter_counts: Sequence[int]) -> dict[str, Any]:
    """The evaluation as what `console.print_json` can print.

    `levels` holds sums over all images and the total seconds, finest level first; `per_image` those of each image.
    """
    nats, dimensions = evaluation.nats.sum(axis=0), evaluation.dimensions.sum(axis=0)
    return {
        "model": model_name,
        "bits_per_dim": evaluation.bits_per_dim,
        "standard_error": evaluation.standard_error,
        "images": len(evaluation.files),
        "dimensions": int(dimensions.sum()),
        "levels": [
            {
                "level": level,
                "dimensions": int(dimensions[level]),
                "nats": nats[level],
                "bits_per_dim": _bits(nats[level], dimensions[level]),
                "share": ratio(nats[level], nats.sum()),
                "seconds": seconds,
                "parameters": count,
            }
            for level, (seconds, count) in enumerate(zip(evaluation.seconds, parameter_counts, strict=True))
        ],
        "per_image": [
            {
                "file": str(file),
                "height": int(height),
                "width": int(width),
                "nats": nats_of_levels.sum(),
                "bits_per_dim": bits,
                "nats_of_levels": nats_of_levels.tolist(),
            }
            for file, (height, width), nats_of_levels, bits in zip(
                evaluation.files, evaluation.sizes, evaluation.nats, evaluation.bits_per_dim_of_images, strict=True
            )
        ],
    }


def _level_sizes(evaluation: Evaluation) -> list[str]:
    levels = evaluation.nats.shape[1]
    if len(set(evaluation.sizes)) != 1:
        return [NOTHING] * levels
    (height, width), dimensions = evaluation.sizes[0], evaluation.dimensions[0]
    channels = dimensions.sum() // (height * width)
    stages = reversed(walk(height, width, (0,) * (levels - 1)))
    return [
        f"{s.height} x {s.width}" if 0 < s.height * s.width * channels == count else NOTHING
        for s, count in zip(stages, dimensions, strict=True)
    ]


def _format_costs(nats: float, dimensions: float) -> tuple[str, str, str]:
    return f"{dimensions:.0f}", format_figure(nats, 1), format_figure(_bits(nats, dimensions), 4)


def _bits(nats: float, dimensions: float) -> float:
    return float(bits_per_dim(nats, dimensions)) if dimensions else math.nan
