"""Training: one loop for all levels or some, each level a training of its own.

Images and crops are keyed by (seed, step, item) and initial weights by (seed, level), and levels share nothing. So
levels trained one by one, anywhere, equal levels trained together, and a run that was killed and resumed equals one
that was not (with a budget of steps, on as many threads).
"""

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pixelpyramids import checkpoint
from pixelpyramids.data.batches import Batches
from pixelpyramids.data.images import Images
from pixelpyramids.device import bfloat16_is_fast, choose_device
from pixelpyramids.errors import DataError, ParameterError, PixelPyramidsError
from pixelpyramids.evaluation import Evaluation, evaluate
from pixelpyramids.interrupts import interruptible, leave_interrupts_to_the_parent
from pixelpyramids.level_training import LevelTraining, Origin
from pixelpyramids.model import AnyStage, PixelPyramid, decompose
from pixelpyramids.parameters import Parameters
from pixelpyramids.patches import patches
from pixelpyramids.progress import Budget, Recent, Report
from pixelpyramids.trackers import Tracker, start_tracker, tracked_accelerator


@dataclass
class Outcome:
    """What a training came to: `stopped` says why a level stopped early, `validation` is the last evaluation."""

    steps: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    validation: Evaluation | None = None
    stopped: dict[int, str] = field(default_factory=dict)


