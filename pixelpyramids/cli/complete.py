"""`complete`: draw larger images that contain a given small one."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options
from pixelpyramids.cli.console import stdout
from pixelpyramids.cli.sample import OverwriteSet, refuse_other_pictures, save_numbered
from pixelpyramids.errors import DataError
from pixelpyramids.terminal import count_of

if TYPE_CHECKING:
    from pixelpyramids.loading import ModelConfig

SCALES = (2, 4, 8)


def complete(
    model: model_options.ModelName,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The small image.")],
    out: model_options.Out,
    scale: Annotated[int, typer.Option(metavar="2|4|8", help="Multiply the height and width by this.")] = 4,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of results.")] = 4,
    seed: model_options.Seed = 0,
    params: model_options.ModelParameters = None,
    device: model_options.Device = None,
    overwrite: OverwriteSet = False,
) -> None:
    """Enlarge a small image: draw the missing detail.

    In each result, every second, fourth or eighth pixel of the rows and columns is the given image, exactly.
    """
    from pixelpyramids.cli.model_opening import open_model, read_for
    from pixelpyramids.loading import is_bundled

    if scale not in SCALES:
        raise DataError(f"expected --scale {' or '.join(map(str, SCALES))}, got {scale}")
    refuse_existing(out, overwrite)
    refuse_other_pictures(out, n)
    loaded = open_model(model, params, None, device)
    if not is_bundled(model):
        _check_levels(loaded.config, scale)
    coarse, _, conversions = read_for(loaded.config, image)
    height, width = scale * coarse.shape[1], scale * coarse.shape[2]
    drawn = (loaded.complete(coarse[None], height, width, seed=seed, first=i)[0] for i in range(n))
    save_numbered(out, drawn, range(n), loaded.config.n_bits, "completions")
    converted = f" (converted: {', '.join(conversions)})" if conversions else ""
    size = f"{height} x {width} (height x width)"
    stdout.print(f"{count_of(n, 'completion')} of {image}{converted} at {size} in {out}")


def _check_levels(config: "ModelConfig", scale: int) -> None:
    """Raise DataError if a model of the paper has too few levels to multiply the sides by `scale`."""
    from pixelpyramids.model.parameters import Parameters

    levels = 2 * int(math.log2(scale))
    if isinstance(config, Parameters) and levels > config.L - 1:
        raise DataError(
            f"--scale {scale} needs {levels} levels, but this model has {config.L - 1} (L = {config.L}); choose a "
            "smaller scale, or another model"
        )
