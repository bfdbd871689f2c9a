"""`score`: print bits/dim of single images."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import print_json, stderr, stdout
from pixelpyramids.cli.likelihoods import LIKELIHOODS, OF_BUNDLED, OF_CHECKPOINT, warn_above
from pixelpyramids.cli.report.bit_maps import save_bits, save_map
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels

if TYPE_CHECKING:
    from pixelpyramids.loading import Model
    from pixelpyramids.pyramid.bit_map import BitMap
    from pixelpyramids.pyramid.rate import Rate

RateImage = Callable[[Pixels], "Rate"]
MapImage = Callable[[Pixels], "BitMap"]


def score(
    model: model_options.ModelName,
    paths: options.ImagePaths,
    maps: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="DIR",
            help="Also write where the bits of each image go: a picture, NAME.map.png, and an array, NAME.bits.npz.",
        ),
    ] = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="Also say whether each image was a JPEG, or was enlarged (model: compact)."),
    ] = False,
    tile: model_options.TileSide = None,
    params: model_options.ModelParameters = None,
    likelihood: model_options.Likelihood = None,
    device: model_options.Device = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> int:
    """Score single images: bits/dim of each, and their mean.

    With --map, `numpy.load` of an array gives "bits" of each pixel, whose sum is the image's code length, and "levels",
    the level in which each pixel is coded. --history looks for traces of JPEG blocks, JPEG colours and enlargement in
    the centre of each image. Status 1 if an image could not be read.
    """
    from pixelpyramids.cli.model_opening import open_model, read_for
    from pixelpyramids.data.splits import find_images
    from pixelpyramids.loading import is_bundled
    from pixelpyramids.pyramid.rate import bits_per_dim

    bundled = is_bundled(model)
    if history and not bundled:
        raise DataError(f"--history needs the model compact, whose bits it knows, got {model}")
    loaded = open_model(model, params, likelihood, device, tile)
    config = loaded.config
    rate_image, map_image = _whole(loaded) if bundled else _in_tiles(loaded, tile)
    files: dict[Path, Path] = {}  # and the names of their maps
    scored: list[dict[str, Any]] = []
    failed: list[str] = []
    all_nats, all_dimensions = 0.0, 0
    for path in paths:
        try:
            found = find_images(path) if path.is_dir() else [path]
            files |= {file: file.relative_to(path) if path.is_dir() else Path(file.name) for file in found}
        except DataError as error:
            failed.append(str(error))
            stderr.print(failed[-1])
    if maps is not None:
        _refuse_maps(maps, files, overwrite)
    for file, name in files.items():
        try:
            image, _, conversions = read_for(config, file)
            bit_map = None if maps is None else map_image(image)
            rate = rate_image(image) if bit_map is None else bit_map.to_rate(len(image))
            bits, nats = float(rate.bits_per_dim[0]), float(rate.total_nats[0])
            if not math.isfinite(nats):
                raise DataError(f"{file}: its code length is not finite, because the model's weights have diverged")
        except DataError as error:
            failed.append(str(error))
            stderr.print(failed[-1])
            continue
        all_nats, all_dimensions = all_nats + nats, all_dimensions + image.size
        levels = [
            {"nats": float(nats), "dimensions": int(dimensions)}
            for nats, dimensions in zip(rate.nats[0], rate.dimensions[0], strict=True)
        ]
        result = {"file": str(file), "bits_per_dim": bits, "nats": nats, "levels": levels, "conversions": conversions}
        if maps is not None and bit_map is not None:
            picture, array = _map_files(maps, name)
            save_map(picture, image, config.n_bits, bit_map)
            save_bits(array, bit_map)
            result |= {"map": str(picture), "bits": str(array)}
        past = ""
        if history:
            result["history"], past = _trace(image, map_image)
        scored.append(result)
        if not json:
            converted = f"  (converted: {', '.join(conversions)})" if conversions else ""
            stdout.print(f"{bits:.4f} bits/dim  {file}{converted}{past}")
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


def _whole(model: "Model") -> tuple[RateImage, MapImage]:
    return lambda image: model.rate(image[None]), lambda image: model.map_bits(image[None])


def _in_tiles(model: "Model", tile: int | None) -> tuple[RateImage, MapImage]:
    import torch

    from pixelpyramids.model.models import AnyModel
    from pixelpyramids.training.evaluation import default_tile, map_in_tiles, rate_in_tiles

    assert isinstance(model, AnyModel)
    side = default_tile(model) if tile is None else tile

    def batch(image: Pixels) -> torch.Tensor:
        return torch.from_numpy(image.astype("int64"))[None]

    return lambda image: rate_in_tiles(model, batch(image), side), lambda image: map_in_tiles(model, batch(image), side)


def _trace(image: Pixels, map_image: MapImage) -> tuple[dict[str, Any] | None, str]:
    """What the history of an image seems to be, as facts and in words; None if it is too small."""
    from pixelpyramids.history import centre, trace

    try:
        middle = centre(image)
    except DataError as error:
        return None, f"  history unknown: {error}"
    found = trace(map_image(middle), middle)
    signs = [name for name, seen in (("blocks", found.has_blocks), ("colours", found.has_jpeg_colours)) if seen]
    words = (
        f"was a JPEG ({', '.join(signs)})" if signs else _answer("a JPEG", found.was_jpeg),
        _answer("enlarged", found.was_enlarged),
    )
    facts = asdict(found) | {"was_jpeg": found.was_jpeg, "was_enlarged": found.was_enlarged}
    return facts, f"  {'; '.join(words)}"


def _answer(what: str, known: bool | None) -> str:
    if known is None:
        return f"{what}: unknown (too flat)"
    return f"{'was' if known else 'not'} {what}"


def _map_files(folder: Path, name: Path) -> tuple[Path, Path]:
    """The picture and the array of an image's map."""
    target = folder / name
    return target.with_name(f"{target.name}.map.png"), target.with_name(f"{target.name}.bits.npz")


def _refuse_maps(folder: Path, files: dict[Path, Path], overwrite: bool) -> None:
    """Raise PixelPyramidsError if maps exist, or two images have one name."""
    by_name: dict[Path, Path] = {}
    for file, name in files.items():
        other = by_name.setdefault(name, file)
        if other != file:
            raise DataError(
                f"{other} and {file}: expected images of different names, because their maps would have the same name; "
                "score them one after the other, with another folder for --map"
            )
        for target in _map_files(folder, name):
            refuse_existing(target, overwrite)
