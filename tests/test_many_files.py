"""Many files at once: the messages for each, and files that change or are not what they seem."""

import json
import shutil
import warnings

import numpy as np
import pytest
from command_line import refusal, status
from pictures import save
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import pixelpyramids as pp
from pixelpyramids.cli import file_tasks
from pixelpyramids.image_files import opening


def save_with_chunk(path):
    """Write a PNG with a private chunk, which is not kept."""
    chunks = PngInfo()
    chunks.add(b"prVt", b"ours alone")
    return save(path, pnginfo=chunks)


@pytest.mark.parametrize("jobs", [1, 2])
def test_metadata_that_is_lost_is_reported_for_every_file(jobs, tmp_path, capsys):
    names = [save_with_chunk(tmp_path / "a" / name) for name in ("a.png", "b.png", "c.png")]
    assert status("compress", tmp_path / "a", "--jobs", jobs, "--json") == 0
    result, errors = capsys.readouterr()
    for name in names:
        assert f"warning: {name}: not kept: PNG chunk prVt" in errors.splitlines()
    assert all(len(file["warnings"]) == 1 for file in json.loads(result)["files"])


def test_bench_and_verify_name_the_file_of_each_warning(tmp_path, monkeypatch, capsys):
    read_picture = opening.read_picture

    def read(source, *limit):
        warnings.warn("a library says something", stacklevel=1)
        return read_picture(source, *limit)

    names = [save(tmp_path / "in" / name) for name in ("a.png", "b.png")]
    assert status("compress", names[0]) == 0
    capsys.readouterr()
    monkeypatch.setattr(opening, "read_picture", read)
    for arguments, named in (
        (("bench", *names), names),
        (("verify", names[0].with_suffix(".ppyr"), names[0]), names[:1]),
    ):
        assert status(*arguments) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
        assert lines == [f"warning: {name}: a library says something" for name in named]


def test_verify_names_lost_metadata_of_originals(tmp_path, capsys):
    source = save_with_chunk(tmp_path / "in" / "a.png")
    assert status("compress", tmp_path / "in", "--out", tmp_path / "out") == 0
    target, line = tmp_path / "out" / "a.ppyr", "the pixels are the same; not kept: PNG chunk prVt"
    capsys.readouterr()
    for arguments in ((target, source), (tmp_path / "out", "--against", tmp_path / "in")):
        assert status("verify", *arguments) == 0
        assert capsys.readouterr().err.splitlines() == [f"warning: {target}: {line}"]


@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_source_that_changes_during_the_command_fails(how, tmp_path, monkeypatch, capsys):
    source = save(tmp_path / "a.png")
    encode = file_tasks.encode

    def changing(*arguments, **options):
        if how == "written":
            source.write_bytes(b"something else")
        else:  # by a file of the same size and time
            shutil.copy2(source, tmp_path / "b.png")
            (tmp_path / "b.png").rename(source)
        return encode(*arguments, **options)

    monkeypatch.setattr(file_tasks, "encode", changing)
    assert status("compress", source) == 1
    assert "changed while it was being read" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_limit_of_pixels_can_be_set(tmp_path, capsys):
    source, target = save(tmp_path / "a.png"), tmp_path / "a.ppyr"
    Image.new("L", (2, 3)).save(tmp_path / "small.png")
    for command in ("compress", "bench"):
        assert status(command, tmp_path, "--max-pixels", 20 * 30 - 1) == 1
        assert "20 x 30 pixels, more than the limit of 599" in capsys.readouterr().err
        assert status(command, tmp_path, "--max-pixels", 20 * 30) == 0
    assert status("verify", target, source, "--max-pixels", 20 * 30) == 0
    assert "more than the limit of 599" in refusal(capsys, "verify", target, source, "--max-pixels", 20 * 30 - 1)


@pytest.mark.parametrize("name", ["a.jpg", "a.mpo"])
def test_a_camera_file_of_several_pictures_is_skipped_as_a_jpeg(name, tmp_path, capsys):
    first, second = (Image.fromarray(np.full((12, 15, 3), value, np.uint8)) for value in (50, 200))
    (tmp_path / "a").mkdir()
    first.save(tmp_path / "a" / name, "MPO", save_all=True, append_images=[second])
    assert status("compress", tmp_path / "a") == 0
    assert "skipped because it is lossy already (MPO)" in capsys.readouterr().err
    assert status("compress", tmp_path / "a", "--force") == 0
    assert "not kept: the JPEG's other pictures (previews, gain maps)" in capsys.readouterr().err
    assert status("verify", tmp_path / "a" / "a.ppyr", tmp_path / "a" / name) == 0
    with Image.open(tmp_path / "a" / name) as image:
        assert np.array_equal(pp.decode((tmp_path / "a" / "a.ppyr").read_bytes()), np.asarray(image))
