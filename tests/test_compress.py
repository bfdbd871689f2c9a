"""compress and decompress: results and refusals."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT, json_of, output_of, refusal, status
from pictures import contents, files, pixels, same, save, write_compressed
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.archive import file_tasks

ODD_NAMES = [
    "plain.png", "two words.PNG", "-rf.png", "ü ☃.png", "IMG.2024-01", "a\nb.png", "[x]*?.png",
    os.fsdecode(b"\xff.png"), 250 * "x" + ".png",
]  # fmt: skip


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A picture of several tiles, and its file."""
    with Image.open(ROOT / "pixelpyramids/assets/photographs/train/chelsea.png") as image:
        array = np.tile(np.asarray(image.convert("L")), (3, 2))[:800, :800]
    path = tmp_path_factory.mktemp("large") / "large.ppyr"
    path.write_bytes(pp.encode(array, effort="fast"))
    return array, path


def test_a_folder_of_odd_names_comes_back(tmp_path, capsys):
    for number, name in enumerate(ODD_NAMES):
        save(tmp_path / "in" / "sub" / name, number, format="PNG")
    (tmp_path / "in" / "sub" / "IMG.2024-01").rename(tmp_path / "IMG.2024-01")
    save(tmp_path / "in" / ".hidden.png")
    (tmp_path / "in" / "notes.txt").write_text("mine")
    (tmp_path / "in" / "damaged.png").write_bytes((tmp_path / "in" / "sub" / "plain.png").read_bytes()[:200])
    (tmp_path / "in" / "empty.png").touch()
    before = contents(tmp_path)
    packed, back = tmp_path / "packed", tmp_path / "back"
    captured = output_of(capsys, "compress", tmp_path / "in", tmp_path / "IMG.2024-01", "--out", packed, expected=1)
    assert captured.err.count("damaged.png") == captured.err.count("empty.png") == 1
    assert "9 files compressed (decoded and compared): " in captured.out and "; 2 failed" in captured.out
    assert before.items() <= contents(tmp_path).items()
    names = [name for name in ODD_NAMES if name != "IMG.2024-01"]
    assert files(packed) == sorted(["IMG.2024-01.ppyr", *(f"sub/{Path(name).stem}.ppyr" for name in names)])
    assert all(path.stat().st_mtime_ns == 10**18 + 123_456_789 for path in packed.rglob("*.ppyr"))
    assert status("decompress", packed, "--out", back) == 0
    for number, name in enumerate(ODD_NAMES):
        path = back / (f"sub/{Path(name).stem}.png" if name in names else "IMG.2024-01.png")
        assert same(path, pixels(number)) and path.stat().st_mtime_ns == 10**18 + 123_456_789


def test_jobs_give_the_same_files(tmp_path, capsys):
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", number)
    (tmp_path / "in" / "3.png").write_bytes(b"none")
    for jobs in (1, 2):
        result = json_of(capsys, "compress", tmp_path / "in", "--out", tmp_path / str(jobs), "--jobs", jobs, expected=1)
        assert result["compressed"] == 3 and [Path(fail["source"]).name for fail in result["failed"]] == ["3.png"]
        assert result["bytes_after"] == sum(path.stat().st_size for path in (tmp_path / str(jobs)).glob("*.ppyr"))
        assert result["ratio"] == pytest.approx(result["bytes_after"] / result["bytes_before"])
        assert result["megapixels"] == pytest.approx(3 * 600 / 1e6)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_nothing_is_overwritten_by_default(small, capsys):
    small.write_bytes(b"mine")
    assert "--overwrite" in output_of(capsys, "compress", small.with_suffix(".png"), expected=1).err
    assert small.read_bytes() == b"mine"
    assert status("compress", small.with_suffix(".png"), "--overwrite") == 0
    small.with_suffix(".png").write_bytes(b"mine too")
    assert status("decompress", small) == 1 and small.with_suffix(".png").read_bytes() == b"mine too"
    assert status("decompress", small, "--overwrite") == 0
    assert files(small.parent) == ["small.png", "small.ppyr"] and same(small.with_suffix(".png"), pixels())


