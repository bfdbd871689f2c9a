"""Validation during a training: on the same images each time, and in a limited share of the time.

The images are drawn at random from the split. By default, they have at most a quarter of the pixels that are trained on
between two validations. If the budget is in minutes, scoring takes at most a twentieth of it, and drawing samples
another twentieth. After a validation, the next one waits for at least four times its duration.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from pixelpyramids.data.images import Images
from pixelpyramids.interrupts import Stopped, stop_between_layers
from pixelpyramids.model.models import AnyModel
from pixelpyramids.model.parameters import AnyParameters
from pixelpyramids.training.evaluation import Evaluation, default_tile, evaluate, rate_in_tiles
from pixelpyramids.training.progress import Budget

_CHOICE = 5  # key of this random stream; crops, patches and streams have others
PIXEL_SHARE = 0.25  # scoring a pixel in float32 takes 0.25 to 0.8 of the time of training on it
TIME_SHARE = 0.05
DRAWING_LEAST = 30.0  # seconds that samples may always take if the budget is in steps


class Validation:
    """Scores the `chosen` images of a split: `count` of them, at least one. Smaller sets are subsets of larger ones.

    `reserve` is the longest time in seconds that a validation took or is expected to take. `name` identifies the set of
    images by `count` and the hash `sha256` of the split.
    """

    def __init__(self, images: Images, sha256: str, count: int, seed: int, reserve: float) -> None:
        count = min(max(count, 1), len(images))
        order = np.random.default_rng([_CHOICE, seed]).permutation(len(images))
        self.images, self.chosen, self.reserve = images, sorted(order[:count].tolist()), reserve
        self.name = f"{count} of {len(images)} images, SHA-256 {sha256}"
        self._last, self._done_at = 0.0, 0.0
        self._drawing, self._needed = 0.0, 0.0

    def score(
        self,
        model: AnyModel,
        levels: Sequence[int],
        batch_size: int,
        processes: Accelerator,
        interrupted: Callable[[], bool],
    ) -> Evaluation:
        """Score the levels. Raises Stopped if interrupted, which is possible only with a single process."""
        with stop_between_layers(model, lambda: processes.num_processes == 1 and interrupted()):
            return evaluate(
                model, self.images, levels=levels, chosen=self.chosen, batch_size=batch_size, processes=processes
            )

    def draw(
        self,
        draw: Callable[[AnyModel], None],
        model: AnyModel,
        budget: Budget,
        seconds: float,
        interrupted: Callable[[], bool],
    ) -> bool:
        """Call `draw` after this many seconds of training. Returns whether it took too long and was stopped."""
        whole = max(seconds, DRAWING_LEAST / TIME_SHARE) if budget.minutes is None else 60 * budget.minutes
        began, left = time.monotonic(), TIME_SHARE * whole - self._drawing
        if left < self._needed:
            return False
        stopped = False
        try:
            with stop_between_layers(model, lambda: interrupted() or time.monotonic() > began + left):
                draw(model)
        except Stopped:
            stopped = not interrupted()
        taken = time.monotonic() - began
        self._drawing += taken
        self._needed = 2 * taken if stopped else taken
        return stopped

    def is_due(self, budget: Budget, seconds: float) -> bool:
        """Whether to validate after this many seconds of training. A budget of steps does not depend on timing."""
        return budget.minutes is None or seconds - self._done_at >= 4 * (self._last or self.reserve)

    def record_time(self, seconds_of_it: float, seconds: float) -> None:
        """Record how long the last validation took, including samples, and the seconds of training at its end."""
        self._last, self._done_at = seconds_of_it, seconds
        self.reserve = max(self.reserve, seconds_of_it)


def choose_validation(
    images: Images,
    sha256: str,
    seed: int,
    *,
    count: int | None,
    most: int,
    budget: Budget,
    before: Mapping[str, Any] | None,
    draws: bool,
    measure: Callable[[Images], float],
) -> Validation:
    """A validation on `count` images of a split; by default, on as many as the budget allows, at most `most`.

    For a budget in minutes, `measure` gives the seconds per image. If the session `before` had the same budget, its
    images are used again, so that its best weights stay comparable. `draws` reserves time for samples.
    """
    if budget.minutes is None:
        return Validation(images, sha256, count or most, seed, 0.0)
    if before and before["sha256"] == sha256 and count in (None, before["scored"]):
        return Validation(images, sha256, before["scored"], seed, before["reserve"])
    seconds, allowed = measure(images), TIME_SHARE * 60 * budget.minutes
    chosen = Validation(images, sha256, count or min(most, int(allowed / seconds)), seed, 0.0)
    chosen.reserve = seconds * len(chosen.chosen) + (allowed if draws else 0.0)
    return chosen


def count_by_pixels(images: Images, config: AnyParameters, size: tuple[int, int], crops: int) -> int:
    """How many images have a quarter of the pixels that the levels are trained on with this many crops of that size."""
    longest = config.patch_size or max(size)
    halves = config.decompose(np.empty(size)).values()
    pixels = crops * sum(math.prod(min(side, longest) for side in fine.shape) for fine, _ in halves)
    return int(PIXEL_SHARE * pixels / images.sizes.prod(axis=1, dtype=np.int64).mean())


def seconds_of_an_image(model: AnyModel, images: Images, levels: Sequence[int]) -> float:
    """The time that scoring an image of the split's mean size takes."""
    height, width = (max(round(side), 1) for side in images.sizes.mean(axis=0).tolist())
    image = torch.zeros(1, images.channels, height, width, dtype=torch.long)
    began = time.monotonic()
    rate_in_tiles(model, image, default_tile(model), levels)
    return time.monotonic() - began
