"""A run directory records its software, data and duration, and resuming reports changes."""

import json
import math
import signal
import time
import warnings

import pytest
import torch
from pictures import write_images
from test_training import KEYS, config, training

import pixelpyramids
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.identity import data_identity
from pixelpyramids.errors import CheckpointError
from pixelpyramids.training import run_directory
from pixelpyramids.training.evaluation import evaluate
from pixelpyramids.training.progress import Budget, Recent
from pixelpyramids.training.provenance import PROVENANCE, read_sessions, read_trained_on
from pixelpyramids.training.publishing import PublishedRun


@pytest.fixture
def other(tmp_path):
    return write_images(tmp_path / "other", count=30, size=(20, 24))


def warnings_of(call):
    """The messages of the warnings that a call gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


def test_a_session_records_software_data_and_settings(folder, tmp_path):
    run = tmp_path / "run"
    training(folder, run, validate=True, seed=3).fit(Budget(steps=4))
    (session,) = read_sessions(run)
    assert session["package"] == pixelpyramids.__version__ and session["torch"] == torch.__version__
    assert session["device"].startswith("cpu") and session["precision"] == "float32" and session["seed"] == 3
    assert session["budget"] == {"steps": 4}
    images = open_folder(folder, "train")
    assert session["training_data"] == {
        "root": str(folder), "images": len(images), "sha256": data_identity(images).sha256,
        "files": True,
    }  # fmt: skip
    assert session["validation_data"]["sha256"] == data_identity(open_folder(folder, "validation")).sha256
    assert set(session["levels"]) == {"0", "1", "2", "3"}
    level = session["levels"]["2"]
    assert level["first_step"] == 0 and level["step"] == 4 and level["minutes"] > 0
    assert level["epochs"] == pytest.approx(4 * 4 / training(folder, run, validate=True, seed=3).crops.items_per_epoch)


def test_training_images_are_recorded_before_the_first_weights(folder, tmp_path):
    def kill(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(folder, tmp_path, config(eval_interval=1), validate=True).fit(Budget(steps=99), validated=kill)
    assert run_directory.load(tmp_path) and len(read_trained_on(tmp_path)) == len(open_folder(folder, "train"))


def test_each_resume_and_each_level_adds_a_session(folder, tmp_path):
    run = tmp_path / "run"
    training(folder, run, levels=[0]).fit(Budget(steps=1))
    training(folder, run, levels=[1, 2, 3]).fit(Budget(steps=1))
    training(folder, run).fit(Budget(steps=2))
    levels = [session["levels"] for session in read_sessions(run)]
    assert [sorted(level) for level in levels] == [["0"], ["1", "2", "3"], ["0", "1", "2", "3"]]
    assert levels[2]["0"]["first_step"] == 1 and levels[2]["0"]["step"] == 2


def test_epochs_are_counted_by_the_images_of_each_session(folder, other, tmp_path):
    run, expected, steps = tmp_path / "run", 0.0, 0
    for images, more in ((folder, 3), (other, 2), (folder, 1)):
        steps += more
        resumed = training(images, run)
        resumed.fit(Budget(steps=steps))
        expected += more * resumed.crops.batch_size / resumed.crops.items_per_epoch
        for level in read_sessions(run)[-1]["levels"].values():
            assert level["epochs"] == pytest.approx(expected)


def test_an_older_run_without_provenance_is_resumed(folder, tmp_path):
    run = tmp_path / "run"
    training(folder, run).fit(Budget(steps=1))
    (run / PROVENANCE).unlink()
    (line,) = warnings_of(lambda: training(folder, run).fit(Budget(steps=2)))
    assert "did not record its data" in line
    assert run_directory.load(run) and len(read_sessions(run)) == 1


SESSION = {
    "precision": "float32", "budget": {"steps": 1}, "levels": {}, "training_data": {"images": 1, "sha256": "a"},
    "validation_data": None,
}  # fmt: skip
DAMAGED = [{key: value for key, value in SESSION.items() if key != lost} for lost in SESSION] + [
    SESSION | changed
    for changed in (
        {"budget": {}}, {"budget": {"years": 1}}, {"budget": {"steps": "1"}}, {"budget": {"steps": 0}}, {"levels": []},
        {"training_data": {}}, {"training_data": {"images": 1, "sha256": None}}, {"precision": None},
        {"validation_data": {"images": 1, "sha256": "a"}},
    )
]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"format": 1}', "[" * 9999]
    + [json.dumps({"format": 1, "sessions": sessions}) for sessions in (1, [1], *([damaged] for damaged in DAMAGED))],
)
def test_damaged_provenance_is_named(content, tmp_path):
    (tmp_path / PROVENANCE).write_text(json.dumps({"format": 1, "sessions": [SESSION]}))
    assert read_sessions(tmp_path) == [SESSION]
    (tmp_path / PROVENANCE).write_text(content)
    with pytest.raises(CheckpointError, match=r"provenance\.json: damaged; remove it"):
        read_sessions(tmp_path)
    (tmp_path / PROVENANCE).write_text('{"format": 2, "sessions": []}')
    with pytest.raises(CheckpointError, match="expected format 1, got 2"):
        read_sessions(tmp_path)


def test_resuming_without_changes_gives_no_warning(folder, tmp_path):
    training(folder, tmp_path / "run", validate=True).fit(Budget(steps=2))
    assert not warnings_of(lambda: training(folder, tmp_path / "run", validate=True).fit(Budget(steps=2)))


def test_resuming_with_other_data_precision_and_budget_warns_of_each_once(folder, other, tmp_path):
    run = tmp_path / "run"
    training(folder, run).fit(Budget(steps=2))
    resumed = training(other, run)
    resumed.bfloat16 = True
    lines = warnings_of(lambda: resumed.fit(Budget(steps=3)))
    assert len(lines) == 3 and all(line.startswith(f"{run}: ") for line in lines)
    assert "images have changed" in lines[0] and str(folder) in lines[0] and str(other) in lines[0]
    assert "the precision has changed: before float32, now bfloat16" in lines[1]
    assert "scheduled for 2 steps; with 3 steps" in lines[2]


def test_changes_are_reported_for_each_level_by_its_own_history(folder, other, tmp_path):
    run = tmp_path / "run"
    training(folder, run, levels=[2, 3]).fit(Budget(steps=2))
    (line,) = warnings_of(lambda: training(other, run, levels=[0, 1]).fit(Budget(steps=4)))
    assert "the training images have changed" in line and str(folder) in line and str(other) in line
    lines = warnings_of(lambda: training(other, run).fit(Budget(steps=4)))
    assert len(lines) == 2 and "level(s) 2,3: the training images have" in lines[0] and "for 2 steps" in lines[1]


def test_the_best_weights_are_chosen_again_on_another_validation_set(folder, other, tmp_path):
    """Sums of nats of other images must not be compared: the first set's best could never be beaten."""
    run = tmp_path / "run"
    first = training(folder, run, validate=True)
    first.fit(Budget(steps=2))
    for level in first.levels:
        level.validate(1e-9, 10, run)  # a best that no image can reach
    before = {index: run_directory.level_file(run, index).read_bytes() for index in range(KEYS["L"])}
    resumed = training(other, run, validate=True)
    lines = warnings_of(lambda: resumed.fit(Budget(steps=4)))
    assert sum("other validation images" in line for line in lines) == 1
    for index, old in before.items():
        assert run_directory.level_file(run, index).read_bytes() != old
    scored = evaluate(run_directory.load(run), open_folder(other, "validation"), chosen=resumed.validation.chosen)
    nats, dimensions = scored.nats.sum(axis=0), scored.dimensions.sum(axis=0)
    for level in resumed.levels:
        assert level.best == pytest.approx(nats[level.index] / dimensions[level.index] / math.log(2), rel=1e-4)


