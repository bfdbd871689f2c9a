"""`sample`: draw images from a model."""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pixelpyramids.arguments import plain_array
from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import progress_bar, stdout
from pixelpyramids.cli.report.pictures import save_grid, save_png
from pixelpyramids.errors import DataError, ParameterError

IN_GRID = 64
SIDE_HELP = "Default: that of the training images; compact has no default."


def sample(
    model: model_options.ModelName,
    out: model_options.Out,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of samples.")] = 16,
    seed: model_options.Seed = 0,
    height: Annotated[int | None, typer.Option(min=1, help=SIDE_HELP)] = None,
    width: Annotated[int | None, typer.Option(min=1, help=SIDE_HELP)] = None,
    first: Annotated[
        int, typer.Option(min=0, help="Number of the first sample; use it to add samples to a folder.")
    ] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples to draw at once on a GPU; a CPU draws one.")] = 16,
    no_grid: Annotated[bool, typer.Option("--no-grid", help="Do not write grid.png.")] = False,
    params: model_options.ModelParameters = None,
    device: model_options.DeviceOption = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Draw images from a model: 0000.png, 0001.png, … and grid.png with the first 64.

    A sample depends only on the seed and its number: `-n 16`, then `-n 16 --first 16` give the same images as `-n 32`.
    With --first, no grid is written.
    """
    from pixelpyramids.cli.model_opening import open_model

    numbers = range(first, first + n)
    for target in [out] if first == 0 else (picture_path(out, number) for number in numbers):
        refuse_existing(target, overwrite)
    if first == 0:
        refuse_other_pictures(out, n)
    loaded = open_model(model, params, None, device)
    size = _choose_size(loaded.config.image_size, height, width)
    began = time.monotonic()
    drawn = []
    with progress_bar("samples") as report:
        for done in range(0, n, batch_size):
            of_batch = numbers[done : done + batch_size]
            batch = plain_array(loaded.sample(len(of_batch), *size, seed=seed, first=of_batch[0]))
            for number, image in zip(of_batch, batch, strict=True):
                save_png(picture_path(out, number), image, loaded.config.n_bits)
            drawn += list(batch[: max(IN_GRID - done, 0)])
            report(done + len(batch), n)
    seconds = (time.monotonic() - began) / n
    if first == 0:
        remove_numbered(out, n)
        if no_grid:
            (out / "grid.png").unlink(missing_ok=True)  # from an earlier set
        else:
            save_grid(out / "grid.png", np.stack(drawn), loaded.config.n_bits)
    steps = loaded.config.count_steps(*size)
    at_once = "one at a time" if str(loaded.device) == "cpu" else f"batches of {min(n, batch_size)}"
    stdout.print(
        f"{n} sample{'s'[: n > 1]} of {size[0]} x {size[1]} (height x width), number{'s'[: n > 1]} {first}"
        f"{f' to {first + n - 1}' if n > 1 else ''}, in "
        f"{out}: {seconds:.3f} s an image ({at_once}), {steps} sequential steps"
    )


def _choose_size(default: tuple[int, int] | None, height: int | None, width: int | None) -> tuple[int, int]:
    if default is None:
        if height is None or width is None:
            raise ParameterError("this model draws images of any size and has no default; pass --height and --width")
        return height, width
    return default[0] if height is None else height, default[1] if width is None else width


def picture_path(folder: Path, number: int) -> Path:
    """The file of a numbered picture."""
    return folder / f"{number:04d}.png"


def refuse_other_pictures(folder: Path, count: int) -> None:
    """Raise DataError if `remove_numbered` would remove pictures from a folder that has no grid of an earlier set."""
    if (other := picture_path(folder, count)).exists() and not (folder / "grid.png").exists():
        raise DataError(
            f"{other}: is not among the {count} pictures to write, and may be no picture of an earlier set; choose "
            "another folder, or move it elsewhere"
        )


def remove_numbered(folder: Path, first: int) -> None:
    """Remove the pictures of an earlier, larger set: those numbered from `first` on, without a gap."""
    while (picture := picture_path(folder, first)).is_file():
        picture.unlink()
        first += 1
