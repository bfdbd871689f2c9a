"""Levels are measured, and shared among devices almost optimally; the printed commands run."""

import itertools
import shlex
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
from command_line import KEYS, json_of, output_of, status, write_params
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import write_images

from pixelpyramids.errors import ParameterError
from pixelpyramids.model.parameters import Parameters, load_parameters
from pixelpyramids.training import planning, run_directory
from pixelpyramids.training.planning import LevelCost, images_that_fit, make_pair, peak_bytes, share_levels

CPU = torch.device("cpu")


def costs(seconds, fixed=100, of_an_image=3):
    peaks = {1: fixed + of_an_image, 2: fixed + 2 * of_an_image}
    return [LevelCost(i, 1, s, peaks) for i, s in enumerate(seconds)]


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=7), st.integers(1, 3))
@settings(max_examples=60)
def test_shares_hold_each_level_once_and_are_close_to_the_best(seconds, devices):
    shares = share_levels(costs(seconds), devices, batch_size=2, memory=10**9)
    assert sorted(level for share in shares for level in share.levels) == list(range(len(seconds)))
    best = min(
        max(sum(s for s, d in zip(seconds, owner, strict=True) if d == device) for device in range(devices))
        for owner in itertools.product(range(devices), repeat=len(seconds))
    )
    assert max(share.seconds_of_step for share in shares) <= 2 * best * (4 / 3 + 1e-9)


@given(st.integers(1, 100), st.integers(0, 400))
def test_as_many_images_as_fit_are_processed_at_once(batch_size, room):
    some = costs([1, 2])
    memory = peak_bytes(some, 1) + room
    images = images_that_fit(some, batch_size, memory)
    assert 1 <= images <= batch_size and peak_bytes(some, images) <= memory
    assert images == batch_size or peak_bytes(some, 2 * images) > memory


def test_a_level_that_does_not_fit_is_refused():
    with pytest.raises(ParameterError, match=r"need .* GiB for one image at a time"):
        images_that_fit(costs([1]), 4, memory=17)
    with pytest.raises(ParameterError, match=r"at least 1 device"):
        share_levels(costs([1]), 0, 4, 10**9)


def test_levels_are_measured_on_patches_if_the_parameters_say_so():
    config = load_parameters("celeba_1024")
    whole = Parameters.model_validate(config.model_dump() | {"patch_size": None})
    assert make_pair(config, 0, 2)[0].shape == (2, 3, 256, 256) and make_pair(whole, 0, 2)[0].shape == (2, 3, 512, 1024)
    assert make_pair(config, 16, 2)[0].shape == (2, 3, 4, 4) and make_pair(config, 16, 2)[1] is None


def measure_fake_level(monkeypatch, peak, seconds=0.1, memory=100, batch_size=12):
    """The cost of a level whose steps have this peak (None: the process is killed), and the counts that were tried."""
    tried = []

    def step(_config, _index, _device, images):
        tried.append(images)
        if peak(images) is None:
            raise BrokenProcessPool
        return 7, seconds, peak(images)

    monkeypatch.setattr(planning, "_measure_step", step)
    monkeypatch.setattr(planning, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    config = Parameters.model_validate(KEYS | {"batch_size": batch_size})
    return planning.measure_level(config, 0, CPU, memory), tried


def test_batches_double_until_they_do_not_fit_or_take_long(monkeypatch):
    assert measure_fake_level(monkeypatch, lambda images: images)[1] == [1, 2, 4, 8, 12]
    cost, tried = measure_fake_level(monkeypatch, lambda images: 20 + 10 * images)
    assert tried == [1, 2, 4, 8] and cost.peaks == {1: 30, 2: 40, 4: 60, 8: 100} and cost.peak(12) == 140
    assert measure_fake_level(monkeypatch, lambda images: images, seconds=planning.LONGEST_STEP + 1)[1] == [1]
    cost, tried = measure_fake_level(monkeypatch, lambda images: images if images < 4 else None)
    assert tried == [1, 2, 4] and cost.peaks == {1: 1, 2: 2}
    with pytest.raises(ParameterError, match="level 0 does not fit into memory with one image"):
        measure_fake_level(monkeypatch, lambda images: None)


def test_plan_prints_a_command_for_each_device_that_runs_as_printed(tmp_path, capsys):
    params, run = write_params(tmp_path / "my params.json", KEYS), tmp_path / "my run"
    images = write_images(tmp_path / "my images", count=4)
    said = output_of(capsys, "plan", params, "--devices", 2, "--device", "cpu", "--memory", 2.5, "--out", run).out
    commands = [line for line in said.splitlines() if line.startswith("pixelpyramids train ")]
    assert len(commands) == 2 and "times as fast" in said and "fit 2.5 GiB" in said
    assert "--data DIR " in said and "replace DIR with the folder of your images" in said
    for command in commands:
        words = [str(images) if word == "DIR" else word for word in shlex.split(command)]
        assert status(*words[1:], "--steps", 1) == 0
    assert len(run_directory.load(run).stages) == 4
    write_params(params, KEYS | {"data_root": "./here"})
    printed = json_of(capsys, "plan", params, "--devices", 3, "--device", "cpu")
    assert sorted(level for share in printed["shares"] for level in share["levels"]) == [0, 1, 2, 3]
    assert all(" --data ./here " in share["command"] for share in printed["shares"])
    assert all(level["seconds_an_image"] > 0 and level["peak_bytes"] > 2**20 for level in printed["levels"])
