"""LSUN in LMDB environments and in folders exported from them, and the index of millions of names."""

import io
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pixelpyramids.data import lsun
from pixelpyramids.data.containers import lmdb_environment
from pixelpyramids.data.containers.lmdb_environment import LmdbEntries
from pixelpyramids.data.index import Index, cache_folder, kept_index, make_index, pack
from pixelpyramids.data.lsun import open_lsun
from pixelpyramids.data.prepared import center_crop
from pixelpyramids.data.splits import SPLITS
from pixelpyramids.errors import DataError, PixelPyramidsError

lmdb = pytest.importorskip("lmdb")

SIZES = [(256, 256), (256, 301), (322, 256), (257, 258), (128, 128), (259, 400)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixelpyramids"


def key(number: int) -> bytes:
    """40 hexadecimal digits, as LSUN's; not in the order of the numbers."""
    return f"{(number * 0x9E3779B97F4A7C15 + 1) % 2**64:016x}".encode() * 2 + b"0" * 8


def scene(number: int) -> Image.Image:
    """Smooth and noisy parts, of one of the sizes; no two are alike."""
    height, width = SIZES[number % len(SIZES)]
    draw = np.random.default_rng(number)
    smooth = np.linspace(0, 200, width)[None, :, None] + draw.integers(0, 50, (1, 1, 3))
    pixels = np.broadcast_to(smooth, (height, width, 3)).copy()
    pixels[: height // 2] += draw.integers(0, 6, (height // 2, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def content(number: int, format: str) -> bytes:
    file = io.BytesIO()
    scene(number).save(file, format, quality=75)
    return file.getvalue()


def environment(path: Path, values: dict[bytes, bytes]) -> Path:
    path.mkdir(parents=True)
    with lmdb.open(str(path), map_size=2**27) as written, written.begin(write=True) as transaction:
        for name, value in values.items():
            transaction.put(name, value)
    return path


def whole(root: Path, format: str = "JPEG", category: str = "church_outdoor", train: int = 12, val: int = 4) -> Path:
    environment(root / f"{category}_train_lmdb", {key(n): content(n, format) for n in range(train)})
    environment(root / f"{category}_val_lmdb", {key(n): content(n, format) for n in range(train, train + val)})
    return root


def exported(source: Path, target: Path, flat: bool, suffix: str) -> Path:
    """What LSUN's data.py writes: each value unchanged, under folders of the key's first six digits unless flat."""
    for part in ("train", "val"):
        path = str(source / f"church_outdoor_{part}_lmdb")
        with lmdb.open(path, readonly=True, lock=False) as opened, opened.begin() as transaction:
            for name, value in transaction.cursor():
                folder = target / part if flat else (target / part).joinpath(*name.decode()[:6])
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{name.decode()}.{suffix}").write_bytes(value)
    return target


def opened(root: Path, split: str, n_bits: int = 5, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*expected (126227|300) images")
        return open_lsun(root, "church_outdoor", split, 128, n_bits=n_bits, **more)


def bilinear_half(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pillow's bilinear filter from 256 to 128, written out: a triangle 2 pixels wide to each side of the centre.

    Weights (1, 3, 3, 1)/8, cut off and scaled to 1 at the border, rounded to 22 bits after the point; first along rows,
    and the result rounded to integers, then along columns.
    """

    def along_rows(values: NDArray[np.int64]) -> NDArray[np.int64]:
        result = np.empty((len(values), 128, 3), np.int64)
        for x in range(128):
            taken = range(max(0, 2 * x - 1), min(256, 2 * x + 3))
            raw = np.array([1 - abs(source + 0.5 - (2 * x + 1)) / 2 for source in taken])
            weights = np.floor(raw / raw.sum() * 2**22 + 0.5).astype(np.int64)
            summed = (values[:, taken.start : taken.stop] * weights[:, None]).sum(1) + 2**21
            result[:, x] = np.clip(summed >> 22, 0, 255)
        return result

    rows = along_rows(pixels.astype(np.int64))
    return along_rows(rows.transpose(1, 0, 2)).transpose(1, 0, 2).astype(np.uint8)


def prepared(stored: bytes, n_bits: int) -> NDArray[np.uint8]:
    """What the authors' loader gives, but for the decoder in NumPy; torchvision's CenterCrop by its formula."""
    pixels = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))
    height, width, _ = pixels.shape
    if (height, width) != (128, 128):
        top, left = round((height - 256) / 2.0), round((width - 256) / 2.0)
        pixels = bilinear_half(pixels[top : top + 256, left : left + 256])
    return pixels.transpose(2, 0, 1) // 2 ** (8 - n_bits)


def same(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all((one.read(i) == other.read(i)).all() for i in range(len(one)))


# Pixels


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("n_bits", [5, 8])
def test_every_image_is_the_authors_crop_and_resize_to_the_integer(tmp_path: Path, format: str, n_bits: int) -> None:
    images = opened(whole(tmp_path, format), "all", n_bits)
    stored = {key(n).decode(): content(n, format) for n in range(16)}
    assert len(images) == 16 and sorted(file.name for file in images.files) == sorted(stored)
    for index, file in enumerate(images.files):
        assert file.parent.name in ("church_outdoor_train_lmdb", "church_outdoor_val_lmdb")
        assert images.read(index).dtype == np.uint8 and images.sizes[index].tolist() == [128, 128]
        assert (images.read(index) == prepared(stored[file.name], n_bits)).all()
        assert images.formats[index] == format


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("format", "suffix"), [("WEBP", "webp"), ("JPEG", "jpg"), ("JPEG", "webp")])
def test_exported_folders_are_the_environment(tmp_path: Path, flat: bool, format: str, suffix: str) -> None:
    whole(tmp_path / "lmdb", format)
    exported(tmp_path / "lmdb", tmp_path / "files", flat, suffix)
    for split in SPLITS:
        assert same(opened(tmp_path / "lmdb", split), opened(tmp_path / "files", split))


@given(height=st.integers(20, 60), width=st.integers(20, 60), side=st.integers(1, 20))
def test_center_crop_has_torchvisions_offsets(height: int, width: int, side: int) -> None:
    rows, columns = np.mgrid[:height, :width]
    cropped = np.asarray(center_crop(Image.fromarray(np.stack([rows, columns, rows], -1).astype(np.uint8)), side))
    assert cropped.shape == (side, side, 3)
    assert cropped[0, 0].tolist()[:2] == [round((height - side) / 2.0), round((width - side) / 2.0)]


def test_an_image_neither_of_the_size_nor_large_enough_is_named(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 255)).save(file, "JPEG")
    environment(tmp_path / "tower_val_lmdb", {b"small": file.getvalue()})
    with (
        pytest.warns(UserWarning),
        pytest.raises(DataError, match=r"tower_val_lmdb.small: expected an image of at least 256x256 .* got 255x300"),
    ):
        open_lsun(tmp_path, "tower", "test", 128, n_bits=5)


# Splits


def test_splits_are_disjoint_complete_and_lsuns(tmp_path: Path) -> None:
    whole(tmp_path)
    parts = {split: [f.relative_to(tmp_path) for f in opened(tmp_path, split).files] for split in SPLITS}
    assert [len(parts[split]) for split in SPLITS] == [11, 1, 4, 16]
    assert sorted(parts["train"] + parts["validation"] + parts["test"]) == sorted(parts["all"])
    assert len(set(parts["all"])) == 16
    assert {file.parts[0] for file in parts["test"]} == {"church_outdoor_val_lmdb"}
    assert {file.parts[0] for file in parts["train"] + parts["validation"]} == {"church_outdoor_train_lmdb"}
    held_out = {opened(tmp_path, "validation", seed=seed).files[0] for seed in range(20)}
    assert len(held_out) > 3
    assert opened(tmp_path, "validation", seed=3).files[0] not in list(opened(tmp_path, "train", seed=3).files)


def test_without_hold_out_train_keeps_everything(tmp_path: Path) -> None:
    whole(tmp_path)
    assert len(opened(tmp_path, "train", hold_out=False)) == 12
    with pytest.raises(DataError, match="nothing is held out of train here"):
        opened(tmp_path, "validation", hold_out=False)


def test_the_test_split_needs_no_training_images(tmp_path: Path) -> None:
    whole(tmp_path)
    shutil.rmtree(tmp_path / "church_outdoor_train_lmdb")
    assert len(opened(tmp_path, "test")) == len(opened(tmp_path, "all")) == 4
    for split in ("train", "validation"):
        with pytest.raises(DataError, match=r"expected LSUN's church_outdoor in .*church_outdoor_train_lmdb.*got none"):
            opened(tmp_path, split)


def test_one_training_image_leaves_none_to_hold_out(tmp_path: Path) -> None:
    whole(tmp_path, train=1)
    assert len(opened(tmp_path, "train")) == 1
    with pytest.raises(DataError, match=r"expected at least 2 images for training.*got 1"):
        opened(tmp_path, "validation")


def test_missing_data_says_what_was_expected_where(tmp_path: Path) -> None:
    root = tmp_path / "{part}"
    (root / "train").mkdir(parents=True)
    for split, part in (("train", "train"), ("test", "val")):
        with pytest.raises(
            DataError, match=rf"bedroom in .*{{part}}, as the folder bedroom_{part}_lmdb .* folder {part}"
        ):
            open_lsun(root, "bedroom", split, 128, n_bits=5)
    with pytest.raises(DataError, match=r"bedroom_train_lmdb.* or .*bedroom_val_lmdb"):
        open_lsun(root, "bedroom", "all", 128, n_bits=5)
    with pytest.raises(DataError, match="expected a split among train, validation, test, all, got 'val'"):
        open_lsun(root, "bedroom", "val", 128, n_bits=5)
    with pytest.raises(DataError, match="expected a category among bedroom, church_outdoor, tower, got 'church'"):
        open_lsun(root, "church", "train", 128, n_bits=5)
    with pytest.raises(DataError, match=r"a size of 1 to 256 pixels, .* got 512"):
        open_lsun(root, "tower", "train", 512, n_bits=5)


def test_other_counts_are_a_warning_that_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole(tmp_path)
    with pytest.warns(UserWarning, match=r"train_lmdb: expected 126227 images in train, got 12") as caught:
        open_lsun(tmp_path, "church_outdoor", "train", 128, n_bits=5)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"val_lmdb: expected 300 images in val, got 4"):
        open_lsun(tmp_path, "church_outdoor", "test", 128, n_bits=5)
    monkeypatch.setitem(lsun.TRAIN_COUNTS, "church_outdoor", 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_lsun(tmp_path, "church_outdoor", "train", 128, n_bits=5)


# Processes


def test_pickles_and_workers_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pytest.importorskip("torch.utils.data")
    monkeypatch.setattr("pixelpyramids.data.kept.KEPT_BYTES", 0)
    images = opened(whole(tmp_path), "train")
    assert same(pickle.loads(pickle.dumps(images)), images)
    for context in ("fork", "spawn"):
        loader = data.DataLoader(
            _Items(images), batch_size=None, num_workers=2, multiprocessing_context=context, persistent_workers=False
        )
        for index, image in enumerate(loader):
            assert (image.numpy() == images.read(index)).all()
        assert index == len(images) - 1


class _Items:
    """A data set as torch's loaders take it."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        if index >= len(self.images):
            raise IndexError
        return self.images.read(index)


def test_two_splits_of_one_environment_are_read_side_by_side(tmp_path: Path) -> None:
    whole(tmp_path)
    train, everything = opened(tmp_path, "train", hold_out=False), opened(tmp_path, "all")
    for index in range(12):
        assert (train.read(index) == everything.read(index)).all()


def test_an_environment_that_cannot_be_written_to_is_read(tmp_path: Path) -> None:
    whole(tmp_path)
    (tmp_path / "church_outdoor_train_lmdb" / "lock.mdb").unlink()
    before = sorted(path.name for path in (tmp_path / "church_outdoor_train_lmdb").iterdir())
    opened(tmp_path, "train")
    assert sorted(path.name for path in (tmp_path / "church_outdoor_train_lmdb").iterdir()) == before == ["data.mdb"]


def test_without_lmdb_the_line_that_installs_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole(tmp_path)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(PixelPyramidsError, match=r'lmdb is not installed; .* pip install "pixelpyramids\[data\]"'):
        opened(tmp_path, "train")


# Damage


def test_an_environment_cut_anywhere_is_refused_by_name_and_kills_no_process(tmp_path: Path) -> None:
    path = environment(tmp_path / "tower_val_lmdb", {key(n): content(n, "JPEG") for n in range(5)}) / "data.mdb"
    stored = path.read_bytes()
    program = (
        "import sys\n"
        "from pixelpyramids.data.containers.lmdb_environment import LmdbEntries\n"
        "from pixelpyramids.errors import DataError\n"
        "path, stored = sys.argv[1], open(sys.argv[1] + '/data.mdb', 'rb').read()\n"
        "for length in [0, 1, 100, 4095, 4096, 8191, 8192, 9000, len(stored) // 2, len(stored) - 1]:\n"
        "    open(path + '/data.mdb', 'wb').write(stored[:length])\n"
        "    try:\n"
        "        entries = LmdbEntries(path)\n"
        "    except DataError as error:\n"
        "        assert path in str(error), error\n"
        "    else:\n"
        "        raise SystemExit(f'accepted {length} bytes')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path.parent)], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
    path.write_bytes(stored)
    entries = LmdbEntries(path.parent)
    path.write_bytes(stored[: len(stored) // 2])  # while it is in use
    with pytest.raises(DataError, match=r"data\.mdb: expected at least \d+ bytes, as its header says, got \d+"):
        entries.read(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "got a folder without it; unpack"),
        (lambda path: environment(path, {}), "got an empty one"),
        (lambda path: environment(path, {b"1\0": b"x"}), "expected keys that are text"),
        (lambda path: (path.mkdir(), (path / "data.mdb").write_bytes(b"foreign" * 5000)), "InvalidError"),
    ],
)
def test_what_is_no_environment_of_images_is_named(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "tower_train_lmdb")
    with pytest.raises(DataError, match=rf"tower_train_lmdb.*{message}"):
        open_lsun(tmp_path, "tower", "train", 128, n_bits=5)


def test_a_damaged_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    values = {key(n): content(n, "JPEG") for n in range(4)}
    _, second, third, fourth = sorted(values)
    values[second] = values[second][: len(values[second]) // 2]
    values[third] = b"no image"
    values[fourth] = b""
    environment(tmp_path / "church_outdoor_val_lmdb", values)
    images = opened(tmp_path, "test")
    for index, name in enumerate((second, third, fourth), 1):
        with pytest.raises(DataError, match=rf"church_outdoor_val_lmdb.{name.decode()}: expected an image that Pillow"):
            images.read(index)


def test_a_key_that_is_gone_is_named(tmp_path: Path) -> None:
    path = environment(tmp_path / "a", {key(n): b"x" for n in range(3)})
    entries = LmdbEntries(path)
    with lmdb.open(str(path), map_size=2**27) as written, written.begin(write=True) as transaction:
        transaction.delete(sorted(key(n) for n in range(3))[1])
    assert [entries.read(0), entries.read(2)] == [b"x", b"x"]
    with pytest.raises(DataError, match="expected an image of that key, got none"):
        entries.read(1)


# The index


@given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: name[-1:] != b"\0"), unique=True))
def test_packed_names_are_those_given_and_sorted(names: list[bytes]) -> None:
    index = make_index(pack(iter(names)), place=np.arange(len(names)))
    assert [bytes(name) for name in index.records["name"]] == sorted(names)
    assert [names[place] for place in index.records["place"]] == sorted(names)


def test_names_longer_than_the_first_ones_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelpyramids.data.index._PACKED_AT_ONCE", 3)
    names = [b"x" * (1 + n * n % 23) + str(n).encode() for n in range(50)]
    assert [bytes(name) for name in pack(names)] == names


def test_keys_are_listed_once_and_mapped(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = environment(tmp_path / "a", {key(n): bytes([n]) for n in range(200)})
    first = LmdbEntries(path)
    listed = list(cache.iterdir())
    assert len(listed) == 1 and listed[0].suffix == ".npy"
    monkeypatch.setattr(lmdb_environment, "_keys", None)
    again = LmdbEntries(path)
    assert list(again.names) == list(first.names) == [path / name.decode() for name in sorted(map(key, range(200)))]
    assert [again.read(i) for i in range(200)] == [first.read(i) for i in range(200)]
    assert isinstance(again._index.records, np.memmap)
    assert len(pickle.dumps(again)) < 1000
    copied = pickle.loads(pickle.dumps(again))
    assert [copied.read(i) for i in range(200)] == [first.read(i) for i in range(200)]
    assert copied.names[7] == first.names[7] and copied.names[3:9:2] == first.names[3:9:2]


def test_a_changed_environment_is_listed_again(tmp_path: Path) -> None:
    path = environment(tmp_path / "a", {b"a": b"1"})
    assert len(LmdbEntries(path).names) == 1
    with lmdb.open(str(path), map_size=2**27) as written, written.begin(write=True) as transaction:
        transaction.put(b"b", b"2")
    os.utime(path / "data.mdb", ns=(1, 1))
    assert [name.name for name in LmdbEntries(path).names] == ["a", "b"]


@pytest.mark.parametrize("damage", ["", "cut", "header", "pickle", "shape", "folder"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, cache: Path, damage: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    expected = make_index(pack([b"a", b"b"]))
    kept_index("kind", [source], lambda: expected)
    (file,) = cache.iterdir()
    whole_file = file.read_bytes()
    if damage == "folder":
        file.unlink()
        file.mkdir()
    elif damage in ("pickle", "shape"):
        np.save(file, np.array([{}], dtype=object) if damage == "pickle" else np.zeros(3))
    else:
        file.write_bytes({"": b"", "cut": whole_file[:-1], "header": whole_file[:30]}[damage])
    made: list[Index] = []

    def make() -> Index:
        made.append(expected)
        return expected

    assert (kept_index("kind", [source], make).records == expected.records).all() and len(made) == 1
    if damage != "folder":
        assert file.read_bytes() == whole_file


@pytest.mark.parametrize("home", ["file", "relative"])
def test_a_cache_that_cannot_be_written_costs_time_only(
    tmp_path: Path, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole(tmp_path)
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "occupied") if home == "file" else "occupied")
    assert (cache_folder() is None) == (home == "relative")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*expected (126227|300) images")
        images = opened(tmp_path, "train")
    assert same(pickle.loads(pickle.dumps(images)), images)


def test_a_damaged_first_image_does_not_close_the_split(tmp_path):
    folder = tmp_path / "val"
    folder.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (128, 128), "blue").save(folder / f"{name}.png")
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:80])
    with pytest.warns(UserWarning, match="expected 300 images"):
        images = open_lsun(tmp_path, "tower", "test", 128, n_bits=8)
    with pytest.raises(DataError, match=r"a\.png"):
        images.read(0)
    assert images.read(1)[2].min() == 255
