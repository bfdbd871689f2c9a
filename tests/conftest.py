"""Fixtures of several test files."""

import json

import numpy as np
import pytest
from command_line import KEYS, status
from pictures import write_compressed
from PIL import Image


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder of twenty smooth pictures of 24 x 16."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(20):
        smooth = rng.normal(0, 8, (24, 16, 3)).cumsum(0).cumsum(1) / 3
        Image.fromarray(np.clip(smooth + 128, 0, 255).astype(np.uint8)).save(root / f"{i:02d}.png")
    return root


@pytest.fixture(scope="session")
def params(tmp_path_factory):
    """A parameter file of a tiny model."""
    path = tmp_path_factory.mktemp("params") / "tiny.json"
    path.write_text(json.dumps({"params": KEYS}))
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, images, params):
    """A run directory of the tiny model."""
    run = tmp_path_factory.mktemp("runs") / "run"
    assert status("train", params, "--data", images, "--out", run, "--steps", 6, "--device", "cpu") == 0
    return run


@pytest.fixture
def small(tmp_path):
    """The .ppyr file of a small picture, beside that picture."""
    return write_compressed(tmp_path / "s")
