"""What each level of a training costs on this machine, and how to share the levels among devices.

A level's cost is measured: a process of its own takes training steps on 1, 2, 4, … images. Levels share nothing, so
each device can train some of them alone. Each level, the most expensive first, goes to the device that has the least to
do: the time of the slowest device is never more than 4/3 of the best (Graham, 1969).
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from pixelpyramids.errors import ParameterError
from pixelpyramids.model.device import bfloat16_is_fast, keep_freed_memory
from pixelpyramids.model.image_model import new_stage
from pixelpyramids.model.parameters import AnyParameters
from pixelpyramids.training.level import LevelTraining
from pixelpyramids.training.patches import cut_patches

LONGEST_STEP = 5.0  # seconds: after a longer step, no larger batch is tried
BYTES_A_PARAMETER = 16  # float32 weights, their average and two moments of Adam


@dataclass(frozen=True)
class LevelCost:
    """The measured cost of a level: seconds for an image, and the peak memory in bytes for each count of images."""

    index: int
    parameters: int
    seconds: float
    peaks: dict[int, int]

    def peak(self, images: int) -> int:
        """Bytes for this many images at once: measured, or extrapolated from the two largest counts measured."""
        if images in self.peaks:
            return self.peaks[images]
        *_, last = sorted(self.peaks)
        before = max((count for count in self.peaks if count < last), default=last)
        slope = (self.peaks[last] - self.peaks[before]) / max(last - before, 1)
        return round(self.peaks[last] + slope * (images - last))


@dataclass(frozen=True)
class Share:
    """One device's part: its levels, and how many images at once fit its memory (None: the whole batch)."""

    levels: tuple[int, ...]
    seconds_of_step: float
    micro_batch: int | None
    peak_bytes: int


def measure_levels(
    config: AnyParameters,
    device: torch.device,
    memory: int,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> list[LevelCost]:
    """Measure every level, the finest first. `report` receives how many are done, and how many there are."""
    costs = []
    for index in range(config.n_stages):
        costs.append(measure_level(config, index, device, memory))
        report(index + 1, config.n_stages)
    return costs


def measure_level(config: AnyParameters, index: int, device: torch.device, memory: int) -> LevelCost:
    """Measure training steps on 1, 2, 4, … images, up to the batch, until memory runs out or a step takes too long.

    `memory` limits the bytes that the process may hold: its peak resident size on a CPU, torch's peak on a GPU.
    Raises ParameterError if a single image does not fit.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload([__name__])
    cost, images = None, 1
    with ProcessPoolExecutor(1, context) as process:
        while True:
            try:
                step = process.submit(_measure_step, config, index, str(device), images).result()
            except (BrokenProcessPool, MemoryError, torch.OutOfMemoryError):
                break  # the memory of the machine has run out
            parameters, seconds, peak = step
            cost = LevelCost(index, parameters, seconds / images, ({} if cost is None else cost.peaks) | {images: peak})
            if images == config.batch_size or seconds > LONGEST_STEP:
                break
            images = min(2 * images, config.batch_size)
            if cost.peak(images) > memory:
                break
    if cost is None:
        raise ParameterError(f"level {index} does not fit into memory with one image; choose a smaller patch_size")
    return cost


def share_levels(costs: Sequence[LevelCost], devices: int, batch_size: int, memory: int) -> list[Share]:
    """Share the levels among devices of `memory` bytes each. A device that gets no level has no share.

    Raises ParameterError if a device cannot hold a single image, or if there is no device.
    """
    if devices < 1:
        raise ParameterError(f"expected at least 1 device, got {devices}")
    shares: list[list[LevelCost]] = [[] for _ in range(devices)]
    for cost in sorted(costs, key=lambda cost: (-cost.seconds, cost.index)):
        min(shares, key=lambda share: sum(other.seconds for other in share)).append(cost)
    return [_share(sorted(share, key=lambda cost: cost.index), batch_size, memory) for share in shares if share]


def images_that_fit(costs: Sequence[LevelCost], batch_size: int, memory: int) -> int:
    """The batch size, halved until steps of these levels fit into `memory` bytes.

    Raises ParameterError if a single image does not fit.
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
    """The peak of a process that trains these levels in turn: the largest peak, and the weights of the other levels."""
    kept = [BYTES_A_PARAMETER * cost.parameters for cost in costs]
    return sum(kept) + max(cost.peak(images) - own for cost, own in zip(costs, kept, strict=True))


def make_pair(config: AnyParameters, index: int, images: int) -> tuple[Tensor, Tensor | None]:
    """Zeros of the shape that stage `index` is trained on: (fine, coarse), or (coarsest image, None)."""
    whole = torch.zeros(images, config.image_channels, *config.image_size, dtype=torch.uint8)
    return cut_patches(*config.decompose(whole)[index], config.patch_size, seed=0, level=index, samples=range(images))


def _share(costs: Sequence[LevelCost], batch_size: int, memory: int) -> Share:
    images = images_that_fit(costs, batch_size, memory)
    return Share(
        levels=tuple(cost.index for cost in costs),
        seconds_of_step=batch_size * sum(cost.seconds for cost in costs),
        micro_batch=None if images == batch_size else images,
        peak_bytes=peak_bytes(costs, images),
    )


def _measure_step(config: AnyParameters, index: int, device_name: str, images: int) -> tuple[int, float, int]:
    """The count of a level's parameters, the seconds of its second training step, and the process's peak in bytes."""
    keep_freed_memory()
    device = torch.device(device_name)
    stage, average = new_stage(config, index).to(device), new_stage(config, index).to(device)
    training = LevelTraining(config, index, stage, average, Accelerator(cpu=device.type == "cpu"), 0, False)
    fine, coarse = (None if half is None else half.to(device) for half in make_pair(config, index, images))
    assert fine is not None
    for _ in range(2):
        began = time.perf_counter()
        training.update(fine, coarse, 0.5, None, bfloat16_is_fast(device))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
    if device.type == "cuda":
        peak = torch.cuda.max_memory_reserved(device)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return sum(p.numel() for p in stage.parameters()), seconds, peak
