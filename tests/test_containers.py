"""Containers of images return what was stored. If a file is damaged, missing or of another kind, an error names it."""

import multiprocessing
import os
import pickle
import re
import shutil
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import data_layouts as forms
import h5py
import lmdb
import numpy as np
import pytest
import tfrecord
from data_layouts import encode, faces, noise, write_files, write_hdf5, write_lmdb, write_records, write_tar, write_zip
from hypothesis import given
from hypothesis import strategies as st

from pixelpyramids.data.containers import lmdb_environment, tar
from pixelpyramids.data.containers.hdf5 import Hdf5Entries
from pixelpyramids.data.containers.lmdb_environment import LmdbEntries
from pixelpyramids.data.containers.npz import NpzEntries
from pixelpyramids.data.containers.tar import TarEntries
from pixelpyramids.data.containers.tfrecord import TfRecordEntries
from pixelpyramids.data.containers.zip_archive import ZipEntries
from pixelpyramids.data.images import ConcatenatedEntries, Images
from pixelpyramids.data.name_index import cache_folder, load_index, make_index, pack
from pixelpyramids.errors import DataError

COUNT = 10


@dataclass(frozen=True)
class Container:
    """How ten images are written to a file, and how it is opened; `data` is the file that holds the bytes."""

    write: Callable[[Path], Any]
    open: Callable[[Path], Any]
    path: str
    data: str = ""
    finds_changed_bits: bool = False
    keeps_open: bool = False


def files() -> dict[str, bytes]:
    return {f"{n}.png": encode(noise(n)) for n in range(COUNT)}


PIXELS = faces(range(COUNT), colours_first=False)


CONTAINERS = {
    "zip": Container(lambda path: write_zip(path, files()), ZipEntries, "x.zip", "", True, True),
    "tar": Container(lambda path: write_tar(path, files()), lambda path: TarEntries([path]), "x.tar"),
    "hdf5": Container(
        lambda path: write_hdf5(path, data=faces(range(COUNT))), partial(Hdf5Entries, dataset="data"), "x.h5"
    ),
    "tfrecord": Container(
        lambda path: write_records(path, [noise(n) for n in range(COUNT)]), TfRecordEntries, "x.tfrecords", "", True
    ),
    "npz": Container(partial(np.savez, data=PIXELS), NpzEntries, "x.npz", "", False, True),
    "compressed npz": Container(partial(np.savez_compressed, data=PIXELS), NpzEntries, "x.npz", "", True, True),
    "lmdb": Container(
        lambda path: write_lmdb(path, {name.encode(): data for name, data in files().items()}),
        LmdbEntries, "x_lmdb", "data.mdb",
    ),
}  # fmt: skip
EACH = pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixelpyramids"


def images(entries):
    return Images.of_one_size(entries, (8, 8))


def same(entries):
    opened = images(entries)
    return len(opened) == COUNT and all((opened.read(n) == noise(n).transpose(2, 0, 1)).all() for n in range(COUNT))


def read_all(entries):
    return [entries.read(index) for index in range(len(entries))]


@EACH
def test_a_container_returns_what_was_stored(tmp_path, container):
    container.write(tmp_path / container.path)
    entries = container.open(tmp_path / container.path)
    names = [entries.name(index) for index in range(COUNT)]
    assert len(entries) == len(set(names)) == COUNT and same(entries)
    assert all(name.parent == tmp_path / container.path for name in names) or entries.format == "HDF5"
    content = pickle.dumps(entries)
    assert len(content) < 1200 and same(pickle.loads(content))
    assert same(ConcatenatedEntries([entries]))
    with pytest.raises(IndexError):
        images(entries).files[COUNT]
    assert list(images(entries).files[1:3]) == names[1:3]


