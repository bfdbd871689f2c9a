"""`report`: one page about a run."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pixelpyramids.arguments import plain_array
from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import print_json, progress_bar, stdout
from pixelpyramids.cli.likelihoods import LIKELIHOODS
from pixelpyramids.cli.report.charts import chart_format
from pixelpyramids.cli.report.environment import command_line, describe_environment, environment_section
from pixelpyramids.cli.report.page import write_page
from pixelpyramids.errors import DataError, ParameterError
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.interrupts import Stopped, stop_between_layers
from pixelpyramids.terminal import count_of

if TYPE_CHECKING:
    from pixelpyramids.cli.report.run_scores import Scores
    from pixelpyramids.model.models import AnyModel

SAMPLES, SECONDS = 8, 120.0  # drawn by default, and for how long


def report_run(
    run: model_options.RunPath,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Images to score for the table of the levels and the calibration, as for `evaluate` (default: none).",
        ),
    ] = None,
    split: model_options.Split = None,
    images: Annotated[
        int | None,
        typer.Option(metavar="N", min=2, help="Score N of the images, evenly spaced (default: all)."),
    ] = None,
    tile: model_options.TileSide = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Page to write (default: RUN/report.html).")] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Samples to draw (default: 8, or as many as can be drawn in two minutes)."
        ),
    ] = None,
    seed: model_options.Seed = 0,
    device: model_options.Device = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Write a page about a run: learning curves, likelihood by level, calibration, samples, and how it was made.

    The page is one HTML file, which any browser opens without the network.
    """
    import torch

    from pixelpyramids.cli.model_opening import load_to_device
    from pixelpyramids.cli.report import run_page, run_scores
    from pixelpyramids.cli.report.curves import read_curve
    from pixelpyramids.training.provenance import read_sessions
    from pixelpyramids.training.run_directory import missing_levels, read_parameters

    config = read_parameters(run)
    if data is None and (split, images, tile) != (None, None, None):
        raise ParameterError("--split, --images and --tile are for images to score; name a folder with --data")
    file = run / "report.html" if out is None else out
    refuse_existing(file, overwrite)
    chart_format(Path("chart.svg"))  # raises before samples are drawn if charts cannot be
    sections = [run_page.training_section(read_curve(run, config.n_stages), read_sessions(run))]
    drawn: list[Pixels] = []
    remarks = []
    scores: Scores | None = None
    missing = missing_levels(run, config)
    if missing and data is not None:
        raise DataError(
            f"{run}: expected weights of all levels to score images, got none of level(s) "
            f"{', '.join(map(str, missing))}; leave --data out, or train them first"
        )
    model = None if missing else load_to_device(run, device=device)
    if data is not None and model is not None:
        scores = _score(model, run, data, split, images, tile)
        sections += [run_scores.likelihood_section(scores), run_scores.calibration_section(scores)]
    else:
        sections.append(run_page.nothing_scored_section())
    if model is None:
        remarks.append(f"No samples: level(s) {', '.join(map(str, missing))} have no weights yet.")
    elif samples == 0:
        remarks.append("No samples were drawn (--samples 0).")
    else:
        count = SAMPLES if samples is None else samples
        drawn = _draw(model, count, seed, SECONDS if samples is None else None)
        if len(drawn) < count:
            remarks.append(
                f"Drawing was stopped after {SECONDS / 60:g} minutes, with {len(drawn)} of {count_of(count, 'sample')} "
                f"drawn; --samples {count} draws them all."
            )
    sections.append(run_page.samples_section(np.array(drawn), config.n_bits, seed, remarks))
    if drawn:
        sections.append(run_page.growth_section(config, drawn[0]))
    line, environment = command_line(), describe_environment(("torch", "numpy"), torch.get_num_threads())
    sections += [run_page.parameters_section(config), environment_section(line, environment)]
    write_page(file, run_page.run_page(run, config, "" if scores is None else scores.result, sections))
    if json:
        facts = {"file": str(file), "samples": len(drawn), "command": line, "environment": environment}
        print_json(facts | {"scores": None if scores is None else _json_of(scores)})
    else:
        stdout.inform(f"{file}: a page about {run}, with {count_of(len(drawn), 'sample')}")
        if scores is not None:
            stdout.inform(scores.result)


