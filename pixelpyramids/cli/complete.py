"""`complete`: draw larger images that contain a given small one."""

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import progress_bar, stdout
from pixelpyramids.cli.report.pictures import save_grid, save_png
from pixelpyramids.cli.sample import IN_GRID, picture_path, refuse_other_pictures, remove_numbered
from pixelpyramids.errors import DataError

SCALES = (2, 4, 8)


def complete(
    model: model_options.ModelName,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The small image.")],
    out: model_options.Out,
    scale: Annotated[int, typer.Option(metavar="2|4|8", help="Multiply the height and width by this.")] = 4,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of results.")] = 4,
    seed: model_options.Seed = 0,
    params: model_options.ModelParameters = None,
    device: model_options.DeviceOption = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Enlarge a small image: draw the missing detail.

    Each result contains the given image exactly: every second, fourth or eighth pixel of its rows and columns.
    """
    from pixelpyramids.cli.model_opening import open_model, read_for
    from pixelpyramids.model.parameters import Parameters

    if scale not in SCALES:
        raise DataError(f"expected --scale {' or '.join(map(str, SCALES))}, got {scale}")
    refuse_existing(out, overwrite)
    refuse_other_pictures(out, n)
    loaded = open_model(model, params, None, device)
    levels = 2 * int(math.log2(scale))
    if isinstance(loaded.config, Parameters) and levels > loaded.config.L - 1:
        raise DataError(
            f"--scale {scale} needs {levels} levels, but this model has {loaded.config.L - 1} (L = {loaded.config.L}); "
            "choose a smaller scale, or another model"
        )
    coarse, _, conversions = read_for(loaded.config, image)
    height, width = scale * coarse.shape[1], scale * coarse.shape[2]
    drawn = []
    with progress_bar("completions") as report:
        for i in range(n):
            picture = loaded.complete(coarse[None], height, width, seed=seed, first=i)[0]
            save_png(picture_path(out, i), picture, loaded.config.n_bits)
            drawn += [picture] if i < IN_GRID else []
            report(i + 1, n)
    remove_numbered(out, n)
    save_grid(out / "grid.png", np.stack(drawn), loaded.config.n_bits)
    converted = f" (converted: {', '.join(conversions)})" if conversions else ""
    stdout.print(f"{n} completion{'s'[: n > 1]} of {image}{converted} at {height} x {width} (height x width) in {out}")
