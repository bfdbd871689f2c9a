"""verify: whether files are whole, hold an original, and whether folders hold all of another's."""

import json

import numpy as np
import pytest
from PIL import Image
from test_cli import refused, status


def picture(path, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 9, (12, 15, 3), dtype=np.uint8)).save(path, **options)
    return path


@pytest.fixture
def folders(tmp_path, capsys):
    """Sources in two folders, one of them a JPEG with a name of its own, one with that of another; and their files."""
    photos, archive = tmp_path / "photos", tmp_path / "archive"
    for number, name in enumerate(("a.png", "sub/a.tif", "sub/b.png", "a.jpg", "sub/c.jpg")):
        picture(photos / name, number)
    assert status("compress", photos, "--out", archive) == 0
    capsys.readouterr()
    return photos, archive


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_holds_all_of_another(jobs, folders, capsys):
    photos, archive = folders
    assert status("verify", archive, "--against", photos, "--jobs", jobs) == 0
    out, err = capsys.readouterr()
    assert "3 files whole (decoded, and the same as the originals)" in out and "; 2 skipped" in out
    assert sorted(err.split()[0] for err in err.splitlines()) == [f"{photos / n}:" for n in ("a.jpg", "sub/c.jpg")]


def test_files_beside_their_sources_are_compared(folders, capsys):
    photos, _ = folders
    assert status("compress", photos) == 0
    assert status("verify", photos, "--against", photos) == 0
    assert "3 files whole" in capsys.readouterr().out


def test_what_differs_or_is_missing_in_either_folder_is_named(folders, capsys):
    photos, archive = folders
    picture(photos / "sub" / "a.tif", 7)
    (photos / "a.png").unlink()
    picture(photos / "a.png" / "new.png")
    (archive / "sub" / "c.ppyr").write_bytes((archive / "sub" / "b.ppyr").read_bytes()[:-1])
    (archive / "stray.ppyr").write_bytes((archive / "sub" / "b.ppyr").read_bytes())
    assert status("verify", archive, "--against", photos, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert [(file["source"], file["target"]) for file in told["files"]] == [
        (str(archive / "sub" / "b.ppyr"), str(photos / "sub" / "b.png"))
    ]
    assert not told["skipped"]
    failed = {fail["source"]: fail["reason"] for fail in told["failed"]}
    assert failed.keys() == {
        *(str(archive / name) for name in ("a.ppyr", "stray.ppyr", "sub/a.ppyr", "sub/c.ppyr")),
        str(photos / "a.png" / "new.png"),
    }
    assert "pixels, the first at x" in failed[str(archive / "sub" / "a.ppyr")]
    assert "expected one original" in failed[str(archive / "stray.ppyr")]
    assert "the file is cut short" in failed[str(archive / "sub" / "c.ppyr")]
    assert "got none; compress it" in failed[str(photos / "a.png" / "new.png")]


def test_an_original_is_never_one_of_several(folders, capsys):
    photos, archive = folders
    picture(photos / "a.webp", 0, lossless=True)
    assert status("verify", archive, "--against", photos) == 1
    assert f"got {photos / 'a.png'}, {photos / 'a.webp'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("archive/a.ppyr", "--against", "photos"), "expected folders with --against"),
        (("archive", "--against", "photos/a.png"), "verify one file by FILE.ppyr ORIGINAL"),
        (("archive", "--against", "nosuch"), "got nosuch"),
        (("-", "--against", "photos"), "expected folders"),
        (("archive", "--against", "archive"), "expected an image"),
        (("photos", "--against", "photos"), "expected a .ppyr file"),
    ],
)
def test_folders_are_compared_with_folders(paths, message, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "verify", *paths)
