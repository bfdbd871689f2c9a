"""`import-checkpoint`: the authors' `.pt` as a run directory."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli.console import counted, out
from pixelpyramids.cli.opening import open_images
from pixelpyramids.data.images import Images
from pixelpyramids.errors import CheckpointError
from pixelpyramids.model.parameters import Parameters
from pixelpyramids.model.release_checkpoint import calibrate, read_checkpoint
from pixelpyramids.training.evaluation import same_size_batches
from pixelpyramids.training.run_directory import is_replaceable, save


def import_checkpoint(
    path: Path, config: Parameters, run: Path, *, averaged: bool, calibration: str | None, overwrite: bool
) -> int:
    """Convert the file, say what of it is not used, and write the run directory.

    Returns the exit status: 1 where images to calibrate on could not be read.
    """
    refuse_existing(run, overwrite)
    if not is_replaceable(run):
        raise CheckpointError(
            f"{run}: holds something that is no run directory and is left alone; choose another --out"
        )
    imported = read_checkpoint(path, config, averaged)
    model = imported.model
    skipped: list[int] = []
    status = 0
    if calibration is not None:
        images = open_images(model.config, calibration, "train", hold_out=False)
        model = calibrate(model, _batches(images, config.batch_size, skipped))
        status = 1 if skipped or images.skipped else 0
    save(model, run)
    out.print(
        f"{path}: {config.L} stages imported into {run}"
        f"{', averaged weights' if averaged else ''}{', running statistics computed again' if calibration else ''}"
    )
    if imported.unused:
        groups = sorted({".".join(key.split(".")[:3]) for key in imported.unused})
        out.print(f"{len(imported.unused)} weights of the file are never used: {', '.join(groups)}", soft_wrap=True)
    return status


def _batches(images: Images, batch_size: int, skipped: list[int]) -> Iterator[Tensor]:
    with counted("calibration images") as report:
        for indices, batch, _ in same_size_batches(images, batch_size, skipped):
            report(indices[-1] + 1, len(images))
            yield batch
