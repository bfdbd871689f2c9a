"""The command line: `pixelpyramids COMMAND`.

Exit status: 0 all well, 1 some files failed, 2 bad usage or input, 130 interrupted.
"""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pixelpyramids.cli import codec_commands
from pixelpyramids.cli.exit_status import run
from pixelpyramids.cli.options import Json, Overwrite, load_commands
from pixelpyramids.errors import ParameterError

app = typer.Typer(
    name="pixelpyramids",
    help="Exact likelihoods of images by lossless pyramids: train, evaluate, sample, complete, compress.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Params = Annotated[
    str, typer.Argument(metavar="PARAMS", help="A parameter file, or the name of a shipped one (celeba_256).")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A run directory, or the authors' .pt with --params.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of images or of Parquet or tar shards, hub:OWNER/NAME or stream:…; overrides data_root.",
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to.")]
Run = Annotated[Path, typer.Option("--out", metavar="RUN", help="The run directory; one that exists is gone on with.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Key of all random numbers.")]
OfModel = Annotated[str | None, typer.Option("--params", help="Parameter file of an authors' .pt.")]
Likelihood = Annotated[
    str | None, typer.Option("--likelihood", metavar="exact|authors", help="Another than that of the parameters.")
]
Tile = Annotated[
    int | None,
    typer.Option("--tile", min=1, help="Score images with a longer side in tiles of this size. Default: 512."),
]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Train this many steps.")]
Epochs = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Train this many epochs (default: the parameters').")
]
Minutes = Annotated[
    float | None, typer.Option("--minutes", help="Train for this many minutes, including validation and samples.")
]
MicroBatch = Annotated[
    int | None, typer.Option("--micro-batch", min=1, help="Images at once; a batch's gradient is their sum.")
]
Device = Annotated[str | None, typer.Option("--device", metavar="cpu|cuda", help="Default: a GPU where there is one.")]
data_app = typer.Typer(name="data", help="Look at data before training on it.", no_args_is_help=True)
app.add_typer(data_app)
app.add_typer(codec_commands.app)


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from pixelpyramids import __version__

        print(f"pixelpyramids {__version__}")
        raise typer.Exit


@app.command()
def demo(
    out: Out = Path("pixelpyramids-demo"),
    minutes: Annotated[float, typer.Option("--minutes", help="How long to train.")] = 6.0,
    seed: Seed = 0,
) -> None:
    """Train on the bundled photographs, score two it never saw, and draw pictures, in minutes."""
    load_commands("demo").demo(out, minutes=minutes, seed=seed)


@app.command()
def train(
    params: Params,
    out: Run,
    data: Data = None,
    levels: Annotated[str | None, typer.Option("--levels", metavar="0-3,7", help="Train these levels only.")] = None,
    epochs: Epochs = None,
    steps: Steps = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    device: Device = None,
    micro_batch: MicroBatch = None,
    float32: Annotated[
        bool, typer.Option("--float32", help="Convolve in float32 also where bfloat16 is fast.")
    ] = False,
    checkpoint_minutes: Annotated[
        float, typer.Option("--checkpoint-minutes", min=0, help="Minutes between checkpoints.")
    ] = 5.0,
    no_validation: Annotated[
        bool, typer.Option("--no-validation", help="Hold no images out, and keep the last averaged weights.")
    ] = False,
    log_with: Annotated[
        str | None,
        typer.Option("--log-with", metavar="tensorboard|wandb", help="Also log to this tracker."),
    ] = None,
    validation_images: Annotated[
        int | None,
        typer.Option(
            "--validation-images",
            min=1,
            help="Validate on this many images. Default: so few that most of the time is left for training.",
        ),
    ] = None,
    no_samples: Annotated[bool, typer.Option("--no-samples", help="Draw no samples when validating.")] = False,
) -> None:
    """Train a model on a folder of images; the same command goes on with a training that was ended."""
    config = _parameters(params)
    outcome = load_commands("train").train(
        config,
        out,
        data=data,
        levels=None if levels is None else parse_levels(levels, config.L),
        epochs=epochs,
        steps=steps,
        minutes=minutes,
        seed=seed,
        device=device,
        micro_batch=micro_batch,
        bfloat16=False if float32 else None,
        checkpoint_minutes=checkpoint_minutes,
        validate=not no_validation,
        log_with=log_with,
        validation_images=validation_images,
        samples=not no_samples,
    )
    if outcome.interrupted or outcome.stopped:
        raise typer.Exit(130 if outcome.interrupted else 1)


@app.command()
def curve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Picture to write. Default: RUN/curve.png.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw the training curve of a run: bits/dim over steps."""
    load_commands("curve").curve(run, out, overwrite)


@data_app.command()
def check(
    params: Params,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PNG", help="Write a contact sheet of the first images.")
    ] = None,
    first: Annotated[
        int | None, typer.Option("--first", min=1, help="Read only this many images of each split. Default: all.")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Count the images of each split, time reading them, hash them, and find images that are in two splits."""
    status = load_commands("data").check(
        _parameters(params), data, picture=out, first=first, overwrite=overwrite, as_json=json
    )
    raise typer.Exit(status)


@app.command()
def plan(
    params: Params,
    devices: Annotated[int, typer.Option("--devices", min=1, help="How many devices to share the levels among.")] = 1,
    memory: Annotated[
        float | None, typer.Option("--memory", min=0, help="Of each device, in GiB. Default: that of the device here.")
    ] = None,
    data: Data = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="RUN", help="The run directory to put into the commands.")
    ] = Path("RUN"),
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure what each level costs here, and print the commands that share the training among devices."""
    load_commands("plan").plan(params, devices, data=data, run=out, memory=memory, device=device, as_json=json)


@app.command()
def evaluate(
    model: Model,
    data: Data = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="train|validation|test|all",
            help="Default: test; or all, if the folder has no splits and the model was not trained on it.",
        ),
    ] = None,
    batch_statistics: Annotated[
        int | None,
        typer.Option("--batch-statistics", min=1, help="Normalise imports by batches of so many images, as theirs."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 16,
    tile: Tile = None,
    params: OfModel = None,
    likelihood: Likelihood = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Bits/dim of a model on a split of a folder, with its standard error and a table of its levels."""
    status = load_commands("score").evaluate_split(
        _model(model, params, likelihood, device), str(model), data, split=split, batch_size=batch_size, tile=tile,
        batch_statistics=batch_statistics, as_json=json,
    )  # fmt: skip
    raise typer.Exit(status)


