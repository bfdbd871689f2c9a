"""`curve`: draw the training curve of a run."""

from pathlib import Path
from typing import Annotated

import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import stdout


def curve(
    run: model_options.RunPath,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Picture to write (default: RUN/curve.png).")] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Draw the training curve of a run: bits/dim over steps."""
    from pixelpyramids.cli.report.curves import read_curve, save_curve
    from pixelpyramids.training.run_directory import read_parameters

    config = read_parameters(run)
    picture = run / "curve.png" if out is None else out
    refuse_existing(picture, overwrite)
    save_curve(picture, read_curve(run, config.n_stages), f"{config.dataset_name}, bits/dim over steps")
    stdout.print(f"{picture}: the training curve of {run}")
