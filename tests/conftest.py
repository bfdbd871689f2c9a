"""Fixtures of several test files."""

import json

import pytest
from command_line import KEYS, status
from pictures import write_compressed, write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder of twenty smooth pictures of 24 x 16."""
    return write_images(tmp_path_factory.mktemp("images"), count=20)


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
