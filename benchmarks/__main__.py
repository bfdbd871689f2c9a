"""Tables of docs/evidence/performance.md: a training step, scoring, sampling, memory, and how cost grows with
the image's size.

    python -m benchmarks [PARAMS] [--repeat 3] [--sizes 64 128 256 512]

The plain baseline (benchmarks/plain.py) and our model take turns in one process, on the same threads.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.plain import PlainAdam, PlainPyramid, train_step
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.photographs import photographs
from pixelpyramids.model.device import bfloat16_is_fast, keep_freed_memory
from pixelpyramids.model.parameters import Parameters, load_parameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid
from pixelpyramids.pyramid.levels import walk
from pixelpyramids.training.loop import Training

BENCH = Path(__file__).parent / "params_64.json"


def time_in_turn(calls: dict[str, Callable[[], object]], repeat: int) -> dict[str, list[float]]:
    """Seconds of each call: all calls run once to warm up, and then `repeat` times in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(repeat + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if round_:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def make_our_step(config: Parameters, crops: Crops, run: Path, bfloat16: bool) -> Callable[[], object]:
    training = Training(config, run, crops, bfloat16=bfloat16)
    images = torch.from_numpy(crops[0]).long()

    def step() -> None:
        pairs = training.config.decompose(images)
        for level in training.levels:
            level.update(*pairs[level.index], 0.0, None, bfloat16)

    return step


def plain_model(config: Parameters) -> PlainPyramid:
    return PlainPyramid(
        L=config.L,
        C=config.C,
        n_bits=config.n_bits,
        n_squeeze=list(config.squeezes),
        n_classes=list(config.n_classes),
        n_channels=config.n_channels,
        n_res_layers=config.n_res_layers,
        lstm_channels=config.lstm_channels,
        condition_channels=config.condition_channels,
    )


def compare_training_steps(config: Parameters, repeat: int) -> None:
    crops = Crops(open_folder(photographs(), "train", hold_out=False), config.image_size, config.batch_size)
    images = torch.from_numpy(crops[0])
    plain = plain_model(config)
    optimiser = PlainAdam(plain.parameters())
    calls: dict[str, Callable[[], object]] = {"plain": lambda: train_step(plain, optimiser, images)}
    with tempfile.TemporaryDirectory() as folder:
        calls["float32"] = make_our_step(config, crops, Path(folder) / "a", bfloat16=False)
        if bfloat16_is_fast(torch.device("cpu")):
            calls["bfloat16"] = make_our_step(config, crops, Path(folder) / "b", bfloat16=True)
        seconds = time_in_turn(calls, repeat)
    print_table(f"training step, batch {config.batch_size}", seconds, "plain")


def compare_sampling(config: Parameters, repeat: int, n: int = 16) -> None:
    plain, model = plain_model(config).eval(), PixelPyramid(config)
    calls: dict[str, Callable[[], object]] = {
        "plain, networks and draws": lambda: plain.sample(n),
        "plain, with clean-up": lambda: plain.sample(n, clean=True),
        "float32": lambda: model.sample(n),
    }
    print_table(
        f"sampling {n} images of {config.image_size[0]} x {config.image_size[1]}",
        time_in_turn(calls, repeat),
        next(iter(calls)),
    )


def print_growth(config: Parameters, sizes: list[int], repeat: int) -> None:
    print("\n| scoring one image | s | s/megapixel | peak memory, MiB | sequential steps to sample |")
    print("|---|---|---|---|---|")
    for size in sizes:
        seconds, peak = run_in_process("--score", str(size), "--repeat", str(repeat))
        grown = config_for_size(config, size)
        steps = sum(len(stage.slices) for stage in walk(size, size, grown.squeezes))
        print(f"| {size} x {size} | {seconds:.2f} | {seconds / size**2 * 1e6:.1f} | {peak:.0f} | {steps} |", flush=True)


def run_in_process(*arguments: str) -> list[float]:
    """The figures that this module prints with the arguments, run in a new process."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return [float(word) for word in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]


def training_memory(params: str) -> None:
    (peak,) = run_in_process(params, "--step")
    print(f"\nPeak memory of a process that takes training steps in float32: {peak:.0f} MiB")


def config_for_size(config: Parameters, size: int) -> Parameters:
    """The same widths, with as many levels as reduce size x size to 4 x 4."""
    L = 2 * (size // 4).bit_length() - 1
    lengths = {
        "L": L,
        "n_squeeze": (config.n_squeeze[0],) * (L - 1),
        "n_classes": (config.n_classes[0],) * L,
        "n_layers": (2,) + (1,) * (L - 2),
    }
    return Parameters.model_validate(config.model_dump() | lengths)


def print_step_memory(config: Parameters) -> None:
    """Print the peak memory of training steps, in MiB; runs in a new process."""
    crops = Crops(open_folder(photographs(), "train", hold_out=False), config.image_size, config.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        step = make_our_step(config, crops, Path(folder) / "run", bfloat16=False)
        step()
        step()
    print(peak_memory())


def score(config: Parameters, size: int, repeat: int) -> None:
    """Print the median seconds and the peak memory of scoring an image, in MiB; runs in a new process."""
    model = PixelPyramid(config_for_size(config, size))
    images = torch.randint(0, config.n_values, (1, 3, size, size))
    seconds = time_in_turn({"rate": lambda: model.rate(images)}, repeat)["rate"]
    print(statistics.median(seconds), peak_memory())


def peak_memory() -> float:
    """Peak memory of this process in MiB, as Linux counts it (ru_maxrss would include the parent's)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def print_table(title: str, seconds: dict[str, list[float]], base: str) -> None:
    print(f"\n| {title} | s (median) | min – max | ratio to {base}, median of pairs |\n|---|---|---|---|")
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, seconds[base], strict=True))
        spread = f"{min(values):.3f} – {max(values):.3f}"
        print(f"| {name} | {statistics.median(values):.3f} | {spread} | {ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("params", nargs="?", default=str(BENCH))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--score", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    config = load_parameters(arguments.params)
    keep_freed_memory()
    if arguments.score:
        score(config, arguments.score, arguments.repeat)
        return
    if arguments.step:
        print_step_memory(config)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {Path(arguments.params).name}", flush=True)
    compare_training_steps(config, arguments.repeat)
    training_memory(arguments.params)
    compare_sampling(config, arguments.repeat)
    print_growth(config, arguments.sizes, arguments.repeat)


if __name__ == "__main__":
    main()
