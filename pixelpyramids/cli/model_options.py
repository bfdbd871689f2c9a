"""The options of commands that train or use models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from pixelpyramids.model.parameters import AnyParameters
else:
    AnyParameters = Any  # Typer takes no unions, and only some commands need pydantic

PARAMETERS_HELP = "A parameter file, or the name of a shipped one (photographs, compact, celeba_256, …)."


def load_parameters(name: str) -> AnyParameters:
    """The parameters of a file, or of a shipped one."""
    from pixelpyramids.model import parameters

    return parameters.load_parameters(name)


LoadedParameters = Annotated[
    AnyParameters, typer.Argument(metavar="PARAMS", parser=load_parameters, help=PARAMETERS_HELP)
]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A run directory, the authors' .pt with --params, or compact, the bundled network."
    ),
]
TrainedModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A run directory, or the authors' .pt with --params.")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Folder of images, or of Parquet or tar shards; or hub:OWNER/NAME, or stream:… (default: data_root in "
        "the parameter file).",
    ),
]
Split = Annotated[
    Literal["train", "validation", "test", "all"] | None,
    typer.Option(
        help="Which images to score (default: test; all, if the folder has no splits and the model was not trained "
        "on it)."
    ),
]
ModelParameters = Annotated[str | None, typer.Option(metavar="PARAMS", help="Parameter file for the authors' .pt.")]
Likelihood = Annotated[
    Literal["exact", "authors"] | None,
    typer.Option(
        help="exact: probabilities, which sum to 1; authors: the formula of the authors' code, whose results do not "
        "(default: that of the parameter file)."
    ),
]
TileSide = Annotated[
    int | None,
    typer.Option(min=1, help="Predict larger images in tiles of this height and width, each by itself (default: 512)."),
]
Device = Annotated[Literal["cpu", "cuda"] | None, typer.Option(help="Default: a GPU if there is one.")]
