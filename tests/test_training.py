"""Interrupted and uninterrupted trainings are equal, levels train independently, and errors are clear."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_line import KEYS as TINY

from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.errors import CheckpointError, DataError, ParameterError
from pixelpyramids.model.device import bfloat16_is_fast
from pixelpyramids.model.parameters import Parameters, load_parameters
from pixelpyramids.training import run_directory
from pixelpyramids.training.loop import Training
from pixelpyramids.training.progress import Budget

KEYS = TINY | {"warmup_steps": 2, "eval_interval": 2}

# The settings of the published method that differ from our defaults
PUBLISHED = {
    key: value
    for key, value in load_parameters("celeba_256_authors").model_dump(exclude_unset=True).items()
    if key not in load_parameters("celeba_256").model_dump(exclude_unset=True)
}


def config(**keys):
    return Parameters.model_validate(KEYS | keys)


def training(folder, run, parameters=None, validate=False, **options):
    parameters = parameters or config()
    images = open_folder(folder, "train", hold_out=validate)
    validation = open_folder(folder, "validation") if validate else None
    crops = Crops(images, parameters.image_size, parameters.batch_size, options.get("seed", 0))
    return Training(parameters, run, crops, validation, device="cpu", bfloat16=False, **options)


def weights(run):
    """The tensors of all levels of a run, and those that its training needs to go on."""
    files = sorted(run.rglob("level_*.safetensors"))
    tensors = {file.relative_to(run): run_directory.read_tensors(file)[0] for file in files}
    return {(str(file), key): value for file, found in tensors.items() for key, value in found.items()}


def assert_equal_runs(a, b):
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys() != set()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def read_untimed_log(run, index):
    """The entries of a level's log, without their times."""
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in run_directory.read_log(run, index)]


@pytest.mark.parametrize("validate", [False, True])
@pytest.mark.parametrize("keys", [{}, {"norm": "batch"}, PUBLISHED], ids=["default", "batch", "published"])
def test_a_training_in_two_parts_equals_one_that_was_not_interrupted(folder, tmp_path, keys, validate):
    parameters = config(**keys)
    training(folder, tmp_path / "whole", parameters, validate).fit(Budget(steps=11))

    part = training(folder, tmp_path / "parts", parameters, validate)
    taken = []

    def interrupt(report):
        taken.append(report.step)
        if report.step == 3:
            signal.raise_signal(signal.SIGINT)

    outcome = part.fit(Budget(steps=11), report=interrupt)
    assert outcome.interrupted and outcome.steps == 3 and taken == [1, 2, 3]
    again = training(folder, tmp_path / "parts", parameters, validate)
    assert again.step == 3
    assert not again.fit(Budget(steps=11)).interrupted
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    for index in range(parameters.L):
        assert read_untimed_log(tmp_path / "whole", index) == read_untimed_log(tmp_path / "parts", index)


def test_levels_trained_one_by_one_equal_levels_trained_together(folder, tmp_path):
    training(folder, tmp_path / "together").fit(Budget(steps=4))
    for levels in ([2], [0, 3], [1]):
        training(folder, tmp_path / "apart", levels=levels).fit(Budget(steps=4))
    assert_equal_runs(tmp_path / "together", tmp_path / "apart")
    assert run_directory.load(tmp_path / "apart").sample(1).shape == (1, 3, *config().image_size)


