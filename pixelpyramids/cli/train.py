"""`train`: fill a run directory."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pixelpyramids.cli.console import duration, err, live_line
from pixelpyramids.cli.contamination import refuse_shared_images
from pixelpyramids.cli.opening import open_images, open_training
from pixelpyramids.cli.report.pictures import save_grid
from pixelpyramids.errors import ParameterError
from pixelpyramids.model.device import keep_freed_memory
from pixelpyramids.model.parameters import Parameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid
from pixelpyramids.pyramid.rate import bits_per_dim
from pixelpyramids.training.evaluation import Evaluation
from pixelpyramids.training.loop import Outcome, Training
from pixelpyramids.training.progress import Budget, Report
from pixelpyramids.training.run_directory import level_file
from pixelpyramids.training.trackers import finish_tracker

SAMPLES_IN_GRID = 16


def train(
    config: Parameters,
    run: Path,
    *,
    data: str | Path | None = None,
    levels: Sequence[int] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str | None = None,
    micro_batch: int | None = None,
    bfloat16: bool | None = None,
    validate: bool = True,
    validation_images: int | None = None,
    samples: bool = True,
    checkpoint_minutes: float = 5.0,
    log_with: str | None = None,
) -> Outcome:
    """Train, or go on with a training, and print how it goes.

    The budget is one of epochs, steps and minutes; by default the parameters' epochs. Ctrl-C saves and ends it.
    """
    given = [value for value in (epochs, steps, minutes) if value is not None]
    if len(given) > 1:
        raise ParameterError("expected one of epochs, steps and minutes, got several")
    if any(not 0 < value < math.inf for value in given):
        raise ParameterError(f"expected a positive number of epochs, steps or minutes, got {given[0]}")
    keep_freed_memory()
    crops = open_training(config, data, seed, hold_out=validate)
    refuse_shared_images(config, data, crops, run, validate)
    validation = open_images(config, data, "validation") if validate else None
    if crops.count is None and steps is None and minutes is None:
        raise ParameterError("expected --steps or --minutes for a stream that does not say how many images it has")
    budget = (
        Budget(minutes=minutes)
        if minutes is not None
        else Budget(steps=steps if steps is not None else (epochs or config.epochs) * crops.steps_per_epoch)
    )
    training = Training(
        config,
        run,
        crops,
        validation,
        validation_images=validation_images,
        levels=levels,
        seed=seed,
        micro_batch=micro_batch,
        device=device,
        bfloat16=bfloat16,
        tracker=log_with,
    )
    processes = training.accelerator.num_processes
    parameters = sum(p.numel() for level in training.levels for p in level.stage.parameters())
    images = "an unknown number of" if crops.count is None else crops.count
    err.print(
        f"{images} images to train on, {len(validation) if validation else 'none'} to validate on; "
        f"crops of {crops.size[0]} x {crops.size[1]}, {crops.steps_per_epoch} steps an epoch; "
        f"{parameters / 1e6:.2f} million parameters on {training.device}"
        f"{f', {processes} processes share each batch' if processes > 1 else ''}"
        f"{', convolutions in bfloat16' if training.bfloat16 else ''}",
        soft_wrap=True,
    )
    if training.step:
        err.print(
            f"going on from step {training.step}, after {duration(min(level.seconds for level in training.levels))}"
        )

    def validated(evaluation: Evaluation) -> None:
        count = len(evaluation.files)
        of = f" of {len(validation)}" if validation and len(validation) > count else ""
        err.print(
            f"{_steps(training)}: {_bits(evaluation)} on {count}{of} validation image{'s'[: count > 1 or bool(of)]}",
            soft_wrap=True,
        )

    def draw(model: PixelPyramid) -> None:
        trained = {level.index for level in training.levels}
        if not all(index in trained or level_file(run, index).exists() for index in range(config.L)):
            return
        at_once = min(SAMPLES_IN_GRID, micro_batch or config.batch_size)
        drawn = [
            model.sample(min(at_once, SAMPLES_IN_GRID - first), seed=seed, first=first).cpu().numpy()
            for first in range(0, SAMPLES_IN_GRID, at_once)
        ]
        step = max(level.step for level in training.levels)
        save_grid(run / "samples" / f"step_{step:07d}.png", np.concatenate(drawn), config.n_bits)

    with live_line() as line:
        outcome = training.fit(
            budget,
            checkpoint_minutes=checkpoint_minutes,
            report=lambda report: line(_described(report)),
            notify=err.print,
            validated=validated,
            draw=draw if samples else None,
        )
    finish_tracker(training.accelerator)
    for message in outcome.stopped.values():
        err.print(message, style="bold red", soft_wrap=True)
    if outcome.interrupted:
        err.print(f"interrupted at step {outcome.steps}, all saved: the same command goes on from here")
    elif not outcome.stopped:
        err.print(f"trained {outcome.steps} steps in {duration(outcome.seconds)}; the model is in {run}")
    return outcome


def _steps(training: Training) -> str:
    """The step of the levels, or the steps that they are between."""
    steps = sorted({level.step for level in training.levels})
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"


def _bits(evaluation: Evaluation) -> str:
    """Bits/dim of the images if all levels were scored, else those of each level."""
    nats, dimensions = evaluation.nats.sum(axis=0), evaluation.dimensions.sum(axis=0)
    if dimensions.all():
        error = f" ± {evaluation.standard_error:.3f}" if len(evaluation.files) > 1 else ""
        return f"{evaluation.bits_per_dim:.4f}{error} bits/dim"
    scored = [level for level, count in enumerate(dimensions) if count]
    return f"bits/dim of {_levels({level: float(bits_per_dim(nats[level], dimensions[level])) for level in scored})}"


def _levels(bits: Mapping[int, float]) -> str:
    return "levels [" + " ".join(f"{level}:{value:.2f}" for level, value in bits.items()) + "]"


def _described(report: Report) -> str:
    total = "bits/dim of" if report.bits_per_dim is None else f"{report.bits_per_dim:.3f} bits/dim,"
    return (
        f"step {report.step} ({report.progress:.0%})  {total} {_levels(report.bits_per_dim_of_levels)}  "
        f"{report.images_per_second:.1f} images/s  {duration(report.seconds_left)} left"
    )
