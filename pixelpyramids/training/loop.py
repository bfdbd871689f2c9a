"""Train all levels or some of them in one loop. Each level is trained independently.

Images and crops are keyed by (seed, step, item) and initial weights by (seed, level), and levels share nothing.
Therefore, levels trained one by one, anywhere, equal levels trained together, and a run that was killed and resumed
equals one that was not (with a budget of steps, and the same number of threads).
"""

import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pixelpyramids.data.batches import Batches
from pixelpyramids.data.images import Images
from pixelpyramids.errors import ParameterError, PixelPyramidsError
from pixelpyramids.interrupts import Stopped, defer_interrupts
from pixelpyramids.model.device import bfloat16_is_fast, choose_device
from pixelpyramids.model.models import AnyModel, new_model
from pixelpyramids.model.parameters import AnyParameters
from pixelpyramids.training import run_directory
from pixelpyramids.training.evaluation import Evaluation
from pixelpyramids.training.level import LevelTraining
from pixelpyramids.training.patches import cut_patches
from pixelpyramids.training.progress import Budget, Outcome, Recent, Report
from pixelpyramids.training.reading_ahead import make_loader, read_ahead
from pixelpyramids.training.session import SessionRecord
from pixelpyramids.training.trackers import Tracker, make_accelerator, start_tracker
from pixelpyramids.training.validation import Validation, choose_validation, count_by_pixels, seconds_of_an_image