def _score(model: "AnyModel", run: Path, data: str, split: str | None, count: int | None, tile: int | None) -> "Scores":
    """Score the images of a split, or `count` of them evenly spaced."""
    from pixelpyramids.cli.contamination import choose_images, count_trained
    from pixelpyramids.cli.report.run_scores import Scores
    from pixelpyramids.model.parameters import find_paper_figure
    from pixelpyramids.training.calibration import calibrate
    from pixelpyramids.training.evaluation import default_tile, evaluate
    from pixelpyramids.training.provenance import read_sessions

    config = model.config
    split, images, which = choose_images(config, data, split, read_sessions(run))
    tile = default_tile(model) if tile is None else tile
    chosen = _spread(len(images), count)
    with progress_bar("images scored") as report:
        evaluation = evaluate(model, images, tile=tile, chosen=chosen, report=report)
    with progress_bar("images calibrated") as report:
        calibration = calibrate(model, images, tile=tile, chosen=chosen, report=lambda done: report(done, len(chosen)))
    noun = "image" if split == "all" else f"{split} image"
    described = f"{count_of(len(evaluation.files), noun)} of {data}"
    remarks = [f"Of {len(images):,} images, {len(chosen):,} were chosen, evenly spaced (--images)."] * (
        len(chosen) < len(images)
    )
    if which:
        remarks.append(f"{which[0].upper()}{which[1:]}.")
    warnings = []
    if trained := count_trained(config, run, images, evaluation.skipped)[0]:
        warnings.append(f"The model was trained on {trained:,} of the {split} images: these figures are too good.")
    if skipped := [*images.skipped, *evaluation.skipped]:
        warnings.append(f"{count_of(len(skipped), 'image')} could not be read, for example {skipped[0]}.")
    if not np.isfinite(evaluation.bits_per_dim):
        warnings.append("The code length is not finite, because the model's weights have diverged.")
    paper = find_paper_figure(config) if split == "test" else None
    likelihood = LIKELIHOODS[config.likelihood]
    return Scores(evaluation, calibration, described, likelihood, tuple(remarks), tuple(warnings), paper)


def _spread(available: int, count: int | None) -> Sequence[int]:
    """The indices of `count` images, evenly spaced; of all, if there are not more."""
    if count is None or count >= available:
        return range(available)
    return [index * available // count for index in range(count)]


def _json_of(scores: "Scores") -> dict[str, Any]:
    evaluation = scores.evaluation
    levels = zip(
        evaluation.bits_per_dim_of_levels,
        evaluation.standard_error_of_levels,
        scores.calibration.distances,
        strict=True,
    )
    return {
        "images": len(evaluation.files),
        "bits_per_dim": evaluation.bits_per_dim,
        "standard_error": evaluation.standard_error,
        "levels": [
            {"bits_per_dim": bits, "standard_error": error, "calibration_distance": distance}
            for bits, error, distance in levels
        ],
        "warnings": scores.warnings,
        "paper": None if scores.paper is None else scores.paper._asdict(),
    }


def _draw(model: "AnyModel", count: int, seed: int, seconds: float | None) -> list[Pixels]:
    """Samples (C, H, W), as many of `count` as can be drawn in that time: one after the other, or at once on a GPU."""
    at_once, drawn = 1 if model.device.type == "cpu" else count, list[Pixels]()
    end = None if seconds is None else time.monotonic() + seconds
    with (
        progress_bar("samples") as report,
        suppress(Stopped),
        stop_between_layers(model, lambda: end is not None and time.monotonic() > end),
    ):
        report(0, count)
        for first in range(0, count, at_once):
            drawn.extend(plain_array(model.sample(min(at_once, count - first), seed=seed, first=first)))
            report(len(drawn), count)
    return drawn
