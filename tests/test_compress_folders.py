"""Folders: every file is accounted for, however often the command runs."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_line import json_of, output_of, refusal, status
from pictures import close_folder, files, pixels, same, save
from PIL import Image

import pixelpyramids as pp


@pytest.fixture
def mixed(tmp_path):
    """A picture among other files."""
    save(tmp_path / "in" / "a.png")
    for name in ("b.heic", "sub/c.HEIC", "sub/d.xmp", "e", ".hidden.png", ".git/config"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"mine")
    return tmp_path / "in"


OTHERS = {".heic": 2, ".xmp": 1, "without suffix": 1, "hidden": 2}


def test_files_that_are_not_recognised_are_counted_and_named(mixed, tmp_path, capsys):
    packed = tmp_path / "packed"
    out, err = output_of(capsys, "compress", mixed, "--out", packed)
    assert "not recognised as images: " in err and "2 .heic" in err and "b.heic" in err
    assert out.startswith("1 file compressed") and "; 6 not recognised" in out
    for command in (("compress", mixed, "--out", packed), ("bench", mixed, "--effort", "fast")):
        result = json_of(capsys, *command)["not_taken"]
        assert result["kinds"] == OTHERS
        names = ("b.heic", "sub/c.HEIC", "sub/d.xmp", "e", ".hidden.png", ".git")
        assert set(result["files"]) == {str(mixed / name) for name in names}
    assert status("compress", mixed) == 0
    assert json_of(capsys, "compress", mixed)["not_taken"]["kinds"] == OTHERS
    (packed / "note.txt").touch()
    assert "not recognised as .ppyr files: 1 .txt" in output_of(capsys, "verify", packed).err
    (mixed / "a.png").unlink()
    assert "got only " in refusal(capsys, "compress", mixed)


def test_formats_that_are_not_read_are_left_out(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for kind in ("png", "ico", "sgi", "pcx", "tga", "gif", "pgm"):
        Image.fromarray(pixels()).convert("L").save(tmp_path / "in" / f"{kind}.{kind}")
    (tmp_path / "in" / "drawing.psd").write_bytes(b"8BPS")
    result = json_of(capsys, "compress", tmp_path / "in", "--out", tmp_path / "out")
    assert result["not_taken"]["kinds"] == {".ico": 1, ".psd": 1, ".sgi": 1}
    assert files(tmp_path / "out") == ["gif.ppyr", "pcx.ppyr", "pgm.ppyr", "png.ppyr", "tga.ppyr"]
    assert status("verify", tmp_path / "out", "--against", tmp_path / "in") == 1


def test_a_folder_is_verified_only_if_every_file_is_accounted_for(mixed, tmp_path, capsys):
    packed = tmp_path / "packed"
    assert status("compress", mixed, "--out", packed, "-q") == 0
    command = ("verify", packed, "--against", mixed)
    assert "--ignore" in output_of(capsys, *command, expected=1).err
    rest = ("--ignore", "*.xmp", "--ignore", "e", "--ignore", ".*")
    assert "not recognised as images: 2 .heic" in output_of(capsys, *command, *rest, expected=1).err
    assert status(*command, *rest, "--ignore", "sub", "--ignore", "*.heic") == 0
    (mixed / "b.ppyr").write_bytes((packed / "a.ppyr").read_bytes())  # in the sources, and nowhere else
    assert "1 .ppyr" in output_of(capsys, *command, *rest, "--ignore", "*.heic", "--ignore", "*.HEIC", expected=1).err


def test_a_subfolder_that_cannot_be_read_counts_as_one_failure(jobs, tmp_path, monkeypatch, capsys):
    for name in ("a.png", "sub/b.png", "closed/c.png"):
        save(tmp_path / "in" / name)
    closed, out = tmp_path / "in" / "closed", tmp_path / "out"
    close_folder(monkeypatch, closed)
    command = ("compress", tmp_path / "in", "--out", out, "--jobs", jobs)
    result, err = output_of(capsys, *command, "--json", expected=1)
    assert [failure["source"] for failure in json.loads(result)["failed"]] == [str(closed)]
    assert f"{closed}: Permission denied; check its permissions\n" in err
    assert files(out) == ["a.ppyr", "sub/b.ppyr"] and status(*command, "--exclude", "closed") == 0
    for others in (("verify", out, "--against", tmp_path / "in"), ("bench", tmp_path / "in", "--effort", "fast")):
        assert f"{closed}: Permission denied" in output_of(capsys, *others, expected=1).err
    assert "closed: expected a folder that can be listed" in refusal(capsys, "compress", closed)


def test_a_second_run_finds_existing_results(jobs, tmp_path, capsys):
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", number)
    save(tmp_path / "in" / "0.webp", 3, format="WEBP")  # lossy, and of the name of a picture
    packed, back = tmp_path / "packed", tmp_path / "back"
    compress = ("compress", tmp_path / "in", "--out", packed, "--jobs", jobs)
    decompress = ("decompress", packed, "--out", back, "--jobs", jobs)
    for command in (compress, decompress):
        assert status(*command) == 0
        before = {path: path.stat().st_ino for path in tmp_path.rglob("*.*g")}
        out, err = output_of(capsys, *command)
        assert out.startswith("0 files") and "; 3 already there" in out and "failed" not in out + err
        assert {path: path.stat().st_ino for path in tmp_path.rglob("*.*g")} == before
    save(tmp_path / "in" / "1.png", 7).touch()
    assert "1.png: has changed since it was compressed; pass --update" in output_of(capsys, *compress, expected=1).err
    assert json_of(capsys, *compress, expected=1)["already_there"] == 2
    assert json_of(capsys, *compress, "--update")["compressed"] == 1
    assert status(*decompress, "--scale", 2) == 1


@pytest.mark.parametrize("side", [20, 300])
def test_files_with_equal_times_are_compared_by_their_pixels(side, tmp_path, capsys):
    for number, folder in enumerate("AB"):
        path = tmp_path / folder / "a.png"
        path.parent.mkdir()
        Image.fromarray(pixels(number, (side, side, 3))).save(path)
        os.utime(path, (10**9, 10**9))
        assert status("compress", path) == 0
    out = tmp_path / "out"
    first, second = ([tmp_path / folder / "a.png", "--out", out] for folder in "AB")
    assert status("compress", *first) == 0
    before = (out / "a.ppyr").read_bytes()
    for options in ((), ("--dry-run",), ("--overwrite",)):
        assert "and so would" in output_of(capsys, "compress", *second, *options, expected=1).err
        assert status("compress", *first, *options) == 0
    assert (out / "a.ppyr").read_bytes() == before
    (out / "manifest.sqlite").unlink()  # then the pixels decide
    for options in (("--dry-run",), ()):
        assert (
            "holds another image; pass --overwrite" in output_of(capsys, "compress", *second, *options, expected=1).err
        )
    assert status("compress", *first) == 0 and (out / "a.ppyr").read_bytes() == before
    (out / "a.ppyr").write_bytes(before[:-40])
    assert status("compress", *first) == 0 and (out / "a.ppyr").read_bytes() == before

    first, second = (["decompress", tmp_path / folder / "a.ppyr", "--out", tmp_path / "back"] for folder in "AB")
    assert status(*first) == 0
    (result,) = (tmp_path / "back").iterdir()
    before = result.read_bytes()
    for options in ((), ("--dry-run",)):
        assert "but holds another image; pass --overwrite" in output_of(capsys, *second, *options, expected=1).err
        assert status(*first, *options) == 0
    assert result.read_bytes() == before
    result.write_bytes(before[:-40])
    os.utime(result, (10**9, 10**9))
    assert status(*first) == 1  # it is damaged


def test_an_opaque_alpha_that_a_format_drops_makes_no_difference(tmp_path):
    alpha = np.full((20, 30, 1), 255, np.uint8)
    (tmp_path / "a.ppyr").write_bytes(pp.encode(np.concatenate([pixels(), alpha], axis=2)))
    for _ in range(2):
        assert status("decompress", tmp_path / "a.ppyr", "--format", "webp") == 0


def test_changed_metadata_makes_another_result(tmp_path):
    path = save(tmp_path / "a.png")
    assert status("compress", path) == 0
    save(path, icc_profile=b"another one")
    assert status("compress", path) == 1


def test_several_folders_keep_their_names(jobs, tmp_path, capsys):
    for number, name in enumerate(("a/x.png", "a/sub/y.png", "b/x.png")):
        save(tmp_path / "in" / name, number)
    first, second = tmp_path / "in" / "a", tmp_path / "in" / "b"
    packed, back = tmp_path / "packed", tmp_path / "back"
    assert status("compress", first, second, "--out", packed, "--jobs", jobs) == 0
    assert files(packed) == ["a/sub/y.ppyr", "a/x.ppyr", "b/x.ppyr"]
    assert status("decompress", packed / "a", packed / "b", "--out", back, "--jobs", jobs) == 0
    assert files(back) == ["a/sub/y.png", "a/x.png", "b/x.png"] and same(back / "b" / "x.png", pixels(2))
    for paths in (
        (packed, "--against", first, "--against", second),
        (packed / "a", packed / "b", "--against", tmp_path / "in"),
        (packed / "a", "--against", first),
    ):
        assert status("verify", *paths, "--jobs", jobs) == 0
    assert status("verify", packed, "--against", first) == 1


@pytest.mark.parametrize("is_there", [False, True])
def test_two_sources_are_never_written_to_one_file(is_there, jobs, tmp_path, capsys):
    """A link to a folder makes two names one file, like a file system that ignores case."""
    save(tmp_path / "in" / "case" / "x.png", 0), save(tmp_path / "in" / "CASE" / "x.png", 1)
    packed = tmp_path / "packed"
    (packed / "case").mkdir(parents=True)
    (packed / "CASE").symlink_to("case")
    if is_there:
        (packed / "case" / "x.ppyr").write_bytes(b"as it was")
    result = json_of(capsys, "compress", tmp_path / "in", "--out", packed, "--overwrite", "--jobs", jobs, expected=1)
    assert result["compressed"] == len(result["failed"]) == 1
    assert "written after the command began" in result["failed"][0]["reason"] or not is_there
    (done,) = {tmp_path / "in" / "case" / "x.png", tmp_path / "in" / "CASE" / "x.png"} - {
        Path(failed["source"]) for failed in result["failed"]
    }
    assert status("verify", packed / "case" / "x.ppyr", done) == 0
    assert status("compress", done, "--out", packed / "case", "--overwrite") == 0
