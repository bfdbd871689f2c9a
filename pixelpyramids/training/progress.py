"""The progress of a training: its budget, and averages of its recent steps."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from pixelpyramids.errors import ParameterError
from pixelpyramids.pyramid.rate import bits_per_dim
from pixelpyramids.training.evaluation import Evaluation


@dataclass(frozen=True)
class Budget:
    """The length of a training: in steps, or in minutes, which include everything that it does.

    `reserve` seconds of the minutes are kept for the last validation, but at most half of them.
    """

    steps: int | None = None
    minutes: float | None = None
    reserve: float = 0.0

    def __post_init__(self) -> None:
        given = [value for value in (self.steps, self.minutes) if value is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise ParameterError(
                f"expected a positive number of either steps or minutes, got {' and '.join(map(str, given)) or 'none'}"
            )

    @property
    def as_dict(self) -> dict[str, float]:
        """{"steps": …} or {"minutes": …}."""
        return {"steps": self.steps} if self.steps is not None else {"minutes": self.minutes or 0.0}

    def __str__(self) -> str:
        return " ".join(f"{count:g} {unit}" for unit, count in self.as_dict.items())

    def progress(self, step: int, seconds: float) -> float:
        """The share of the training that is done, from 0 to 1."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        assert self.minutes is not None
        whole = 60 * self.minutes
        return min(seconds / (whole - min(self.reserve, whole / 2)), 1.0)


@dataclass(frozen=True)
class Report:
    """The state after a step: bits/dim of recent batches, in total and for each level, images/s, and the time left.

    `bits_per_dim` is None if the step did not update all levels of the model: a sum over some levels, or over levels at
    different steps, is not a code length.
    """

    step: int
    progress: float
    bits_per_dim: float | None
    bits_per_dim_of_levels: dict[int, float]
    images_per_second: float
    seconds_left: float


@dataclass
class Outcome:
    """The result of a training: `stopped` says why levels stopped early; `validation` is the last evaluation."""

    steps: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    validation: Evaluation | None = None
    stopped: dict[int, str] = field(default_factory=dict)


class Recent:
    """Running means of the bits/dim of each of a model's levels, and of the speed."""

    def __init__(self, levels: int) -> None:
        self.nats: list[float] = [math.nan] * levels
        self.dimensions = [0] * levels
        self.seconds_of_step = math.nan

    def add(self, level: int, nats: float, dimensions: int) -> None:
        """Add a batch's mean nats per image."""
        self.nats[level] = _blend(self.nats[level], nats)
        self.dimensions[level] = dimensions

    def drop(self, level: int) -> None:
        """Forget a level that has stopped."""
        self.nats[level], self.dimensions[level] = math.nan, 0

    def report(
        self, step: int, levels: Collection[int], budget: Budget, seconds: float, seconds_of_step: float, images: int
    ) -> Report:
        """The state after a step that updated `levels`."""
        progress = budget.progress(step, seconds)
        self.seconds_of_step = _blend(self.seconds_of_step, seconds_of_step)
        if budget.steps is not None:
            left = (budget.steps - step) * self.seconds_of_step
        else:
            left = 60 * (budget.minutes or 0.0) - seconds
        seen = [level for level, dimensions in enumerate(self.dimensions) if dimensions]
        bits = {level: bits_per_dim(self.nats[level], self.dimensions[level]) for level in seen}
        whole = set(levels) == set(seen) == set(range(len(self.nats)))
        total = bits_per_dim(sum(self.nats), sum(self.dimensions)) if whole else None
        return Report(step, progress, total, bits, images / self.seconds_of_step, max(left, 0.0))


def _blend(old: float, new: float) -> float:
    return new if math.isnan(old) else 0.95 * old + 0.05 * new
