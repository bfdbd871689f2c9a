"""`import-checkpoint`: convert the authors' `.pt` to a run directory."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import print_json, progress_bar, stdout
from pixelpyramids.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from pixelpyramids.data.images import Images
    from pixelpyramids.model.parameters import Parameters
else:
    Parameters = Any  # only some commands need pydantic


def _load_parameters(name: str) -> Parameters:
    from pixelpyramids.model.parameters import load_parameters, require_paper

    return require_paper(load_parameters(name), name)


def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE.pt", help="A checkpoint of the authors' release.")],
    params: Annotated[
        Parameters,
        typer.Option(metavar="PARAMS", parser=_load_parameters, help="Its parameter file."),
    ],
    out: model_options.Out,
    averaged: Annotated[bool, typer.Option("--averaged", help="Take the averaged weights.")] = False,
    calibrate: Annotated[
        str | None, typer.Option(metavar="DIR", help="Recompute the running statistics on these images.")
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> int:
    """Convert a checkpoint of the authors' release to a run directory.

    Status 1 if an image to calibrate on could not be read.
    """
    from pixelpyramids.cli.data_opening import open_images
    from pixelpyramids.model.release_checkpoint import calibrate as compute_statistics
    from pixelpyramids.model.release_checkpoint import read_checkpoint
    from pixelpyramids.training.run_directory import is_replaceable, save

    refuse_existing(out, overwrite)
    if not is_replaceable(out):
        raise CheckpointError(
            f"{out}: contains files other than a run directory, so it is left alone; choose another --out"
        )
    converted = read_checkpoint(file, params, averaged)
    model = converted.model
    skipped: list[int] = []
    status = 0
    if calibrate is not None:
        images = open_images(model.config, calibrate, "train", hold_out=False)
        model = compute_statistics(model, _batches(images, params.batch_size, skipped))
        status = 1 if skipped or images.skipped else 0
    save(model, out)
    if json:
        facts = {"stages": params.L, "averaged": averaged, "calibrated": calibrate is not None}
        print_json({"file": str(file), "run": str(out), **facts, "unused": sorted(converted.unused)})
        return status
    stdout.inform(
        f"{file}: {params.L} stages converted to {out}"
        f"{', averaged weights' if averaged else ''}{', running statistics recomputed' if calibrate else ''}"
    )
    if converted.unused:
        groups = sorted({".".join(key.split(".")[:3]) for key in converted.unused})
        stdout.inform(f"{len(converted.unused)} weights of the file are not used: {', '.join(groups)}")
    return status


def _batches(images: "Images", batch_size: int, skipped: list[int]) -> "Iterator[Tensor]":
    """Yield batches of images of equal size; add the indices of images that cannot be read to `skipped`."""
    from pixelpyramids.training.evaluation import same_size_batches

    with progress_bar("calibration images") as report:
        for indices, batch, _ in same_size_batches(images, batch_size, skipped):
            report(indices[-1] + 1, len(images))
            yield batch