@EACH
def test_a_file_that_shrinks_or_disappears_while_in_use_is_named(tmp_path, container):
    container.write(tmp_path / container.path)
    path, entries = tmp_path / container.path / container.data, container.open(tmp_path / container.path)
    if container.path == "x.npz":
        entries = pickle.loads(pickle.dumps(entries))  # in this process it is mapped, or in memory
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 4])
    with pytest.raises(DataError, match=re.escape(container.path)):
        read_all(entries)
    if not container.keeps_open:
        path.unlink()
        with pytest.raises(DataError, match=re.escape(container.path)):
            entries.read(0)


@pytest.mark.parametrize("container", [each for each in CONTAINERS.values() if each.finds_changed_bits])
def test_a_bit_that_flips_is_found(tmp_path, container):
    path = tmp_path / container.path
    container.write(path)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_all(container.open(path))


@pytest.mark.parametrize(("write", "kind"), [(write_zip, "zip"), (write_tar, "tar")])
def test_a_damaged_image_in_a_container_is_named_when_it_is_read(tmp_path, write, kind):
    damaged = {"3.png": files()["3.png"][:90], "5.png": b"no image", "7.png": b""}
    path = write(tmp_path / "x", files() | damaged)
    opened = images(CONTAINERS[kind].open(path))
    for name in damaged:
        with pytest.raises(DataError, match=rf"{path}/{name}: expected an image that Pillow can read"):
            opened.read(int(name[0]))


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_archives_return_only_the_contents_of_their_images(tmp_path, write):
    contents = {"/etc/1.PNG": b"one", "a.jpg": b"two" * 1000, "b/é.webp": b"", "c/日本.png": os.urandom(999)}
    others = dict.fromkeys(["notes.txt", ".hidden.png", "x/.git/a.png", "__MACOSX/._a.jpg", "._b.tar"], b"")
    path = write(tmp_path / "x", contents | others)
    entries = ZipEntries(path) if write is write_zip else TarEntries([path])
    below = {f"/{name.lstrip('/')}": content for name, content in contents.items()}  # none leaves the archive
    assert {f"/{entries.name(i).relative_to(path)}": entries.read(i) for i in range(len(entries))} == below
    assert [entries.read(i) for i in range(4)] == [contents[name] for name in sorted(contents)]
    with pytest.raises(DataError, match="expected image"):
        empty = write(tmp_path / "y", {"a.txt": b"1"})
        ZipEntries(empty) if write is write_zip else TarEntries([empty])


def test_an_encrypted_file_and_a_bomb_in_a_zip_are_named(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a.png": bytes(1_000_000)})
    sound = path.read_bytes()
    changes = {8: (8 << 16 | 1, "RuntimeError: .* is encrypted"), 24: (10, "BadZipFile: Bad CRC-32")}
    for offset, (value, reason) in changes.items():  # in the entry of the archive's list: its flags, its size
        content = bytearray(sound)
        struct.pack_into("<I", content, sound.index(b"PK\1\2") + offset, value)
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"x\.zip/a\.png: expected a whole file in the archive, got {reason}"):
            ZipEntries(path).read(0)


def test_a_forked_process_does_not_share_the_open_zip(tmp_path):
    path = write_zip(tmp_path / "x.zip", dict.fromkeys(["a.png", "b.png"], os.urandom(100_000)))
    entries = ZipEntries(path)
    place = partial(os.lseek, entries._archive.fp.fileno(), 0, os.SEEK_CUR)
    before, process = place(), multiprocessing.get_context("fork").Process(target=entries.read, args=(1,))
    process.start()
    process.join()
    assert process.exitcode == 0 and place() == before


def test_long_and_non_ascii_names_are_read(tmp_path):
    contents = {f"{'x' * 90}/{'y' * 90}.png": b"1", "ä\udcff.png": b"2", "z.png": b""}
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = write_tar(tmp_path / f"{format}.tar", contents, format)
        entries = TarEntries([path])
        assert {str(entries.name(i).relative_to(path)): entries.read(i) for i in range(3)} == contents


