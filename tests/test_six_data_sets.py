"""`main.py` trains, evaluates and samples with each of the six parameter files, on fixtures of the real formats.

The images have their real sizes and lie in the real forms. The networks are narrow, but for the long tests.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image

from pixelpyramids.cli.opening import open_training
from pixelpyramids.model.parameters import DATA_SETS, Parameters, load_parameters
from pixelpyramids.training.loop import Training
from pixelpyramids.training.progress import Budget
from pixelpyramids.training.run_directory import load

ROOT = Path(__file__).parent.parent
NARROW = {"C": 8, "n_channels": 8, "n_res_layers": 1, "condition_channels": 8, "lstm_channels": 8}


def pictures(count, height, width, seed=0):
    """Smooth noise in colour."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        yield small.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind):
    content = io.BytesIO()
    image.save(content, kind, quality=90)
    return content.getvalue()


def celeba_folders(root, size):
    for seed, (part, count) in enumerate((("train", 4), ("validation", 2))):
        folder = root / part / part
        folder.mkdir(parents=True)
        for i, image in enumerate(pictures(count, size, size, seed)):
            image.save(folder / f"{i:05d}.png")


def lsun_environments(root, category):
    for part, count in (("train", 6), ("val", 2)):
        environment = lmdb.open(str(root / f"{category}_{part}_lmdb"), map_size=2**24)
        with environment, environment.begin(write=True) as transaction:
            for i, image in enumerate(pictures(count, 256, 341)):
                transaction.put(f"{i:040x}".encode(), encoded(image, "WEBP" if i % 2 else "JPEG"))


def imagenet_tars(root):
    def add(archive, name, content):
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))

    with tarfile.open(root / "ILSVRC2012_img_train.tar", "w") as outer:
        for wnid in ("n01440764", "n01443537"):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for i, image in enumerate(pictures(3, 375, 500)):
                    add(archive, f"{wnid}_{i}.JPEG", encoded(image, "JPEG"))
            add(outer, f"{wnid}.tar", inner.getvalue())
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as archive:
        for i, image in enumerate(pictures(2, 500, 375)):
            add(archive, f"ILSVRC2012_val_{i + 1:08d}.JPEG", encoded(image, "JPEG"))


FIXTURES = {
    "celeba_256": lambda root: celeba_folders(root, 256),
    "celeba_1024": lambda root: celeba_folders(root, 1024),
    "lsun_bedroom": lambda root: lsun_environments(root, "bedroom"),
    "lsun_church": lambda root: lsun_environments(root, "church_outdoor"),
    "lsun_tower": lambda root: lsun_environments(root, "tower"),
    "imagenet_128": imagenet_tars,
}


def run_all(name, params, root, folder):
    """Train a step, evaluate and sample as the README's lines do; the picture drawn."""

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


@pytest.mark.parametrize("name", DATA_SETS)
def test_each_of_the_six_trains_evaluates_and_samples(name, tmp_path):
    root, params = tmp_path / "data", tmp_path / f"{name}.json"
    root.mkdir()
    FIXTURES[name](root)
    shipped = json.loads((ROOT / "params" / f"{name}.json").read_text())
    params.write_text(json.dumps(shipped | {"params": shipped["params"] | NARROW}))
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


@pytest.mark.long
@pytest.mark.parametrize("name", DATA_SETS)
def test_each_of_the_six_at_its_full_width(name, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    FIXTURES[name](root)
    run_all(name, ROOT / "params" / f"{name}.json", root, tmp_path)