class Training:
    """The training of some levels of a model in the run directory `run`; `fit` goes on from what lies there.

    `levels` are the stages to train (all by default). `kept` is the model of the weights that are kept: the averages,
    or the latest weights if `kept_weights` says so. `validation` chooses at which step; without it, at the last.
    `micro_batch` splits a batch to save memory; `bfloat16` None is where the device is fast at it. `tracker` receives
    what the run's log receives: "tensorboard", "wandb", or a tracker of Accelerate's.
    Raises ParameterError or CheckpointError where the run directory is of other parameters or another seed, or another
    process trains one of the levels there.
    """

    def __init__(
        self,
        config: Parameters,
        run: Path,
        crops: Batches,
        validation: Images | None = None,
        *,
        levels: Sequence[int] | None = None,
        seed: int = 0,
        micro_batch: int | None = None,
        device: str | None = None,
        bfloat16: bool | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        wanted = sorted(set(range(config.L) if levels is None else levels))
        if not wanted or wanted[0] < 0 or wanted[-1] >= config.L:
            raise ParameterError(f"expected levels from 0 to {config.L - 1} (L = {config.L}), got {levels}")
        if micro_batch is not None and micro_batch < 1:
            raise ParameterError(f"expected a micro-batch of at least 1 image, got {micro_batch}")
        accelerator = tracked_accelerator(choose_device(device).type == "cpu", run, tracker)
        if config.norm == "batch" and accelerator.num_processes > 1:
            raise ParameterError(
                f'expected norm "channel" or "group" where {accelerator.num_processes} processes share each batch, got '
                '"batch", whose statistics would be those of a part of it; use one process for each level (--levels)'
            )
        self.crops = crops.shared(accelerator.process_index, accelerator.num_processes)
        self._locks: list[object] = []
        if accelerator.is_main_process:
            checkpoint.claim(run, config)
            checkpoint.claim_seed(run, seed)
            self._locks = [checkpoint.lock_level(run, index) for index in wanted]
            start_tracker(accelerator, run, config, seed)
        accelerator.wait_for_everyone()
        # Of 1x1 convolutions, whose weights have several names for one layout.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        self.config, self.run, self.validation, self.accelerator = config, run, validation, accelerator
        self.device = accelerator.device
        self.averaged = PixelPyramid(config, seed).to(self.device)
        model = PixelPyramid(config, seed).to(self.device)
        self.kept = self.averaged if config.kept_weights == "average" else model
        self.levels: list[LevelTraining] = []
        origin = Origin(seed, validation is not None, crops.items_per_epoch)
        for index in wanted:
            stage, average = model.stages[index], self.averaged.stages[index]
            assert isinstance(stage, AnyStage) and isinstance(average, AnyStage)
            self.levels.append(LevelTraining(config, index, stage, average, accelerator, origin))
            self.levels[-1].restore(run)
        self.micro_batch = micro_batch
        self.bfloat16 = bfloat16_is_fast(self.device) if bfloat16 is None else bfloat16
        self.stages = config.walk(*crops.size)

    @property
    def step(self) -> int:
        """Updates that every level has had."""
        return min(level.step for level in self.levels)

    def fit(
        self,
        budget: Budget,
        *,
        checkpoint_minutes: float = 5.0,
        report: Callable[[Report], None] = lambda _: None,
        notify: Callable[[str], None] = lambda _: None,
        validated: Callable[[Evaluation, PixelPyramid], None] = lambda *_: None,
    ) -> Outcome:
        """Train until the budget is spent. Ctrl-C ends it after the step, all saved, with `interrupted` set.

        `report` is called after every step, `validated` after every validation, with the model `kept`, and `notify`
        with a line for people when a training is asked to end or a level stops.
        """
        outcome = Outcome()
        recent = Recent(self.levels[-1].index + 1)
        interval = self.config.eval_interval * self.crops.steps_per_epoch
        saved_at = time.monotonic()
        with interruptible(notify) as interrupted:
            try:
                self._validate(
                    [level for level in self.levels if level.step % interval == 0],
                    validated,
                    interrupted,
                    outcome.stopped,
                )
                mark, asked = time.monotonic(), False
                for step, images in self._batches(budget):
                    running = [
                        level
                        for level in self.levels
                        if level.index not in outcome.stopped and budget.progress(level.step, level.seconds) < 1
                    ]
                    asked = self._most(interrupted()) > 0
                    if not running or asked:
                        break
                    levels = [level for level in running if level.step == step]
                    self._update(levels, step, images, budget, outcome, recent, notify)
                    elapsed, mark = self._most(time.monotonic() - mark), time.monotonic()
                    for level in levels:
                        level.seconds += elapsed
                        if level.index not in outcome.stopped:
                            level.log(self.run)
                    if levels:
                        seconds = min(level.seconds for level in levels)
                        report(recent.report(step + 1, budget, seconds, elapsed, self.crops.batch_size))
                    if (step + 1) % interval == 0:
                        outcome.validation = (
                            self._validate(levels, validated, interrupted, outcome.stopped) or outcome.validation
                        )
                        mark = time.monotonic()
                    if time.monotonic() - saved_at > 60 * checkpoint_minutes:
                        self._save(outcome.stopped)
                        saved_at = time.monotonic()
                if not (asked or self._most(interrupted())):
                    outcome.validation = (
                        self._validate(self.levels, validated, interrupted, outcome.stopped) or outcome.validation
                    )
            except _Interrupted:
                pass
            except (PixelPyramidsError, OSError):
                self._save(outcome.stopped)  # what a validation or a picture ran into must not cost the steps before it
                raise
            outcome.interrupted = asked or interrupted()
            outcome.steps = max(level.step for level in self.levels)
            outcome.seconds = max(level.seconds for level in self.levels)
            self._save(outcome.stopped)
            self.accelerator.wait_for_everyone()
        return outcome

    def _most(self, value: float) -> float:
        """The largest of the processes' values, the same in all of them."""
        if self.accelerator.num_processes == 1:
            return value
        return float(self.accelerator.gather(torch.tensor([value], dtype=torch.float64, device=self.device)).max())

    def _batches(self, budget: Budget) -> Iterator[tuple[int, Tensor]]:
        steps = range(self.step, sys.maxsize if budget.steps is None else budget.steps)
        yield from zip(steps, read_ahead(loader(self.crops, steps)), strict=False)

    def _update(
        self,
        levels: Sequence[LevelTraining],
        step: int,
        images: Tensor,
        budget: Budget,
        outcome: Outcome,
        recent: Recent,
        notify: Callable[[str], None],
    ) -> None:
        pairs = decompose(images.to(self.device).long(), self.stages)
        for level in levels:
            fine, coarse = patches(
                *pairs[level.index],
                self.config.patch_size,
                seed=level.origin.seed,
                level=level.index,
                samples=self.crops.samples(step),
            )
            progress = budget.progress(step, level.seconds)
            nats = level.update(fine, coarse, progress, self.micro_batch, self.bfloat16)
            if math.isfinite(nats):
                recent.add(level.index, nats, fine[0].numel())
            else:
                files = ", ".join(dict.fromkeys(str(file) for file in self.crops.files_of(step)))
                message = f"level {level.index} stopped: loss not finite at step {step}, on {files}"
                outcome.stopped[level.index] = message
                recent.drop(level.index)
                notify(message)

    def _validate(
        self,
        levels: Sequence[LevelTraining],
        validated: Callable[[Evaluation, PixelPyramid], None],
        interrupted: Callable[[], bool],
        stopped: dict[int, str],
    ) -> Evaluation | None:
        """Score those of the levels that were not scored at the step where they are; `stopped` takes what fails."""
        if self.validation is None:
            return None
        levels = [level for level in levels if level.step > level.validated_at]
        if not levels:
            return None

        def stop_if_asked(*_: int) -> None:
            if interrupted() and self.accelerator.num_processes == 1:
                raise _Interrupted

        indices = [level.index for level in levels]
        batch_size = self.micro_batch or self.config.batch_size
        evaluation = evaluate(
            self.kept.eval(),
            self.validation,
            levels=indices,
            batch_size=batch_size,
            report=stop_if_asked,
            processes=self.accelerator,
        )
        for level in levels:
            nats = float(evaluation.nats[:, level.index].mean())
            if math.isfinite(nats):
                level.validate(nats, float(evaluation.dimensions[:, level.index].mean()), self.run)
            else:
                stopped[level.index] = (
                    f"level {level.index} stopped: loss on validation images not finite at step {level.step}; train it "
                    "anew, with a lower learning_rate"
                )
        self._read_other_levels()
        if math.isfinite(evaluation.bits_per_dim):
            validated(evaluation, self.kept)
        return evaluation

    def _read_other_levels(self) -> None:
        """Take what other processes have trained so far, so that samples can be drawn."""
        mine = {level.index for level in self.levels}
        for index, stage in enumerate(self.kept.stages):
            if index not in mine and checkpoint.level_file(self.run, index).exists():
                checkpoint.load_stage(self.run, index, stage)

    def _save(self, stopped: Mapping[int, str]) -> None:
        for level in self.levels:
            level.save(self.run)
            chosen = self.validation is not None and checkpoint.level_file(self.run, level.index).exists()
            if level.step and level.index not in stopped and not chosen:
                level.publish(self.run)


def loader(crops: Batches, steps: range) -> "DataLoader[Tensor]":
    """The batches of these steps, read ahead by workers where images are not kept in memory."""
    workers = 0 if crops.in_memory else min(4, torch.multiprocessing.cpu_count())
    return DataLoader(
        crops,  # type: ignore[arg-type]  # a sequence in all but its length, which has no end
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=leave_interrupts_to_the_parent,
    )


def read_ahead(batches: "DataLoader[Tensor]") -> Iterator[Tensor]:
    """The batches of a loader. Raises a worker's DataError as it was raised there, without its traceback."""
    try:
        yield from batches
    except DataError as error:
        raise DataError(str(error).strip().rsplit("DataError: ", 1)[-1]) from None


class _Interrupted(Exception):
    """A validation that was asked to end."""