def test_folders_and_links_in_a_tar_are_not_images(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.JPEG": b"1"})
    with tarfile.open(path, "a") as archive:
        for name, type_, target in (("folder.png", tarfile.DIRTYPE, ""), ("link.png", tarfile.SYMTYPE, "a.JPEG")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = type_, target
            archive.addfile(member)
    assert len(TarEntries([path])) == 1


def test_a_compressed_tar_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.add(__file__, "a.png")
    with pytest.raises(DataError, match=r"a\.tar: expected a whole, uncompressed tar archive, got ReadError"):
        TarEntries([tmp_path / "a.tar"])


def end_of_members(path: Path) -> int:
    with tarfile.open(path) as archive:
        return max(member.offset_data + -(-member.size // 512) * 512 for member in archive)


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"])
def test_an_archive_of_archives_cut_anywhere_is_refused_by_name(tmp_path, name):
    path = forms.tars(tmp_path / "root") / name
    content, end = path.read_bytes(), end_of_members(path)
    for length in [1024, *range(1536, end, 2789), end - 512, end - 1, end, end + 511]:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=rf"{name}.*: expected a whole, uncompressed tar archive, got"):
            TarEntries([path])


@pytest.mark.parametrize("offset", [0, 100, 700, None])
def test_an_archive_inside_that_is_cut_is_refused_by_name(tmp_path, offset):
    inside = forms.class_tars(tmp_path / "classes")
    if offset is None:  # between two members, so that it runs into the next
        offset = end_of_members(tmp_path / "classes" / f"{forms.CLASSES[1]}.tar")
    inside[f"{forms.CLASSES[1]}.tar"] = inside[f"{forms.CLASSES[1]}.tar"][:offset]
    path = write_tar(tmp_path / "ILSVRC2012_img_train.tar", inside)
    with pytest.raises(DataError, match=rf"ILSVRC2012_img_train\.tar/{forms.CLASSES[1]}\.tar: expected a whole"):
        TarEntries([path])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("colours_first", [True, False])
def test_arrays_are_read_in_both_orders(tmp_path, channels, colours_first):
    pixels = np.random.default_rng(0).integers(256, size=(5, 6, 7, channels), dtype=np.uint8)
    stored = pixels.transpose(0, 3, 1, 2) if colours_first else pixels
    array = Hdf5Entries(write_hdf5(tmp_path / "x.h5", a__b=stored), "a/b")
    framed = TfRecordEntries(write_records(tmp_path / "x.tfrecord", list(pixels), colours_first))
    for entries in (array, framed):
        assert len(entries) == 5
        assert all((entries.read(index) == pixels[index]).all() for index in range(5))
    assert array.name(4) == tmp_path / "x.h5" / "a" / "b" / "00004"


def test_virtual_images_are_refused(tmp_path):
    layout = h5py.VirtualLayout((10, 3, 8, 8), "u1")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "images", (10, 3, 8, 8))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    with pytest.raises(DataError, match=r"x\.h5/data: expected images in the file itself, got a virtual dataset"):
        Hdf5Entries(tmp_path / "x.h5", "data")


@pytest.mark.parametrize("chunks", [None, (1, 3, 8, 8), (4, 3, 8, 8)])
def test_images_that_were_never_written_are_refused(tmp_path, chunks):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("data", (10, 3, 8, 8), "u1", chunks=chunks)
        if chunks is not None:
            file["data"][:4] = faces(range(4))
    with pytest.raises(DataError, match=r"x\.h5/data: expected \d+ (chunks|bytes) of images, got only [014]"):
        Hdf5Entries(tmp_path / "x.h5", "data")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["data"][:] = faces(range(10))
    assert same(Hdf5Entries(tmp_path / "x.h5", "data"))


@pytest.mark.parametrize(
    "features",
    [
        {"image": (b"x", "byte")},
        {"shape": ([3, 8, 8], "int"), "data": (b"short", "byte")},
        {"shape": ([8, 8], "int"), "data": (bytes(64), "byte")},
        {"shape": ([-1, -8, 8], "int"), "data": (bytes(64), "byte")},
        {"shape": ([3.0, 1.0, 1.0], "float"), "data": (bytes(3), "byte")},
        {"shape": ([1, 1, 2], "int"), "data": ([b"x", b"y"], "byte")},
        {"shape": ([1, 1, 2], "int"), "data": ([1, 2], "int")},
    ],
)
def test_records_of_other_features_are_refused(tmp_path, features):
    writer = tfrecord.TFRecordWriter(str(tmp_path / "x.tfrecords"))
    writer.write(features)
    writer.close()
    with pytest.raises(DataError, match=r"x\.tfrecords/00000: expected the features `shape`, .*" + min(features)):
        TfRecordEntries(tmp_path / "x.tfrecords").read(0)


def test_records_that_are_not_examples_are_refused(tmp_path):
    checksum = tfrecord.TFRecordWriter.masked_crc
    record = b"".join(content + checksum(content) for content in (struct.pack("<Q", 3), b"\xff\xff\xff"))
    (tmp_path / "x.tfrecords").write_bytes(record)
    with pytest.raises(DataError, match=r"x\.tfrecords/00000: expected a tensorflow\.Example"):
        TfRecordEntries(tmp_path / "x.tfrecords").read(0)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_stored_array_is_mapped_and_a_compressed_one_is_read(tmp_path, order):
    for save, is_mapped in ((np.savez, True), (np.savez_compressed, False)):
        save(tmp_path / "x.npz", data=np.asarray(PIXELS, order=order))
        entries = NpzEntries(tmp_path / "x.npz")
        assert isinstance(entries._array, np.memmap) == is_mapped and same(entries)


def test_an_npz_file_that_was_replaced_while_in_use_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", data=PIXELS)
    entries = pickle.dumps(NpzEntries(tmp_path / "x.npz"))
    np.savez(tmp_path / "x.npz", data=np.zeros((2, 12), np.uint8))
    with pytest.raises(DataError, match="expected 10 images, as when it was opened, got 2"):
        pickle.loads(entries).read(0)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 12), np.float32),
        *(np.zeros(shape, np.uint8) for shape in ((2, 13), (2, 0), (0, 12), (2, 4, 4, 4), ())),
        np.array([{}, {}], dtype=object),
    ],
    ids=str,
)
def test_other_arrays_are_refused(tmp_path, array):
    np.savez(tmp_path / "a.npz", data=array)
    np.savez(tmp_path / "b.npz", images=array, labels=array)
    for name, message in (("a", "array data of uint8"), ("b", "array called data, got images, labels; write")):
        with pytest.raises(DataError, match=rf"{name}\.npz: expected an {message}"):
            NpzEntries(tmp_path / f"{name}.npz")


