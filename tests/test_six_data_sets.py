"""`main.py` trains, evaluates and samples with each of the six parameter files, on small data sets in the real formats.

The networks are narrow, except in the long tests.
"""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from command_line import ROOT
from data_layouts import environments, tars, write_pictures
from PIL import Image

from pixelpyramids.cli.data_opening import open_training
from pixelpyramids.model.parameters import DATA_SETS, Parameters, load_parameters
from pixelpyramids.training.loop import Training
from pixelpyramids.training.progress import Budget
from pixelpyramids.training.run_directory import load

NARROW = {"C": 8, "n_channels": 8, "n_res_layers": 1, "condition_channels": 8, "lstm_channels": 8}


def celeba_folders(root, size):
    names = [f"train/train/{i:05d}.png" for i in range(4)] + [f"validation/validation/{i:05d}.png" for i in range(2)]
    return write_pictures(root, *names, size=size)


FIXTURES = {
    "celeba_256": partial(celeba_folders, size=256),
    "celeba_1024": partial(celeba_folders, size=1024),
    "lsun_bedroom": partial(environments, category="bedroom"),
    "lsun_church": environments,
    "lsun_tower": partial(environments, category="tower"),
    "imagenet_128": tars,
}


@pytest.mark.parametrize("width", [NARROW, pytest.param({}, marks=pytest.mark.long)], ids=["narrow", "full"])
@pytest.mark.parametrize("name", DATA_SETS)
def test_each_of_the_six_trains_evaluates_and_samples(name, width, tmp_path):
    def main(*arguments):
        command = [sys.executable, str(ROOT / "main.py"), "--params_file", str(params), "--data_root", str(root)]
        command += ["--device", "cpu", "--batch_size", "2", *arguments]
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    root, params = FIXTURES[name](tmp_path / "data"), tmp_path / f"{name}.json"
    shipped = json.loads((ROOT / "params" / f"{name}.json").read_text())
    params.write_text(json.dumps(shipped | {"params": shipped["params"] | width}))
    config = load_parameters(params)
    said = main("--steps", "1", "--micro_batch", "1")
    assert "trained 1 step " in said
    assert "figures are not comparable" in said  # a fixture is smaller than the data set
    assert f"bits/dim on {5 if name == 'imagenet_128' else 2} test images" in main("--evaluate")
    main("--gen_samples", "--num_samples", "1", "--sampling_batch_size", "1")
    picture = Image.open(tmp_path / "samples" / f"{name}_2_{config.n_bits}" / "0000.png")
    assert picture.size == config.image_size[::-1]


@pytest.mark.parametrize("name", DATA_SETS)
def test_each_published_recipe_takes_a_step(name, tmp_path):
    root, shipped = FIXTURES[name](tmp_path / "data"), load_parameters(f"{name}_authors")
    config = Parameters.model_validate(shipped.model_dump() | NARROW | {"batch_size": 2})
    training = Training(config, tmp_path / "run", open_training(config, root), device="cpu", micro_batch=1)
    before = [next(stage.parameters()).clone() for stage in training.kept.stages]
    assert training.fit(Budget(steps=1)).stopped == {}
    for stage, weights in zip(load(tmp_path / "run").stages, before, strict=True):
        assert not torch.equal(next(stage.parameters()), weights)
