"""The page about a run: one file with all sections, and what it shows is what the run holds."""

import base64
import io
import itertools
import json
import shutil

import numpy as np
import pytest
from command_line import KEYS, json_of, output_of, refusal, status
from PIL import Image
from test_report_page import read

from pixelpyramids.cli import report_run
from pixelpyramids.cli.report.growth import grow
from pixelpyramids.data.folder import open_folder
from pixelpyramids.model import parameters
from pixelpyramids.model.parameters import PaperFigure, load_parameters, parse_parameters
from pixelpyramids.training import run_directory
from pixelpyramids.training.evaluation import evaluate
from pixelpyramids.training.run_directory import read_log

SECTIONS = ["Training", "Likelihood", "Samples", "One sample, level by level", "Parameters", "How this page was made"]


def shown(tag):
    """The pixels (H, W, C) of a picture of a page."""
    with Image.open(io.BytesIO(base64.b64decode(tag["src"].partition(",")[2]))) as image:
        return np.asarray(image)


def headings(markup):
    return [part.partition("</h2>")[0] for part in markup.split("<h2>")[1:]]


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    """The markup of a page about the tiny model, with two samples."""
    file = tmp_path_factory.mktemp("report") / "page.html"
    assert status("report", trained, "--out", file, "--samples", 2, "--seed", 3, "--device", "cpu") == 0
    assert [path.name for path in file.parent.iterdir()] == ["page.html"]
    return file.read_text(encoding="utf-8")


def test_a_page_is_whole_and_has_all_sections(page):
    parsed = read(page)
    assert headings(page) == SECTIONS
    assert all(tag["alt"] for tag in parsed.all("img")) and all(tag["aria-label"] for tag in parsed.all("svg"))
    assert "8 channels" not in parsed.text and "3 channels of 8 bits" in parsed.text


def test_the_curves_end_at_what_the_run_has_logged(page, trained):
    last = [[entry for entry in read_log(trained, level) if "nats" in entry][-1] for level in range(KEYS["L"])]
    nats, dimensions = (sum(entry[key] for entry in last) for key in ("nats", "dimensions"))
    of_all, of_levels = (tag["aria-label"] for tag in read(page).all("svg"))
    assert f"training ends at {nats / np.log(2) / dimensions:.2f}" in of_all
    for level, entry in enumerate(last):
        assert f"level {level} ends at {entry['nats'] / np.log(2) / entry['dimensions']:.2f}" in of_levels


def test_the_samples_are_those_of_the_model_and_grow(page, trained):
    drawn = run_directory.load(trained).sample(2, seed=3).numpy()
    pictures = read(page).all("img")
    for image, tag in zip(drawn, pictures[:2], strict=True):
        assert np.array_equal(shown(tag), image.transpose(1, 2, 0))
    stages = [shown(tag) for tag in pictures[2:]]
    assert [stage.shape[:2] for stage in stages] == [(4, 4), (8, 4), (8, 8), (16, 8)]
    assert np.array_equal(stages[-1], drawn[0].transpose(1, 2, 0))
    assert np.array_equal(stages[-1][1::2], stages[-2]) and np.array_equal(stages[-2][:, 1::2], stages[-3])


def test_every_parameter_is_on_the_page(page, trained):
    written = json.loads((trained / "parameters.json").read_text())["params"]
    parsed = read(page)
    assert len(written) > 20 and all(f"{key}" in parsed.text for key in written)
    assert "20, 20, 20, 20" in parsed.text


@pytest.mark.parametrize("name", ["celeba_256", "compact"])
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (16, 16)])
def test_an_image_grows_to_itself_and_keeps_its_pixels(name, size):
    image = np.random.default_rng(0).integers(0, 32, (3, *size))
    grown = [each.image for each in grow(load_parameters(name), image)]
    assert np.array_equal(grown[-1], image)
    for coarse, fine in itertools.pairwise(grown):
        rows, columns = (slice(fine.shape[axis] > coarse.shape[axis], None, None) for axis in (1, 2))
        step = [2 if fine.shape[axis] > coarse.shape[axis] else 1 for axis in (1, 2)]
        assert np.array_equal(fine[:, rows.start :: step[0], columns.start :: step[1]], coarse)


def test_json_names_what_was_made(trained, tmp_path, capsys):
    file = tmp_path / "deep" / "page.html"
    result = json_of(capsys, "report", trained, "--out", file, "--samples", 0)
    assert result["file"] == str(file) and result["samples"] == 0
    assert result["command"].endswith("--samples 0 --json") and result["environment"]["numpy"] == np.__version__
    parsed = read(file.read_text(encoding="utf-8"))
    assert result["command"] in parsed.text and "--samples 0" in parsed.text and parsed.all("img") == []
    assert output_of(capsys, "report", trained, "--out", file, "--samples", 0, "--overwrite", "--quiet").out == ""


