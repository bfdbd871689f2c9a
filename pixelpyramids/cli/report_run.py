"""`report`: one page about a run."""

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from pixelpyramids.arguments import plain_array
from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import print_json, progress_bar, stdout
from pixelpyramids.cli.report.charts import chart_format
from pixelpyramids.cli.report.environment import command_line, describe_environment, environment_section
from pixelpyramids.cli.report.page import write_page
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.interrupts import Stopped, stop_between_layers
from pixelpyramids.terminal import count_of

if TYPE_CHECKING:
    from pixelpyramids.model.models import AnyModel

SAMPLES, SECONDS = 8, 120.0  # drawn by default, and for how long


def report_run(
    run: model_options.RunPath,
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
    """Write a page about a run: learning curves, samples, parameters, and how it was made.

    The page is one HTML file, which any browser opens without the network.
    """
    import torch

    from pixelpyramids.cli.model_opening import load_to_device
    from pixelpyramids.cli.report import run_page
    from pixelpyramids.cli.report.curves import read_curve
    from pixelpyramids.training.provenance import read_sessions
    from pixelpyramids.training.run_directory import missing_levels, read_parameters

    config = read_parameters(run)
    file = run / "report.html" if out is None else out
    refuse_existing(file, overwrite)
    chart_format(Path("chart.svg"))  # raises before samples are drawn if charts cannot be
    sections = [run_page.training_section(read_curve(run, config.n_stages), read_sessions(run))]
    drawn: list[Pixels] = []
    remarks = []
    if missing := missing_levels(run, config):
        remarks.append(f"No samples: level(s) {', '.join(map(str, missing))} have no weights yet.")
    elif samples == 0:
        remarks.append("No samples were drawn (--samples 0).")
    else:
        model, count = load_to_device(run, device=device), SAMPLES if samples is None else samples
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
    write_page(file, run_page.run_page(run, config, "", sections))
    if json:
        print_json({"file": str(file), "samples": len(drawn), "command": line, "environment": environment})
    else:
        stdout.inform(f"{file}: a page about {run}, with {count_of(len(drawn), 'sample')}")


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