def test_environments_without_images_are_refused(tmp_path):
    for values, message in (({}, "got an empty one"), ({b"1\0": b"x"}, "expected keys that are text")):
        with pytest.raises(DataError, match=f"x.*{message}"):
            LmdbEntries(write_lmdb(tmp_path / "x", values))
        shutil.rmtree(tmp_path / "x")


def test_a_key_that_is_gone_is_named(tmp_path):
    entries = LmdbEntries(write_lmdb(tmp_path / "a", {b"a": b"x", b"b": b"x", b"c": b"x"}))
    with lmdb.open(str(tmp_path / "a"), map_size=2**27) as environment, environment.begin(write=True) as transaction:
        transaction.delete(b"b")
    assert [entries.read(0), entries.read(2)] == [b"x", b"x"]
    with pytest.raises(DataError, match="expected an image of that key, got none"):
        entries.read(1)


def test_an_environment_is_read_without_its_lock_and_by_two_at_once(tmp_path):
    CONTAINERS["lmdb"].write(tmp_path / "x_lmdb")
    (tmp_path / "x_lmdb" / "lock.mdb").unlink()
    one, other = LmdbEntries(tmp_path / "x_lmdb"), LmdbEntries(tmp_path / "x_lmdb")
    assert [one.read(n) for n in range(COUNT)] == [other.read(n) for n in range(COUNT)]
    assert [path.name for path in (tmp_path / "x_lmdb").iterdir()] == ["data.mdb"]


