"""Identities distinguish data sets, and copies of a file are found, without reading all bytes."""

import hashlib
import os
import shutil

import numpy as np
import pytest
from data_layouts import encode, noise, write_files, write_zip
from PIL import Image, TiffImagePlugin

from pixelpyramids.data import identity as module
from pixelpyramids.data.containers.zip_archive import ZipEntries
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.identity import data_identity, file_fingerprints, same_files
from pixelpyramids.data.images import Images


def write(root, pictures):
    """Write the pictures of these numbers as files of these names."""
    return write_files(root, {name: encode(noise(number), "BMP") for name, number in pictures.items()})


def numbered(count):
    return {f"{number:03d}.bmp": number for number in range(count)}


def identity(root):
    return data_identity(open_folder(root, "all"))


@pytest.mark.parametrize("number", [0, 150, 299])
def test_a_change_of_any_file_changes_the_identity(tmp_path, number):
    before = identity(write(tmp_path, numbered(300)))
    assert before.images == before.covered == 300
    assert identity(write(tmp_path, {f"{number:03d}.bmp": 1000})).sha256 != before.sha256


def test_more_images_or_another_order_change_the_identity(tmp_path):
    found = {identity(write(tmp_path, numbered(5))).sha256}
    (tmp_path / "000.bmp").rename(tmp_path / "999.bmp")
    found.add(identity(tmp_path).sha256)
    found.add(identity(write(tmp_path, {"zzz.bmp": 7})).sha256)
    assert len(found) == 3


def test_the_identity_of_a_container_covers_some_of_its_images(tmp_path, monkeypatch):
    def identity_of(**changed):
        contents = {name: encode(noise(number), "BMP") for name, number in (numbered(40) | changed).items()}
        return data_identity(Images.of_one_size(ZipEntries(write_zip(tmp_path / "a.zip", contents)), (8, 8)))

    monkeypatch.setattr(module, "ENTRIES_AT_MOST", 16)
    before = identity_of()
    assert (before.images, before.covered) == (40, 16)
    for number, differs in ((0, True), (39, True), (1, False)):
        assert (identity_of(**{f"{number:03d}.bmp": 1000}).sha256 != before.sha256) == differs


def test_a_file_in_two_places_is_found_and_nothing_else(tmp_path):
    first = [write(tmp_path, {f"{number}.png": number}) / f"{number}.png" for number in range(9)]
    second = [write(tmp_path, {f"{number}.png": number}) / f"{number}.png" for number in range(100, 105)]
    assert same_files(first, second) == []
    shutil.copy(first[4], second[2])
    second[3].unlink()
    second[3].symlink_to(first[0])
    second[4].unlink()
    assert same_files(first, second) == [(first[4], second[2]), (first[0], second[3])]


def test_files_that_differ_only_in_their_middle_are_not_the_same(tmp_path):
    content = np.random.default_rng(0).bytes(50_000)
    write_files(tmp_path, {"a": content * 2, "b": content + b"\1" + content[1:], "c": content * 2})
    a, b, c = (tmp_path / name for name in "abc")
    assert same_files([a], [b]) == []
    assert same_files([a, b], [c]) == [(a, c)], "a must not be lost behind b"


@pytest.mark.parametrize("format", ["BMP", "PPM", "TIFF"])
def test_uncompressed_pictures_with_equal_margins_have_different_fingerprints(tmp_path, format):
    pictures = {str(number): np.pad(noise(number, 64), [(64, 64), (64, 64), (0, 0)]) for number in range(2)}
    write_files(tmp_path, {name: encode(picture, format) for name, picture in pictures.items()})
    assert file_fingerprints(tmp_path / "0").present != file_fingerprints(tmp_path / "1").present


def test_an_uncompressed_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    digest, read = hashlib.file_digest, []
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: read.append(file.name) or digest(file, name))
    folder = write_files(tmp_path, {f"{number}.bmp": encode(noise(number, 64), "BMP") for number in range(2)})
    first, _ = identity(folder), same_files([folder / "0.bmp"], [folder / "1.bmp"])
    assert len(read) == 2 and identity(folder) == first
    write_files(tmp_path, {"1.bmp": encode(noise(2, 64), "BMP")})
    os.utime(folder / "1.bmp", (0, 0))
    assert identity(folder) != first and len(read) == 3


def test_tiffs_with_equal_margins_and_a_profile_behind_the_pixels_have_different_fingerprints(tmp_path, monkeypatch):
    monkeypatch.setattr(TiffImagePlugin, "WRITE_LIBTIFF", True)  # pixels first, directory and tags last
    files, profile = [tmp_path / "0.tif", tmp_path / "1.tif"], np.random.default_rng(0).bytes(5000)
    for number, file in enumerate(files):
        picture = np.pad(noise(number, 64), [(64, 64), (64, 64), (0, 0)], constant_values=255)
        Image.fromarray(picture).save(file, icc_profile=profile)
    assert file_fingerprints(files[0]).earlier == file_fingerprints(files[1]).earlier
    assert file_fingerprints(files[0]).present != file_fingerprints(files[1]).present
