"""Trackers of a training, through Accelerate: TensorBoard, or Weights & Biases.

They receive the values that the run's log receives. By default none is imported, and nothing is sent anywhere.

    tensorboard     writes to RUN/log/tensorboard
    wandb           the project "pixelpyramids", its files in RUN/log; sends no code, machine or git data
"""

import os
from pathlib import Path
from typing import Any, TypeAlias

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import ProjectConfiguration

from pixelpyramids.errors import ParameterError, PixelPyramidsError
from pixelpyramids.extras import import_extra
from pixelpyramids.model.parameters import AnyParameters

PROJECT = "pixelpyramids"
TRACKERS = ("tensorboard", "wandb")
PRIVATE = {"disable_git": True, "disable_code": True, "x_disable_meta": True, "x_disable_stats": True, "console": "off"}

Tracker: TypeAlias = str | GeneralTracker


def make_accelerator(cpu: bool, run: Path, tracker: Tracker | None) -> Accelerator:
    """An Accelerator that logs with the tracker, if given: a name of TRACKERS, or any tracker of Accelerate.

    Raises ParameterError for another name, PixelPyramidsError if the tracker's package is not installed.
    """
    if isinstance(tracker, str):
        if tracker not in TRACKERS:
            raise ParameterError(f"expected one of the trackers {', '.join(TRACKERS)}, got {tracker}")
        import_extra(tracker, f"train,{tracker}")
    folders = ProjectConfiguration(str(run), logging_dir=str(run / "log" / "tensorboard"))
    return Accelerator(cpu=cpu, log_with=tracker, project_config=folders)


def start_tracker(accelerator: Accelerator, run: Path, config: AnyParameters, seed: int) -> None:
    """Start the tracker, if the accelerator has one. Raises PixelPyramidsError if it does not start."""
    if not accelerator.log_with:
        return
    keys: dict[str, Any] = config.model_dump(mode="json", exclude={"data_root"}) | {"seed": seed}
    plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in keys.items()}
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    (run / "log").mkdir(exist_ok=True)
    options = {"wandb": {"name": run.resolve().name, "dir": str(run / "log"), "settings": PRIVATE}}
    wandb = "wandb" in map(str, accelerator.log_with)
    refusal: type[Exception] = import_extra("wandb").errors.Error if wandb else OSError
    try:
        accelerator.init_trackers(PROJECT, plain, options)
    except refusal as error:
        advice = (
            "run `wandb login`, or set WANDB_MODE=offline" if wandb else "check the permissions of the run directory"
        )
        raise PixelPyramidsError(f"the tracker did not start: {error}; {advice}") from error


def finish_tracker(accelerator: Accelerator) -> None:
    """Write what is still buffered, and close the trackers."""
    for tracker in accelerator.trackers:
        tracker.finish()