def test_the_best_score_of_an_older_version_is_ignored(folder, tmp_path):
    """It is a sum of nats over images that were not recorded."""
    run = tmp_path / "run"
    training(folder, run, validate=True).fit(Budget(steps=2))
    for index in range(KEYS["L"]):
        path = run_directory.training_file(run, index)
        tensors, place = run_directory.read_tensors(path)
        del place["best_bits_per_dim"], place["validation_set"]
        run_directory.save_tensors(path, tensors, place | {"best": 1e-9})
    resumed = training(folder, run, validate=True)
    assert any("not recorded" in line for line in warnings_of(lambda: resumed.fit(Budget(steps=4))))
    assert all(1e-3 < level.best < math.inf for level in resumed.levels)


def test_published_runs_contain_no_local_paths(folder, tmp_path):
    run = tmp_path / "run"
    training(folder, run, config(data_root=str(folder)), validate=True).fit(Budget(steps=1))
    PublishedRun(run).save_pretrained(tmp_path / "hub")
    published = {path.name: path.read_bytes() for path in (tmp_path / "hub").rglob("*") if path.is_file()}
    assert PROVENANCE in published and json.loads(published[PROVENANCE])["sessions"][0]["training_data"]["sha256"]
    for name, content in published.items():
        for path in (folder, tmp_path, folder.parent):
            assert str(path).encode() not in content, name