def test_sources_that_would_share_a_name_are_refused(tmp_path, capsys):
    save(tmp_path / "a.png", 0)
    save(tmp_path / "a.webp", 1, format="WEBP", lossless=True)
    save(tmp_path / "b.png", 2)
    save(tmp_path / "b.jpg", 3, format="JPEG")
    assert output_of(capsys, "compress", tmp_path, expected=1).err.count("and so would") == 2
    assert files(tmp_path) == ["a.png", "a.webp", "b.jpg", "b.png", "b.ppyr"]
    assert np.array_equal(pp.decode((tmp_path / "b.ppyr").read_bytes()), pixels(2))
    save(tmp_path / "sub" / "a.png", 4)
    assert status("compress", tmp_path / "a.png", tmp_path / "sub" / "a.png", "--out", tmp_path / "out") == 1
    assert files(tmp_path / "out") == []
    assert status("compress", tmp_path / "a.png", tmp_path / "." / "a.png", "--out", tmp_path / "out") == 0


def test_lossy_sources_are_skipped_with_the_reason(tmp_path, capsys):
    photograph = save(tmp_path / "in" / "a.jpg", format="JPEG")
    captured = output_of(capsys, "compress", tmp_path / "in")
    assert "lossy already (JPEG)" in captured.err and "--force" in captured.err and "1 skipped" in captured.out
    assert status("compress", photograph) == 1  # so that a script that deletes sources afterwards stops
    assert files(tmp_path) == ["in/a.jpg"]
    photograph.write_bytes(photograph.read_bytes()[:-50])  # damage that is found only when pixels are decoded
    assert status("compress", tmp_path / "in") == 0 and status("compress", tmp_path / "in", "--force") == 1
    save(photograph, format="JPEG")
    assert status("compress", photograph, "--force") == 0
    with Image.open(photograph) as image:
        assert np.array_equal(pp.decode((tmp_path / "in" / "a.ppyr").read_bytes()), np.asarray(image))


def test_compressed_files_are_not_compressed_again(small, capsys):
    before = small.read_bytes()
    assert status("compress", small.with_suffix(".png"), small, "--delete-source") == 1
    assert "a .ppyr file already; pass --force" in capsys.readouterr().err
    assert files(small.parent) == ["small.ppyr"] and small.read_bytes() == before
    assert status("compress", small, "--force") == 0


def test_a_wrong_encoder_is_detected(tmp_path, monkeypatch, capsys):
    source, wrong = save(tmp_path / "a.png"), pp.encode(pixels(1))
    monkeypatch.setattr(file_tasks, "encode_to", lambda file, *_, **__: file.write(wrong))
    assert "did not give the same image" in output_of(capsys, "compress", source, expected=1).err
    assert files(tmp_path) == ["a.png"]
    assert "not verified" in output_of(capsys, "compress", source, "--no-verify").out


@pytest.fixture
def pipes(monkeypatch):
    """Run a command with bytes on standard input: its status, and the bytes on standard output."""

    def run(data, *arguments):
        out = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        monkeypatch.setattr(sys, "stdout", out)
        code = status(*arguments)
        out.flush()
        return code, out.buffer.getvalue()

    return run


def test_pipes(tmp_path, pipes, capsys):
    source = save(tmp_path / "a.png").read_bytes()
    code, packed = pipes(source, "compress", "-")
    assert code == 0 and np.array_equal(pp.decode(packed), pixels())
    code, back = pipes(packed, "decompress", "-", "--format", "ppm")
    assert code == 0 and back.startswith(b"P6") and same(io.BytesIO(back), pixels())
    code, result = pipes(packed, "info", "-", "--json")
    assert code == 0 and json.loads(result)["files"][0]["bytes"] == len(packed)
    assert pipes(packed, "verify", "-")[0] == 0 and pipes(packed, "verify", "-", tmp_path / "a.png")[0] == 0
    assert pipes(packed[:-1], "verify", "-") == (1, pipes(packed[:-1], "verify", "-")[1])
    lossy = save(tmp_path / "a.jpg", format="JPEG").read_bytes()
    for data in (lossy, b"", b"no image", packed[:40]):
        for command in ("compress", "decompress"):
            assert pipes(data, command, "-") == (2, b"")
    for arguments in (("-", "a.png"), ("-", "--out", "x"), ("-", "--json")):
        assert pipes(source, "compress", *arguments) == (2, b"")
    assert "Traceback" not in capsys.readouterr().err


