"""`demo`: show what the package does on the bundled photographs, in minutes."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

import pixelpyramids as pp
from pixelpyramids.atomic import is_free
from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import LineConsole, print_json, progress_bar, stderr, stdout
from pixelpyramids.cli.report.figures import new_table
from pixelpyramids.cli.report.pictures import save_grid, save_pyramid
from pixelpyramids.cli.train import train
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.photographs import photographs
from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.bit_depth import Pixels

if TYPE_CHECKING:
    from pixelpyramids.loading import Model

SAMPLES = 16
COMPLETED = 4


def demo(
    out: model_options.Out = Path("pixelpyramids-demo"),
    minutes: Annotated[float, typer.Option("--minutes", help="Minutes to train.")] = 6.0,
    seed: model_options.Seed = 0,
    json: options.Json = False,
) -> int:
    """Compress the bundled photographs, complete small ones, then train a small model and draw samples.

    The first minute shows the network that comes with the package. Then a model is trained on four of the photographs,
    and compared with PNG and WebP on the other two. Run the same command again to resume the training.
    """
    from pixelpyramids.cli.report.curves import read_curve, save_curve
    from pixelpyramids.cli.report.rivals import PNG, WEBP
    from pixelpyramids.cli.report.tables import evaluation_json, images_table, levels_table
    from pixelpyramids.cli.showcase import compress_photographs, read_parts, save_completions
    from pixelpyramids.model.parameters import load_parameters, require_paper
    from pixelpyramids.training.evaluation import evaluate
    from pixelpyramids.training.progress import Budget
    from pixelpyramids.training.run_directory import claim, load

    said = stderr if json else stdout
    Budget(minutes=minutes)  # raises ParameterError unless it is positive
    import_extra("matplotlib")  # if it is missing, say so now rather than after the training
    if not is_free(out) and not _is_begun(out):
        raise PixelPyramidsError(f"{out}: contains other files; choose another --out")
    config = require_paper(load_parameters("photographs"), "photographs")
    claim(out / "run", config)
    training, held_out = open_folder(photographs(), "train", hold_out=False), open_folder(photographs(), "test")
    chelsea = next(i for i, file in enumerate(training.files) if file.stem == "chelsea")
    save_pyramid(out / "pyramid.png", training.read(chelsea), config.L - 1, config.n_bits)
    said.print(compress_photographs(out / "compressed"))
    save_completions(out / "completions_bundled.png", pp.load("compact"), read_parts(), seed)
    _print_files(
        said,
        out,
        {
            "compressed": "the files; `pixelpyramids decompress` gives the photographs back",
            "completions_bundled.png": "small versions of two photographs, completions of each, and the originals",
            "pyramid.png": "how a photograph is split",
        },
    )
    said.print(f"Training a small model for {minutes:g} minutes. Press Ctrl-C to stop; run the same command to resume.")
    status = train(
        config, out / "run", str(photographs()), minutes=minutes, seed=seed, no_validation=True, checkpoint_minutes=1.0
    )
    if status:
        return status
    model = load(out / "run")
    with progress_bar("scoring china and flower") as report:
        evaluation = evaluate(model, held_out, tile=int(np.max(held_out.sizes)), report=report)
    originals = [np.ascontiguousarray(held_out.read(i).transpose(1, 2, 0)) for i in range(len(held_out))]
    png, webp = ([8 * len(codec.encode(image, 8)) / image.size for image in originals] for codec in (PNG, WEBP))
    marks = {"PNG": float(np.mean(png)), "lossless WebP": float(np.mean(webp)), "this model": evaluation.bits_per_dim}
    save_curve(
        out / "curve.png",
        read_curve(out / "run", config.L),
        f"bits/dim on training crops, {config.image_size[0]} x {config.image_size[1]}",
        {f"{name}, held out": bits for name, bits in marks.items()},
    )
    samples = model.sample(SAMPLES, seed=seed).numpy()
    save_grid(out / "samples.png", samples, config.n_bits, scale=2)
    crops = Crops(held_out, config.image_size, SAMPLES, seed)[0]
    save_completions(out / "completions.png", model, crops[:COMPLETED], seed, zoom=2)
    counts = [sum(p.numel() for p in stage.parameters()) for stage in model.stages]
    said.print(levels_table(evaluation, counts))
    said.print(images_table(evaluation, {"PNG": png, "lossless WebP": webp}))
    said.print(_nats_table(model, samples, crops))
    of_samples, of_crops = lag1_correlation(samples), lag1_correlation(crops)
    said.print(
        f"correlation of neighbouring pixels: {of_samples:.3f} in the samples, "
        f"{of_crops:.3f} in crops of the held-out photographs"
    )
    _print_files(
        said,
        out,
        {
            "samples.png": "samples of the model that was trained",
            "completions.png": "small versions of held-out crops, completions of each, and the crops",
            "curve.png": "the training curve",
            "run": "the model, for `pixelpyramids evaluate`, `sample` and `complete`",
        },
    )
    if json:
        correlations = {"correlation_in_samples": of_samples, "correlation_in_photographs": of_crops}
        others = {"png_bits_per_dim": marks["PNG"], "webp_bits_per_dim": marks["lossless WebP"]}
        print_json(evaluation_json(evaluation, str(out / "run"), counts) | others | correlations)
    return 0


def lag1_correlation(images: Pixels) -> float:
    """Pearson's correlation of neighbouring values, to the right and below, of images (N, C, H, W).

    It is near 1 in photographs, near 0 in noise, and NaN if all values are equal.
    """
    first = np.concatenate([images[..., :-1].ravel(), images[..., :-1, :].ravel()]).astype(np.float64)
    second = np.concatenate([images[..., 1:].ravel(), images[..., 1:, :].ravel()]).astype(np.float64)
    is_constant = first.size == 0 or np.ptp(first) == 0 or np.ptp(second) == 0
    return math.nan if is_constant else float(np.corrcoef(first, second)[0, 1])


def _print_files(said: LineConsole, folder: Path, contents: dict[str, str]) -> None:
    for name, what in contents.items():
        said.print(f"{folder / name}  {what}")


def _is_begun(folder: Path) -> bool:
    """Whether the folder belongs to a demo: it has a run, or nothing but the beginning of one."""
    from pixelpyramids.training.run_directory import PARAMETERS

    run = folder / "run"
    return (run / PARAMETERS).is_file() or (is_free(run) and [path.name for path in folder.glob("*")] == ["run"])


def _nats_table(model: "Model", samples: Pixels, crops: Pixels) -> Table:
    """Nats of the model's own samples and of held-out crops: similar if the model has learned the photographs."""
    title = "The model's own samples and photographs"
    table = new_table("level", "nats of a sample", "nats of a held-out crop", title=title)
    nats = np.stack([np.asarray(model.rate(images).nats.mean(0)) for images in (samples, crops)], axis=1)
    for level, figures in [*enumerate(nats), ("all", nats.sum(axis=0))]:
        table.add_row(str(level), *(f"{figure:.0f}" for figure in figures), end_section=level == len(nats) - 1)
    return table
