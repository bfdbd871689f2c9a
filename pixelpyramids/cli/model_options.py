"""The options of commands that train or use models."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pixelpyramids.model.parameters import Parameters, load_parameters


class Device(StrEnum):
    """Where a model computes."""

    CPU = "cpu"
    CUDA = "cuda"


class Likelihood(StrEnum):
    """How the likelihood of a model is computed."""

    EXACT = "exact"
    AUTHORS = "authors"


OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of all random numbers.")]
ParametersArgument = Annotated[
    Parameters,
    typer.Argument(
        metavar="PARAMS", parser=load_parameters, help="A parameter file, or the name of a shipped one (celeba_256)."
    ),
]
ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A run directory, or the authors' .pt file with --params.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of images, folder of Parquet or tar shards, hub:OWNER/NAME or stream:… (default: the data_root of "
        "the parameters).",
    ),
]
ModelParametersOption = Annotated[
    str | None, typer.Option("--params", metavar="PARAMS", help="The parameter file of an authors' .pt file.")
]
LikelihoodOption = Annotated[
    Likelihood | None, typer.Option("--likelihood", help="Override the likelihood of the parameters.")
]
TileOption = Annotated[
    int | None,
    typer.Option("--tile", min=1, help="Split larger images into tiles of this many pixels a side (default: 512)."),
]
DeviceOption = Annotated[Device | None, typer.Option("--device", help="Default: a GPU if there is one.")]