def test_a_page_is_replaced_only_on_request(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "report.html").write_text("mine")
    assert "--overwrite" in refusal(capsys, "report", run, "--samples", 0)
    assert (run / "report.html").read_text() == "mine"
    assert status("report", run, "--samples", 0, "--overwrite") == 0
    assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert "run directory" in refusal(capsys, "report", tmp_path)
    (tmp_path / "parameters.json").write_text("{")
    assert "parameters.json" in refusal(capsys, "report", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["parameters.json"]


def test_a_run_without_weights_and_logs_has_a_page_that_says_so(tmp_path, capsys):
    run = tmp_path / "run"
    run_directory.claim(run, parse_parameters(KEYS, "test"))
    assert json_of(capsys, "report", run)["samples"] == 0
    text = read((run / "report.html").read_text(encoding="utf-8")).text
    assert "level(s) 0, 1, 2, 3 have no weights yet" in text and "no log" in text


def test_drawing_stops_after_its_time_unless_a_number_was_given(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report_run, "SECONDS", -1.0)
    file = tmp_path / "page.html"
    assert json_of(capsys, "report", trained, "--out", file)["samples"] == 0
    assert "0 of 8 samples" in read(file.read_text(encoding="utf-8")).text
    assert json_of(capsys, "report", trained, "--out", file, "--samples", 1, "--overwrite")["samples"] == 1


def test_the_likelihood_is_that_of_evaluate_with_the_standard_error_of_each_level(trained, images, tmp_path, capsys):
    file, common = tmp_path / "page.html", (trained, "--data", images, "--split", "all", "--device", "cpu")
    result = json_of(capsys, "report", *common, "--out", file, "--samples", 0)
    expected = json_of(capsys, "evaluate", *common)
    markup = file.read_text(encoding="utf-8")
    scores = result["scores"]
    assert scores["bits_per_dim"] == pytest.approx(expected["bits_per_dim"])
    assert scores["standard_error"] == pytest.approx(expected["standard_error"])
    assert [each["bits_per_dim"] for each in scores["levels"]] == pytest.approx(
        [each["bits_per_dim"] for each in expected["levels"]]
    )
    shown_text = read(markup).text
    for each in scores["levels"]:
        assert f"{each['bits_per_dim']:.4f} ± {each['standard_error']:.4f}" in shown_text
        assert f"{each['calibration_distance']:.4f}" in shown_text
    assert f"{scores['bits_per_dim']:.4f} ± {scores['standard_error']:.4f} bits/dim on 20 images" in shown_text
    assert headings(markup) == ["Training", "Likelihood", "Calibration", *SECTIONS[2:3], *SECTIONS[4:]]
    assert "paper" not in scores["warnings"] and scores["paper"] is None
    assert "trained on" in scores["warnings"][0]


def test_standard_errors_of_levels_are_those_of_the_images(trained, images):
    """All images have one size: the standard deviation over the root of their number."""
    evaluation = evaluate(run_directory.load(trained), open_folder(images, "all"))
    bits = evaluation.nats / evaluation.dimensions / np.log(2)
    np.testing.assert_allclose(evaluation.standard_error_of_levels, bits.std(axis=0, ddof=1) / np.sqrt(20))


def test_some_images_are_scored_evenly_spaced(trained, images, tmp_path, capsys):
    common = ("--split", "all", "--out", tmp_path / "p.html", "--samples", 0, "--device", "cpu")
    result = json_of(capsys, "report", trained, "--data", images, "--images", 5, *common)
    assert result["scores"]["images"] == 5
    assert "Of 20 images, 5 were chosen, evenly spaced" in read((tmp_path / "p.html").read_text()).text
    chosen = report_run._spread(20, 5)
    assert chosen == [0, 4, 8, 12, 16] and report_run._spread(3, 5) == range(3)


def test_the_papers_figure_stands_beside_those_of_its_data_set(trained, images, tmp_path, monkeypatch):
    """Only for test images of one of the six data sets."""
    figure = PaperFigure(1.23, "as the paper measured it")
    monkeypatch.setattr(parameters, "find_paper_figure", lambda config: figure)
    file = tmp_path / "p.html"
    common = ("report", trained, "--data", images, "--out", file, "--overwrite", "--samples", 0, "--device", "cpu")
    assert status(*common) == 0
    text = read(file.read_text()).text
    assert "1.23" in text and "as the paper measured it" in text
    assert status(*common, "--split", "train") == 0
    assert "as the paper measured it" not in read(file.read_text()).text


def test_images_need_a_folder_and_weights(trained, images, tmp_path, capsys):
    assert "name a folder with --data" in refusal(capsys, "report", trained, "--split", "test")
    assert "--data" in refusal(capsys, "report", trained, "--images", 5)
    part = tmp_path / "part"
    shutil.copytree(trained, part)
    next(part.glob("level_00*safetensors")).unlink()
    assert "got none of level(s) 0" in refusal(capsys, "report", part, "--data", images)
    assert not (part / "report.html").exists()
