"""Fixtures of several test files."""

import signal

import pytest
from command_line import KEYS, status, write_params
from hypothesis import settings
from pictures import write_compressed, write_images

settings.register_profile("without deadlines", deadline=None)  # other processes share the processor
settings.load_profile("without deadlines")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as for the background jobs of a shell; tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder of twenty smooth pictures of 24 x 16."""
    return write_images(tmp_path_factory.mktemp("images"), count=20)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder of ten smooth pictures of 24 x 24."""
    return write_images(tmp_path_factory.mktemp("folder"), count=10, size=(24, 24))


@pytest.fixture(scope="session")
def params(tmp_path_factory):
    """A parameter file of a tiny model."""
    return write_params(tmp_path_factory.mktemp("params") / "tiny.json", KEYS)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, images, params):
    """A run directory of the tiny model."""
    run = tmp_path_factory.mktemp("runs") / "run"
    assert status("train", params, "--data", images, "--out", run, "--steps", 6, "--device", "cpu") == 0
    return run


@pytest.fixture(params=[1, 2])
def jobs(request):
    """The number of files that a command processes at the same time."""
    return request.param


@pytest.fixture
def small(tmp_path):
    """The .ppyr file of a small picture, beside that picture."""
    return write_compressed(tmp_path / "s")
