"""Scores come with the paper's figure, and with a warning if they are impossibly bad."""

import json

import numpy as np
import pytest
import torch
from command_line import KEYS, json_of, status
from PIL import Image
from test_six_data_sets import celeba_folders

from pixelpyramids.model.parameters import DATA_SETS, find_paper_figure, load_parameters, parse_parameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid
from pixelpyramids.training import run_directory


def save_run(run, **keys):
    """Save an untrained model as a run."""
    run_directory.save(PixelPyramid(parse_parameters(KEYS | keys, "test")), run)
    return run


def spoil(run):
    """Make a run's coarsest network certain that all pixels are bright."""
    model = run_directory.load(run)
    with torch.no_grad():
        head = model.stages[-1].network.head
        components = head.bias.shape[0] // 10
        head.bias[components : 4 * components] = 1.0
        head.bias[4 * components : 7 * components] = -9.0
    run_directory.save(model, run)


def test_more_bits_per_dim_than_bits_of_a_value_give_a_warning(images, tmp_path, capsys):
    run, dark = save_run(tmp_path / "run"), tmp_path / "dark.png"
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(dark)
    picture = images / "00.png"
    assert status("score", run, picture, dark, "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["warning"] is None and "warning" not in captured.err
    spoil(run)
    assert status("score", run, picture, dark, "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    worst = max(image["bits_per_dim"] for image in result["images"])
    assert worst > 8 and f"(up to {worst:.2f})" in result["warning"]
    assert f"warning: {result['warning']}" in captured.err
    (tmp_path / "data").mkdir()
    dark.rename(tmp_path / "data" / "dark.png")
    assert status("evaluate", run, "--data", tmp_path / "data", "--split", "all", "--json") == 0
    captured = capsys.readouterr()
    assert "1 image with more than 8 bits/dim" in json.loads(captured.out)["warning"]
    assert "warning: 1 image with more than" in captured.err


@pytest.mark.filterwarnings("ignore:.*not comparable:UserWarning")
def test_evaluate_prints_the_papers_figure_beside_ours(tmp_path, capsys):
    celeba_folders(tmp_path / "data", 16)
    keys = {"dataset_name": "celeba_256", "L": 5, "n_classes": [20] * 5, "n_squeeze": [1, 1, 0, 0]}
    for bits in (5, 8):
        run = save_run(tmp_path / str(bits), n_bits=bits, **keys)
        capsys.readouterr()
        assert status("evaluate", run, "--data", tmp_path / "data") == 0
        printed = capsys.readouterr().out
        assert "0.61 bits/dim is the paper's figure for the test images of celeba_256 (" in printed
        assert ("not comparable: this model codes 8 bits" in printed) == (bits == 8)
        assert "batch" in printed
        assert json_of(capsys, "evaluate", run, "--data", tmp_path / "data")["paper"]["bits_per_dim"] == 0.61
        assert json_of(capsys, "evaluate", run, "--data", tmp_path / "data", "--split", "train")["paper"] is None


def test_the_papers_figures_say_if_they_are_unverified():
    figures = {name: find_paper_figure(load_parameters(name)) for name in DATA_SETS}
    assert [figure.bits_per_dim for figure in figures.values()] == [0.61, 0.58, 0.88, 1.07, 0.95, 3.4]
    for name in ("celeba_1024", "imagenet_128", "lsun_church", "lsun_tower"):
        assert "unverified" in figures[name].note
    assert find_paper_figure(load_parameters("celeba_256_authors")) == figures["celeba_256"]
    assert find_paper_figure(load_parameters("photographs")) is None
    smaller = parse_parameters(load_parameters("celeba_256").model_dump() | {"L": 11}, "smaller")
    assert find_paper_figure(smaller).note.startswith("not comparable: this model codes 128 x 128 pixels")


def test_the_papers_figure_is_not_printed_for_other_data(images, tmp_path, capsys):
    run = save_run(tmp_path / "run")
    assert json_of(capsys, "evaluate", run, "--data", images, "--split", "all")["paper"] is None
