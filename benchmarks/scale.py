"""What the paper's experiments cost: the operations of every level, and the hours calculated from them.

    python -m benchmarks.scale [PARAMS …] [--device-tflops 7] [--devices 4] [--dollars 2.5]

Operations are counted on fake tensors, forward and backward; a multiplication and an addition count as two. A device
sustains `--device-tflops`, which is less than its peak: 7 is a little under half of a V100's 15.7 in float32. Nothing
here is a measurement of such a device.
"""

import argparse
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from pixelpyramids.model.image_model import new_stage
from pixelpyramids.model.parameters import DATA_SETS, Parameters, load_parameters
from pixelpyramids.training.planning import LevelCost, make_pair, share_levels

TRAINING_IMAGES = {
    "celeba_256": 27_000,
    "celeba_1024": 27_000,
    "lsun_bedroom": 3_033_042,
    "lsun_church": 126_227,
    "lsun_tower": 708_264,
    "imagenet_128": 1_281_167,
    "imagenet_256": 1_281_167,
}


@dataclass(frozen=True)
class Costs:
    training: list[LevelCost]  # seconds per image on the device
    operations: list[int]  # of a training step, per image
    scoring: int  # operations of scoring a whole image


def imagenet_256() -> Parameters:
    """ImageNet at 256: the file for 128 with two more levels."""
    small = load_parameters("imagenet_128")
    more = {
        "dataset_name": "imagenet_256",
        "L": small.L + 2,
        "n_classes": (small.n_classes[0],) * 2 + small.n_classes,
        "n_squeeze": (small.n_squeeze[0],) * 2 + small.n_squeeze,
    }
    return Parameters.model_validate(small.model_dump() | more)


def costs(config: Parameters, tflops: float) -> Costs:
    training, operations, scoring = [], [], 0
    whole = Parameters.model_validate(config.model_dump() | {"patch_size": None})
    for index in range(config.L):
        with FakeTensorMode():
            stage = new_stage(config, index)
            parameters = sum(p.numel() for p in stage.parameters())
            counter = FlopCounterMode(display=False)
            with counter:
                stage(*make_pair(config, index, 1)).sum().backward()
            operations.append(counter.get_total_flops())
            counter = FlopCounterMode(display=False)
            with counter, torch.no_grad():
                stage(*make_pair(whole, index, 1))
            scoring += counter.get_total_flops()
        seconds = operations[-1] / tflops / 1e12
        training.append(LevelCost(index, parameters, seconds, {config.batch_size: 0}))
    return Costs(training, operations, scoring)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("params", nargs="*", default=[*DATA_SETS, "imagenet_256"])
    parser.add_argument("--device-tflops", type=float, default=7.0)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--dollars", type=float, default=2.5, help="an hour of a device")
    arguments = parser.parse_args()
    configs = [imagenet_256() if name == "imagenet_256" else load_parameters(name) for name in arguments.params]
    found = [costs(config, arguments.device_tflops) for config in configs]

    print("| experiment | parameters | TFLOP per image, training | finest level's share | TFLOP per image, scoring |")
    print("|---|---|---|---|---|")
    for config, cost in zip(configs, found, strict=True):
        whole, parameters = sum(cost.operations), sum(level.parameters for level in cost.training)
        share = cost.operations[0] / whole
        print(
            f"| {config.dataset_name} | {parameters / 1e6:.0f} M | {whole / 1e12:.2f} | {share:.0%} | "
            f"{cost.scoring / 1e12:.2f} |"
        )
    print(
        "\n| experiment | training images | hours per epoch, 1 device "
        f"| {arguments.devices} devices, by level | {arguments.devices} devices, by batch | dollars per epoch |\n"
        "|---|---|---|---|---|---|"
    )
    for config, cost in zip(configs, found, strict=True):
        images = TRAINING_IMAGES.get(config.dataset_name)
        if images is None:
            continue
        alone = images * sum(level.seconds for level in cost.training) / 3600
        shares = share_levels(cost.training, arguments.devices, config.batch_size, memory=2**62)
        by_level = images * max(share.seconds_of_step for share in shares) / config.batch_size / 3600
        print(
            f"| {config.dataset_name} | {images:,} | {alone:.1f} | {by_level:.1f} | {alone / arguments.devices:.1f} | "
            f"{alone * arguments.dollars:,.0f} |"
        )


if __name__ == "__main__":
    main()
