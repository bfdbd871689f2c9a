"""`data check` counts, hashes and shows the images of folders and streams."""

import hashlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from command_line import KEYS, json_of, output_of, refusal, write_params
from data_layouts import encode, noise, write_files, write_tar
from PIL import Image

from pixelpyramids.cli.data_check import fit_middle
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.identity import data_identity


@pytest.fixture
def params(tmp_path):
    """Parameters of 5 bits, for images of 8 x 8."""
    return write_params(tmp_path / "tiny.json", KEYS | {"L": 3, "n_bits": 5})


def pixels(number):
    return noise(number, 9 + number % 2, 12)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    for split, numbers in (("train", range(120)), ("test", range(200, 203))):
        write_files(root / split, {f"{i:03d}.png": encode(pixels(i)) for i in numbers})
    return root


def checked(capsys, *arguments, expected=0):
    return json_of(capsys, "data", "check", *arguments, expected=expected)


def sha256(numbers):
    """The documented hash of pictures at 5 bits: the shape as text, then a byte for each value, channel by channel."""
    text = b""
    for array in (pixels(number).transpose(2, 0, 1) // 8 for number in numbers):
        c, h, w = array.shape
        text += f"{c} {h} {w}\n".encode() + bytes(int(v) for v in array.reshape(-1))
    return hashlib.sha256(text).hexdigest()


def test_splits_are_counted_and_hashed_as_the_networks_see_them(folder, params, capsys):
    result = checked(capsys, params, "--data", folder)
    splits = result["splits"]
    assert {name: split["count"] for name, split in splits.items()} == {"train": 119, "validation": 1, "test": 3}
    assert splits["test"]["sizes"] == {"9x12": 2, "10x12": 1} and splits["test"]["formats"] == {"PNG": 3}
    assert sum(splits["train"]["sizes"].values()) == 119 and splits["train"]["hashed"] == 119
    assert splits["test"]["sha256"] == sha256(range(200, 203))
    assert splits["train"]["sha256"] == sha256(int(file.stem) for file in open_folder(folder, "train").files)
    assert splits["train"]["identity"] == data_identity(open_folder(folder, "train")).sha256
    assert result["in_two_splits"] == 0
    assert checked(capsys, params, "--data", folder)["splits"] == splits


def test_any_change_of_a_pixel_or_a_shape_changes_the_hash(folder, params, capsys):
    before = checked(capsys, params, "--data", folder)["splits"]["test"]["sha256"]
    changed = pixels(200)
    changed[3, 4, 1] ^= 8  # a value of five bits more or less
    Image.fromarray(changed).save(folder / "test" / "200.png")
    one = checked(capsys, params, "--data", folder)["splits"]["test"]["sha256"]
    Image.fromarray(pixels(200).reshape(12, 9, 3)).save(folder / "test" / "200.png")
    other = checked(capsys, params, "--data", folder)["splits"]["test"]["sha256"]
    assert len({before, one, other}) == 3


def test_the_hash_covers_every_image_or_says_how_many(folder, params, capsys):
    last = open_folder(folder, "train").files[-1]
    before = checked(capsys, params, "--data", folder)["splits"]["train"]
    some = checked(capsys, params, "--data", folder, "--first", 100)["splits"]["train"]
    Image.fromarray(pixels(1000)).save(last)
    assert checked(capsys, params, "--data", folder)["splits"]["train"]["sha256"] != before["sha256"]
    again = checked(capsys, params, "--data", folder, "--first", 100)["splits"]["train"]
    assert again["sha256"] == some["sha256"] != before["sha256"] and again["hashed"] == 100
    assert again["identity"] != some["identity"] == before["identity"]
    command = ("data", "check", params, "--data", folder)
    assert "train: SHA-256 of the pixels of all 119 images (119 PNG)" in output_of(capsys, *command).out
    said = output_of(capsys, *command, "--first", 100).out
    assert "train: SHA-256 of the pixels of only the first 100 images" in said


def test_counts_are_printed_before_images_are_read(folder, params, capsys, monkeypatch):
    monkeypatch.setattr("pixelpyramids.cli.data_check._read_split", Mock(side_effect=KeyboardInterrupt))
    printed = output_of(capsys, "data", "check", params, "--data", folder, expected=130).out
    assert all(f"{name}: {count} image" in printed for name, count in (("train", 119), ("validation", 1), ("test", 3)))


def test_images_in_two_splits_are_found_by_their_pixels(folder, params, capsys):
    Image.open(folder / "train" / "007.png").save(folder / "test" / "a.bmp")
    Image.open(folder / "test" / "201.png").save(folder / "train" / "b.png", compress_level=0)
    Image.open(folder / "train" / "008.png").save(folder / "train" / "c.png", compress_level=0)
    result = checked(capsys, params, "--data", folder, expected=1)
    pairs = {frozenset(Path(name).name for name in pair) for pair in result["pairs_in_two_splits"]}
    assert result["in_two_splits"] == 2 and pairs == {frozenset({"007.png", "a.bmp"}), frozenset({"b.png", "201.png"})}
    said = output_of(capsys, "data", "check", params, "--data", folder, expected=1).err
    assert "2 images in two splits; remove one of each pair" in said


def test_unreadable_images_are_named_with_status_one(folder, params, capsys):
    file = folder / "test" / "201.png"
    file.write_bytes(file.read_bytes()[:200])
    (folder / "test" / "300.png").write_text("no image")
    result = checked(capsys, params, "--data", folder, expected=1)
    opened, read = result["splits"]["test"]["unreadable"]
    assert "300.png" in opened and "201.png: " in read
    assert result["splits"]["test"]["sha256"] == sha256((200, 202))
    printed = output_of(capsys, "data", "check", params, "--data", folder, expected=1)
    assert "test: 3 images" in printed.out and "201.png" in printed.err


def test_a_contact_sheet_shows_the_first_of_each_split(folder, params, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    result = checked(capsys, params, "--data", folder, "--out", sheet)
    picture = np.asarray(Image.open(sheet))
    height, width = 8, 8  # of the parameters; two pixels of margin
    first = open_folder(folder, "train", n_bits=5).read(0)
    top, left = (first.shape[1] - height) // 2, (first.shape[2] - width) // 2
    middle = first[:, top : top + height, left : left + width].astype(int)
    assert (picture[2 : 2 + height, 2 : 2 + width] == ((middle * 510 + 31) // 62).transpose(1, 2, 0)).all()
    assert result["picture"] == str(sheet)
    assert "--overwrite" in output_of(capsys, "data", "check", params, "--data", folder, "--out", sheet, expected=2).err
    checked(capsys, params, "--data", folder, "--out", sheet, "--overwrite")


@pytest.mark.parametrize("height", [1, 4, 7])
@pytest.mark.parametrize("width", [2, 4, 9])
def test_images_are_cropped_or_padded_around_their_middle(height, width):
    image = np.arange(1, 1 + 3 * height * width).reshape(3, height, width)
    out = fit_middle(image, 4, 5)
    assert out.shape == (3, 4, 5)
    kept = [(min(side, most)) for side, most in ((height, 4), (width, 5))]
    assert np.count_nonzero(out) == 3 * kept[0] * kept[1]
    if height >= 4 and width >= 5:
        y, x = (height - 4) // 2, (width - 5) // 2
        assert (out == image[:, y : y + 4, x : x + 5]).all()
    else:
        assert set(out.reshape(-1)) - {0} <= set(image.reshape(-1))


def test_missing_splits_are_explained(params, tmp_path, capsys):
    write_files(tmp_path / "few", {"test/0.png": encode(pixels(0))})
    result = checked(capsys, params, "--data", tmp_path / "few", expected=1)
    assert set(result["splits"]) == {"test"} and set(result["missing"]) == {"train", "validation"}
    for data, message in (
        (["--data", tmp_path / "none"], "expected a folder of images"),
        ([], "no folder of images was named"),
        (["--data", "s3://bucket/images"], "s3://bucket/images: expected a local folder"),
        (["--data", "stream:"], "stream:: expected hub:owner/name"),
    ):
        assert message in refusal(capsys, "data", "check", params, *data)


def test_a_damaged_split_fails_and_an_absent_one_does_not(params, tmp_path, capsys):
    root = write_files(tmp_path / "images", {f"train/{i}.png": encode(pixels(i)) for i in range(2)})
    assert set(checked(capsys, params, "--data", root)["missing"]) == {"test"}
    write_files(root, {"test/0.png": b"no image"})
    assert "0.png" in checked(capsys, params, "--data", root, expected=1)["missing"]["test"]


def test_a_stream_is_checked_by_its_first_images(params, tmp_path, capsys):
    for split, numbers in (("train", reversed(range(9))), ("test", reversed(range(20, 22)))):
        contents = {f"{number:03d}.png": encode(pixels(number)) for number in numbers}
        write_tar(tmp_path / "shards" / f"{split}-0.tar", contents)
    result = checked(capsys, params, "--data", f"stream:{tmp_path / 'shards'}")
    counts = {name: (split["count"], split["hashed"]) for name, split in result["splits"].items()}
    assert counts == {"train": (8, 8), "validation": (1, 1), "test": (2, 2)}
    for split, numbers in (("train", range(1, 9)), ("validation", range(1)), ("test", range(20, 22))):
        assert result["splits"][split]["sha256"] == sha256(numbers)