def training_script(folder, run, body):
    """A command that runs `body` in another process, in which `train(**options)` is `training` in this run."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from functools import partial\n"
        "from test_training import *\n"
        "torch.set_num_threads(1)\n"
        "train = partial(training, Path(sys.argv[2]), Path(sys.argv[3]))\n"
    )
    return [sys.executable, "-c", script + body, str(Path(__file__).parent), str(folder), str(run)]


def test_a_killed_training_resumes_and_ends_with_the_same_weights(folder, tmp_path):
    body = "train(seed=1).fit(Budget(steps=12), checkpoint_minutes=0, report=lambda r: print(r.step, flush=True))\n"
    whole, killed = (training_script(folder, tmp_path / run, body) for run in ("whole", "killed"))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(whole, check=True, env=environment, stdout=subprocess.DEVNULL)
    for kill_after in (2, 6):
        process = subprocess.Popen(killed, env=environment, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if int(line) >= kill_after:
                time.sleep(0.02)
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
        process.stdout.close()
    subprocess.run(killed, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed").rglob(".*.part"))


def test_two_processes_never_train_one_level_of_a_run(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    body = "held = train(levels=[1]); print('held', flush=True); sys.stdin.read()\n"
    command = training_script(folder, run, body)
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        monkeypatch.setattr(run_directory, "LOCK_SECONDS", 0.1)
        with pytest.raises(CheckpointError, match="another process trains level 1; wait"):
            training(folder, run)
        training(folder, run, levels=[0, 2])
    finally:
        other.kill()
        other.communicate()
    training(folder, run)


def test_the_error_of_a_loaders_worker_has_no_traceback(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("pixelpyramids.data.images.CACHE_BYTES", 0)
    work = training(folder, tmp_path / "run")

    def fail(self, index, copy=True):
        raise DataError("damaged")

    monkeypatch.setattr("pixelpyramids.data.images.Images.read", fail)
    assert not work.crops.folder.in_memory
    with pytest.raises(
        DataError, match=r"^expected at least one readable image among 9, .* got none; replace the damaged images$"
    ):
        work.fit(Budget(steps=1))


def test_each_level_has_its_own_minutes(folder, tmp_path):
    """A level whose minutes are used up is not trained further; other levels are."""
    training(folder, tmp_path / "run", levels=[0]).fit(Budget(minutes=0.02))
    both = training(folder, tmp_path / "run", levels=[0, 1])
    steps = both.levels[0].step
    assert steps > 0 and both.levels[1].step == 0
    both.fit(Budget(minutes=0.02))
    assert both.levels[0].step == steps and both.levels[1].step > 0


def test_an_interrupted_validation_is_repeated(folder, tmp_path):
    training(folder, tmp_path / "whole", validate=True).fit(Budget(steps=4))
    part = training(folder, tmp_path / "parts", validate=True)
    notes = []
    with pytest.MonkeyPatch.context() as patch:
        scored = part.averaged.rate

        def interrupted(*arguments):
            signal.raise_signal(signal.SIGINT)
            return scored(*arguments)

        patch.setattr(part.averaged, "rate", interrupted)
        assert part.fit(Budget(steps=4), notify=notes.append).interrupted
    assert len(notes) == 1 and "saving" in notes[0]
    training(folder, tmp_path / "parts", validate=True).fit(Budget(steps=4))
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    assert read_untimed_log(tmp_path / "whole", 0) == read_untimed_log(tmp_path / "parts", 0)


def test_the_best_score_survives_a_kill_after_its_validation(folder, tmp_path):
    """Validation saves the best score, so a process that is killed before its next checkpoint still has it."""
    run = training(folder, tmp_path / "run", validate=True)
    run.fit(Budget(steps=2))
    run.levels[0].validate(10 * math.log(2), 10, tmp_path / "run")
    assert training(folder, tmp_path / "run", validate=True).levels[0].best == 1.0


def test_a_failed_validation_loses_no_steps(folder, tmp_path):
    run = training(folder, tmp_path / "run", validate=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.held_out, "read", lambda _index: (_ for _ in ()).throw(DataError("damaged")))
        with pytest.raises(DataError, match="none of the"):
            run.fit(Budget(steps=6))
    assert training(folder, tmp_path / "run", validate=True).step > 0


def test_checkpoints_of_another_level_and_damaged_ones_are_named(folder, tmp_path):
    training(folder, tmp_path / "run").fit(Budget(steps=1))
    first, second = (run_directory.training_file(tmp_path / "run", index) for index in (0, 1))
    for content, message in (
        (first.read_bytes(), "not a checkpoint of level 1"),
        (first.read_bytes()[:-7], "level_01"),
    ):
        second.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            training(folder, tmp_path / "run")


def test_a_checkpoint_without_tensors_resumes_from_the_kept_weights(folder, tmp_path):
    """A training can be resumed from a small directory, with new moments of Adam."""
    training(folder, tmp_path / "run").fit(Budget(steps=3))
    for index in range(KEYS["L"]):
        path = run_directory.training_file(tmp_path / "run", index)
        run_directory.save_tensors(path, {}, run_directory.read_tensors(path)[1])
    resumed = training(folder, tmp_path / "run")
    assert resumed.step == 3
    for level in resumed.levels:
        kept = run_directory.read_tensors(run_directory.level_file(tmp_path / "run", level.index))[0]
        for stage in (level.stage, level.average):
            assert all(torch.equal(value, kept[key]) for key, value in stage.state_dict().items())
    assert resumed.fit(Budget(steps=5)).steps == 5


def test_micro_batches_add_up_to_the_batch(folder, tmp_path):
    training(folder, tmp_path / "whole", config(clip_norm=1e6)).fit(Budget(steps=2))
    training(folder, tmp_path / "micro", config(clip_norm=1e6), micro_batch=1).fit(Budget(steps=2))
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "micro")
    for key, value in first.items():
        if ".exp_avg." in key[1]:
            assert torch.allclose(value, second[key], rtol=1e-3, atol=1e-3 * float(value.abs().max()) + 1e-12), key


def test_a_loss_that_is_not_finite_stops_only_its_level(folder, tmp_path):
    run = training(folder, tmp_path / "run")
    with torch.no_grad():
        run.levels[1].stage.network.head.bias[0] = float("nan")
    outcome = run.fit(Budget(steps=3))
    assert list(outcome.stopped) == [1]
    assert "level 1" in outcome.stopped[1] and "step 0" in outcome.stopped[1] and ".png" in outcome.stopped[1]
    assert [level.step for level in run.levels] == [3, 0, 3, 3]


def test_training_learns(folder, tmp_path):
    run = training(folder, tmp_path / "run", config(learning_rate=3e-3), validate=True)
    first = []
    outcome = run.fit(Budget(steps=60), report=lambda report: first.append(report.bits_per_dim))
    assert outcome.validation is not None
    assert outcome.validation.bits_per_dim < 0.9 * first[0]
    assert run_directory.load(tmp_path / "run").rate(torch.zeros(1, 3, 8, 8, dtype=torch.long)).nats.isfinite().all()


def test_the_best_weights_on_the_validation_set_are_kept(folder, tmp_path):
    level = training(folder, tmp_path / "run", validate=True).levels[0]
    level.validate(100.0, 10, tmp_path / "run")
    best = run_directory.read_tensors(run_directory.level_file(tmp_path / "run", 0))[0]
    with torch.no_grad():
        next(level.average.parameters()).add_(1)
    level.validate(101.0, 10, tmp_path / "run")
    kept = run_directory.read_tensors(run_directory.level_file(tmp_path / "run", 0))[0]
    assert all(torch.equal(value, kept[key]) for key, value in best.items())


def test_a_run_of_other_parameters_is_refused(folder, tmp_path):
    training(folder, tmp_path / "run")
    with pytest.raises(CheckpointError, match="differs in C"):
        training(folder, tmp_path / "run", config(C=16))


def test_invalid_arguments_are_refused(folder, tmp_path):
    for options, message in (({"levels": [4]}, "levels from 0 to 3"), ({"micro_batch": 0}, "micro-batch")):
        with pytest.raises(ParameterError, match=message):
            training(folder, tmp_path / "run", **options)
    for keys in ({}, {"steps": 0}, {"steps": 1, "minutes": 1.0}):
        with pytest.raises(ParameterError, match="positive number"):
            Budget(**keys)


@pytest.mark.skipif(not bfloat16_is_fast(torch.device("cpu")), reason="this processor has no fast bfloat16")
def test_bfloat16_changes_the_loss_little(folder, tmp_path):
    """Parameters, gradients, the mixtures' outputs and the likelihood stay float32; only convolutions are rounded."""
    run = training(folder, tmp_path / "run")
    pairs = run.config.decompose(torch.from_numpy(run.crops[0]).long())
    for level in run.levels:
        seen = []
        level.stage.network.register_forward_hook(
            lambda _module, _inputs, outputs, seen=seen: seen.append(outputs.dtype)
        )
        exact = level.stage(*pairs[level.index])
        with torch.autocast("cpu", torch.bfloat16):
            rounded = level.stage(*pairs[level.index])
        assert rounded.dtype == torch.float32 and seen == [torch.float32, torch.float32]
        assert float((rounded - exact).detach().abs().mean() / exact.detach().abs().mean()) < 0.01
        rounded.sum().backward()
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in level.stage.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_training_on_a_gpu(folder, tmp_path):
    parameters = config()
    crops = Crops(open_folder(folder, "train", hold_out=False), parameters.image_size, 4)
    run = Training(parameters, tmp_path / "run", crops)
    assert run.device.type == "cuda"
    assert run.fit(Budget(steps=3)).steps == 3
    assert run_directory.load(tmp_path / "run").device.type == "cpu"
