"""`evaluate` and `score`: bits/dim of a data set's split, or of files."""

import copy
import json
import math
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from pixelpyramids.cli.console import counted, describe_conversions, err, out
from pixelpyramids.cli.contamination import choose_images, count_trained, find_trained
from pixelpyramids.cli.report.tables import evaluation_json, levels_table
from pixelpyramids.data.reading import read_decoded
from pixelpyramids.data.splits import find_images
from pixelpyramids.errors import DataError
from pixelpyramids.model.parameters import find_paper_figure
from pixelpyramids.model.pixel_pyramid import PixelPyramid
from pixelpyramids.training.evaluation import default_tile, evaluate, rate_in_tiles
from pixelpyramids.training.provenance import read_sessions

LIKELIHOODS = {"exact": "exact", "authors": "the authors' clamped likelihood, not a distribution"}
"""How figures of each likelihood are described."""


def evaluate_split(
    model: PixelPyramid,
    name: str,
    data: str | Path | None,
    *,
    split: str | None = None,
    batch_size: int = 16,
    tile: int | None = None,
    batch_statistics: int | None = None,
    as_json: bool = False,
) -> int:
    """Print bits/dim of a split with its standard error and a table of the levels, or one JSON object.

    Without a `split` it is the one that `choose_images` chooses. Returns the exit status: 1 if files could not be read,
    or the code length is not finite.

    `batch_statistics` N normalises by batches of N images in place of running statistics, as the authors' code does: a
    code length of a batch, to compare with the authors' figures.
    """
    processes = PartialState()
    split, images, which = choose_images(model.config, data, split, read_sessions(Path(name)))
    if batch_statistics is not None:
        if processes.num_processes > 1:
            raise DataError(
                f"--batch-statistics needs a single process, got {processes.num_processes}, whose batches would be of "
                "other images; run it without a launcher"
            )
        if model.config.norm != "batch":
            raise DataError(f'--batch-statistics needs a model with norm "batch", this one has "{model.config.norm}"')
        height, width = model.config.image_size
        if (images.sizes.prod(axis=1) > height * width).any():
            raise DataError(
                f"--batch-statistics is for images of at most {height} x {width} pixels, as the model was trained on: "
                "larger ones are scored in smaller batches, or in tiles"
            )
        model, batch_size = copy.deepcopy(model).train(), batch_statistics
    tile = default_tile(model) if tile is None else tile
    of_split = "images" if split == "all" else f"{split} images"
    with counted(of_split) as report:
        evaluation = evaluate(model, images, batch_size=batch_size, tile=tile, report=report, processes=processes)
    counts = [sum(p.numel() for p in stage.parameters()) for stage in model.stages]
    skipped = [*images.skipped, *evaluation.skipped]
    formats, conversions = Counter(evaluation.formats), Counter(chain.from_iterable(evaluation.conversions))
    tiled = sum(h > tile or w > tile for h, w in evaluation.sizes)
    status = 1 if skipped or not math.isfinite(evaluation.bits_per_dim) else 0
    if not math.isfinite(evaluation.bits_per_dim):
        err.print("the code length is not finite, for the model's weights have diverged", style="bold red")
    warning = _warn_above(evaluation.bits_per_dim_of_images, model.config.n_bits)
    paper = find_paper_figure(model.config) if split == "test" else None
    trained = count_trained(Path(name), images)
    if as_json:
        result = evaluation_json(evaluation, name)
        for level, count in zip(result["levels"], counts, strict=True):
            level["parameters"] = count
        result |= {
            "split": split,
            "which_images": which,
            "trained_on": trained,
            "n_bits": model.config.n_bits,
            "likelihood": model.config.likelihood,
            "batch_statistics": batch_statistics,
            "tile": tile,
            "tiled_images": tiled,
            "formats": formats,
            "conversions": conversions,
            "skipped": [str(file) for file in skipped],
            "sessions": read_sessions(Path(name)),
            "warning": warning,
            "paper": None if paper is None else paper._asdict(),
        }
        if processes.is_main_process:
            print(json.dumps(result))
        return status
    out.print(levels_table(evaluation, counts))
    if which:
        out.print(which, soft_wrap=True)
    error = f" ± {evaluation.standard_error:.4f}" if len(evaluation.files) > 1 else ""
    sources = ", ".join(f"{count} {kind}" for kind, count in formats.items())
    kind = LIKELIHOODS[model.config.likelihood]
    statistics = "" if batch_statistics is None else f", statistics of batches of {batch_statistics}"
    tiles = f"; {tiled} of them in tiles of at most {tile} x {tile}" if tiled else ""
    converted = f"; converted: {describe_conversions(conversions)}" if conversions else ""
    out.print(
        f"{evaluation.bits_per_dim:.4f}{error} bits/dim on {len(evaluation.files)} {of_split} ({sources}), "
        f"{model.config.n_bits} bits, {kind}{statistics}{tiles}; every pixel counted{converted}"
        f"{f'; {trained} of them were trained on' if trained else ''}",
        soft_wrap=True,
    )
    if paper is not None:
        out.print(
            f"{paper.bits_per_dim:.2f} bits/dim is the paper's figure for the test images of "
            f"{model.config.dataset_name} ({paper.note})",
            soft_wrap=True,
        )
    return status


