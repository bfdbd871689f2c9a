"""Trackers receive what the log receives; the error for a missing one says how to install it."""

import importlib.util
import math
import sys
from itertools import pairwise

import pytest
from accelerate.tracking import GeneralTracker
from test_training import config, training

from pixelpyramids.errors import ParameterError, PixelPyramidsError
from pixelpyramids.training import run_directory
from pixelpyramids.training.optimisation import learning_rate
from pixelpyramids.training.progress import Budget


class Recorder(GeneralTracker):
    name = "recorder"
    requires_logging_directory = False

    def __init__(self):
        super().__init__()
        self.settings, self.values = {}, {}

    @property
    def tracker(self):
        return self.values

    def store_init_configuration(self, values):
        self.settings = values

    def log(self, values, step=None, **_):
        self.values.setdefault(step, {}).update(values)


def test_the_log_and_the_tracker_receive_rate_norm_and_seconds(folder, tmp_path):
    recorder = Recorder()
    run = training(folder, tmp_path / "run", validate=True, tracker=recorder)
    run.fit(Budget(steps=20))
    assert recorder.settings["C"] == 8 and "data_root" not in recorder.settings
    for index in range(run.config.L):
        name, log = f"level_{index:02d}", run_directory.read_log(tmp_path / "run", index)
        trained = [entry for entry in log if "nats" in entry]
        assert [entry["step"] for entry in trained] == [1, 10, 20]
        assert all(a["seconds"] < b["seconds"] for a, b in pairwise(trained))
        assert trained[0]["seconds"] > 0
        for entry in trained:
            step, values = entry["step"], recorder.values[entry["step"]]
            assert entry["learning_rate"] == learning_rate(run.config, step - 1, (step - 1) / 20)
            assert entry["gradient_norm"] > 0
            for key in ("learning_rate", "gradient_norm", "seconds"):
                assert values[f"{name}/{key}"] == entry[key]
            assert values[f"{name}/bits_per_dim"] == entry["nats"] / math.log(2) / entry["dimensions"]
        last = [entry for entry in log if "validation_nats" in entry][-1]
        bits = last["validation_nats"] / math.log(2) / last["dimensions"]
        assert recorder.values[last["step"]][f"{name}/validation_bits_per_dim"] == pytest.approx(bits)


def test_the_logged_norm_is_the_one_before_clipping(folder, tmp_path):
    norms = []
    for clip in (None, 1e-6):
        training(folder, tmp_path / str(clip), config(clip_norm=clip)).fit(Budget(steps=1))
        norms.append(run_directory.read_log(tmp_path / str(clip), 0)[0]["gradient_norm"])
    assert norms[0] == norms[1] > 1e-6


def test_an_unknown_tracker_is_refused(folder, tmp_path):
    with pytest.raises(ParameterError, match="one of the trackers tensorboard, wandb, got paper"):
        training(folder, tmp_path / "run", tracker="paper")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_the_error_for_a_missing_tracker_says_how_to_install_it(name, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PixelPyramidsError, match=rf"{name} is not installed.*pixelpyramids\[train,{name}\]"):
        training(folder, tmp_path / "run", tracker=name)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed")
def test_tensorboard_writes_its_files_into_the_run(folder, tmp_path):
    training(folder, tmp_path / "run", tracker="tensorboard").fit(Budget(steps=1))
    events = list((tmp_path / "run" / "log" / "tensorboard").rglob("events.out.tfevents.*"))
    assert any(b"level_00/learning_rate" in path.read_bytes() for path in events)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="Weights & Biases is not installed")
def test_weights_and_biases_without_a_login_gives_one_error_line(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(PixelPyramidsError, match="run `wandb login`, or set WANDB_MODE=offline"):
        training(folder, tmp_path / "run", tracker="wandb")
