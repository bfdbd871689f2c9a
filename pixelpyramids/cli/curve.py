"""`curve`: draw the training curve of a run."""

from pathlib import Path
from typing import Annotated

import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import print_json, stdout


def curve(
    run: model_options.RunPath,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Picture to write (default: RUN/curve.png).")] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Draw the training curve of a run: bits/dim over steps."""
    from pixelpyramids.cli.report.curves import read_curve, save_curve
    from pixelpyramids.training.run_directory import read_parameters

    config = read_parameters(run)
    picture = run / "curve.png" if out is None else out
    refuse_existing(picture, overwrite)
    series = read_curve(run, config.n_stages)
    save_curve(picture, series, f"{config.dataset_name}, bits/dim over steps")
    if json:
        curves = {
            name: {"steps": steps.tolist(), "bits_per_dim": bits.tolist()} for name, (steps, bits) in series.items()
        }
        print_json({"file": str(picture), "curves": curves})
    else:
        stdout.inform(f"{picture}: the training curve of {run}")
