"""`evaluate`: bits/dim of a model on a split of a data set."""

import math
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import describe_conversions, print_json, progress_bar, stderr, stdout
from pixelpyramids.cli.likelihoods import LIKELIHOODS, warn_above
from pixelpyramids.errors import DataError, ParameterError
from pixelpyramids.terminal import count_of


def evaluate(
    model: model_options.TrainedModelName,
    data: model_options.Data = None,
    split: model_options.Split = None,
    batch_statistics: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Normalise over batches of N images, as the authors' code does."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images to score at once.")] = 16,
    tile: model_options.TileSide = None,
    params: model_options.ModelParameters = None,
    likelihood: model_options.Likelihood = None,
    device: model_options.Device = None,
    json: options.Json = False,
) -> int:
    """Score a model on a split of a folder: bits/dim, its standard error, and a table of the levels.

    Status 1 if an image could not be read, or the result is not finite.
    """
    from pixelpyramids.loading import is_bundled

    if is_bundled(model):
        raise ParameterError(
            f"{model}: evaluate is for run directories and the authors' files; use "
            f"`pixelpyramids score {model} {data or 'DIR'}`"
        )
    from accelerate import PartialState

    from pixelpyramids.cli.contamination import choose_images, count_trained
    from pixelpyramids.cli.model_opening import load_to_device
    from pixelpyramids.cli.report.tables import evaluation_json, levels_table
    from pixelpyramids.model.parameters import find_paper_figure
    from pixelpyramids.training.evaluation import default_tile
    from pixelpyramids.training.evaluation import evaluate as score_images
    from pixelpyramids.training.provenance import read_sessions

    run = Path(model)
    loaded = load_to_device(run, params, likelihood, device)
    processes = PartialState()
    config, sessions = loaded.config, read_sessions(run)
    chosen, images, which = choose_images(config, data, split, sessions)
    if batch_statistics is not None:
        if processes.num_processes > 1:
            raise DataError(
                f"--batch-statistics needs a single process, got {processes.num_processes}, which would form other "
                "batches; run it without a launcher"
            )
        if config.norm != "batch":
            raise DataError(f'--batch-statistics needs a model with norm "batch", this one has "{config.norm}"')
        height, width = config.image_size
        if (images.sizes.prod(axis=1) > height * width).any():
            raise DataError(
                f"--batch-statistics is for images of at most {height} x {width} pixels, as the model was trained on: "
                "larger ones are scored in smaller batches, or in tiles"
            )
        loaded.train()
        batch_size = batch_statistics
    tile = default_tile(loaded) if tile is None else tile
    noun = "image" if chosen == "all" else f"{chosen} image"
    with progress_bar(f"{noun}s") as report:
        evaluation = score_images(loaded, images, batch_size=batch_size, tile=tile, report=report, processes=processes)
    counts = [sum(p.numel() for p in stage.parameters()) for stage in loaded.stages]
    skipped = [*images.skipped, *evaluation.skipped]
    formats, conversions = Counter(evaluation.formats), Counter(chain.from_iterable(evaluation.conversions))
    tiled = sum(h > tile or w > tile for h, w in evaluation.sizes)
    status = 1 if skipped or not math.isfinite(evaluation.bits_per_dim) else 0
    if not math.isfinite(evaluation.bits_per_dim):
        stderr.print("the code length is not finite, because the model's weights have diverged", style="bold red")
    warning = warn_above(evaluation.bits_per_dim_of_images, config.n_bits)
    paper = find_paper_figure(config) if chosen == "test" else None
    trained, is_exact = count_trained(config, run, images, evaluation.skipped)
    if json:
        result = evaluation_json(evaluation, str(run), counts) | {
            "split": chosen,
            "which_images": which,
            "trained_on": trained,
            "trained_on_is_exact": is_exact,
            "n_bits": config.n_bits,
            "likelihood": config.likelihood,
            "batch_statistics": batch_statistics,
            "tile": tile,
            "tiled_images": tiled,
            "formats": formats,
            "conversions": conversions,
            "skipped": [str(file) for file in skipped],
            "sessions": sessions,
            "warning": warning,
            "paper": None if paper is None else paper._asdict(),
        }
        if processes.is_main_process:
            print_json(result)
        return status
    stdout.print(levels_table(evaluation, counts))
    if which:
        stdout.print(which)
    error = f" ± {evaluation.standard_error:.4f}" if len(evaluation.files) > 1 else ""
    sources = ", ".join(f"{count} {kind}" for kind, count in formats.items())
    kind = LIKELIHOODS[config.likelihood]
    statistics = "" if batch_statistics is None else f", statistics of batches of {batch_statistics}"
    tiles = f"; {tiled} of them in tiles of at most {tile} x {tile}" if tiled else ""
    converted = f"; converted: {describe_conversions(conversions)}" if conversions else ""
    were = "was" if trained == 1 else "were"
    known = f"; {'' if is_exact else 'at least '}{trained} of them {were} trained on" if trained else ""
    stdout.print(
        f"{evaluation.bits_per_dim:.4f}{error} bits/dim on {count_of(len(evaluation.files), noun)} ({sources}), "
        f"{config.n_bits} bits, {kind}{statistics}{tiles}; every pixel counted{converted}"
        f"{'; not compared with the training images' if trained is None else known}"
    )
    if paper is not None:
        stdout.print(
            f"{paper.bits_per_dim:.2f} bits/dim is the paper's figure for the test images of "
            f"{config.dataset_name} ({paper.note})"
        )
    return status
