"""The session of a training: its settings, changes since the last session, and its progress."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pixelpyramids.data.batches import Batches
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.identity import image_numbers
from pixelpyramids.data.images import Images
from pixelpyramids.model.parameters import AnyParameters
from pixelpyramids.training.level import LevelTraining
from pixelpyramids.training.progress import Budget
from pixelpyramids.training.provenance import (
    Session,
    describe_batches,
    describe_changes,
    describe_device,
    describe_images,
    describe_schedule,
    describe_software,
    last_session,
    last_sessions,
    read_sessions,
    record_session,
    record_trained_on,
)


class SessionRecord:
    """The entry of a session in its run's provenance.

    `before` is the last session that trained one of the levels, if any; `session` is this one. `settings` are copied
    into it.
    """

    def __init__(
        self,
        run: Path,
        levels: Sequence[LevelTraining],
        crops: Batches,
        held_out: Images | None,
        budget: Budget,
        *,
        device: torch.device,
        **settings: Any,
    ) -> None:
        self.run, self.levels, self.crops, self.budget = run, levels, crops, budget
        self.indices = [level.index for level in levels]
        self._sessions = read_sessions(run)
        self.before = last_session(self._sessions, self.indices)
        self.session: Session = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **describe_software(),
            **describe_device(device),
            **settings,
            "seed": levels[0].origin.seed,
            "batch_size": crops.batch_size,
            "budget": budget.as_dict,
            "training_data": describe_batches(crops),
            "validation_data": None if held_out is None else describe_images(held_out),
        }
        self._first_steps = [level.step for level in levels]
        self._place: int | None = None
        self._recorded = False

    def describe_changes(self, config: AnyParameters) -> list[str]:
        """The differences from earlier sessions, one line each."""
        last = last_sessions(self._sessions, range(config.n_stages))
        older = any(level.step and level.index not in last for level in self.levels)
        places = [
            (level.step, level.seconds, Budget(**last[level.index]["budget"]))
            for level in self.levels
            if level.index in last
        ]
        return (
            ["this run was started by an earlier version, which did not record its data, precision and budget"] * older
            + describe_changes(last, self.session, self.indices)
            + describe_schedule(config, places, self.budget)
        )

    def write_trained_on(self) -> None:
        """Write which images the levels were trained on, after the first step; the images of a stream are not known."""
        steps = [level.step for level in self.levels]
        if steps != self._first_steps and not self._recorded and isinstance(self.crops, Crops):
            record_trained_on(self.run, image_numbers(self.crops.folder))
            self._recorded = True

    def write(self, reserve: float | None) -> None:
        """Write the progress of the levels, and the seconds that are reserved for validation, if there is one."""
        items = self.crops.items_per_epoch
        self.session["levels"] = {
            str(level.index): {
                "first_step": first_step,
                "step": level.step,
                "epochs": items and level.step * self.crops.batch_size / items,
                "minutes": level.seconds / 60,
            }
            for level, first_step in zip(self.levels, self._first_steps, strict=True)
        }
        if reserve is not None:
            self.session["validation_data"]["reserve"] = reserve
        self._place = record_session(self.run, self.session, self._place)