class Training:
    """The training of some levels of a model in the run directory `run`. `fit` resumes from its checkpoints.

    `levels` are the stages to train (all by default). `kept` is the model with the kept weights: the averages, or the
    latest weights if `kept_weights` says so. With `validation` images, the weights of the best validation are kept,
    else the last ones. `validation_images` is how many of them are scored; `validation.py` has the default.
    `micro_batch` splits a batch to save memory. `bfloat16` None means to use it if the device is fast at it. `tracker`
    ("tensorboard", "wandb", or a tracker of Accelerate) receives the values of the run's log.
    Raises ParameterError or CheckpointError if the run directory has other parameters or another seed, or if another
    process trains one of the levels.
    """

    def __init__(
        self,
        config: AnyParameters,
        run: Path,
        crops: Batches,
        validation: Images | None = None,
        *,
        validation_images: int | None = None,
        levels: Sequence[int] | None = None,
        seed: int = 0,
        micro_batch: int | None = None,
        device: str | None = None,
        bfloat16: bool | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        indices = sorted(set(range(config.n_stages) if levels is None else levels))
        if not indices or indices[0] < 0 or indices[-1] >= config.n_stages:
            raise ParameterError(f"expected levels from 0 to {config.n_stages - 1}, got {levels}")
        if micro_batch is not None and micro_batch < 1:
            raise ParameterError(f"expected a micro-batch of at least 1 image, got {micro_batch}")
        accelerator = make_accelerator(choose_device(device).type == "cpu", run, tracker)
        if config.norm == "batch" and accelerator.num_processes > 1:
            raise ParameterError(
                f'expected norm "channel" or "group" if {accelerator.num_processes} processes share each batch, got '
                '"batch", whose statistics would cover only part of it; use one process for each level (--levels)'
            )
        self.crops = crops.share(accelerator.process_index, accelerator.num_processes)
        self._locks: list[object] = []
        if accelerator.is_main_process:
            run_directory.claim(run, config)
            run_directory.claim_seed(run, seed)
            self._locks = [run_directory.lock_level(run, index) for index in indices]
            start_tracker(accelerator, run, config, seed)
        accelerator.wait_for_everyone()
        # 1x1 convolutions cause this warning, because several strides describe the same layout.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        self.config, self.run, self.accelerator = config, run, accelerator
        self.held_out, self.validation_images = validation, validation_images
        self.validation: Validation | None = None
        self._record: SessionRecord | None = None
        self.device = accelerator.device
        self.averaged = new_model(config, seed).to(self.device)
        model = new_model(config, seed).to(self.device)
        self.kept = self.averaged if config.kept_weights == "average" else model
        self.levels: list[LevelTraining] = []
        for index in indices:
            stage, average = model.stages[index], self.averaged.stages[index]
            level = LevelTraining(config, index, stage, average, accelerator, seed, validation is not None)
            level.restore(run)
            self.levels.append(level)
        self.micro_batch = micro_batch
        self.bfloat16 = bfloat16_is_fast(self.device) if bfloat16 is None else bfloat16

    @property
    def step(self) -> int:
        """The number of updates that every level has had."""
        return min(level.step for level in self.levels)

    @property
    def seconds(self) -> float:
        """The longest training time of a level."""
        return max(level.seconds for level in self.levels)

    def fit(
        self,
        budget: Budget,
        *,
        checkpoint_minutes: float = 5.0,
        report: Callable[[Report], None] = lambda _: None,
        notify: Callable[[str], None] = lambda _: None,
        validated: Callable[[Evaluation], None] = lambda _: None,
        draw: Callable[[AnyModel], None] | None = None,
    ) -> Outcome:
        """Train until the budget is spent. Ctrl-C finishes the step, saves everything, and sets `interrupted`.

        `report` is called after every step, and `validated` after every validation. After a validation, the main
        process also calls `draw` with the model `kept`, and stops it on Ctrl-C or if it takes more than a twentieth of
        the time. `notify` receives messages for people: the training is interrupted, a level stops, samples take too
        long.
        """
        outcome = Outcome()
        recent = Recent(self.config.n_stages)
        interval = self.config.eval_interval * self.crops.steps_per_epoch
        self._mark = saved_at = time.monotonic()
        with defer_interrupts(notify) as interrupted:
            asked = False

            def validate(levels: Sequence[LevelTraining]) -> None:
                nonlocal budget
                levels = [level for level in levels if level.step > level.validated_at]
                if self.validation is None or not levels:
                    return
                began = time.monotonic()
                evaluation = self._validate(self.validation, levels, interrupted, outcome.stopped)
                outcome.validation = evaluation
                if math.isfinite(evaluation.bits_per_dim):
                    validated(evaluation)
                    if (
                        draw is not None
                        and self.accelerator.is_main_process
                        and self.validation.draw(draw, self.kept, budget, self.seconds, interrupted)
                    ):
                        notify(
                            "no samples were drawn, because they would take more than a twentieth of the training "
                            "time; draw some later with `pixelpyramids sample`"
                        )
                self._spend(levels)
                self.validation.record_time(self._largest(time.monotonic() - began), self.seconds)
                budget = replace(budget, reserve=self.validation.reserve)

            try:
                budget = self._begin(budget, draw is not None)
                validate([level for level in self.levels if level.step % interval == 0])
                steps = range(self.step, sys.maxsize if budget.steps is None else budget.steps)
                batches = read_ahead(make_loader(self.crops, steps, self.crops.in_memory))
                for step, images in zip(steps, batches, strict=False):
                    running = [
                        level
                        for level in self.levels
                        if level.index not in outcome.stopped and budget.progress(level.step, level.seconds) < 1
                    ]
                    asked = self._largest(interrupted()) > 0
                    if not running or asked:
                        break
                    levels = [level for level in running if level.step == step]
                    self._update(levels, step, images, budget, outcome, recent, notify)
                    elapsed = self._spend(levels)
                    for level in levels:
                        if level.index not in outcome.stopped:
                            level.log(self.run)
                    if levels:
                        indices = [level.index for level in levels]
                        seconds = min(level.seconds for level in levels)
                        report(recent.report(step + 1, indices, budget, seconds, elapsed, self.crops.batch_size))
                    if (step + 1) % interval == 0 and self.validation and self.validation.is_due(budget, self.seconds):
                        validate(levels)
                    if time.monotonic() - saved_at > 60 * checkpoint_minutes:
                        self._save(outcome.stopped)
                        saved_at = time.monotonic()
                if not (asked or self._largest(interrupted())):
                    validate(self.levels)
            except Stopped:
                pass
            except (PixelPyramidsError, OSError):
                self._save(outcome.stopped)  # a failed validation or picture must not lose the steps before it
                raise
            outcome.interrupted = asked or interrupted()
            outcome.steps = max(level.step for level in self.levels)
            outcome.seconds = self.seconds
            self._save(outcome.stopped)
            self.accelerator.wait_for_everyone()
        return outcome

    def _begin(self, budget: Budget, draws: bool) -> Budget:
        """Record the session, warn of changes, and choose the validation images.

        Returns the budget, with a reserve for the last validation.
        """
        record = SessionRecord(
            self.run,
            self.levels,
            self.crops,
            self.held_out,
            budget,
            device=self.device,
            processes=self.accelerator.num_processes,
            precision="bfloat16" if self.bfloat16 else "float32",
            micro_batch=self.micro_batch,
        )
        warning_lines = record.describe_changes()
        before, described = record.before, record.session["validation_data"]
        if self.held_out is not None:
            steps = self.config.eval_interval * self.crops.steps_per_epoch
            crops = min(steps, budget.steps or steps) * self.crops.batch_size
            self.validation = choose_validation(
                self.held_out,
                described["sha256"],
                self.levels[0].seed,
                count=self.validation_images,
                most=count_by_pixels(self.held_out, self.config, self.crops.size, crops),
                budget=budget,
                before=before["validation_data"] if before and before["budget"] == budget.as_dict else None,
                draws=draws,
                measure=lambda images: self._largest(seconds_of_an_image(self.kept.eval(), images, record.indices)),
            )
            described["scored"] = len(self.validation.chosen)
            if any([level.choose_on(self.validation.name) for level in self.levels]):
                warning_lines.append(
                    "the best weights were chosen on other validation images, or on images that were not recorded; the "
                    "next validation replaces them"
                )
            budget = replace(budget, reserve=self.validation.reserve)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            for line in warning_lines:
                warnings.warn(f"{self.run}: {line}", stacklevel=3)
            self._record = record
        self._write_record()
        return budget

    def _write_record(self) -> None:
        """Write the progress of this session to the run's provenance."""
        if self._record is not None:
            self._record.write(None if self.validation is None else self.validation.reserve)

    def _spend(self, levels: Sequence[LevelTraining]) -> float:
        """Add the seconds since the last call to the time of the levels; return them."""
        elapsed, self._mark = self._largest(time.monotonic() - self._mark), time.monotonic()
        for level in levels:
            level.seconds += elapsed
        return elapsed

    def _largest(self, value: float) -> float:
        """The largest value among the processes, in all of them."""
        if self.accelerator.num_processes == 1:
            return value
        return float(self.accelerator.gather(torch.tensor([value], dtype=torch.float64, device=self.device)).max())

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
        pairs = self.config.decompose(images.to(self.device))
        for level in levels:
            fine, coarse = cut_patches(
                *pairs[level.index],
                self.config.patch_size,
                seed=level.seed,
                level=level.index,
                samples=self.crops.samples(step),
            )
            progress = budget.progress(step, level.seconds)
            dimensions = pairs[level.index][0][0].numel()
            # Scale patches up to whole images, so that each level counts by its share of all dimensions.
            nats = level.update(fine, coarse, progress, self.micro_batch, self.bfloat16) * dimensions / fine[0].numel()
            if math.isfinite(nats):
                level.latest |= {"nats": nats, "dimensions": dimensions}
                recent.add(level.index, nats, dimensions)
            else:
                files = ", ".join(dict.fromkeys(str(file) for file in self.crops.files_of(step)))
                message = f"level {level.index} stopped: loss not finite at step {step}, on {files}"
                outcome.stopped[level.index] = message
                recent.drop(level.index)
                notify(message)

    def _validate(
        self,
        validation: Validation,
        levels: Sequence[LevelTraining],
        interrupted: Callable[[], bool],
        stopped: dict[int, str],
    ) -> Evaluation:
        """Score the levels; those that fail are added to `stopped`.

        Then load the levels that other processes have trained so far, so that samples can be drawn.
        """
        evaluation = validation.score(
            self.kept.eval(),
            [level.index for level in levels],
            self.micro_batch or self.config.batch_size,
            self.accelerator,
            interrupted,
        )
        self._spend(levels)
        if self._record is not None:
            self._record.write_trained_on()  # before the weights, in case a kill comes between
        for level in levels:
            nats = float(evaluation.nats[:, level.index].mean())
            if math.isfinite(nats):
                level.validate(nats, float(evaluation.dimensions[:, level.index].mean()), self.run)
            else:
                stopped[level.index] = (
                    f"level {level.index} stopped: loss on validation images not finite at step {level.step}; train it "
                    "again with a lower learning_rate"
                )
        mine = {level.index for level in self.levels}
        for index, stage in enumerate(self.kept.stages):
            if index not in mine and run_directory.level_file(self.run, index).exists():
                run_directory.load_stage(self.run, index, stage)
        return evaluation

    def _save(self, stopped: Mapping[int, str]) -> None:
        if self._record is not None:
            self._record.write_trained_on()
        for level in self.levels:
            level.save(self.run)
            chosen = self.held_out is not None and run_directory.level_file(self.run, level.index).exists()
            if level.step and level.index not in stopped and not chosen:
                level.publish(self.run)
        self._write_record()