@app.command()
def score(
    model: Model,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Images, or folders of them.")],
    tile: Tile = None,
    params: OfModel = None,
    likelihood: Likelihood = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Bits/dim of single images."""
    loaded = _model(model, params, likelihood, device)
    raise typer.Exit(load_commands("score").score_files(loaded, str(model), paths, tile=tile, as_json=json))


@app.command()
def sample(
    model: Model,
    out: Out,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 16,
    seed: Seed = 0,
    height: Annotated[int | None, typer.Option("--height", min=1)] = None,
    width: Annotated[int | None, typer.Option("--width", min=1)] = None,
    first: Annotated[
        int, typer.Option("--first", metavar="N", min=0, help="Start at sample N, to add samples to a folder.")
    ] = 0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="How many at once on a GPU. A CPU draws one at a time.")
    ] = 16,
    no_grid: Annotated[
        bool, typer.Option("--no-grid", help="Do not write grid.png. (With --first it is never written.)")
    ] = False,
    params: OfModel = None,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw images from a model: 0000.png, …, and grid.png of the first 64.

    Sample N depends only on the seed and on N, so --first 16 continues a set of 16 as a larger set would go on.
    """
    loaded = _model(model, params, None, device)
    load_commands("sample").sample(
        loaded, n, out, seed=seed, height=height, width=width, first=first, batch_size=batch_size, overwrite=overwrite,
        grid=not no_grid,
    )  # fmt: skip


@app.command()
def complete(
    model: Model,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The coarse image, kept to the integer.")],
    out: Out,
    scale: Annotated[int, typer.Option("--scale", metavar="2|4|8", help="How many times the height and width.")] = 4,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 4,
    seed: Seed = 0,
    params: OfModel = None,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw the missing fine levels above a given coarse image."""
    loaded = _model(model, params, None, device)
    load_commands("sample").complete(loaded, image, out, scale=scale, n=n, seed=seed, overwrite=overwrite)


@app.command("import-checkpoint")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE.pt", help="A checkpoint of the authors' release.")],
    params: Annotated[str, typer.Option("--params", metavar="PARAMS", help="The parameter file it was trained with.")],
    out: Out,
    averaged: Annotated[bool, typer.Option("--averaged", help="Take the averaged weights.")] = False,
    calibrate: Annotated[
        str | None,
        typer.Option("--calibrate", metavar="DIR", help="Compute running statistics again on these images."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn a checkpoint of the authors' release into a run directory."""
    status = load_commands("import_checkpoint").import_checkpoint(
        file, _parameters(params), out, averaged=averaged, calibration=calibrate, overwrite=overwrite
    )
    raise typer.Exit(status)


def parse_levels(text: str, n_stages: int) -> list[int]:
    """`0-3,7` as [0, 1, 2, 3, 7]. Raises ParameterError for what is not of that form or not in [0, n_stages)."""
    levels: set[int] = set()
    for part in text.split(","):
        form = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip(), re.ASCII)
        if form is None:
            raise ParameterError(f"expected --levels such as 0-3,7, got {text[:80]}")
        first, last = int(form[1]), int(form[2] or form[1])
        if not first <= last < n_stages:
            raise ParameterError(
                f"expected --levels from 0 to {n_stages - 1} (L = {n_stages}), in each range the first not above the "
                f"last, got {text}"
            )
        levels |= set(range(first, last + 1))
    return sorted(levels)


def main() -> None:
    """The entry point of `pixelpyramids`."""
    sys.exit(run(app))


def _model(path: Path, params: str | None, likelihood: str | None, device: str | None) -> Any:
    return load_commands("opening").open_model(path, params, likelihood, device)


def _parameters(params: str) -> Any:
    from pixelpyramids.model.parameters import load_parameters

    return load_parameters(params)
