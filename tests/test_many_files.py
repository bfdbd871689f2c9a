"""Many files at once: the messages for each, and files that change or are not what they seem."""

import json
import shutil
import warnings

import numpy as np
import pytest
from command_line import refusal, status
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import pixelpyramids as pp
from pixelpyramids.cli import file_tasks
from pixelpyramids.image_files import opening


def picture(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 9, (12, 15, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("jobs", [1, 2])
def test_metadata_that_is_lost_is_reported_for_every_file(jobs, tmp_path, capsys):
    chunks = PngInfo()
    chunks.add(b"prVt", b"ours alone")
    names = [picture(tmp_path / "a" / name, pnginfo=chunks) for name in ("a.png", "b.png", "c.png")]
    assert status("compress", tmp_path / "a", "--jobs", jobs, "--json") == 0
    told, errors = capsys.readouterr()
    for name in names:
        assert f"warning: {name}: not kept: PNG chunk prVt" in errors.splitlines()
    assert all(len(file["warnings"]) == 1 for file in json.loads(told)["files"])


def test_bench_and_verify_name_the_file_of_each_warning(tmp_path, monkeypatch, capsys):
    read_picture = opening.read_picture

    def read(source, *limit):
        warnings.warn("a library says something", stacklevel=1)
        return read_picture(source, *limit)

    names = [picture(tmp_path / "in" / name) for name in ("a.png", "b.png")]
    assert status("compress", names[0]) == 0
    capsys.readouterr()
    monkeypatch.setattr(opening, "read_picture", read)
    for arguments, told in (
        (("bench", *names), names),
        (("verify", names[0].with_suffix(".ppyr"), names[0]), names[:1]),
    ):
        assert status(*arguments) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
        assert lines == [f"warning: {name}: a library says something" for name in told]


def test_verify_names_lost_metadata_of_originals(tmp_path, capsys):
    chunks = PngInfo()
    chunks.add(b"prVt", b"ours alone")
    source = picture(tmp_path / "in" / "a.png", pnginfo=chunks)
    assert status("compress", tmp_path / "in", "--out", tmp_path / "out") == 0
    target, line = tmp_path / "out" / "a.ppyr", "the pixels are the same; not kept: PNG chunk prVt"
    capsys.readouterr()
    for arguments in ((target, source), (tmp_path / "out", "--against", tmp_path / "in")):
        assert status("verify", *arguments) == 0
        assert capsys.readouterr().err.splitlines() == [f"warning: {target}: {line}"]


@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_source_that_changes_during_the_command_fails(how, tmp_path, monkeypatch, capsys):
    source = picture(tmp_path / "a.png")
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


def test_the_limit_of_pixels_can_be_set(tmp_path, monkeypatch, capsys):
    source, target = picture(tmp_path / "a.png"), tmp_path / "a.ppyr"
    assert status("compress", source, "--max-pixels", 12 * 15 - 1) == 1
    assert "12 x 15 pixels, more than the limit of 179" in capsys.readouterr().err
    assert status("compress", source, "--max-pixels", 12 * 15) == 0
    assert status("verify", target, source, "--max-pixels", 12 * 15) == 0
    assert "more than the limit of 179" in refusal(capsys, "verify", target, source, "--max-pixels", 12 * 15 - 1)


def test_a_camera_file_of_several_pictures_is_skipped_as_a_jpeg(tmp_path, capsys):
    first, second = (Image.fromarray(np.full((12, 15, 3), value, np.uint8)) for value in (50, 200))
    (tmp_path / "a").mkdir()
    first.save(tmp_path / "a" / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert status("compress", tmp_path / "a") == 0
    assert "skipped because it is lossy already (MPO)" in capsys.readouterr().err
    assert status("compress", tmp_path / "a", "--force") == 0
    assert "not kept: the JPEG's other pictures (previews, gain maps)" in capsys.readouterr().err
    assert status("verify", tmp_path / "a" / "a.ppyr", tmp_path / "a" / "a.jpg") == 0
    with Image.open(tmp_path / "a" / "a.jpg") as image:
        assert np.array_equal(pp.decode((tmp_path / "a" / "a.ppyr").read_bytes()), np.asarray(image))