def test_closed_streams_are_reported(tmp_path, monkeypatch, capsys):
    packed = write_compressed(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)
    assert "got nothing" in refusal(capsys, "compress", "-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed.read_bytes())))
    monkeypatch.setattr(sys, "stdout", None)
    assert "standard output is closed" in refusal(capsys, "decompress", "-")


def test_scale_and_region_need_only_the_front_and_a_part(large, tmp_path, capsys):
    array, path = large
    (result,) = json_of(capsys, "info", path)["files"]
    prefixes = {octave["scale"]: octave["prefix"] for octave in result["octaves"]}
    assert list(prefixes.values()) == sorted(prefixes.values()) and prefixes[1] == path.stat().st_size
    for scale in (2, 4, 8):
        (tmp_path / "front.ppyr").write_bytes(path.read_bytes()[: prefixes[scale]])
        out = tmp_path / str(scale)
        assert status("decompress", tmp_path / "front.ppyr", "--scale", scale, "--out", out) == 0
        assert same(out / "front.png", array[scale - 1 :: scale, scale - 1 :: scale])
    assert status("decompress", path, "--region", "10,20,100,50", "--out", tmp_path) == 0
    assert same(tmp_path / "large.png", array[20:70, 10:110])


def test_a_cut_file_can_be_salvaged(large, tmp_path, capsys):
    array, path = large
    cut = tmp_path / "cut.ppyr"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert status("info", cut) == 1 and "--salvage recovers the image at 1/2" in capsys.readouterr().out
    assert status("decompress", cut) == 1 and status("verify", cut) == 1 and not cut.with_suffix(".png").exists()
    said = output_of(capsys, "decompress", cut, "--salvage", expected=1)
    assert "salvaged at 400 x 400 pixels instead of 800 x 800" in said.err and "every checksum right" not in said.out
    assert said.out.startswith("1 file decompressed") and said.out.endswith("; 1 of them incomplete\n")
    assert same(cut.with_suffix(".png"), array[1::2, 1::2])
    assert status("decompress", path, "--salvage", "--out", tmp_path) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compress", "EMPTY"), "expected an image"),
        (("compress", "SMALL", "--effort", "most"), "--effort"),
        (("compress", "EMPTY", "--out", "SMALL"), "expected a folder"),
        (("decompress", "EMPTY"), ".ppyr file"),
        (("decompress", "SMALL", "--format", "doc"), "--format"),
        (("decompress", "SMALL", "--scale", "3"), "--scale 2|4|8|16"),
        (("decompress", "SMALL", "--region", "1,2,3"), "--region x,y,w,h"),
        (("decompress", "SMALL", "--region", "1,2,-3,4"), "--region x,y,w,h"),
        (("verify", "SMALL", "nosuch.png"), "nosuch.png"),
        (("verify", "SMALL", "SMALL", "notes.txt"), "one .ppyr file"),
        (("bench", "EMPTY"), "expected an image"),
    ],
)
def test_mistakes_are_explained(arguments, message, small, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": tmp_path / "empty", "SMALL": small}
    assert message in refusal(capsys, *(places.get(argument, argument) for argument in arguments))
    assert files(small.parent) == ["small.png", "small.ppyr"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-pixels", "599"), "limit of 599"),
        (("--scale", "1024"), "power of two from 1 to"),
        (("--region", "20,0,11,1"), "within 30 x 20"),
    ],
)
def test_files_that_do_not_fit_fail(arguments, message, small, tmp_path, capsys):
    assert status("decompress", small, "--out", tmp_path / "out", *arguments) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
