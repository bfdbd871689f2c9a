"""`export`: convert a trained compact model to the integers that the codec runs."""

from pathlib import Path
from typing import Annotated

import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import print_json, stdout


def export(
    run: model_options.RunPath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of integer weights to write.")],
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Convert a compact model, made by `train compact`, to the integer weights that the codec runs."""
    from pixelpyramids.training.integer_weights import export_integers
    from pixelpyramids.training.run_directory import load

    refuse_existing(file, overwrite)
    network = export_integers(load(run), file)
    if json:
        print_json({"file": str(file), "model": network.name.hex()})
    else:
        stdout.inform(f"{file}: model {network.name.hex()}")
