"""Running commands in tests."""

import json
import math
import os
import signal
import sys
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import main as authors_command
from pixelpyramids.cli import main

ROOT = Path(__file__).parent.parent
CACHE = TemporaryDirectory()
# `datasets` reads these when it is imported: no network, and not the user's cache.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_CACHE": CACHE.name}
COMMAND = (sys.executable, "-m", "pixelpyramids")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}

KEYS = {
    "dataset_name": "tiny", "batch_size": 4, "L": 4, "C": 8, "n_bits": 8, "n_classes": [20, 20, 20, 20],
    "n_squeeze": [1, 1, 0], "n_channels": 8, "n_res_layers": 1, "condition_channels": 8, "lstm_channels": 8,
}  # fmt: skip
"""The parameters of a tiny model."""


def wait_for(condition):
    """Wait until a condition is true, for 20 seconds at most."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def write_params(path, keys):
    """Write a parameter file; return its path."""
    path.write_text(json.dumps({"params": keys}))
    return path


def status(*arguments):
    """The exit status of `pixelpyramids ARGUMENTS`, run in this process."""
    before = sys.argv
    sys.argv = ["pixelpyramids", *map(str, arguments)]
    try:
        return main.run(main.app)
    except SystemExit as exit_:
        return exit_.code or 0
    finally:
        sys.argv = before


def authors_status(params, *arguments):
    """The exit status of `main.py`, the authors' command, run in this process."""
    parsed = authors_command.parse(["--params_file", str(params), *map(str, arguments)])
    ended = []
    return main.run(lambda: ended.append(authors_command.main(parsed))) or ended[0]


def output_of(capsys, *arguments, expected=0):
    """What a command prints, as `out` and `err`. It must end with the expected status."""
    capsys.readouterr()
    assert status(*arguments) == expected
    return capsys.readouterr()


def refusal(capsys, *arguments):
    """Standard error of a command that must end with status 2 and without a traceback."""
    message = output_of(capsys, *arguments, expected=2).err
    assert "Traceback" not in message
    return message


@contextmanager
def at_most(seconds, memory=math.inf):
    """Fail if the block takes longer, instead of hanging, or if it allocates more bytes."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"took more than {seconds} s"))
    signal.alarm(seconds)
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        signal.alarm(0)
        tracemalloc.stop()
    assert most < memory


@contextmanager
def another_user():
    """Have the rights of a user who is not root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def json_of(capsys, *arguments, expected=0):
    """The JSON object that a command prints. The command must end with the expected status."""
    return json.loads(output_of(capsys, *arguments, "--json", expected=expected).out)
