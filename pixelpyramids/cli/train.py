"""`train`: train a model in a run directory."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer

from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import format_duration, live_line, print_json, stderr
from pixelpyramids.errors import ParameterError
from pixelpyramids.pyramid.rate import bits_per_dim
from pixelpyramids.terminal import count_of

if TYPE_CHECKING:
    from pixelpyramids.model.models import AnyModel
    from pixelpyramids.training.evaluation import Evaluation
    from pixelpyramids.training.loop import Training
    from pixelpyramids.training.progress import Report

SAMPLES_IN_GRID = 16


def train(
    params: model_options.LoadedParameters,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run directory; an existing run is resumed.")],
    data: model_options.Data = None,
    levels: Annotated[str | None, typer.Option(metavar="0-3,7", help="Train only these levels.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs in all, over all resumed runs (default: from the parameter file).")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps in all, over all resumed runs.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Minutes in all, over all resumed runs, including validation and samples.")
    ] = None,
    seed: model_options.Seed = 0,
    device: model_options.Device = None,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="Images to process at once, to save memory.")] = None,
    float32: Annotated[bool, typer.Option("--float32", help="Do not use bfloat16, even if it is faster.")] = False,
    checkpoint_minutes: Annotated[float, typer.Option(min=0, help="Minutes between checkpoints.")] = 5.0,
    no_validation: Annotated[bool, typer.Option("--no-validation", help="Train on the validation images too.")] = False,
    log_with: Annotated[Literal["tensorboard", "wandb"] | None, typer.Option(help="Also log to this tracker.")] = None,
    validation_images: Annotated[
        int | None, typer.Option(min=1, help="Images to validate on (default: few enough to leave time for training).")
    ] = None,
    no_samples: Annotated[bool, typer.Option("--no-samples", help="Draw no samples when validating.")] = False,
    json: options.Json = False,
) -> int:
    """Train a model on a folder of images. Run the same command again to resume.

    Ctrl-C saves a checkpoint and stops. Status 1 if the training of a level stopped early.
    """
    from pixelpyramids.cli.contamination import refuse_among_images, refuse_shared_images
    from pixelpyramids.cli.data_opening import open_images, open_training
    from pixelpyramids.cli.report.pictures import save_grid
    from pixelpyramids.model.device import keep_freed_memory
    from pixelpyramids.training.loop import Training
    from pixelpyramids.training.progress import Budget
    from pixelpyramids.training.run_directory import level_file
    from pixelpyramids.training.trackers import finish_tracker

    if (epochs, steps, minutes).count(None) < 2:
        raise ParameterError("expected one of --epochs, --steps and --minutes, got several")
    chosen = None if levels is None else parse_levels(levels, params.n_stages)
    keep_freed_memory()
    hold_out = not no_validation
    refuse_among_images(params, data, out, "run directory")
    crops = open_training(params, data, seed, hold_out=hold_out)
    refuse_shared_images(params, data, crops, out, hold_out)
    validation = open_images(params, data, "validation") if hold_out else None
    if crops.count is None and steps is None and minutes is None:
        raise ParameterError("expected --steps or --minutes, because the stream does not say how many images it has")
    if minutes is None and steps is None:
        steps = (params.epochs if epochs is None else epochs) * crops.steps_per_epoch
    budget = Budget(steps, minutes)
    training = Training(
        params,
        out,
        crops,
        validation,
        validation_images=validation_images,
        levels=chosen,
        seed=seed,
        micro_batch=micro_batch,
        device=device,
        bfloat16=False if float32 else None,
        tracker=log_with,
    )
    processes = training.accelerator.num_processes
    parameters = sum(p.numel() for level in training.levels for p in level.stage.parameters())
    images = "an unknown number of images" if crops.count is None else count_of(crops.count, "image")
    stderr.inform(
        f"{images} to train on, {len(validation) if validation else 'none'} to validate on; "
        f"crops of {crops.size[0]} x {crops.size[1]}, {count_of(crops.steps_per_epoch, 'step')} an epoch; "
        f"{parameters / 1e6:.2f} million parameters on {training.device}"
        f"{f', {processes} processes share each batch' if processes > 1 else ''}"
        f"{', convolutions in bfloat16' if training.bfloat16 else ''}"
    )
    resumed_at = training.step
    if resumed_at:
        stderr.inform(
            f"resuming from step {resumed_at}, after {format_duration(min(level.seconds for level in training.levels))}"
        )

    def print_validation(evaluation: "Evaluation") -> None:
        count = len(evaluation.files)
        of = f" of {len(validation)}" if validation and len(validation) > count else ""
        stderr.inform(
            f"{_describe_steps(training)}: {_describe_bits(evaluation)} on {count}{of} validation "
            f"image{'s'[: count > 1 or bool(of)]}"
        )

    def draw_samples(model: "AnyModel") -> None:
        trained = {level.index for level in training.levels}
        if not all(index in trained or level_file(out, index).exists() for index in range(params.n_stages)):
            return
        at_once = min(SAMPLES_IN_GRID, micro_batch or params.batch_size)
        drawn = [
            model.sample(min(at_once, SAMPLES_IN_GRID - first), seed=seed, first=first).cpu().numpy()
            for first in range(0, SAMPLES_IN_GRID, at_once)
        ]
        step = max(level.step for level in training.levels)
        save_grid(out / "samples" / f"step_{step:07d}.png", np.concatenate(drawn), params.n_bits)

    with live_line() as line:
        outcome = training.fit(
            budget,
            checkpoint_minutes=checkpoint_minutes,
            report=lambda report: line(_describe_progress(report)),
            notify=stderr.print,
            validated=print_validation,
            draw=None if no_samples else draw_samples,
        )
    finish_tracker(training.accelerator)
    if json and training.accelerator.is_main_process:
        validated = outcome.validation
        print_json(
            {
                "run": str(out),
                "steps": outcome.steps,
                "seconds": outcome.seconds,
                "interrupted": outcome.interrupted,
                "stopped": outcome.stopped,
                "validation_bits_per_dim": None if validated is None else validated.bits_per_dim,
            }
        )
    for message in outcome.stopped.values():
        stderr.print(message, style="bold red")
    if outcome.interrupted:
        stderr.print(f"interrupted at step {outcome.steps}; everything is saved, run the same command again to resume")
        return 130
    if outcome.stopped:
        return 1
    if outcome.steps == resumed_at:
        stderr.inform(
            "nothing is left to train: give more --steps, --epochs or --minutes, which count from the first run on"
        )
    stderr.inform(
        f"trained {count_of(outcome.steps, 'step')} in {format_duration(outcome.seconds)}; the model is in {out}"
    )
    return 0


def parse_levels(text: str, n_stages: int) -> list[int]:
    """`0-3,7` as [0, 1, 2, 3, 7].

    Raises ParameterError if the text is not of that form, or a level is not in [0, n_stages).
    """
    levels: set[int] = set()
    for part in text.split(","):
        form = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip(), re.ASCII)
        if form is None:
            raise ParameterError(f"expected --levels such as 0-3,7, got {text[:80]}")
        first, last = int(form[1]), int(form[2] or form[1])
        if not first <= last < n_stages:
            raise ParameterError(
                f"expected --levels from 0 to {n_stages - 1} (L = {n_stages}), and ranges in ascending order, got "
                f"{text}"
            )
        levels |= set(range(first, last + 1))
    return sorted(levels)


def _describe_steps(training: "Training") -> str:
    """The step that all levels have reached, or the lowest and the highest."""
    steps = sorted({level.step for level in training.levels})
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"


def _describe_bits(evaluation: "Evaluation") -> str:
    """Bits/dim of the images if all levels were scored, else of each level."""
    nats, dimensions = evaluation.nats.sum(axis=0), evaluation.dimensions.sum(axis=0)
    if dimensions.all():
        error = f" ± {evaluation.standard_error:.3f}" if len(evaluation.files) > 1 else ""
        return f"{evaluation.bits_per_dim:.4f}{error} bits/dim"
    scored = [level for level, count in enumerate(dimensions) if count]
    bits = {level: float(bits_per_dim(nats[level], dimensions[level])) for level in scored}
    return f"bits/dim of {_describe_levels(bits)}"


def _describe_levels(bits: Mapping[int, float]) -> str:
    return "levels [" + " ".join(f"{level}:{value:.2f}" for level, value in bits.items()) + "]"


def _describe_progress(report: "Report") -> str:
    total = "bits/dim of" if report.bits_per_dim is None else f"{report.bits_per_dim:.3f} bits/dim,"
    return (
        f"step {report.step} ({report.progress:.0%})  {total} {_describe_levels(report.bits_per_dim_of_levels)}  "
        f"{report.images_per_second:.1f} images/s  {format_duration(report.seconds_left)} left"
    )
