"""`main.py` trains, evaluates and samples with each of the six parameter files, on small data sets in the real formats.

The images have real sizes and formats. The networks are narrow, except in the long tests.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from command_line import ROOT
from data_layouts import encode, write_files, write_lmdb, write_tar
from PIL import Image

from pixelpyramids.cli.data_opening import open_training
from pixelpyramids.model.parameters import DATA_SETS, Parameters, load_parameters
from pixelpyramids.training.loop import Training
from pixelpyramids.training.progress import Budget
from pixelpyramids.training.run_directory import load

NARROW = {"C": 8, "n_channels": 8, "n_res_layers": 1, "condition_channels": 8, "lstm_channels": 8}


def picture(seed, height, width, format):
    """The file of a picture of smooth noise in colour."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return encode(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), format, quality=90)


def celeba_folders(root, size):
    names = [f"train/train/{i:05d}.png" for i in range(4)] + [f"validation/validation/{i:05d}.png" for i in range(2)]
    write_files(root, {name: picture(i, size, size, "PNG") for i, name in enumerate(names)})


def lsun_environments(root, category):
    for part, numbers in (("train", range(6)), ("val", range(6, 8))):
        values = {f"{i:040x}".encode(): picture(i, 256, 341, "WEBP" if i % 2 else "JPEG") for i in numbers}
        write_lmdb(root / f"{category}_{part}_lmdb", values)


def imagenet_tars(root):
    classes = {}
    for wnid in ("n01440764", "n01443537"):
        files = {f"{wnid}_{i}.JPEG": picture(i, 375, 500, "JPEG") for i in range(3)}
        classes[f"{wnid}.tar"] = write_tar(root / "classes" / f"{wnid}.tar", files).read_bytes()
    write_tar(root / "ILSVRC2012_img_train.tar", classes)
    files = {f"ILSVRC2012_val_{i:08d}.JPEG": picture(i, 500, 375, "JPEG") for i in range(6, 8)}
    write_tar(root / "ILSVRC2012_img_val.tar", files)


FIXTURES = {
    "celeba_256": lambda root: celeba_folders(root, 256),
    "celeba_1024": lambda root: celeba_folders(root, 1024),
    "lsun_bedroom": lambda root: lsun_environments(root, "bedroom"),
    "lsun_church": lambda root: lsun_environments(root, "church_outdoor"),
    "lsun_tower": lambda root: lsun_environments(root, "tower"),
    "imagenet_128": imagenet_tars,
}


def run_all(name, params, root, folder):
    """Train a step, evaluate, and sample a picture, with `main.py`."""

    def main(*arguments):
        command = [sys.executable, str(ROOT / "main.py"), "--params_file", str(params), "--data_root", str(root)]
        done = subprocess.run(
            [*command, "--device", "cpu", "--batch_size", "2", *arguments],
            cwd=folder,
            env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    config = load_parameters(params)
    said = main("--steps", "1", "--micro_batch", "1")
    assert "trained 1 steps" in said
    assert "figures are not comparable" in said  # a fixture is smaller than the data set
    assert "bits/dim on 2 test images" in main("--evaluate")
    main("--gen_samples", "--num_samples", "1", "--sampling_batch_size", "1")
    picture = Image.open(folder / "samples" / f"{name}_2_{config.n_bits}" / "0000.png")
    assert picture.size == config.image_size[::-1]


@pytest.mark.parametrize("width", [NARROW, pytest.param({}, marks=pytest.mark.long)], ids=["narrow", "full"])
@pytest.mark.parametrize("name", DATA_SETS)
def test_each_of_the_six_trains_evaluates_and_samples(name, width, tmp_path):
    root, params = tmp_path / "data", tmp_path / f"{name}.json"
    root.mkdir()
    FIXTURES[name](root)
    shipped = json.loads((ROOT / "params" / f"{name}.json").read_text())
    params.write_text(json.dumps(shipped | {"params": shipped["params"] | width}))
    run_all(name, params, root, tmp_path)


@pytest.mark.parametrize("name", DATA_SETS)
def test_each_published_recipe_takes_a_step(name, tmp_path):
    root, shipped = tmp_path / "data", load_parameters(f"{name}_authors")
    root.mkdir()
    FIXTURES[name](root)
    config = Parameters.model_validate(shipped.model_dump() | NARROW | {"batch_size": 2})
    training = Training(config, tmp_path / "run", open_training(config, root), device="cpu", micro_batch=1)
    before = [next(stage.parameters()).clone() for stage in training.kept.stages]
    assert training.fit(Budget(steps=1)).stopped == {}
    for stage, weights in zip(load(tmp_path / "run").stages, before, strict=True):
        assert not torch.equal(next(stage.parameters()), weights)
