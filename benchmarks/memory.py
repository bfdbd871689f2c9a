"""The memory that `plan` tells for a level's training step, beside the measured peak of a process that takes it.

    python -m benchmarks.memory [PARAMS …] [--images 2] [--largest 6]

Each level that is told to need at most `--largest` GiB runs three steps in a process of its own; measured is the most
that the process held (Linux's VmHWM) over what it held before the level was made.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from benchmarks.__main__ import BENCH
from pixelpyramids.model.parameters import load_parameters
from pixelpyramids.model.pixel_pyramid import new_stage
from pixelpyramids.training.level import LevelTraining, Origin
from pixelpyramids.training.memory import pair, step_memory

MIB = 2**20


def held(kind: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024


def measure(params: str, index: int, images: int) -> int:
    """Bytes that this process holds at most for three steps of the level."""
    config, accelerator = load_parameters(params), Accelerator(cpu=True)
    weights = torch.zeros(8, 8, 3, 3, requires_grad=True)
    torch.nn.functional.conv2d(torch.zeros(1, 8, 16, 16), weights).sum().backward()
    torch.optim.Adam([weights], fused=True).step()
    before = held("VmRSS")  # the libraries themselves, loaded
    stages = [new_stage(config, index) for _ in range(2)]
    for stage in stages:
        stage.to(memory_format=torch.channels_last)
    training = LevelTraining(config, index, stages[0], stages[1], accelerator, Origin(0, False))
    for _ in range(3):
        training.update(*pair(config, index, images), 0.5, None, False)
    return held("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("params", nargs="*", default=[str(BENCH)])
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--largest", type=float, default=6.0)
    parser.add_argument("--measure", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(measure(arguments.params[0], *arguments.measure))
        return
    print("| parameters | level | images | told, MiB | measured, MiB | told of measured |\n|---|---|---|---|---|---|")
    for params in arguments.params:
        config = load_parameters(params)
        for index in range(config.L):
            told = step_memory(config, index).peak(arguments.images)
            if told > arguments.largest * 2**30:
                continue
            command = [
                sys.executable,
                "-m",
                "benchmarks.memory",
                params,
                "--measure",
                str(index),
                str(arguments.images),
            ]
            measured = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            row = f"{Path(params).stem} | {index} | {arguments.images} | {told / MIB:.0f} | {measured / MIB:.0f}"
            print(f"| {row} | {told / measured:.2f} |", flush=True)


if __name__ == "__main__":
    main()
