"""info and verify: what files contain, whether they are intact, and whether they hold their originals."""

import numpy as np
import pytest
from command_line import json_of, output_of, refusal, status
from pictures import pixels, save
from PIL import Image

import pixelpyramids as pp


@pytest.fixture
def folders(tmp_path):
    """A folder of images, two of them JPEGs, one of which has the name of another image; and their .ppyr files."""
    photos, archive = tmp_path / "photos", tmp_path / "archive"
    for number, name in enumerate(("a.png", "sub/a.tif", "sub/b.png", "a.jpg", "sub/c.jpg")):
        save(photos / name, number)
    assert status("compress", photos, "--out", archive) == 0
    return photos, archive


def test_info_describes_a_file(small, capsys):
    text = output_of(capsys, "info", small).out
    assert "20 x 30 pixels (height x width), 3 channels of 8 bits" in text and "can take" in text
    (result,) = json_of(capsys, "info", small)["files"]
    assert result["shape"] == [20, 30, 3] and result["type"] == "uint8" and result["bytes"] == small.stat().st_size
    assert result["header_bytes"] + sum(octave["bytes"] for octave in result["octaves"]) == result["bytes"]
    assert sum(result["metadata"].values()) >= 15 and result["decode_seconds"] > 0
    small.write_bytes(small.read_bytes()[:-9])
    (cut,) = json_of(capsys, "info", small, expected=1)["files"]
    assert "cut short" in cut["fault"] and cut["bits_per_subpixel"] == result["bits_per_subpixel"]
    small.write_bytes(pp.encode(np.zeros((2, 3), dtype=np.uint8)))
    assert "1 channel of 8 bits" in output_of(capsys, "info", small).out
    small.write_bytes(small.read_bytes() + b"x")
    assert "followed by 1 byte;" in output_of(capsys, "info", small, expected=1).out
    small.write_bytes(b"no file of ours")
    assert len(json_of(capsys, "info", small, expected=1)["failed"]) == 1


def test_metadata_names_cannot_control_the_terminal(tmp_path, capsys):
    (tmp_path / "a.ppyr").write_bytes(pp.encode(pixels(), metadata={"\x1b[2J": b"x"}))
    assert r"\x1b[2J (1 byte)" in output_of(capsys, "info", tmp_path).out


def test_verify_decodes_and_compares(small, tmp_path, capsys):
    original = small.with_suffix(".png")
    assert status("verify", small.parent) == 0 and status("verify", small, original) == 0
    assert "the same as the original" in capsys.readouterr().out
    with Image.open(original) as image:
        changed, profile = np.array(image), image.info["icc_profile"]
    changed[3, 4, 1] ^= 1
    for other, message in (
        (changed, "1 pixel, the first at x 4, y 3"),
        (changed[:-1], "shape (19, 30, 3), got (20, 30, 3)"),
        (changed[..., 0], "shape (20, 30), got (20, 30, 3)"),
    ):
        Image.fromarray(other).save(tmp_path / "other.png", icc_profile=profile)
        assert message in output_of(capsys, "verify", small, tmp_path / "other.png", expected=1).err
    Image.fromarray(pixels()).save(tmp_path / "other.png")
    assert status("verify", small, tmp_path / "other.png") == 1
    assert "the pixels are the same, the metadata differs" in capsys.readouterr().err
    data = bytearray(small.read_bytes())
    data[-1] ^= 1
    small.write_bytes(data)
    assert str(small) in json_of(capsys, "verify", small, expected=1)["failed"][0]["reason"]


def test_a_folder_of_files_is_compared_with_its_originals(jobs, folders, capsys):
    photos, archive = folders
    command = ("verify", archive, "--against", photos, "--jobs", jobs)
    said = output_of(capsys, *command, "--ignore", "*.jpg").out
    assert "3 files whole (decoded, and the same as the originals)" in said
    out, err = output_of(capsys, *command, expected=1)  # nothing holds the JPEGs
    assert "; 2 failed" in out and err.count("lossy, and no .ppyr file holds it; compress it with --force") == 2
    assert sorted(err.split()[0] for err in err.splitlines()) == [f"{photos / n}:" for n in ("a.jpg", "sub/c.jpg")]


def test_files_beside_their_sources_are_compared(folders, capsys):
    photos, _ = folders
    assert status("compress", photos) == 0
    assert "3 files whole" in output_of(capsys, "verify", photos, "--against", photos, "--ignore", "*.jpg").out


def test_differences_and_missing_files_in_both_folders_are_named(folders, capsys):
    photos, archive = folders
    save(photos / "sub" / "a.tif", 7)
    (photos / "a.png").unlink()
    save(photos / "a.png" / "new.png")
    (archive / "sub" / "c.ppyr").write_bytes((archive / "sub" / "b.ppyr").read_bytes()[:-1])
    (archive / "stray.ppyr").write_bytes((archive / "sub" / "b.ppyr").read_bytes())
    result = json_of(capsys, "verify", archive, "--against", photos, expected=1)
    assert [(file["source"], file["target"]) for file in result["files"]] == [
        (str(archive / "sub" / "b.ppyr"), str(photos / "sub" / "b.png"))
    ]
    assert not result["skipped"]
    failed = {fail["source"]: fail["reason"] for fail in result["failed"]}
    assert failed.keys() == {
        *(str(archive / name) for name in ("a.ppyr", "stray.ppyr", "sub/a.ppyr", "sub/c.ppyr")),
        str(photos / "a.png" / "new.png"),
    }
    assert "pixels, the first at x" in failed[str(archive / "sub" / "a.ppyr")]
    assert "expected one original" in failed[str(archive / "stray.ppyr")]
    assert "the file is cut short" in failed[str(archive / "sub" / "c.ppyr")]
    assert "no .ppyr file holds it; compress it" in failed[str(photos / "a.png" / "new.png")]


def test_a_file_with_several_possible_originals_fails(folders, capsys):
    photos, archive = folders
    save(photos / "a.webp", 0, lossless=True)
    assert status("verify", archive, "--against", photos) == 1
    assert f"got {photos / 'a.png'}, {photos / 'a.webp'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("archive/a.ppyr", "--against", "photos"), "expected a folder, because --against compares folders"),
        (("archive", "--against", "photos/a.png"), "pixelpyramids verify FILE.ppyr ORIGINAL"),
        (("archive", "--against", "nosuch"), "nosuch: expected a folder"),
        (("-", "--against", "photos"), "expected a folder"),
        (("archive", "--against", "archive"), "expected an image"),
        (("photos", "--against", "photos"), "expected a .ppyr file"),
    ],
)
def test_folders_are_compared_with_folders(paths, message, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(capsys, "verify", *paths)
