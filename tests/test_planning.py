"""Memory told before it is taken, and levels shared among devices, against a measured peak and the best share."""

import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_cli import KEYS, status

from pixelpyramids.errors import ParameterError
from pixelpyramids.model.parameters import Parameters, load_parameters
from pixelpyramids.training import run_directory
from pixelpyramids.training.memory import LiveBytes, StepMemory, pair, step_memory, with_library
from pixelpyramids.training.planning import LevelCost, images_at_once, peak_bytes, share_levels

BENCH = Path(__file__).parent.parent / "benchmarks" / "params_64.json"


def costs(seconds, kept=10, fixed=5, of_an_image=3):
    return [LevelCost(i, s, StepMemory(kept, fixed, of_an_image), 7) for i, s in enumerate(seconds)]


def test_storages_count_from_birth_to_death():
    live = LiveBytes()
    with live:
        a = torch.zeros(1000)
        b = a + 1
        assert live.now == 8000
        view = b[10:]
        del b
        assert live.now == 8000
        del view, a
        assert live.now == 0
    assert live.peak == 8000


def test_the_memory_of_any_batch_lies_on_a_line():
    from torch._subclasses.fake_tensor import FakeTensorMode

    from pixelpyramids.model.pixel_pyramid import new_stage
    from pixelpyramids.training.memory import _peak

    config = load_parameters(BENCH)
    for index in (0, 5, 8):
        told = step_memory(config, index)
        with FakeTensorMode():
            followed = _peak(new_stage(config, index), *pair(config, index, 5), False)
        assert told.running(5) - told.convolutions == pytest.approx(followed, rel=0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process from /proc")
def test_the_memory_told_is_within_15_percent_of_the_peak_of_a_process():
    command = [sys.executable, "-m", "benchmarks.memory", str(BENCH), "--measure", "0", "24"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=BENCH.parent.parent)
    assert step_memory(load_parameters(BENCH), 0).peak(24) == pytest.approx(float(done.stdout), rel=0.15)


def test_patches_need_less_than_whole_images():
    config = load_parameters("celeba_1024")
    whole = Parameters.model_validate(config.model_dump() | {"patch_size": None})
    assert step_memory(config, 0).of_an_image < 0.2 * step_memory(whole, 0).of_an_image
    assert step_memory(config, 3) == step_memory(whole, 3)


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=7), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_shares_hold_each_level_once_and_are_close_to_the_best(seconds, devices):
    shares = share_levels(costs(seconds), devices, batch_size=2, memory=10**9)
    assert sorted(level for share in shares for level in share.levels) == list(range(len(seconds)))
    best = min(
        max(sum(s for s, d in zip(seconds, owner, strict=True) if d == device) for device in range(devices))
        for owner in itertools.product(range(devices), repeat=len(seconds))
    )
    assert max(share.seconds_of_step for share in shares) <= 2 * best * (4 / 3 + 1e-9)


@given(st.integers(1, 100), st.integers(0, 400))
def test_as_many_images_at_once_as_fit(batch_size, room):
    some = costs([1, 2])
    memory = with_library(2 * 10 + 5 + 3 + room)
    images = images_at_once(some, batch_size, memory)
    assert 1 <= images <= batch_size and peak_bytes(some, images) <= memory
    assert images == batch_size or peak_bytes(some, 2 * images) > memory


def test_what_does_not_fit_is_refused():
    with pytest.raises(ParameterError, match=r"need .* GiB for one image at a time"):
        images_at_once(costs([1]), 4, memory=with_library(17))
    with pytest.raises(ParameterError, match=r"at least 1 device"):
        share_levels(costs([1]), 0, 4, 10**9)


def test_plan_prints_a_command_for_each_device_that_runs_as_printed(tmp_path, capsys):
    params, images = tmp_path / "my params.json", tmp_path / "my images"
    params.write_text(json.dumps({"params": KEYS}))
    images.mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (24, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{i}.png")
    run = tmp_path / "my run"
    assert status("plan", params, "--devices", 2, "--device", "cpu", "--data", images, "--out", run) == 0
    said = capsys.readouterr().out
    commands = [line for line in said.splitlines() if line.startswith("pixelpyramids train ")]
    assert len(commands) == 2 and "times as fast" in said
    for command in commands:
        assert status(*shlex.split(command)[1:], "--steps", 1) == 0
    assert len(run_directory.load(run).stages) == 4
    capsys.readouterr()
    assert status("plan", params, "--device", "cpu") == 0
    said = capsys.readouterr().out
    assert "--data DIR " in said and "replace DIR by the folder of your images" in said
    params.write_text(json.dumps({"params": KEYS | {"data_root": "./here"}}))
    assert status("plan", params, "--device", "cpu") == 0
    said = capsys.readouterr().out
    assert "--data ./here " in said and "DIR" not in said
    assert status("plan", params, "--devices", 3, "--device", "cpu", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(level for share in told["shares"] for level in share["levels"]) == [0, 1, 2, 3]
    assert all(level["seconds_an_image"] > 0 and level["peak_bytes"] > 0 for level in told["levels"])
    assert status("plan", params, "--memory", 1e-6, "--device", "cpu") == 2
    assert "GiB for one image at a time" in capsys.readouterr().err
