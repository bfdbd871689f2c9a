"""The training of one level: its weights, their average, the optimiser and the progress, saved and restored together.

The loss is the sum of nats of the level's dimensions, averaged over the batch. `optimisation.py` has the formulas of
the learning rate and of the average.
"""

import json
import math
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pixelpyramids.atomic import write_text
from pixelpyramids.errors import CheckpointError
from pixelpyramids.model.parameters import AnyParameters
from pixelpyramids.pyramid.rate import bits_per_dim
from pixelpyramids.training import run_directory
from pixelpyramids.training.optimisation import learning_rate, new_optimiser, newest_share

LOG_EVERY = 10  # steps


class LevelTraining:
    """Trains `stage` (level `index`), and keeps its averaged weights in `average`, a stage of the same shape.

    `step` counts the updates; `seconds` is the time of training so far, including validation. `best` is the lowest
    bits/dim on the images of `validation_set`; `validated_at` is the step of the last validation. The seed, and whether
    images are held out to validate, never change. If several processes share each batch, all have the same state, and
    only the main one writes.
    """

    def __init__(
        self,
        config: AnyParameters,
        index: int,
        stage: nn.Module,
        average: nn.Module,
        accelerator: Accelerator,
        seed: int,
        held_out: bool,
    ) -> None:
        self.config, self.index, self.accelerator = config, index, accelerator
        self.seed, self.held_out = seed, held_out
        self.stage, self.average = stage, average.requires_grad_(False)
        self.average.load_state_dict(stage.state_dict())
        self.prepared = accelerator.prepare_model(stage)
        self.optimiser = new_optimiser(config, stage)
        self.latest: dict[str, float] = {}
        self.step, self.seconds, self.best = 0, 0.0, math.inf
        self.validated_at = 0
        self.validation_set: str | None = None

    def update(
        self, fine: Tensor, coarse: Tensor | None, progress: float, micro_batch: int | None, bfloat16: bool
    ) -> float:
        """Take one step on a batch, and return its mean nats per image.

        If the loss or the gradient is not finite, nothing changes and nan is returned. `progress` (0 to 1) is the
        step's place in the schedule. The batch's gradient is the sum over micro-batches. Processes that share a batch
        have parts of the same size.
        """
        self.stage.train()
        statistics = [buffer.clone() for buffer in self.stage.buffers()]
        total = torch.zeros((), dtype=torch.float64, device=fine.device)
        size = micro_batch or fine.shape[0]
        for start in range(0, fine.shape[0], size):
            part, last = slice(start, start + size), start + size >= fine.shape[0]
            with nullcontext() if last else self.accelerator.no_sync(self.prepared):
                with torch.autocast(fine.device.type, torch.bfloat16, enabled=bfloat16):
                    positions = self.prepared(fine[part], None if coarse is None else coarse[part])
                loss = positions.sum() / fine.shape[0]
                self.accelerator.backward(loss)
            total += loss.detach()
        total = self.accelerator.reduce(total, "mean")
        dimensions = fine[0].numel()
        limit = math.inf if self.config.clip_norm is None else self.config.clip_norm * dimensions
        gradient_norm = self.accelerator.clip_grad_norm_(self.stage.parameters(), limit)
        # The only synchronisation with a GPU in a step
        nats, norm = torch.stack([total, gradient_norm.double()]).tolist()
        finite = math.isfinite(nats) and math.isfinite(norm)
        if finite:
            rate = learning_rate(self.config, self.step, progress)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
            self.step += 1
            self._average()
            self.latest = {
                "nats": nats,
                "dimensions": dimensions,
                "learning_rate": rate,
                "gradient_norm": norm / dimensions,
            }
        else:
            for buffer, before in zip(self.stage.buffers(), statistics, strict=True):
                buffer.copy_(before)
        self.optimiser.zero_grad(set_to_none=True)
        return nats if finite else math.nan

    @torch.no_grad()
    def _average(self) -> None:
        share = newest_share(self.config, self.step)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.stage.parameters()), share)
        for average, buffer in zip(self.average.buffers(), self.stage.buffers(), strict=True):
            average.copy_(buffer)

    def save(self, run: Path) -> None:
        """Write the checkpoint that `restore` reads."""
        if not self.accelerator.is_main_process:
            return
        tensors = {f"weights.{key}": value for key, value in self.stage.state_dict().items()}
        tensors |= {f"average.{key}": value for key, value in self.average.state_dict().items()}
        for name, parameter in self.stage.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser.{key}.{name}"] = value
        place = {
            "step": self.step,
            "seconds": self.seconds,
            "best_bits_per_dim": self.best if math.isfinite(self.best) else None,
            "validation_set": self.validation_set,
            "level": self.index,
            "seed": self.seed,
            "held_out": self.held_out,
        }
        run_directory.save_tensors(run_directory.training_file(run, self.index), tensors, place)

    def restore(self, run: Path) -> None:
        """Resume from the checkpoint, if there is one, and remove the temporary files of a killed process.

        A checkpoint without tensors resumes from the kept weights, with a new optimiser. Raises CheckpointError if the
        checkpoint is damaged or of other parameters, or if there are weights without a checkpoint.
        """
        path = run_directory.training_file(run, self.index)
        weights = run_directory.level_file(run, self.index)
        if self.accelerator.is_main_process:
            for folder in (path.parent, run):
                for leftover in folder.glob(f".{path.name}.*.part"):
                    leftover.unlink(missing_ok=True)
        if not path.exists():
            if weights.exists():
                raise CheckpointError(
                    f"{weights}: there are weights, but no checkpoint to resume from; choose another run directory, or "
                    "remove them to train the level again"
                )
            self._forget_after(run, 0)
            self.save(run)  # from here on, weights in this run are this training's
            return
        tensors, place = run_directory.read_tensors(path)
        if not tensors:
            kept = run_directory.read_tensors(weights)[0]
            tensors = {f"{kind}.{key}": value for kind in ("weights", "average") for key, value in kept.items()}
        run_directory.require_finite(tensors, path)
        try:
            if place["level"] != self.index or place["step"] < 0 or place["seconds"] < 0:
                raise CheckpointError(
                    f"{path}: not a checkpoint of level {self.index}; remove it to train the level again"
                )
            if place["held_out"] != self.held_out:
                raise CheckpointError(
                    f"{path}: the training holds {'' if place['held_out'] else 'no '}images out for validation; resume "
                    "it in the same way, or choose another run directory"
                )
            for stage, kind in ((self.stage, "weights."), (self.average, "average.")):
                stage.load_state_dict({k.removeprefix(kind): v for k, v in tensors.items() if k.startswith(kind)})
            for name, parameter in self.stage.named_parameters():
                if f"optimiser.step.{name}" not in tensors:
                    continue
                moments = {
                    key: torch.empty_like(parameter, requires_grad=False).copy_(tensors[f"optimiser.{key}.{name}"])
                    for key in ("exp_avg", "exp_avg_sq")
                }
                step = tensors[f"optimiser.step.{name}"].to(parameter.device)
                self.optimiser.state[parameter] = {"step": step, **moments}
            self.step, self.seconds = int(place["step"]), float(place["seconds"])
            best = place.get("best_bits_per_dim")
            self.best = math.inf if best is None else float(best)
            self.validation_set = place.get("validation_set")
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path}: does not match this run's parameters; remove it to train the level again"
            ) from error
        log = run_directory.read_log(run, self.index)
        validations = [int(entry["step"]) for entry in log if "validation_nats" in entry]
        self.validated_at = max((step for step in validations if step <= self.step), default=0)
        self._forget_after(run, self.step)

    def publish(self, run: Path) -> None:
        """Write the averaged or the latest weights, as the parameters say, where `load` reads them."""
        if self.accelerator.is_main_process:
            kept = self.average if self.config.kept_weights == "average" else self.stage
            run_directory.save_stage(run, self.index, kept)

    def choose_on(self, validation_set: str) -> bool:
        """Choose the best weights on this set from now on. On a new set, the best so far is forgotten.

        Return whether weights were chosen before, on another set or on one that was not recorded.
        """
        if self.validation_set == validation_set:
            return False
        self.best, self.validation_set = math.inf, validation_set
        return self.validated_at > 0

    def validate(self, nats: float, dimensions: float, run: Path) -> None:
        """Record the mean nats and dimensions of the validation images; publish the weights if they are the best."""
        bits = float(bits_per_dim(nats, dimensions))
        if bits < self.best:
            self.best = bits
            self.publish(run)
        self.validated_at = self.step
        self.save(run)  # before the log entry: `best` must survive a kill
        self._log(run, {"step": self.step, "validation_nats": nats, "dimensions": dimensions})

    def log(self, run: Path) -> None:
        """Log the latest update, at the first and at every tenth step.

        The entry has the batch's mean nats per image, the dimensions, the learning rate, the norm of the gradient
        before clipping in nats per dimension, and the seconds of training so far.
        """
        if self.step == 1 or self.step % LOG_EVERY == 0:
            self._log(run, {"step": self.step, **self.latest, "seconds": self.seconds})

    def _log(self, run: Path, entry: dict[str, int | float]) -> None:
        values = {key: value for key, value in entry.items() if key not in ("step", "nats", "dimensions")}
        nats = values.pop("validation_nats", None)
        name = "bits_per_dim" if nats is None else "validation_bits_per_dim"
        values[name] = float(bits_per_dim(entry["nats"] if nats is None else nats, entry["dimensions"]))
        self.accelerator.log({f"level_{self.index:02d}/{k}": v for k, v in values.items()}, step=int(entry["step"]))
        if not self.accelerator.is_main_process:
            return
        path = run_directory.log_file(run, self.index)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _forget_after(self, run: Path, step: int) -> None:
        """Drop the log entries after the checkpoint: they will be written again."""
        path = run_directory.log_file(run, self.index)
        if path.exists() and self.accelerator.is_main_process:
            kept = [entry for entry in run_directory.read_log(run, self.index) if entry["step"] <= step]
            write_text(path, "".join(json.dumps(entry) + "\n" for entry in kept))
