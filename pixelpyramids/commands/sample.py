"""`sample` and `complete`: pictures drawn from a model."""

import math
import time
from pathlib import Path

import numpy as np
import torch

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.commands.console import counted, out
from pixelpyramids.data.reading import read_decoded
from pixelpyramids.errors import DataError
from pixelpyramids.model import PixelPyramid
from pixelpyramids.report.pictures import save_grid, save_png

SCALES = (2, 4, 8)
IN_GRID = 64


def sample(
    model: PixelPyramid,
    n: int,
    folder: Path,
    *,
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
    batch_size: int = 16,
    first: int = 0,
    overwrite: bool = False,
    grid: bool = True,
) -> None:
    """Write n samples as 0000.png … and grid.png (of the first 64); print the time of each and its sequential steps.

    With `first` above 0 the samples of these numbers are added to a folder that may hold others, without a grid.
    """
    if n < 1 or batch_size < 1 or first < 0:
        raise DataError(
            f"expected at least 1 sample in batches of at least 1, from number 0 on, got {n} in batches of "
            f"{batch_size} from number {first} on"
        )
    numbers = range(first, first + n)
    for target in [folder] if first == 0 else (_picture(folder, number) for number in numbers):
        refuse_existing(target, overwrite)
    default = model.config.image_size
    size = default[0] if height is None else height, default[1] if width is None else width
    began = time.monotonic()
    drawn = []
    with counted("samples") as report:
        for done in range(0, n, batch_size):
            of_batch = numbers[done : done + batch_size]
            batch = model.sample(len(of_batch), *size, seed=seed, first=of_batch[0]).cpu().numpy()
            for number, image in zip(of_batch, batch, strict=True):
                save_png(_picture(folder, number), image, model.config.n_bits)
            drawn += list(batch[: max(IN_GRID - done, 0)])
            report(done + len(batch), n)
    seconds = (time.monotonic() - began) / n
    if first == 0:
        _remove_numbered(folder, n)
        if grid:
            save_grid(folder / "grid.png", np.stack(drawn), model.config.n_bits)
        else:
            (folder / "grid.png").unlink(missing_ok=True)  # of an earlier set
    steps = sum(len(stage.slices) for stage in model.config.walk(*size))
    at_once = "one at a time" if model.device.type == "cpu" else f"batches of {min(n, batch_size)}"
    out.print(
        f"{n} sample{'s'[: n > 1]} of {size[0]} x {size[1]} (height x width), number{'s'[: n > 1]} {first}"
        f"{f' to {first + n - 1}' if n > 1 else ''}, in "
        f"{folder}: {seconds:.3f} s an image ({at_once}), {steps} sequential steps",
        soft_wrap=True,
    )


def _picture(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.png"


def _remove_numbered(folder: Path, first: int) -> None:
    """Remove the pictures of an earlier, larger set, numbered without a gap from `first` on: a folder holds one set."""
    while (picture := _picture(folder, first)).is_file():
        picture.unlink()
        first += 1


def complete(
    model: PixelPyramid, image: Path, folder: Path, *, scale: int, n: int, seed: int = 0, overwrite: bool = False
) -> None:
    """Write n images of `scale` times the height and width whose pyramid leads to the given one exactly."""
    if scale not in SCALES:
        raise DataError(f"expected --scale {' or '.join(map(str, SCALES))}, got {scale}")
    if n < 1:
        raise DataError(f"expected at least 1 completion, got {n}")
    refuse_existing(folder, overwrite)
    if 2 * int(math.log2(scale)) > model.config.L - 1:
        raise DataError(
            f"--scale {scale} needs {2 * int(math.log2(scale))} levels, this model has {model.config.L - 1} "
            f"(L = {model.config.L}); choose a smaller scale, or another model"
        )
    coarse, _, conversions = read_decoded(image, model.config.image_channels, model.config.n_bits)
    height, width = scale * coarse.shape[1], scale * coarse.shape[2]
    given = torch.from_numpy(coarse.astype(np.int64))[None]
    drawn = []
    with counted("completions") as report:
        for i in range(n):
            picture = model.complete(given, height, width, seed=seed, first=i)[0].cpu().numpy()
            save_png(_picture(folder, i), picture, model.config.n_bits)
            drawn += [picture] if i < IN_GRID else []
            report(i + 1, n)
    _remove_numbered(folder, n)
    save_grid(folder / "grid.png", np.stack(drawn), model.config.n_bits)
    converted = f" (converted: {', '.join(conversions)})" if conversions else ""
    out.print(
        f"{n} completion{'s'[: n > 1]} of {image}{converted} at {height} x {width} (height x width) in {folder}",
        soft_wrap=True,
    )
