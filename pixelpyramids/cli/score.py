"""`score`: print bits/dim of single images."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import print_json, stderr, stdout
from pixelpyramids.cli.likelihoods import LIKELIHOODS, OF_BUNDLED, OF_CHECKPOINT, warn_above
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels

if TYPE_CHECKING:
    from pixelpyramids.loading import Model
    from pixelpyramids.pyramid.rate import Rate


def score(
    model: model_options.ModelName,
    paths: options.ImagePaths,
    tile: model_options.TileSide = None,
    params: model_options.ModelParameters = None,
    likelihood: model_options.Likelihood = None,
    device: model_options.Device = None,
    json: options.Json = False,
) -> int:
    """Score single images: bits/dim of each, and their mean.

    Status 1 if an image could not be read.
    """
    from pixelpyramids.cli.model_opening import open_model, read_for
    from pixelpyramids.data.splits import find_images
    from pixelpyramids.loading import is_bundled
    from pixelpyramids.pyramid.rate import bits_per_dim

    bundled = is_bundled(model)
    loaded = open_model(model, params, likelihood, device, tile)
    config = loaded.config
    rate_image = (lambda image: loaded.rate(image[None])) if bundled else _rate_in_tiles(loaded, tile)
    files: list[Path] = []
    scored: list[dict[str, Any]] = []
    failed: list[str] = []
    all_nats, all_dimensions = 0.0, 0
    for path in paths:
        try:
            files += find_images(path) if path.is_dir() else [path]
        except DataError as error:
            failed.append(str(error))
            stderr.print(failed[-1])
    for file in files:
        try:
            image, _, conversions = read_for(config, file)
            rate = rate_image(image)
            bits, nats = float(rate.bits_per_dim[0]), float(rate.total_nats[0])
            if not math.isfinite(nats):
                raise DataError(f"{file}: its code length is not finite, because the model's weights have diverged")
        except DataError as error:
            failed.append(str(error))
            stderr.print(failed[-1])
            continue
        all_nats, all_dimensions = all_nats + nats, all_dimensions + image.size
        scored.append({"file": str(file), "bits_per_dim": bits, "nats": nats, "conversions": conversions})
        if not json:
            converted = f"  (converted: {', '.join(conversions)})" if conversions else ""
            stdout.print(f"{bits:.4f} bits/dim  {file}{converted}")
    warning = warn_above(
        [image["bits_per_dim"] for image in scored], config.n_bits, OF_BUNDLED if bundled else OF_CHECKPOINT
    )
    trained: list[Path] = []
    if not bundled:
        from pixelpyramids.cli.contamination import find_trained

        trained = find_trained(Path(model), [Path(image["file"]) for image in scored])
    if trained:
        stderr.print(f"the model was trained on at least {len(trained)} of these images, for example {trained[0]}")
    if json:
        result = {"images": scored, "failed": failed, "likelihood": config.likelihood, "warning": warning}
        print_json(result | {"trained_on": list(map(str, trained))})
    else:
        if scored and config.likelihood != "exact":
            stdout.print(f"these figures are of {LIKELIHOODS[config.likelihood]}")
        if len(scored) > 1:
            mean = float(bits_per_dim(all_nats, all_dimensions))
            stdout.print(f"{mean:.4f} bits/dim  mean of {len(scored)} images, weighted by their sizes")
    return 1 if failed else 0


def _rate_in_tiles(model: "Model", tile: int | None) -> "Callable[[Pixels], Rate]":
    import torch

    from pixelpyramids.model.models import AnyModel
    from pixelpyramids.training.evaluation import default_tile, rate_in_tiles

    assert isinstance(model, AnyModel)
    side = default_tile(model) if tile is None else tile
    return lambda image: rate_in_tiles(model, torch.from_numpy(image.astype("int64"))[None], side)