@given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: name[-1:] != b"\0"), unique=True))
def test_packed_names_are_those_given_and_sorted(names):
    index = make_index(pack(iter(names)), place=np.arange(len(names)))
    assert [bytes(name) for name in index.records["name"]] == sorted(names)
    assert [names[place] for place in index.records["place"]] == sorted(names)


def test_names_longer_than_the_first_ones_are_not_cut(monkeypatch):
    monkeypatch.setattr("pixelpyramids.data.name_index._PACKED_AT_ONCE", 3)
    names = [b"x" * (1 + n * n % 23) + str(n).encode() for n in range(50)]
    assert [bytes(name) for name in pack(names)] == names


@pytest.mark.parametrize("kind", ["tar", "lmdb"])
def test_names_are_listed_once_and_mapped(tmp_path, cache, kind, monkeypatch):
    open_ = CONTAINERS[kind].open
    if kind == "tar":
        path = forms.tars(tmp_path / "root") / "ILSVRC2012_img_train.tar"
    else:
        path = write_lmdb(tmp_path / "a", {f"{n:03d}".encode(): bytes([n]) for n in range(200)})
    first = open_(path)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(tar, "_find_images", None)
    monkeypatch.setattr(lmdb_environment, "_keys", None)
    again = open_(path)
    assert isinstance(again._index.records, np.memmap) and len(pickle.dumps(again)) < 1500
    for entries in (again, pickle.loads(pickle.dumps(again))):
        assert [entries.name(i) for i in range(len(entries))] == [first.name(i) for i in range(len(first))]
        assert read_all(entries) == read_all(first)
    if kind == "tar":
        assert first.name(0) == path / "n01440764.tar" / "n01440764_00.JPEG"
        names = ["/".join(first.name(i).parts[-2:]).replace(".tar", "") for i in range(14)]
        assert dict(zip(names, read_all(first), strict=True)) == forms.train_files()


def test_a_changed_file_is_listed_again(tmp_path):
    archive = write_tar(tmp_path / "a.tar", {"a.png": b"1"})
    environment = write_lmdb(tmp_path / "a", {b"a": b"1"})
    assert len(TarEntries([archive])) == len(LmdbEntries(environment)) == 1
    write_tar(archive, {"a.png": b"1", "b.png": b"22" * 9000})
    write_lmdb(environment, {b"b": b"2"})
    os.utime(environment / "data.mdb", ns=(1, 1))
    assert len(TarEntries([archive])) == len(LmdbEntries(environment)) == 2


@pytest.mark.parametrize("damage", ["", "cut", "header", "pickle", "shape", "folder"])
def test_a_damaged_cache_is_made_again(tmp_path, cache, damage):
    source = write_files(tmp_path, {"source": b"x"}) / "source"
    expected = make_index(pack([b"a", b"b"]))
    load_index("kind", [source], lambda: expected)
    (file,) = cache.iterdir()
    content = file.read_bytes()
    if damage == "folder":
        file.unlink()
        file.mkdir()
    elif damage in ("pickle", "shape"):
        np.save(file, np.array([{}], dtype=object) if damage == "pickle" else np.zeros(3))
    else:
        file.write_bytes({"": b"", "cut": content[:-1], "header": content[:30]}[damage])
    made = []
    index = load_index("kind", [source], lambda: made.append(expected) or expected)
    assert (index.records == expected.records).all() and len(made) == 1
    assert damage == "folder" or file.read_bytes() == content


@pytest.mark.parametrize("home", ["file", "relative"])
def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path, home, monkeypatch):
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "occupied") if home == "file" else "occupied")
    assert (cache_folder() is None) == (home == "relative")
    CONTAINERS["lmdb"].write(tmp_path / "x_lmdb")
    assert same(pickle.loads(pickle.dumps(LmdbEntries(tmp_path / "x_lmdb"))))
