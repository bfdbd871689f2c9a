"""`decompress --format original` writes the format of the file that was compressed, or says that it cannot."""

import json
import os

import numpy as np
import pytest
from command_line import json_of, status
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.image_files.opening import read_picture

GREY = np.add.outer(np.arange(9), 20 * np.arange(12)).astype(np.uint8)
COLOUR = np.stack([GREY, GREY.T.reshape(GREY.shape), 255 - GREY], axis=-1)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.bmp", "a.ppm", "a.npy", "a.b.tif"])
def test_the_format_of_the_source_is_written_again(tmp_path, name):
    source = tmp_path / "in" / name
    source.parent.mkdir()
    options = {"lossless": True} if name.endswith("webp") else {}
    np.save(source, COLOUR) if name.endswith("npy") else Image.fromarray(COLOUR).save(source, **options)
    assert status("compress", source.parent, "--out", tmp_path / "packed") == 0
    assert status("decompress", tmp_path / "packed", "--format", "original", "--out", tmp_path / "out") == 0
    assert os.listdir(tmp_path / "out") == [name]
    first, second = read_picture(source), read_picture(tmp_path / "out" / name)
    assert np.array_equal(first.array, second.array) and first.format == second.format


def test_a_format_that_is_not_written_is_one_failure_among_others(tmp_path, capsys):
    Image.fromarray(GREY).save(tmp_path / "a.gif")
    Image.fromarray(GREY).save(tmp_path / "b.tif")
    assert status("compress", tmp_path / "a.gif", tmp_path / "b.tif", "--force") == 0
    (tmp_path / "c.ppyr").write_bytes(pp.encode(GREY)[:-1])
    files = [tmp_path / f"{name}.ppyr" for name in "abc"]
    options = ("--format", "original", "--out", tmp_path / "out")
    reasons = json.dumps(json_of(capsys, "decompress", *files, *options, expected=1)["failed"])
    assert "got 'gif'; choose --format png|tiff" in reasons and "cut short" in reasons
    assert os.listdir(tmp_path / "out") == ["b.tif"]


def test_what_the_original_format_cannot_hold_is_reported(tmp_path, capsys):
    (tmp_path / "a.ppyr").write_bytes(pp.encode(GREY.astype(np.uint16), source_format="webp"))
    assert status("decompress", tmp_path / "a.ppyr", "--format", "original") == 1
    assert "expected 3 or 4 channels for webp, got 1" in " ".join(capsys.readouterr().err.split())
    assert os.listdir(tmp_path) == ["a.ppyr"]


def test_a_file_without_a_source_format_becomes_a_png(tmp_path):
    (tmp_path / "a.ppyr").write_bytes(pp.encode(GREY))
    assert status("decompress", tmp_path / "a.ppyr", "--format", "Original") == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), GREY)
