"""Compare normalisations and codings after equal steps, with three seeds each, on the bundled photographs.

    python -m benchmarks.compare [--steps 300] [--seeds 3] [--variants 0 1 2 3 4 5]

Trains on astronaut, chelsea, coffee and rocket, scores china and flower (in tiles of the training size), and prints
bits/dim for each variant: mean and standard deviation over the seeds.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.photographs import photographs
from pixelpyramids.model.parameters import Parameters
from pixelpyramids.training.evaluation import evaluate
from pixelpyramids.training.loop import Training
from pixelpyramids.training.progress import Budget

VARIANTS: dict[str, dict[str, object]] = {
    "default: norm channel, value offset by the coarse lines beside, fine unit": {},
    "norm group": {"norm": "group"},
    "norm batch": {"norm": "batch"},
    "centred residual": {"residual": "centred"},
    "centred residual, unit of half the range": {"residual": "centred", "residual_unit": "range"},
    "residual not centred (shift 0), unit of half the range": {"residual": 0, "residual_unit": "range"},
}


def config(**keys: object) -> Parameters:
    base: dict[str, object] = {
        "dataset_name": "photographs", "batch_size": 16, "L": 7, "C": 16, "n_bits": 8, "n_classes": (50,) * 7,
        "n_squeeze": (1,) * 6, "n_channels": 16, "n_res_layers": 1, "lstm_channels": 32, "condition_channels": 32,
        "learning_rate": 0.003,
    }  # fmt: skip
    return Parameters.model_validate(base | keys)


def held_out_bits(keys: dict[str, object], steps: int, seed: int, run: Path) -> float:
    parameters = config(**keys)
    crops = Crops(open_folder(photographs(), "train", hold_out=False), parameters.image_size, 16, seed, flip=True)
    training = Training(parameters, run, crops, seed=seed, bfloat16=False)
    training.fit(Budget(steps=steps), checkpoint_minutes=60)
    tile = parameters.image_size[0]
    return evaluate(training.averaged, open_folder(photographs(), "test"), batch_size=64, tile=tile).bits_per_dim


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", type=int, nargs="+", default=range(len(VARIANTS)))
    arguments = parser.parse_args()
    print(f"| variant, {arguments.steps} steps | bits/dim of each seed | mean | sd |\n|---|---|---|---|", flush=True)
    for variant in arguments.variants:
        name, keys = list(VARIANTS.items())[variant]
        bits = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                bits.append(held_out_bits(keys, arguments.steps, seed, Path(folder) / "run"))
        spread = statistics.stdev(bits) if len(bits) > 1 else float("nan")
        listed = ", ".join(f"{value:.3f}" for value in bits)
        print(f"| {name} | {listed} | {statistics.mean(bits):.3f} | {spread:.3f} |", flush=True)


if __name__ == "__main__":
    main()
