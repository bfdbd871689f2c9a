"""`sample`: draw images from a model."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pixelpyramids.arguments import plain_array
from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import print_json, progress_bar, stdout
from pixelpyramids.cli.report.pictures import save_grid, save_png
from pixelpyramids.errors import DataError, ParameterError
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.terminal import count_of

IN_GRID = 64
OverwriteSet = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace the numbered pictures of an earlier set in the folder, all of them."),
]
SIDE_HELP = "Default: that of the training crops; compact has no default."


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
    device: model_options.Device = None,
    overwrite: OverwriteSet = False,
    json: options.Json = False,
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
    batches = (numbers[done : done + batch_size] for done in range(0, n, batch_size))
    drawn = (loaded.sample(len(batch), *size, seed=seed, first=batch[0]) for batch in batches)
    images = (image for batch in drawn for image in plain_array(batch))
    n_bits = loaded.config.n_bits
    save_numbered(out, images, numbers, n_bits, "samples", None if no_grid else partial(save_grid, n_bits=n_bits))
    seconds = (time.monotonic() - began) / n
    steps = loaded.config.count_steps(*size)
    if json:
        files = [str(picture_path(out, number)) for number in numbers]
        shape = {"height": size[0], "width": size[1]}
        print_json({"files": files, **shape, "seconds_per_image": seconds, "sequential_steps": steps})
        return
    at_once = "one at a time" if str(loaded.device) == "cpu" else f"batches of {min(n, batch_size)}"
    stdout.inform(
        f"{count_of(n, 'sample')} of {size[0]} x {size[1]} (height x width), number{'s'[: n > 1]} {first}"
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
    """Raise DataError if `save_numbered` would remove pictures from a folder that has no grid of an earlier set."""
    if (other := picture_path(folder, count)).exists() and not (folder / "grid.png").exists():
        raise DataError(
            f"{other}: would be removed as part of an earlier set, but there is no grid.png of such a set, so it may "
            "be yours; choose another folder, or move the file elsewhere"
        )


def save_numbered(
    folder: Path,
    pictures: Iterable[Pixels],
    numbers: range,
    n_bits: int,
    what: str,
    save_first: Callable[[Path, Pixels], None] | None,
) -> None:
    """Write pictures (C, H, W) as they are drawn. A set from number 0 on is a new one.

    Of an earlier, larger set, the pictures with the following numbers and the grid are removed. `save_first` writes the
    first 64 of a new set as grid.png, unless it is None.
    """
    first: list[Pixels] = []
    with progress_bar(what) as report:
        for done, (number, picture) in enumerate(zip(numbers, pictures, strict=True), 1):
            save_png(picture_path(folder, number), picture, n_bits)
            first += [picture] if done <= IN_GRID else []
            report(done, len(numbers))
    if numbers.start:
        return
    following = numbers.stop
    while (old := picture_path(folder, following)).is_file():
        old.unlink()
        following += 1
    (folder / "grid.png").unlink(missing_ok=True)
    if save_first is not None:
        save_first(folder / "grid.png", np.stack(first))
