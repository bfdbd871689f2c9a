"""`curve`: the training curve of a run, as a picture."""

from pathlib import Path
from typing import Annotated

import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli.console import stdout
from pixelpyramids.cli.model_options import RunArgument
from pixelpyramids.cli.options import OverwriteOption


def curve(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The picture to write (default: RUN/curve.png).")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw the training curve of a run: bits/dim over steps."""
    from pixelpyramids.cli.report.curves import read_curve, save_curve
    from pixelpyramids.training.run_directory import read_parameters

    config = read_parameters(run)
    picture = run / "curve.png" if out is None else out
    refuse_existing(picture, overwrite)
    save_curve(picture, read_curve(run, config.L), f"{config.dataset_name}, bits/dim over steps")
    stdout.print(f"{picture}: the training curve of {run}", soft_wrap=True)