def test_bits_per_dim_need_all_levels_at_one_step():
    recent, budget = Recent(3), Budget(steps=10)
    for level in range(3):
        recent.add(level, 2.0, 4)
    assert recent.report(5, [0, 1, 2], budget, 1.0, 0.1, 4).bits_per_dim == pytest.approx(0.5 / math.log(2))
    assert recent.report(5, [1, 2], budget, 1.0, 0.1, 4).bits_per_dim is None  # level 0 is at another step
    recent.drop(0)
    report = recent.report(5, [1, 2], budget, 1.0, 0.1, 4)
    assert report.bits_per_dim is None and set(report.bits_per_dim_of_levels) == {1, 2}
    alone = Recent(3)
    alone.add(2, 2.0, 4)
    assert alone.report(1, [2], budget, 1.0, 0.1, 4).bits_per_dim is None


def test_minutes_include_validation_and_samples(folder, tmp_path, monkeypatch):
    seconds, slept = 6.0, []

    def slow(_model):
        slept.append(time.monotonic())
        time.sleep(0.2)

    run = training(folder, tmp_path / "run", config(eval_interval=1), validate=True)
    scored = run.averaged.rate

    def slowly(*arguments):
        time.sleep(0.5)
        return scored(*arguments)

    monkeypatch.setattr(run.averaged, "rate", slowly)
    began = time.monotonic()
    outcome = run.fit(Budget(minutes=seconds / 60), draw=slow)
    assert time.monotonic() - began < 1.5 * seconds
    assert outcome.seconds == pytest.approx(time.monotonic() - began, abs=1.0)
    validations = len([e for e in run_directory.read_log(tmp_path / "run", 0) if "validation_nats" in e])
    assert validations >= 1 and 0.5 * (validations + 1) < 0.5 * seconds
    steps = run.step
    again = training(folder, tmp_path / "run", config(eval_interval=1), validate=True)
    again.fit(Budget(minutes=seconds / 60))
    assert again.step == steps  # the budget is spent


def test_the_number_of_validation_images_depends_on_the_training_pixels(other, tmp_path):
    """Three are held out; they have more than a quarter of the pixels of one step's crops."""
    for count, scored in ((None, 1), (3, 3)):
        run = training(other, tmp_path / "run", validate=True, validation_images=count)
        run.fit(Budget(steps=1))
        assert len(run.held_out) == 3 and len(run.validation.chosen) == scored


def test_samples_can_be_interrupted_between_layers(folder, tmp_path):
    run = training(folder, tmp_path / "run", validate=True)
    layers = []

    def draw(model):
        signal.raise_signal(signal.SIGINT)
        model.sample(16)
        layers.append("finished")

    assert run.fit(Budget(steps=2), draw=draw).interrupted and not layers


def test_samples_that_take_too_long_are_stopped(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("pixelpyramids.training.validation.DRAWING_LEAST", 0.0)
    notes, drawn = [], []

    def draw(model):
        time.sleep(1.0)
        model.sample(1)
        drawn.append(1)

    training(folder, tmp_path / "run", validate=True).fit(Budget(steps=2), draw=draw, notify=notes.append)
    assert not drawn and len(notes) == 1 and "no samples were drawn" in notes[0]
