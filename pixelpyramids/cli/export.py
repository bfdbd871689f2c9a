"""`export`: a trained compact model as the integers that the codec runs."""

from pathlib import Path
from typing import Annotated

import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli.console import stdout
from pixelpyramids.cli.model_options import RunArgument
from pixelpyramids.cli.options import OverwriteOption


def export(
    run: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of integer weights to write.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Convert a compact model, made by `train compact`, to the integer weights that the codec runs."""
    from pixelpyramids.training.export import exported
    from pixelpyramids.training.run_directory import load

    refuse_existing(file, overwrite)
    network = exported(load(run), file)
    stdout.print(f"{file}: model {network.name.hex()}", soft_wrap=True)
