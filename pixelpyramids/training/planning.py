"""What each level of a training costs, and how to share the levels among devices.

Levels share nothing, so a device can train some of them without a word to the others; the slowest device is the time of
the training. Levels go, the most expensive first, to the device that has least to do (longest processing time first,
Graham 1969: never more than 4/3 of the best).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from pixelpyramids.errors import ParameterError
from pixelpyramids.model.device import bfloat16_is_fast
from pixelpyramids.model.parameters import Parameters
from pixelpyramids.model.pixel_pyramid import new_stage
from pixelpyramids.training.level import LevelTraining, Origin
from pixelpyramids.training.memory import StepMemory, pair, step_memory, with_library


@dataclass(frozen=True)
class LevelCost:
    """A level's training: `seconds` an image, measured, `memory` of a step, `parameters` of its network."""

    index: int
    seconds: float
    memory: StepMemory
    parameters: int


@dataclass(frozen=True)
class Share:
    """What one device does: its levels, and how many images at once its memory allows (None: the whole batch)."""

    levels: tuple[int, ...]
    seconds_of_step: float
    micro_batch: int | None
    peak_bytes: int


def level_costs(
    config: Parameters,
    device: torch.device,
    images: int = 1,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> list[LevelCost]:
    """Measure a training step of each level on `images` images at once, the second of two; finest level first."""
    accelerator, bfloat16 = Accelerator(cpu=device.type == "cpu"), bfloat16_is_fast(device)
    costs = []
    for index in range(config.L):
        stages = [new_stage(config, index).to(device) for _ in range(2)]
        for stage in stages:
            stage.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        training = LevelTraining(config, index, stages[0], stages[1], accelerator, Origin(0, False))
        fine, coarse = pair(config, index, images)
        halves = fine.to(device), None if coarse is None else coarse.to(device)
        for _ in range(2):
            began = time.perf_counter()
            training.update(*halves, 0.5, None, bfloat16)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = (time.perf_counter() - began) / images
        parameters = sum(p.numel() for p in stages[0].parameters())
        costs.append(LevelCost(index, seconds, step_memory(config, index, bfloat16), parameters))
        report(index + 1, config.L)
    return costs


def share_levels(costs: Sequence[LevelCost], devices: int, batch_size: int, memory: int) -> list[Share]:
    """The levels of each device that has some, for devices of `memory` bytes.

    Raises ParameterError where a level does not fit with one image at a time, or there is no device.
    """
    if devices < 1:
        raise ParameterError(f"expected at least 1 device, got {devices}")
    shares: list[list[LevelCost]] = [[] for _ in range(devices)]
    for cost in sorted(costs, key=lambda cost: (-cost.seconds, cost.index)):
        min(shares, key=lambda share: sum(other.seconds for other in share)).append(cost)
    return [_share(sorted(share, key=lambda cost: cost.index), batch_size, memory) for share in shares if share]


def images_at_once(costs: Sequence[LevelCost], batch_size: int, memory: int) -> int:
    """The largest batch_size, halved as often as needed, that these levels' steps fit into `memory` bytes with.

    Raises ParameterError where one image does not.
    """
    images = batch_size
    while peak_bytes(costs, images) > memory:
        if images == 1:
            levels = ",".join(str(cost.index) for cost in costs)
            raise ParameterError(
                f"level(s) {levels} need {peak_bytes(costs, 1) / 2**30:.1f} GiB for one image at a time, the devices "
                f"have {memory / 2**30:.1f}; use more devices, larger ones, or a smaller patch_size"
            )
        images = -(-images // 2)
    return images


def peak_bytes(costs: Sequence[LevelCost], images: int) -> int:
    """What a process holds that trains these levels, their steps one after the other."""
    return with_library(sum(cost.memory.kept for cost in costs) + max(cost.memory.running(images) for cost in costs))


def _share(costs: Sequence[LevelCost], batch_size: int, memory: int) -> Share:
    images = images_at_once(costs, batch_size, memory)
    return Share(
        levels=tuple(cost.index for cost in costs),
        seconds_of_step=batch_size * sum(cost.seconds for cost in costs),
        micro_batch=None if images == batch_size else images,
        peak_bytes=peak_bytes(costs, images),
    )