def score_files(model: PixelPyramid, name: str, paths: list[Path], *, tile: int | None, as_json: bool) -> int:
    """Print bits/dim of each image among the paths (folders: all below them); 1 if some could not be read.

    If the run `name` was trained on some of these files, a line says so.
    """
    config = model.config
    tile = default_tile(model) if tile is None else tile
    files: list[Path] = []
    scored: list[dict[str, Any]] = []
    failed: list[str] = []
    for path in paths:
        try:
            files += find_images(path) if path.is_dir() else [path]
        except DataError as error:
            failed.append(str(error))
            err.print(str(error), soft_wrap=True)
    for file in files:
        try:
            image, _, conversions = read_decoded(file, config.image_channels, config.n_bits)
        except DataError as error:
            failed.append(str(error))
            err.print(str(error), soft_wrap=True)
            continue
        rate = rate_in_tiles(model, torch.from_numpy(image.astype("int64"))[None], tile)
        bits, nats = float(rate.bits_per_dim[0]), float(rate.total_nats[0])
        if not math.isfinite(nats):
            failed.append(f"{file}: its code length is not finite, for the model's weights have diverged")
            err.print(failed[-1], soft_wrap=True)
            continue
        scored.append({"file": str(file), "bits_per_dim": bits, "nats": nats, "conversions": conversions})
        if not as_json:
            converted = f"  (converted: {', '.join(conversions)})" if conversions else ""
            out.print(f"{bits:.4f} bits/dim  {file}{converted}", soft_wrap=True)
    warning = _warn_above([image["bits_per_dim"] for image in scored], config.n_bits)
    trained = find_trained(Path(name), [Path(image["file"]) for image in scored])
    if trained:
        err.print(f"{len(trained)} of the images were trained on, such as {trained[0]}", soft_wrap=True)
    if as_json:
        told = {"images": scored, "failed": failed, "likelihood": config.likelihood, "warning": warning}
        print(json.dumps(told | {"trained_on": list(map(str, trained))}))
    elif scored and config.likelihood != "exact":
        out.print(f"these figures are of {LIKELIHOODS[config.likelihood]}", soft_wrap=True)
    return 1 if failed else 0


def _warn_above(bits: Iterable[float], n_bits: int) -> str | None:
    """Print and return a warning if images need more bits/dim than a value has bits: the model does not fit them."""
    above = [needed for needed in bits if needed > n_bits]
    if not above:
        return None
    warning = (
        f"{len(above)} of the images need more than {n_bits} bits/dim (up to {max(above):.2f}), which is more than "
        "their uncompressed pixels; check that n_bits and dataset_name are those of the checkpoint, and that it was "
        "trained on such images"
    )
    err.print(f"warning: {warning}", style="bold red", soft_wrap=True)
    return warning
