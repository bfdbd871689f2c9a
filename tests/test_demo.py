"""The demo: what it shows, that it resumes, and that it leaves other folders alone."""

import json
import re
from unittest.mock import Mock

import numpy as np
import pytest
from command_line import KEYS, ROOT, output_of, refusal, status
from pictures import contents
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.cli import showcase
from pixelpyramids.model.parameters import parse_parameters
from pixelpyramids.training import run_directory
from pixelpyramids.training.provenance import read_sessions

PHOTOGRAPHS = ROOT / "pixelpyramids" / "assets" / "photographs"


@pytest.fixture
def no_showcase(monkeypatch):
    """Leave out the first minute of the demo."""
    monkeypatch.setattr("pixelpyramids.cli.showcase.compress_photographs", lambda _: "")
    monkeypatch.setattr("pixelpyramids.cli.showcase.read_parts", lambda: np.zeros((1, 3, 4, 4), np.uint8))


def steps_saved(run, levels):
    return [run_directory.read_tensors(run_directory.training_file(run, index))[1]["step"] for index in range(levels)]


def test_other_files_and_runs_are_left_alone(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pyramid.png").write_text("mine")
    run_directory.claim(tmp_path / "other" / "run", parse_parameters(KEYS, "test"))
    before = contents(tmp_path)
    assert "positive" in refusal(capsys, "demo", "--out", tmp_path / "new", "--minutes", -1)
    assert "contains other files" in refusal(capsys, "demo", "--out", tmp_path / "mine", "--minutes", 1)
    assert "differs in" in refusal(capsys, "demo", "--out", tmp_path / "other", "--minutes", 1)
    assert contents(tmp_path) == before and not (tmp_path / "new").exists()


@pytest.mark.parametrize("left", ["nothing", "an empty run", "a half-written run", "parameters", "a picture"])
def test_it_resumes_if_it_was_interrupted_at_its_beginning(left, no_showcase, tmp_path, monkeypatch):
    demo, train = tmp_path / "demo", Mock(side_effect=KeyboardInterrupt)
    if left != "nothing":
        (demo / "run").mkdir(parents=True)
    if left == "a half-written run":
        (demo / "run" / ".parameters.json.abc.part").write_text("{")
    if left in ("parameters", "a picture"):
        run_directory.claim(demo / "run", pp.load_parameters("photographs"))
    if left == "a picture":
        (demo / "pyramid.png").touch()
    monkeypatch.setattr("pixelpyramids.cli.demo.train", train)
    assert status("demo", "--out", demo, "--minutes", 3) == 130
    assert [call.kwargs["minutes"] for call in train.call_args_list] == [3]
    assert Image.open(demo / "pyramid.png").size[0] > 100
    assert status("demo", "--out", demo, "--minutes", 4) == 130


def test_it_trains_scores_and_draws_and_resumes(no_showcase, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    demo = tmp_path / "demo"
    captured = output_of(capsys, "demo", "--out", demo, "--minutes", 0.02, "--json")
    said, result = captured.err, json.loads(captured.out)
    assert f"{result['bits_per_dim']:.4f}" in said and 4 < result["png_bits_per_dim"] < 5
    assert re.search(r"china\S* +427 x 640 +\d\.\d{3} +4\.\d{3} +3\.\d{3}", said)
    assert re.search(r"flower\S* +427 x 640", said)
    for name in ("pyramid.png", "samples.png", "completions.png", "curve.png"):
        with Image.open(demo / name) as picture:
            picture.load()
            assert min(picture.size) > 100
    model = run_directory.load(demo / "run")
    assert model.config == pp.load_parameters("photographs")
    steps = steps_saved(demo / "run", model.config.L)

    with pytest.MonkeyPatch.context() as patched:
        # The first run has checked its result.
        patched.setattr("pixelpyramids.training.evaluation.evaluate", Mock(side_effect=KeyboardInterrupt))
        # On a busy machine, the first step may have taken longer than all the minutes allowed.
        spent = max(level["minutes"] for level in read_sessions(demo / "run")[-1]["levels"].values())
        assert status("demo", "--out", demo, "--minutes", spent + 0.02) == 130
    assert f"resuming from step {min(steps)}" in capsys.readouterr().err
    later = steps_saved(demo / "run", model.config.L)
    assert min(steps) >= 1 and all(after > before for before, after in zip(steps, later, strict=True))


def test_it_first_shows_the_bundled_network(tmp_path, monkeypatch, capsys):
    """Every file holds its photograph, the table has its size, and completions hold the small pictures."""
    names = showcase.NEW + showcase.CHOSE
    assert sorted(names) == sorted(str(path.relative_to(PHOTOGRAPHS)) for path in PHOTOGRAPHS.glob("*/*.[jp][pn]g"))
    read = showcase.read_photograph
    monkeypatch.setattr(showcase, "SIDE", 64)
    monkeypatch.setattr(showcase, "read_photograph", lambda name, region=(100, 50, 40, 30): read(name, region))
    monkeypatch.setattr("pixelpyramids.cli.demo.train", lambda *_, **__: 1)
    said = output_of(capsys, "demo", "--out", tmp_path / "demo", expected=1).out
    for name in names:
        file = tmp_path / "demo" / "compressed" / f"{(PHOTOGRAPHS / name).stem}.ppyr"
        assert re.search(rf"{file.stem}( \*)? .* {file.stat().st_size:,} ", said)
        whole = np.asarray(Image.open(PHOTOGRAPHS / name).convert("RGB"))
        assert np.array_equal(pp.open(file).read(), whole[50:80, 100:140])
    sheet = np.asarray(Image.open(tmp_path / "demo" / "completions_bundled.png"))
    first = np.asarray(Image.open(PHOTOGRAPHS / showcase.NEW[0]))[60:124, 150:214]
    pictures = [sheet[2:66, 2 + 66 * column :][:, :64] for column in range(5)]
    assert all(np.array_equal(picture[3::4, 3::4], first[3::4, 3::4]) for picture in pictures)
    assert np.array_equal(pictures[-1], first) and not np.array_equal(pictures[1], pictures[2])
