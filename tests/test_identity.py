"""Identities distinguish data sets, and copies of a file are found, without reading all bytes."""

import shutil
from pathlib import Path

import pytest
from data_layouts import encode, noise, write_files, write_zip

from pixelpyramids.data import identity as module
from pixelpyramids.data.containers.zip_archive import ZipEntries
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.identity import data_identity, same_files
from pixelpyramids.data.images import Images


def save(path: Path, seed: int) -> Path:
    return write_files(path.parent, {path.name: encode(noise(seed), "BMP")}) / path.name


def folder(root: Path, count: int = 300) -> Path:
    return write_files(root, {f"{number:03d}.bmp": encode(noise(number), "BMP") for number in range(count)})


def zipped(source: Path, target: Path) -> Path:
    return write_zip(target, {file.name: file.read_bytes() for file in sorted(source.iterdir())})


def images(path: Path) -> Images:
    if path.is_dir():
        return open_folder(path, "all")
    return Images.of_one_size(ZipEntries(path), (8, 8))


@pytest.mark.parametrize("number", [0, 150, 299])
def test_a_change_of_any_file_changes_the_identity(tmp_path: Path, number: int) -> None:
    before = data_identity(images(folder(tmp_path / "a")))
    assert before.images == before.covered == 300
    save(tmp_path / "a" / f"{number:03d}.bmp", 1000)
    assert data_identity(images(tmp_path / "a")).sha256 != before.sha256


def test_a_copy_elsewhere_has_the_same_identity(tmp_path: Path) -> None:
    folder(tmp_path / "a", 20)
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "deeper")
    assert data_identity(images(tmp_path / "a")) == data_identity(images(tmp_path / "b"))


def test_more_images_or_another_order_change_the_identity(tmp_path: Path) -> None:
    folder(tmp_path / "a", 5)
    found = {data_identity(images(tmp_path / "a")).sha256}
    (tmp_path / "a" / "000.bmp").rename(tmp_path / "a" / "999.bmp")
    found.add(data_identity(images(tmp_path / "a")).sha256)
    save(tmp_path / "a" / "zzz.bmp", 7)
    found.add(data_identity(images(tmp_path / "a")).sha256)
    assert len(found) == 3


def test_the_identity_of_a_container_covers_some_of_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES_AT_MOST", 16)
    folder(tmp_path / "a", 40)
    before = data_identity(images(zipped(tmp_path / "a", tmp_path / "a.zip")))
    assert (before.images, before.covered) == (40, 16)
    for number, differs in ((0, True), (39, True), (1, False)):
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        save(tmp_path / "b" / f"{number:03d}.bmp", 1000)
        changed = data_identity(images(zipped(tmp_path / "b", tmp_path / "b.zip")))
        assert (changed.sha256 != before.sha256) == differs
        shutil.rmtree(tmp_path / "b")


def test_a_file_in_two_places_is_found_and_nothing_else(tmp_path: Path) -> None:
    first = [save(tmp_path / "train" / f"{number}.png", number) for number in range(9)]
    second = [save(tmp_path / "test" / f"{number}.png", 100 + number) for number in range(5)]
    assert same_files(first, second) == []
    shutil.copy(first[4], second[2])
    second[3].unlink()
    second[3].symlink_to(first[0])
    second[4].unlink()
    assert same_files(first, second) == [(first[4], second[2]), (first[0], second[3])]


def test_files_that_differ_only_in_their_middle_are_not_the_same(tmp_path: Path) -> None:
    content = bytearray(100_000)
    (tmp_path / "a").write_bytes(content)
    content[50_000] = 1
    (tmp_path / "b").write_bytes(content)
    assert same_files([tmp_path / "a"], [tmp_path / "b"]) == []
    shutil.copy(tmp_path / "a", tmp_path / "c")
    train = [tmp_path / "a", tmp_path / "b"]
    assert same_files(train, [tmp_path / "c"]) == [(tmp_path / "a", tmp_path / "c")], "a must not be lost behind b"
