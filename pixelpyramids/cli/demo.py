"""`demo`: the whole system on the bundled photographs, in minutes."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from pixelpyramids.atomic import is_free
from pixelpyramids.cli import model_options
from pixelpyramids.cli.console import counted, stderr, stdout
from pixelpyramids.cli.report.correlation import lag1_correlation
from pixelpyramids.cli.report.pictures import save_grid, save_pyramid
from pixelpyramids.cli.report.rivals import PNG, WEBP, bits_per_dim
from pixelpyramids.cli.train import train
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.photographs import photographs
from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.model.parameters import load_parameters, require_paper
from pixelpyramids.pyramid.splitting import split

if TYPE_CHECKING:
    import torch

    from pixelpyramids.model.models import AnyModel

SAMPLES = 16
SCALE = 4
COMPLETED = 4
DRAWN = 3


def demo(
    out: model_options.Out = Path("pixelpyramids-demo"),
    minutes: Annotated[float, typer.Option("--minutes", help="Minutes to train.")] = 6.0,
    seed: model_options.Seed = 0,
) -> int:
    """Train on the bundled photographs, score two that are held out beside PNG and WebP, and draw samples.

    Run the same command again to resume the training.
    """
    import torch

    from pixelpyramids.cli.report.curves import read_curve, save_curve
    from pixelpyramids.cli.report.tables import images_table, levels_table
    from pixelpyramids.training.evaluation import evaluate
    from pixelpyramids.training.progress import Budget
    from pixelpyramids.training.run_directory import claim, load

    Budget(minutes=minutes)  # raises ParameterError unless it is positive
    import_extra("matplotlib")  # missed now rather than after the training
    if not is_free(out) and not _is_begun(out):
        raise PixelPyramidsError(f"{out}: holds something else already; choose another --out")
    config = require_paper(load_parameters("photographs"), "photographs")
    claim(out / "run", config)
    training, held_out = open_folder(photographs(), "train", hold_out=False), open_folder(photographs(), "test")
    chelsea = next(i for i, file in enumerate(training.files) if file.stem == "chelsea")
    save_pyramid(out / "pyramid.png", training.read(chelsea), config.L - 1, config.n_bits)
    stderr.print(f"a photograph's pyramid: {out / 'pyramid.png'}")
    status = train(
        config, out / "run", str(photographs()), minutes=minutes, seed=seed, no_validation=True, checkpoint_minutes=1.0
    )
    if status:
        return status
    model = load(out / "run")
    with counted("scoring china and flower") as report:
        evaluation = evaluate(model, held_out, tile=int(np.max(held_out.sizes)), report=report)
    png, webp = ([bits_per_dim(rival, held_out.read(i)) for i in range(len(held_out))] for rival in (PNG, WEBP))
    marks = {"PNG": float(np.mean(png)), "lossless WebP": float(np.mean(webp)), "this model": evaluation.bits_per_dim}
    save_curve(
        out / "curve.png",
        read_curve(out / "run", config.L),
        f"bits/dim on training crops, {config.image_size[0]} x {config.image_size[1]}",
        {f"{name}, held out": bits for name, bits in marks.items()},
    )
    samples = model.sample(SAMPLES, seed=seed)
    save_grid(out / "samples.png", samples.numpy(), config.n_bits, scale=2)
    crops = Crops(held_out, config.image_size, SAMPLES, seed).batch(0)
    _save_completions(model, crops, out / "completions.png", seed)
    stdout.print(levels_table(evaluation, [sum(p.numel() for p in stage.parameters()) for stage in model.stages]))
    stdout.print(images_table(evaluation, {"PNG": png, "lossless WebP": webp}))
    stdout.print(_nats_table(model, samples, torch.from_numpy(crops.astype(np.int64))))
    stdout.print(
        f"correlation of neighbouring pixels: {lag1_correlation(samples.numpy()):.3f} in the samples, "
        f"{lag1_correlation(crops):.3f} in crops of the held-out photographs"
    )
    for name, what in (
        ("pyramid.png", "a photograph's pyramid"),
        ("samples.png", "samples, drawn exactly from the model"),
        ("completions.png", f"held-out crops, their coarse images, and fine levels drawn above these, x{SCALE}"),
        ("curve.png", "the training curve"),
        ("run", "the model: pixelpyramids evaluate, sample or complete it"),
    ):
        stdout.print(f"{out / name}  {what}")
    return 0


def _is_begun(folder: Path) -> bool:
    """Whether the folder is a demo's: it holds a run, or no more than a run that was about to begin."""
    from pixelpyramids.training.run_directory import PARAMETERS

    run = folder / "run"
    return (run / PARAMETERS).is_file() or (is_free(run) and [path.name for path in folder.glob("*")] == ["run"])


def _save_completions(model: "AnyModel", crops: Pixels, path: Path, seed: int) -> None:
    """A row a crop: the crop, its coarse image, and images drawn from the model that lead to that coarse image."""
    import torch

    pictures = []
    for crop in crops[:COMPLETED]:
        coarse = crop.astype(np.int64)
        for level in range(2 * int(math.log2(SCALE))):
            coarse = split(coarse, -2 if level % 2 == 0 else -1)[1]
        repeated = torch.from_numpy(np.repeat(coarse[None], DRAWN, axis=0))
        drawn = model.complete(repeated, crop.shape[1], crop.shape[2], seed=seed).numpy()
        pictures += [crop, coarse.repeat(SCALE, axis=1).repeat(SCALE, axis=2), *drawn]
    save_grid(path, np.stack(pictures), model.config.n_bits, columns=2 + DRAWN, scale=2)


def _nats_table(model: "AnyModel", samples: "torch.Tensor", crops: "torch.Tensor") -> Table:
    """What the model's own samples cost beside held-out crops: close where the model has learned the photographs."""
    table = Table("level", "nats of a sample", "nats of a held-out crop", title="Own samples beside photographs")
    own, held_out = model.rate(samples).nats.mean(0), model.rate(crops).nats.mean(0)
    for level, (a, b) in enumerate(zip(own.tolist(), held_out.tolist(), strict=True)):
        table.add_row(str(level), f"{a:.0f}", f"{b:.0f}")
    table.add_section()
    table.add_row("all", f"{float(own.sum()):.0f}", f"{float(held_out.sum()):.0f}")
    return table
