"""Failures are reported and cost nothing: no traceback, no hang, and existing files stay as they are."""

import json
import math
import os
import shutil
import signal
from pathlib import Path

import pytest
import test_release_checkpoint
import torch
from command_line import KEYS, at_most, authors_status, output_of, refusal, status, write_params
from filelock import FileLock
from pictures import contents, write_images
from PIL import PngImagePlugin
from test_run_directory import save_run
from torch.utils.data import get_worker_info

from pixelpyramids.atomic import replace_file
from pixelpyramids.data import images as images_module
from pixelpyramids.errors import CheckpointError
from pixelpyramids.model.release_checkpoint import read_checkpoint
from pixelpyramids.training import run_directory


@pytest.fixture
def trained(trained, tmp_path):
    """A copy of the run, for one test."""
    return Path(shutil.copytree(trained, tmp_path / "trained"))


def training(params, images, run, *options):
    """The command that trains on the CPU."""
    return "train", params, "--data", images, "--out", run, "--device", "cpu", *options


def scale_weights(run, factor):
    """Multiply the weights of level 0 of a run."""
    path = run_directory.level_file(run, 0)
    tensors, metadata = run_directory.read_tensors(path)
    run_directory.save_tensors(path, {key: factor * value for key, value in tensors.items()}, metadata)


