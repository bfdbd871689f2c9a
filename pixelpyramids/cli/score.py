"""`score`: print bits/dim of single images."""

import math
from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import stderr, stdout
from pixelpyramids.cli.likelihoods import LIKELIHOODS, OF_BUNDLED, OF_CHECKPOINT, warn_above
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels

if TYPE_CHECKING:
    from pixelpyramids.loading import Model
    from pixelpyramids.pyramid.rate import Rate


def score(
    model: model_options.ModelName,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Images, or folders of images.")],
    tile: model_options.TileSide = None,
    params: model_options.ModelParameters = None,
    likelihood: model_options.LikelihoodOption = None,
    device: model_options.DeviceOption = None,
    json: options.Json = False,
) -> int:
    """Score single images: bits/dim of each.

    Status 1 if an image could not be read.
    """
    from pixelpyramids.cli.model_opening import open_model, read_for
    from pixelpyramids.data.splits import find_images
    from pixelpyramids.loading import is_bundled

    bundled = is_bundled(model)
    loaded = open_model(model, params, likelihood, device, tile)
    config = loaded.config
    rate_image = _rate_whole(loaded) if bundled else _rate_in_tiles(loaded, tile)
    files: list[Path] = []
    scored: list[dict[str, Any]] = []
    failed: list[str] = []
    for path in paths:
        try:
            files += find_images(path) if path.is_dir() else [path]
        except DataError as error:
            failed.append(str(error))
            stderr.print(str(error))
    for file in files:
        try:
            image, _, conversions = read_for(config, file)
        except DataError as error:
            failed.append(str(error))
            stderr.print(str(error))
            continue
        rate = rate_image(image)
        bits, nats = float(rate.bits_per_dim[0]), float(rate.total_nats[0])
        if not math.isfinite(nats):
            failed.append(f"{file}: its code length is not finite, because the model's weights have diverged")
            stderr.print(failed[-1])
            continue
        scored.append({"file": str(file), "bits_per_dim": bits, "nats": nats, "conversions": conversions})
        if not json:
            converted = f"  (converted: {', '.join(conversions)})" if conversions else ""
            stdout.print(f"{bits:.4f} bits/dim  {file}{converted}")
    explanation = OF_BUNDLED if bundled else OF_CHECKPOINT
    warning = warn_above([image["bits_per_dim"] for image in scored], config.n_bits, explanation)
    trained = [] if bundled else _find_trained(model, [Path(image["file"]) for image in scored])
    if trained:
        stderr.print(f"{len(trained)} of the images were trained on, such as {trained[0]}")
    if json:
        result = {"images": scored, "failed": failed, "likelihood": config.likelihood, "warning": warning}
        print(dumps(result | {"trained_on": list(map(str, trained))}))
    elif scored and config.likelihood != "exact":
        stdout.print(f"these figures are of {LIKELIHOODS[config.likelihood]}")
    return 1 if failed else 0


def _rate_whole(model: "Model") -> "Callable[[Pixels], Rate]":
    return lambda image: model.rate(image[None])


def _rate_in_tiles(model: "Model", tile: int | None) -> "Callable[[Pixels], Rate]":
    import torch

    from pixelpyramids.model.models import AnyModel
    from pixelpyramids.training.evaluation import default_tile, rate_in_tiles

    assert isinstance(model, AnyModel)
    side = default_tile(model) if tile is None else tile
    return lambda image: rate_in_tiles(model, torch.from_numpy(image.astype("int64"))[None], side)


def _find_trained(run: str, files: list[Path]) -> list[Path]:
    from pixelpyramids.cli.contamination import find_trained

    return find_trained(Path(run), files)
