"""Train our model and the plain baseline for the same minutes on the same photographs; print held-out bits/dim.

    python -m benchmarks.race [PARAMS] [--minutes 5]

Both train one after the other on the same crops of the four bundled photographs, on the same threads; ours in float32
and, if the processor has it, in bfloat16. Both are scored on the 64x64 tiles of china and flower. The
baseline is scored with batch statistics (as its authors do), with running statistics, and with its averaged weights;
the best of these counts.
"""

import argparse
import copy
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.__main__ import BENCH, plain_model
from benchmarks.plain import PlainAdam, PlainPyramid, train_step
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.photographs import photographs
from pixelpyramids.model.device import bfloat16_is_fast, keep_freed_memory
from pixelpyramids.model.parameters import Parameters, load_parameters
from pixelpyramids.training.loop import Training
from pixelpyramids.training.progress import Budget

AVERAGE_DECAY = 0.9995


def held_out_tiles(size: tuple[int, int]) -> Tensor:
    images = open_folder(photographs(), "test")
    height, width = size
    return torch.from_numpy(
        np.stack(
            [
                image[:, y : y + height, x : x + width]
                for image in (images.read(i) for i in range(len(images)))
                for y in range(0, image.shape[1] - height + 1, height)
                for x in range(0, image.shape[2] - width + 1, width)
            ]
        )
    )


@torch.no_grad()
def plain_bits(model: PlainPyramid, tiles: Tensor) -> float:
    nats = sum(float(model.nats(batch).double().sum()) for batch in tiles.split(20))
    return nats / math.log(2) / tiles.numel()


def average_weights(model: PlainPyramid, optimiser: PlainAdam, steps: int) -> PlainPyramid:
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, source in zip(other.parameters(), model.parameters(), strict=True):
            parameter.copy_(optimiser.state[source]["ema"] / (1 - AVERAGE_DECAY**steps))
    return other


def race_plain(config: Parameters, crops: Crops, tiles: Tensor, minutes: float, steps: int | None) -> tuple[float, int]:
    torch.manual_seed(0)
    model = plain_model(config)
    optimiser = PlainAdam(model.parameters())
    began, step = time.monotonic(), 0
    while step < steps if steps is not None else time.monotonic() - began < 60 * minutes:
        train_step(model, optimiser, torch.from_numpy(crops[step]))
        step += 1
    candidates = {
        "batch statistics": plain_bits(copy.deepcopy(model).train(), tiles),
        "running statistics": plain_bits(copy.deepcopy(model).eval(), tiles),
        "averaged, batch statistics": plain_bits(average_weights(model, optimiser, step).train(), tiles),
    }
    print("plain:", ", ".join(f"{bits:.3f} {name}" for name, bits in candidates.items()), f"({step} steps)", flush=True)
    return min(candidates.values()), step


def race_ours(
    config: Parameters, crops: Crops, tiles: Tensor, budget: Budget, bfloat16: bool, folder: Path
) -> tuple[float, int]:
    training = Training(config, folder, crops, bfloat16=bfloat16)
    outcome = training.fit(budget, checkpoint_minutes=60)
    nats = sum(float(training.averaged.rate(batch).nats.sum()) for batch in tiles.split(20))
    return nats / math.log(2) / tiles.numel(), outcome.steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("params", nargs="?", default=str(BENCH))
    parser.add_argument("--minutes", type=float, default=5.0)
    arguments = parser.parse_args()
    config = load_parameters(arguments.params)
    keep_freed_memory()
    crops = Crops(open_folder(photographs(), "train", hold_out=False), config.image_size, config.batch_size)
    tiles = held_out_tiles(config.image_size)
    best, steps = race_plain(config, crops, tiles, arguments.minutes, None)
    print(f"| {arguments.minutes} minutes each | steps | held-out bits/dim | ratio to plain |\n|---|---|---|---|")
    print(f"| plain, its best | {steps} | {best:.3f} | 1 |", flush=True)
    minutes = Budget(minutes=arguments.minutes)
    entries = [("float32", minutes, False), (f"float32, {steps} steps as plain", Budget(steps=steps), False)]
    if bfloat16_is_fast(torch.device("cpu")):
        entries.insert(1, ("bfloat16", minutes, True))
    for name, budget, bfloat16 in entries:
        with tempfile.TemporaryDirectory() as folder:
            bits, taken = race_ours(config, crops, tiles, budget, bfloat16, Path(folder) / "run")
        print(f"| {name} | {taken} | {bits:.3f} | {bits / best:.3f} |", flush=True)


if __name__ == "__main__":
    main()