def strict_json(text):
    """Parse standard JSON, which has no NaN and no Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("how", [RuntimeError, NotImplementedError, "a pipe"])
def test_an_image_that_cannot_be_read_is_named_and_skipped(how, images, params, trained, tmp_path, monkeypatch, capsys):
    """Whatever a decoder raises, and if the file is a pipe, without waiting for it."""
    data = Path(shutil.copytree(images, tmp_path / "data" / "train"))
    (data / "03.png").rename(data / "bad.png")
    load = PngImagePlugin.PngImageFile.load

    def fail(self):
        if Path(self.filename).name == "bad.png":
            raise how("cannot decode this")
        return load(self)

    if how == "a pipe":
        (data / "bad.png").unlink()
        os.mkfifo(data / "bad.png")
        message = "bad.png: expected a regular file, got"
    else:
        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
        message = f"bad.png: expected an image that Pillow can read, got {how.__name__}"
    with at_most(60):
        captured = output_of(capsys, "score", trained, data / "bad.png", data / "00.png", expected=1)
        assert message in captured.err and "00.png" in captured.out
        assert status(*training(params, data.parent, tmp_path / "run", "--steps", 10, "--no-validation")) == 0
        assert "bad.png" in capsys.readouterr().err
        assert status("evaluate", trained, "--data", data, "--split", "all", "--json") == 1
        assert json.loads(capsys.readouterr().out)["skipped"] == [str(data / "bad.png")]


def test_a_killed_reader_process_is_reported(images, params, tmp_path, monkeypatch, capsys):
    read = images_module.Images.read

    def ended(self, index, copy=True):
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index, copy)

    monkeypatch.setattr(images_module, "CACHE_BYTES", 0)
    monkeypatch.setattr(images_module.Images, "read", ended)
    assert status(*training(params, images, tmp_path / "run", "--steps", 4, "--no-validation")) == 2
    assert "a process that reads images has ended (DataLoader worker" in capsys.readouterr().err


@pytest.mark.parametrize("levels", [[], ["--levels", "1"]], ids=["all", "one"])
def test_weights_without_their_training_are_not_overwritten(levels, images, params, trained, capsys):
    seed = trained / "training" / "seed"
    for path in seed.parent.iterdir():
        if path != seed:
            path.unlink()
    before = contents(trained)
    assert "no checkpoint to resume from" in refusal(capsys, *training(params, images, trained, "--steps", 3, *levels))
    assert contents(trained) == before


@pytest.fixture
def importing(tmp_path):
    """The command that imports a checkpoint of three stages, and its run directory."""
    stages, parameters = test_release_checkpoint.checkpoint(8)
    torch.save(dict(enumerate(stages)), tmp_path / "a.pt")
    keys = parameters.model_dump(mode="json", exclude_unset=True)
    params, run = write_params(tmp_path / "p.json", keys), tmp_path / "run"
    return ("import-checkpoint", tmp_path / "a.pt", "--params", params, "--out", run), run


def test_an_import_replaces_only_a_run_directory(importing, capsys):
    command, run = importing
    (run / ".git").mkdir(parents=True)
    assert "exists already" in refusal(capsys, *command)
    assert "left alone" in refusal(capsys, *command, "--overwrite")
    assert list(run.rglob("*")) == [run / ".git"]


@pytest.mark.parametrize("what", ["save_stage", "write_parameters"])
def test_an_import_that_cannot_be_written_leaves_the_old_run(what, importing, monkeypatch, capsys):
    command, run = importing
    assert status(*command) == 0
    scale_weights(run, 0.5)  # a run of its own
    (run / "notes.txt").write_text("mine")
    (run / "log").mkdir()
    (run / "log" / "level_00.jsonl").write_text('{"step": 1}\n')
    before, calls, original = contents(run), [], getattr(run_directory, what)

    def full(*arguments):
        calls.append(arguments)
        if what == "write_parameters" or len(calls) == 2:
            raise OSError(28, "No space left on device")
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(run_directory, what, full)
        assert "No space left" in output_of(capsys, *command, "--overwrite", expected=1).err
    assert contents(run) == before and not list(run.glob(".*"))
    run_directory.load(run)
    assert status(*command, "--overwrite") == 0
    assert (run / "notes.txt").read_text() == "mine" and not (run / "log" / "level_00.jsonl").exists()
    assert contents(run)["level_00.safetensors"] != before["level_00.safetensors"]


@pytest.mark.parametrize("others", [(), ("training", "log", "samples")], ids=["import", "training"])
def test_an_import_that_was_cut_short_can_be_repeated(others, importing, capsys):
    command, run = importing
    assert status(*command) == 0
    whole = contents(run)
    (run / "parameters.json").unlink()
    run_directory.level_file(run, 1).unlink()
    half = run / ".new.abc.part"
    half.mkdir()
    shutil.copy(run_directory.level_file(run, 0), run_directory.level_file(half, 0))
    for name in others:
        (run / name).mkdir()
    if others:
        (run / "provenance.json").write_text('{"format": 1, "sessions": []}')
    assert "--overwrite" in refusal(capsys, *command)
    assert status(*command, "--overwrite") == 0
    shutil.rmtree(half, ignore_errors=True)
    assert contents(run) == whole


@pytest.mark.parametrize("level", [0, 7], ids=["a level of the import", "a level that only the old run has"])
def test_a_run_that_is_being_trained_is_not_replaced(level, importing, monkeypatch, capsys):
    command, run = importing
    assert status(*command) == 0
    before = contents(run)
    (run / "training").mkdir()
    monkeypatch.setattr(run_directory, "LOCK_SECONDS", 0.1)
    with FileLock(run / "training" / f"level_{level:02d}.lock", is_singleton=False):
        assert f"another process trains level {level}" in refusal(capsys, *command, "--overwrite")
        assert contents(run) == before
    assert status(*command, "--overwrite") == 0


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    "key, value", [("inc.double_conv.0.weight", math.nan), ("inc.double_conv.1.running_var", -1.0)], ids=str
)
def test_an_import_of_broken_weights_touches_nothing(key, value, there, importing, capsys):
    command, run = importing
    if there:
        assert status(*command) == 0
    before = contents(run)
    stages, _ = test_release_checkpoint.checkpoint(8)
    stages[1][key].view(-1)[3] = value
    torch.save(dict(enumerate(stages)), command[1])
    message = refusal(capsys, *command, "--overwrite")
    assert "a.pt: stage 1" in message and "expected finite weights and no negative variances" in message
    assert run.exists() == there and contents(run) == before


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize(
    "change",
    [lambda v: v.to("meta"), lambda v: v.to(torch.int32), lambda v: v.long(), lambda v: v.bool(), lambda v: v + 1j],
    ids=["meta", "int32", "int64", "bool", "complex"],
)
def test_weights_that_are_not_plain_floats_are_refused(change, averaged, tmp_path):
    stages, parameters = test_release_checkpoint.checkpoint(8)
    kept = test_release_checkpoint.optimiser(stages)
    if averaged:
        kept["state"][0]["ema"] = change(kept["state"][0]["ema"])
    else:
        stages[0]["inc.double_conv.0.weight"] = change(stages[0]["inc.double_conv.0.weight"])
    path = test_release_checkpoint.save_checkpoint(tmp_path / "a.pt", stages, optim=kept)
    with pytest.raises(CheckpointError, match=r"a\.pt: "):
        read_checkpoint(path, parameters, averaged)


@pytest.mark.parametrize(
    "interval, said", [(1, "loss on validation images not finite at step"), (9, "loss not finite at")]
)
def test_a_training_that_diverges_is_reported(interval, said, images, tmp_path, capsys):
    params = write_params(
        tmp_path / "p.json", KEYS | {"learning_rate": 1e30, "warmup_steps": 0, "eval_interval": interval}
    )
    run, steps = tmp_path / "run", 1 if interval == 1 else 6
    captured = output_of(capsys, *training(params, images, run, "--steps", steps), expected=1).err
    assert f"level 0 stopped: {said}" in captured and "Traceback" not in captured and "trained " not in captured
    logged = [entry for index in range(KEYS["L"]) for entry in run_directory.read_log(run, index)]
    assert logged and all(math.isfinite(value) for entry in logged for value in entry.values())


@pytest.mark.parametrize("kind", ["weights.", "average.", "optimiser.exp_avg."])
def test_a_training_with_nan_is_not_resumed(kind, images, params, trained, capsys):
    path = run_directory.training_file(trained, 2)
    tensors, place = run_directory.read_tensors(path)
    next(value for key, value in tensors.items() if key.startswith(kind)).view(-1)[0] = math.nan
    run_directory.save_tensors(path, tensors, place)
    command = training(params, images, trained, "--steps", 3)
    assert f"training/level_02.safetensors: {kind}" in refusal(capsys, *command)


def test_weights_that_have_diverged_are_named(images, trained, tmp_path, capsys):
    scale_weights(trained, 1e36)
    assert "level 0: the network's outputs are not finite, because its weights have diverged" in refusal(
        capsys, "sample", trained, "-n", 1, "--out", tmp_path / "drawn"
    )
    command = ("complete", trained, images / "00.png", "--scale", 2, "--out", tmp_path / "drawn")
    assert "diverged" in refusal(capsys, *command)
    assert not (tmp_path / "drawn").exists()
    captured = output_of(capsys, "score", trained, images / "00.png", "--json", expected=1)
    assert strict_json(captured.out)["images"] == [] and "00.png: its code length is not finite" in captured.err
    assert "diverged" in strict_json(captured.out)["failed"][0]
    captured = output_of(capsys, "evaluate", trained, "--data", images, "--json", expected=1)
    result = strict_json(captured.out)
    assert result["bits_per_dim"] is None and result["levels"][0]["nats"] is None
    assert math.isfinite(result["levels"][1]["nats"]) and "not finite" in captured.err
    assert "nan" not in output_of(capsys, "evaluate", trained, "--data", images, expected=1).out.splitlines()[0]


@pytest.mark.parametrize("size", [(1, 524288), (524288, 1), (1, 16384), (2, 32768), (10**6, 10**6)], ids=str)
def test_samples_that_would_take_too_long_are_refused_at_once(size, trained, tmp_path, capsys):
    command = ("sample", trained, "-n", 1, "--out", tmp_path / "x", "--height", size[0], "--width", size[1])
    with at_most(10):
        assert "choose a smaller size" in refusal(capsys, *command)
    assert not (tmp_path / "x").exists()


def test_a_folder_of_samples_holds_one_set_and_other_files_stay(trained, images, tmp_path):
    drawn = tmp_path / "drawn"
    for command in (("sample", trained), ("complete", trained, images / "00.png", "--scale", 2)):
        assert status(*command, "-n", 3, "--out", drawn, "--overwrite") == 0
        (drawn / "2019.png").write_text("mine")
        assert status(*command, "-n", 1, "--out", drawn, "--overwrite") == 0
        assert sorted(path.name for path in drawn.iterdir()) == ["0000.png", "2019.png", "grid.png"]
        assert (drawn / "2019.png").read_text() == "mine"
    assert status("sample", trained, "-n", 1, "--out", drawn, "--overwrite", "--no-grid") == 0
    assert not (drawn / "grid.png").exists(), "the grid of another set must not stay"


@pytest.mark.parametrize("flag", ["--gen_samples", "--evaluate"])
@pytest.mark.parametrize("there", [True, False], ids=["other parameters", "empty folder"])
def test_the_authors_command_only_uses_its_own_run(flag, there, images, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "ckpts" / "tiny_4_8"
    run.mkdir(parents=True)
    if there:
        shutil.copytree(trained, run, dirs_exist_ok=True)
    before = contents(run)
    params = write_params(tmp_path / "other.json", KEYS | {"n_res_layers": 2})
    assert authors_status(params, "--data_root", images, flag) == 2
    assert ("differs in n_res_layers" if there else "tiny_4_8") in capsys.readouterr().err
    assert contents(run) == before and not (tmp_path / "samples").exists()


@pytest.mark.parametrize("first, then", [((), ("--no-validation",)), (("--no-validation",), ())])
def test_a_resumed_training_keeps_the_images_that_it_held_out(first, then, images, params, tmp_path, capsys):
    run = tmp_path / "run"
    assert status(*training(params, images, run, "--steps", 1, *first)) == 0
    before = contents(run)
    command = training(params, images, run, "--steps", 2)
    assert "images out for validation" in refusal(capsys, *command, *then)
    assert contents(run) == before
    assert status(*training(params, images, run, "--steps", 2, *first)) == 0


@pytest.mark.parametrize(
    "levels", ["2-9", "9" * 5000, "0-" + "9" * 5000, "3-1", "٣", "²", "0,,1", "-1", "1-", ""], ids=ascii
)
def test_invalid_levels_are_refused(levels, images, params, tmp_path, capsys):
    run = tmp_path / "run"
    message = refusal(capsys, "train", params, "--data", images, "--out", run, "--levels", levels, "--steps", 1)
    assert "expected --levels" in message and len(message) < 300
    assert not run.exists()


def test_a_run_directory_has_its_own_parameters(images, params, trained, capsys):
    for command in (("evaluate", trained, "--data", images), ("score", trained, images / "00.png")):
        assert "holds its own parameters" in refusal(capsys, *command, "--params", params)


def test_statistics_of_batches_are_for_images_of_the_models_size(tmp_path, capsys):
    run = save_run(tmp_path / "run", KEYS | {"norm": "batch", "residual": 0, "residual_unit": "range"})
    height, width = run_directory.read_parameters(run).image_size
    for size, said in (((height, width), None), ((height + 1, width), f"at most {height} x {width} pixels")):
        data = write_images(tmp_path / str(size), count=3, size=size)
        command = ("evaluate", run, "--data", data, "--split", "all", "--batch-statistics", 2)
        assert said in refusal(capsys, *command) if said else status(*command) == 0


def test_calibrating_needs_images_that_can_be_read(importing, tmp_path, capsys):
    command, run = importing
    folder = write_images(tmp_path / "data" / "train", count=4, size=(8, 8))
    command = (*command, "--overwrite", "--calibrate", folder.parent)
    assert status(*command) == 0
    cut = (folder / "01.png").read_bytes()[:-60]  # the header is whole
    for content in (cut, b"no picture"):
        (folder / "01.png").write_bytes(content)
        assert "01.png" in output_of(capsys, *command, expected=1).err
        run_directory.load(run)
    before = contents(run)
    for image in folder.iterdir():
        image.write_bytes(cut)
    assert "expected an image that Pillow can read" in refusal(capsys, *command) and contents(run) == before


def test_a_write_without_room_names_the_file(tmp_path):
    with (
        pytest.raises(OSError, match=r"No space left on device.*x\.png"),
        replace_file(tmp_path / "x.png"),
        open("/dev/full", "wb") as file,
    ):
        file.write(b"x")
    assert not list(tmp_path.iterdir())
