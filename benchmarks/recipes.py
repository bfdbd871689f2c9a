"""Compare our recipe and the published one: the same small networks, photographs and time, three seeds each.

    python -m benchmarks.recipes [--minutes 2] [--seeds 3]

The recipes are the settings of celeba_256 and of celeba_256_authors. Time is the processor time of this process, which
other programs hardly disturb: a few steps are timed, and each recipe trains for as many steps as fit. They
train on 32x32 crops of astronaut, chelsea, coffee and rocket, and are scored on the 32x32 tiles of china and flower.
The published recipe is also scored as its authors do (batch statistics), with its average, and with the exact
likelihood.
"""

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.compare import config
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.photographs import photographs
from pixelpyramids.model.parameters import Parameters, load_parameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid
from pixelpyramids.training.evaluation import evaluate
from pixelpyramids.training.loop import Training
from pixelpyramids.training.progress import Budget
from pixelpyramids.training.run_directory import with_likelihood

TIMED_STEPS = 8
OURS, PUBLISHED = "ours", "published"


def recipes() -> dict[str, Parameters]:
    """The small networks of benchmarks/compare.py under the settings of each recipe."""
    ours, theirs = (
        load_parameters(name).model_dump(exclude_unset=True) for name in ("celeba_256", "celeba_256_authors")
    )
    published = {key: value for key, value in theirs.items() if key not in ours}
    default_rate = Parameters.model_fields["learning_rate"].default
    return {OURS: config(learning_rate=default_rate), PUBLISHED: config(**published)}


def start(parameters: Parameters, seed: int, run: Path) -> Training:
    images = open_folder(photographs(), "train", hold_out=False)
    crops = Crops(images, parameters.image_size, parameters.batch_size, seed, flip=True)
    return Training(parameters, run, crops, seed=seed, bfloat16=False)


def measure_step(training: Training) -> float:
    """Median processor seconds of a step of all levels. Do not use the training afterwards."""
    seconds = []
    for step in range(TIMED_STEPS):
        began = time.process_time()
        pairs = training.config.decompose(torch.from_numpy(training.crops[step]).long())
        for level in training.levels:
            level.update(*pairs[level.index], 0.0, None, False)
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


def held_out_bits(model: PixelPyramid) -> float:
    images = open_folder(photographs(), "test")
    return evaluate(model, images, batch_size=model.config.batch_size, tile=model.config.image_size[0]).bits_per_dim


def scores(name: str, training: Training) -> dict[str, float]:
    kept = training.kept.eval()
    if name == OURS:
        return {name: held_out_bits(kept)}
    return {
        f"{name}, running statistics": held_out_bits(kept),
        f"{name}, statistics of batches of {kept.config.batch_size} tiles": held_out_bits(copy.deepcopy(kept).train()),
        f"{name}, the average of the weights": held_out_bits(training.averaged.eval()),
        f"{name}, with the exact likelihood": held_out_bits(with_likelihood(kept, "exact")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0, help="of processor time, for each training")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.minutes} minutes each\n")
    print(
        "| recipe | steps | processor seconds | bits/dim of each seed | mean | sd |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for name, parameters in recipes().items():
        with tempfile.TemporaryDirectory() as folder:
            steps = round(60 * arguments.minutes / measure_step(start(parameters, 0, Path(folder) / "run")))
        found: dict[str, list[float]] = {}
        used = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                training = start(parameters, seed, Path(folder) / "run")
                began = time.process_time()
                training.fit(Budget(steps=steps), checkpoint_minutes=60)
                used.append(time.process_time() - began)
                for scored, bits in scores(name, training).items():
                    found.setdefault(scored, []).append(bits)
        for scored, bits_of_seeds in found.items():
            spread = statistics.stdev(bits_of_seeds) if len(bits_of_seeds) > 1 else float("nan")
            listed = ", ".join(f"{bits:.3f}" for bits in bits_of_seeds)
            print(
                f"| {scored} | {steps} | {statistics.mean(used):.0f} | {listed} | "
                f"{statistics.mean(bits_of_seeds):.3f} | {spread:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
