"""`complete`: draw larger images that contain a given small one."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from pixelpyramids.arguments import plain_array
from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import print_json, stdout
from pixelpyramids.cli.report.pictures import save_grid
from pixelpyramids.cli.sample import IN_GRID, OverwriteSet, picture_path, refuse_other_pictures, save_numbered
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels
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
    json: options.Json = False,
) -> None:
    """Enlarge a small image: draw the missing detail.

    Writes 0000.png, 0001.png, … and grid.png, which shows the small image beside the first 63 results. In each result,
    every second, fourth or eighth pixel of the rows and columns is the small image, exactly. The bits/dim of each say
    how likely it is; the small image alone has bits/dim of its own.
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
    n_bits = loaded.config.n_bits
    bits: list[float] = []

    def draw() -> Iterator[Pixels]:
        for number in range(n):
            drawn = loaded.complete(coarse[None], height, width, seed=seed, first=number)
            bits.append(float(loaded.rate(drawn).bits_per_dim[0]))
            yield plain_array(drawn)[0]

    def save_first(path: Path, pictures: Pixels) -> None:
        enlarged = plain_array(coarse).repeat(scale, axis=1).repeat(scale, axis=2)
        pictures = np.concatenate([enlarged[None], pictures[: IN_GRID - 1]])
        captions = [f"{number:04d}  {each:.3f} bits/dim" for number, each in enumerate(bits[: IN_GRID - 1])]
        save_grid(path, pictures, n_bits, captions=["the small image", *captions])

    save_numbered(out, draw(), range(n), n_bits, "completions", save_first)
    own = float(loaded.rate(coarse[None]).bits_per_dim[0])
    if json:
        files = [{"file": str(picture_path(out, number)), "bits_per_dim": each} for number, each in enumerate(bits)]
        print_json({"image": str(image), "bits_per_dim": own, "conversions": conversions, "completions": files})
        return
    for number, each in enumerate(bits):
        stdout.print(f"{each:.4f} bits/dim  {picture_path(out, number)}")
    converted = f" (converted: {', '.join(conversions)})" if conversions else ""
    size = f"{height} x {width} (height x width)"
    stdout.inform(f"{count_of(n, 'completion')} of {image}{converted}, {own:.4f} bits/dim, at {size} in {out}")


def _check_levels(config: "ModelConfig", scale: int) -> None:
    """Raise DataError if a model of the paper has too few levels to multiply the sides by `scale`."""
    from pixelpyramids.model.parameters import Parameters

    levels = 2 * int(math.log2(scale))
    if isinstance(config, Parameters) and levels > config.L - 1:
        raise DataError(
            f"--scale {scale} needs {levels} levels, but this model has {config.L - 1} (L = {config.L}); choose a "
            "smaller scale, or another model"
        )
