"""CelebA-HQ in every form it comes in: the same images give the same integers and splits, whatever holds them."""

import os
import pickle
import re
import shutil
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pixelpyramids.data import celeba_hq
from pixelpyramids.data.celeba_hq import open_celeba_hq
from pixelpyramids.data.containers.files import FileEntries
from pixelpyramids.data.containers.hdf5 import Hdf5Entries
from pixelpyramids.data.containers.joined import JoinedEntries
from pixelpyramids.data.containers.tfrecord import TfRecordEntries
from pixelpyramids.data.containers.zip_archive import ZipEntries
from pixelpyramids.data.splits import hold_out, split_files
from pixelpyramids.errors import DataError, PixelPyramidsError

h5py = pytest.importorskip("h5py")
tfrecord = pytest.importorskip("tfrecord")

SIZE, COUNT = 8, 200


def face(number: int, size: int = SIZE) -> NDArray[np.uint8]:
    """(H, W, 3); no two are alike."""
    image = np.random.default_rng(number).integers(256, size=(size, size, 3), dtype=np.uint8)
    image[0, 0] = number % 256, number // 256, 0
    return image


def folder(root: Path, names: list[str], first: int = 0) -> Path:
    for number, name in enumerate(names, first):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face(number)).save(root / name)
    return root


def zipped(source: Path, target: Path, top: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(target, "w", method) as archive:
        # Not in the order of names: the reader must sort.
        for file in sorted(source.rglob("*"), reverse=True):
            archive.write(file, top + file.relative_to(source).as_posix())
    return target


def records(path: Path, images: list[NDArray[np.uint8]], colours_first: bool = True, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = tfrecord.TFRecordWriter(str(path))
    for image in images:
        stored = image.transpose(2, 0, 1) if colours_first else image
        writer.write({"shape": (list(stored.shape), "int"), "data": (stored.tobytes(), "byte"), **more})
    writer.close()
    return path


def hdf5(path: Path, **datasets: NDArray[Any]) -> Path:
    """Chunks, compression and growing as the official script writes them."""
    with h5py.File(path, "w") as file:
        for name, images in datasets.items():
            target = file.create_dataset(
                name.replace("__", "/"),
                shape=(0, *images.shape[1:]),
                maxshape=(None, *images.shape[1:]),
                dtype=images.dtype,
                chunks=(1, *images.shape[1:]),
                compression="gzip",
                compression_opts=4,
            )
            target.resize(len(images), axis=0)
            target[:] = images
    return path


def faces(numbers: range, size: int = SIZE, colours_first: bool = True) -> NDArray[np.uint8]:
    images = np.stack([face(number, size) for number in numbers])
    return images.transpose(0, 3, 1, 2) if colours_first else images


def numbers_of(images: Any) -> list[int]:
    """Which faces these are, all of their pixels compared, at 8 bits."""
    found = []
    for index in range(len(images)):
        image = images.read(index)
        number = int(image[0, 0, 0]) + 256 * int(image[1, 0, 0])
        assert image.shape == (3, SIZE, SIZE) and image.dtype == np.uint8
        assert (image == face(number).transpose(2, 0, 1)).all()
        found.append(number)
    return found


def opened(root: Path, split: str, size: int = SIZE, n_bits: int = 8, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*expected 27000 images")
        return open_celeba_hq(root, split, size, n_bits=n_bits, **more)


def flat_folder(root: Path) -> Path:
    return folder(root / "images", [f"{n}.png" for n in range(COUNT)])


def flat_zip(root: Path) -> Path:
    return zipped(flat_folder(root), root / "celeba_hq.zip")


def zip_below_a_folder(root: Path) -> Path:
    (root / "data").mkdir(parents=True)
    zipped(flat_folder(root), root / "data" / "celeba_hq.zip", "celeba/celeba-256/", zipfile.ZIP_STORED)
    return root / "data"


def official_hdf5(root: Path) -> Path:
    root.mkdir()
    datasets = {f"data{size}x{size}": faces(range(COUNT), size) for size in (SIZE, 16)}
    return hdf5(root / "celeba-hq.h5", **datasets)


def hdf5_in_a_folder(root: Path) -> Path:
    root.mkdir()
    hdf5(root / "faces.hdf5", images=faces(range(COUNT), colours_first=False))
    return root


def progan_records(root: Path) -> Path:
    for size in (4, SIZE, 16):
        images = [face(number, size) for number in range(COUNT)]
        records(root / "celebahq" / f"celebahq-r{size.bit_length() - 1:02d}.tfrecords", images)
    (root / "celebahq" / "celebahq-rxx.labels").write_bytes(b"labels")
    return root / "celebahq"


def one_record_file(root: Path) -> Path:
    return progan_records(root) / "celebahq-r03.tfrecords"


def shards(root: Path) -> Path:
    for shard in range(4):
        images = [face(number) for number in range(50 * shard, 50 * shard + 50)]
        records(root / f"celeba-r03.tfrecords.{shard:03d}", images)
    return root


UNDIVIDED = [
    flat_folder,
    flat_zip,
    zip_below_a_folder,
    official_hdf5,
    hdf5_in_a_folder,
    progan_records,
    one_record_file,
    shards,
]


def authors_folder(root: Path) -> Path:
    folder(root, [f"train/train/{n:06d}.jpg.png" for n in range(COUNT - 20)])
    return folder(root, [f"validation/validation/{n:06d}.png" for n in range(20)], COUNT - 20)


def authors_zip(root: Path) -> Path:
    return zipped(authors_folder(root / "celeba"), root / "celeba.zip", "celeba/")


def divided_hdf5(root: Path) -> Path:
    root.mkdir()
    return hdf5(root / "x.h5", train=faces(range(180)), validation=faces(range(180, 200)))


def nested_hdf5(root: Path) -> Path:
    root.mkdir()
    divided = {"images__train": faces(range(180)), "images__val": faces(range(180, 200))}
    return hdf5(root / "x.h5", all__faces=faces(range(COUNT)), **divided)


def glow_records(root: Path) -> Path:
    for part, numbers, count in (("train", range(180), 6), ("validation", range(180, 200), 2)):
        for size in (SIZE, 16):
            for shard in range(count):
                images = [face(number, size) for number in numbers[shard::count]]
                name = f"{part}-r{size.bit_length() - 1:02d}-s-{shard:04d}-of-{count:04d}.tfrecords"
                records(root / part / name, images, colours_first=False, label=([0], "int"), attr=([1] * 40, "int"))
    return root


DIVIDED = [authors_folder, authors_zip, divided_hdf5, nested_hdf5, glow_records]


def format_of(form: Callable[[Path], Path]) -> str:
    if "hdf5" in form.__name__:
        return "HDF5"
    return "PNG" if "folder" in form.__name__ or "zip" in form.__name__ else "TFRecord"


def name_of(form: Callable[[Path], Path]) -> str:
    return form.__name__


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], Path]], Path]:
    """Each form's root, made once: the tests of this fixture only read."""
    roots: dict[str, Path] = {}

    def build(form: Callable[[Path], Path]) -> Path:
        if form.__name__ not in roots:
            roots[form.__name__] = form(tmp_path_factory.mktemp("forms") / "root")
        return roots[form.__name__]

    return build


# Splits and pixels


@pytest.mark.parametrize("form", UNDIVIDED, ids=name_of)
def test_what_is_undivided_gives_nine_tenths_to_train_in_order(built: Any, form: Any) -> None:
    root = built(form)
    held = hold_out(180, seed=3)
    assert sorted(numbers_of(opened(root, "all"))) == list(range(200))
    assert numbers_of(opened(root, "test")) == list(range(180, 200))
    assert numbers_of(opened(root, "train", seed=3)) == held[0].tolist()
    assert numbers_of(opened(root, "validation", seed=3)) == held[1].tolist()
    assert numbers_of(opened(root, "train", hold_out=False)) == list(range(180))
    with pytest.raises(DataError, match=r"validation 0.*nothing is held out of train here"):
        opened(root, "validation", hold_out=False)


@pytest.mark.parametrize("form", DIVIDED, ids=name_of)
def test_what_comes_divided_stays_so_and_its_validation_is_the_test_split(built: Any, form: Any) -> None:
    root = built(form)
    splits = {split: numbers_of(opened(root, split, seed=5)) for split in ("train", "validation", "test", "all")}
    assert sorted(splits["test"]) == list(range(180, 200))
    assert len(splits["validation"]) == 1 and splits["validation"][0] < 180
    assert sorted(splits["train"] + splits["validation"]) == list(range(180))
    assert sorted(splits["all"]) == list(range(200))
    assert sorted(numbers_of(opened(root, "train", hold_out=False))) == list(range(180))
    with pytest.raises(DataError, match="validation 0"):
        opened(root, "validation", hold_out=False)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_folders_and_a_zip_of_them_split_as_any_folder_does(built: Any, split: str) -> None:
    root = built(authors_folder)
    files = split_files(root, split, 7)
    assert list(opened(root, split, seed=7).files) == files
    archive = built(authors_zip)
    below = [file.relative_to(archive / "celeba") for file in opened(archive, split, seed=7).files]
    assert below == [file.relative_to(root) for file in files]


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "val"), ("train", "val", "test")])
def test_other_names_of_folders(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for number, part in enumerate(parts):
        folder(tmp_path, [f"{part}/{n}.png" for n in range(10)], 10 * number)
    for split in ("train", "validation", "test", "all"):
        assert list(opened(tmp_path, split).files) == split_files(tmp_path, split)


@pytest.mark.parametrize("form", [*UNDIVIDED, *DIVIDED], ids=name_of)
@pytest.mark.parametrize("n_bits", [1, 5])
def test_values_are_those_of_eight_bits_shifted(built: Any, form: Any, n_bits: int) -> None:
    fine, coarse = opened(built(form), "test"), opened(built(form), "test", n_bits=n_bits)
    assert len(coarse) == 20 and (coarse.channels, coarse.n_bits) == (3, n_bits)
    for index in range(20):
        assert (coarse.read(index) == fine.read(index) // 2 ** (8 - n_bits)).all()


@pytest.mark.parametrize("form", [*UNDIVIDED, *DIVIDED], ids=name_of)
def test_names_sizes_and_formats(built: Any, form: Any) -> None:
    root, images = built(form), opened(built(form), "test")
    assert len(set(images.files)) == len(images.files) == len(images) == 20
    assert all(root in file.parents or root == file for file in images.files)
    assert images.sizes.tolist() == [[SIZE, SIZE]] * 20
    for index in range(20):
        images.read(index)
    assert set(images.formats) == {format_of(form)}


def test_each_image_tells_its_own_encoding(tmp_path: Path) -> None:
    Image.fromarray(face(0)).save(tmp_path / "0.png")
    Image.fromarray(face(1)).save(tmp_path / "1.png", format="JPEG")
    images = opened(tmp_path, "all")
    images.read(1)
    assert images.formats == ["PNG", "JPEG"]


def test_the_dataset_that_is_read_is_named(built: Any) -> None:
    assert opened(built(official_hdf5), "test").files[0] == built(official_hdf5) / "data8x8" / "00180"
    assert opened(built(nested_hdf5), "test").files[0] == built(nested_hdf5) / "images" / "val" / "00000"
    assert opened(built(progan_records), "test").files[0] == built(progan_records) / "celebahq-r03.tfrecords" / "00180"
    assert opened(built(shards), "test").files[-1] == built(shards) / "celeba-r03.tfrecords.003" / "00049"


@pytest.mark.parametrize("form", [*UNDIVIDED, *DIVIDED], ids=name_of)
def test_copies_in_other_processes_read_the_same(built: Any, form: Any) -> None:
    data = pytest.importorskip("torch.utils.data")
    images = opened(built(form), "test")
    assert numbers_of(pickle.loads(pickle.dumps(images))) == numbers_of(images)

    class Dataset(data.Dataset):  # type: ignore[misc, name-defined]
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:
            return images.read(index)

    # Only the first is in memory when the workers start: they read the others.
    images._kept.clear()
    images.read(0)
    for index, image in enumerate(data.DataLoader(Dataset(), batch_size=None, num_workers=2)):
        assert (image.numpy() == images.read(index)).all()


def test_a_pickled_split_is_small(built: Any) -> None:
    for form in (official_hdf5, progan_records, flat_zip):
        assert len(pickle.dumps(opened(built(form), "train"))) < 20_000


def test_numbers_in_names_count_by_value(tmp_path: Path) -> None:
    folder(tmp_path, [f"{n}.png" for n in range(40)])
    padded = folder(tmp_path / "padded", [f"{n:05d}.png" for n in range(40)])
    expected = numbers_of(opened(padded, "test"))
    shutil.rmtree(padded)
    assert numbers_of(opened(tmp_path, "test")) == expected == list(range(36, 40))


def test_masks_beside_the_images_do_not_count(tmp_path: Path) -> None:
    folder(tmp_path / "x" / "CelebAMask-HQ", [f"CelebA-HQ-img/{n}.jpg.png" for n in range(30)])
    masks = folder(tmp_path / "x" / "CelebAMask-HQ", [f"CelebAMask-HQ-mask-anno/{n}_hair.png" for n in range(9)], 100)
    assert numbers_of(opened(tmp_path / "x", "all")) == numbers_of(opened(masks, "all"))
    assert sorted(numbers_of(opened(masks, "all"))) == list(range(30))
    assert numbers_of(opened(zipped(tmp_path / "x", tmp_path / "x.zip"), "test")) == [27, 28, 29]


@pytest.mark.parametrize("count", range(1, 22))
def test_every_count_divides(tmp_path: Path, count: int) -> None:
    path = hdf5(tmp_path / "x.h5", data8x8=faces(range(count)))
    found: list[int] = []
    for split in ("train", "test"):
        try:
            found += numbers_of(opened(path, split, hold_out=False))
        except DataError as error:
            assert count == 1 and split == "train" and "train 0, validation 0, test 1" in str(error)
    assert found == list(range(count))


# Counts and sizes


def test_other_counts_are_warned_of_and_the_right_ones_are_not(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for form in (official_hdf5, authors_folder, glow_records, flat_zip):
        for split in ("train", "test", "all"):
            message = "expected 27000 images for training and validation and 3000 for test, .*got 180 and 20"
            with pytest.warns(UserWarning, match=message) as caught:
                open_celeba_hq(built(form), split, SIZE, n_bits=8)
            assert len(caught) == 1 and caught[0].filename == __file__
    monkeypatch.setattr(celeba_hq, "TRAIN_COUNT", 180)
    monkeypatch.setattr(celeba_hq, "TEST_COUNT", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form in (official_hdf5, authors_folder, glow_records, flat_zip):
            for split in ("train", "validation", "test", "all"):
                open_celeba_hq(built(form), split, SIZE, n_bits=8)


def test_another_size_is_refused(built: Any) -> None:
    for form in (flat_folder, flat_zip, authors_folder, shards):
        with pytest.raises(DataError, match=r"16x16|-r04"):
            opened(built(form), "test", 16)
    with pytest.raises(DataError, match=r"such as data32x32, .*got data16x16 \(uint8 \(200, 3, 16, 16\)\), data8x8"):
        opened(built(official_hdf5), "test", 32)
    with pytest.raises(DataError, match=r"expected TFRecord files with -r05 in their names, .*got those of -r02, -r03"):
        opened(built(progan_records), "test", 32)


def test_records_of_another_size_than_their_name_says_are_refused(tmp_path: Path) -> None:
    path = records(tmp_path / "a-r03.tfrecords", [face(0, 16), face(1)])
    with pytest.raises(DataError, match=r"a-r03\.tfrecords/00000: expected 8x8 pixels .*got 16x16"):
        opened(path, "all")
    records(path, [face(0), face(1, 16)])
    images = opened(path, "all")
    with pytest.raises(DataError, match=r"a-r03\.tfrecords/00001: expected 8x8 pixels .*got 16x16"):
        images.read(1)


# What cannot be told apart


def nothing(root: Path) -> Path:
    return root / "missing"


def empty_folder(root: Path) -> Path:
    root.mkdir()
    return root


def other_file(root: Path) -> Path:
    root.mkdir()
    (root / "readme.txt").write_text("hello")
    return root / "readme.txt"


def two_zips(root: Path) -> Path:
    flat_zip(root)
    (root / "two").mkdir()
    for name in ("a.zip", "b.zip"):
        shutil.copy(root / "celeba_hq.zip", root / "two" / name)
    return root / "two"


def images_and_zip(root: Path) -> Path:
    flat_zip(root)
    return root


def records_and_images(root: Path) -> Path:
    return folder(glow_records(root), ["train/a.png"])


@pytest.mark.parametrize(
    ("form", "came"),
    [
        (nothing, "nothing there"),
        (empty_folder, "a folder without them"),
        (other_file, "another file"),
        (two_zips, r"2 zip archive\(s\), such as a\.zip"),
        (images_and_zip, r"200 image file\(s\), such as 0\.png, 1 zip archive\(s\), such as celeba_hq\.zip"),
        (records_and_images, r"1 image file\(s\), such as a\.png, 16 TFRecord file\(s\), such as train-r03"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_cannot_be_told_apart_is_an_error_with_all_forms(tmp_path: Path, form: Any, came: str) -> None:
    root = form(tmp_path / "x")
    with pytest.raises(
        DataError, match=rf"(?s){re.escape(str(root))}: expected .*train/.*zip.*HDF5.*TFRec.*got {came}"
    ):
        opened(root, "test")


def test_an_unknown_split_is_an_error(built: Any) -> None:
    with pytest.raises(DataError, match="expected a split among train, validation, test, all, got 'val'"):
        opened(built(flat_folder), "val")


def test_a_missing_part_is_an_error_that_names_the_counts(tmp_path: Path) -> None:
    folder(tmp_path, ["validation/validation/a.png"])
    assert numbers_of(opened(tmp_path, "test")) == [0]
    with pytest.raises(DataError, match=r"train split .*train 0, validation 0, test 1.*sub-folder train"):
        opened(tmp_path, "train")


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("TRAINING", "testing"), ("train", "VALID")])
def test_records_and_datasets_are_divided_by_names_in_any_case(tmp_path: Path, train: str, test: str) -> None:
    for part, numbers in ((train, range(27)), (test, range(27, 30))):
        records(tmp_path / "records" / part / "a-r03.tfrecords", [face(number) for number in numbers])
    array = hdf5(tmp_path / "x.h5", **{train: faces(range(27)), test: faces(range(27, 30)), "all": faces(range(30))})
    for root in (tmp_path / "records", array):
        assert numbers_of(opened(root, "train", hold_out=False)) == list(range(27))
        assert numbers_of(opened(root, "test")) == list(range(27, 30))


@pytest.mark.parametrize("name", ["x_test", "held_out", "images_val2"])
def test_a_dataset_that_resembles_a_split_is_refused(tmp_path: Path, name: str) -> None:
    path = hdf5(tmp_path / "x.h5", train=faces(range(3)), **{name: faces(range(3))})
    with pytest.raises(DataError, match=f"got {name} with images of the same size; rename or remove them"):
        opened(path, "train")


def test_two_parts_for_validation_are_an_error(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "x.h5", train=faces(range(3)), val=faces(range(3)), validation=faces(range(3)))
    with pytest.raises(DataError, match=r"one each called train and validation, got .*val .*, validation "):
        opened(path, "train")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    glow_records(tmp_path / "x")
    (tmp_path / "x" / "train" / "train-r03-s-0002-of-0006.tfrecords").unlink()
    with pytest.raises(DataError, match=r"train: expected the 6 files .* got 5: number 2 is the first that is missing"):
        opened(tmp_path / "x", "test")


def test_files_of_two_sets_in_a_folder_are_an_error(tmp_path: Path) -> None:
    for name in ("a-r03.tfrecords", "b-r03.tfrecords"):
        records(tmp_path / name, [face(0)])
    with pytest.raises(DataError, match=r"expected the TFRecord files of one data set, got a-rN\.tfrecords, b-rN"):
        opened(tmp_path, "all")
    records(tmp_path / "train" / "c.tfrecords", [face(0)])
    with pytest.raises(DataError, match="either in the folder or in its subfolders, got both"):
        opened(tmp_path, "all")


@pytest.mark.parametrize(
    "datasets",
    [
        {"a": faces(range(3)), "b": faces(range(3))},
        {"a": faces(range(3)).astype(np.float32)},
        {"a": faces(range(3))[0]},
        {"train__a": faces(range(3)), "train__b": faces(range(3))},
        {},
    ],
)
def test_datasets_that_cannot_be_told_apart_are_listed(tmp_path: Path, datasets: dict[str, NDArray[Any]]) -> None:
    path = hdf5(tmp_path / "x.h5", **datasets)
    with pytest.raises(DataError, match=r"x\.h5: expected one dataset of uint8 images of 8x8 pixels, .*got") as error:
        opened(path, "all")
    assert all(name.replace("__", "/") in str(error.value) for name in datasets)


def test_a_link_in_an_hdf5_file_that_leads_nowhere_is_no_dataset(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "x.h5", data8x8=faces(range(10)))
    with h5py.File(path, "a") as file:
        file["elsewhere"] = h5py.ExternalLink("missing.h5", "/data8x8")
        file["nothing"] = h5py.Empty("u1")
    assert len(opened(path, "all")) == 10


@pytest.mark.parametrize(("module", "form"), [("h5py", official_hdf5), ("tfrecord", progan_records)])
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    built: Any, module: str, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = built(form)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PixelPyramidsError, match=rf'{module} is not installed.*pip install "pixelpyramids\[data\]"'):
        opened(root, "test")


# Damage


def small_form(form: Callable[[Path], Path], root: Path) -> Path:
    """Ten images, alone in one file of that form."""
    root.mkdir(exist_ok=True)
    if form is flat_zip:
        return zipped(folder(root / "images", [f"{n}.png" for n in range(10)]), root / "x.zip")
    if form is official_hdf5:
        return hdf5(root / "x.h5", data8x8=faces(range(10)))
    return records(root / "x.tfrecords", [face(number) for number in range(10)])


SINGLE = [flat_zip, official_hdf5, progan_records]


@pytest.mark.parametrize("form", SINGLE, ids=name_of)
def test_a_truncated_file_is_named(tmp_path: Path, form: Any) -> None:
    path = small_form(form, tmp_path)
    content = path.read_bytes()
    # A TFRecord file that is cut between two records, as this one in its middle, is a whole one of fewer.
    for length in (0, 1, 11, 12, 100, len(content) // 3, len(content) // 2 + 1, len(content) - 5, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=re.escape(str(path))):
            opened(path, "all")


@pytest.mark.parametrize("form", SINGLE, ids=name_of)
def test_a_file_that_shrinks_or_goes_while_in_use_is_named(tmp_path: Path, form: Any) -> None:
    path = small_form(form, tmp_path)
    images = opened(path, "all")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=re.escape(str(path))):
        images.read(9 if form is not flat_zip else 0)
        images._kept.clear()
        images.read(0)
        for index in range(10):
            images.read(index)
    path.unlink()
    images._kept.clear()
    with pytest.raises(DataError, match=re.escape(str(path))):
        images.read(0)


@pytest.mark.parametrize("form", SINGLE, ids=name_of)
def test_a_foreign_file_is_named(tmp_path: Path, form: Any) -> None:
    path = small_form(form, tmp_path)
    for content in (b"hello, world, this is text", os.urandom(1000), b"\x1f\x8b\x08" + bytes(40), bytes(64)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=re.escape(str(path))):
            opened(path, "all")


@pytest.fixture(scope="module", params=SINGLE, ids=name_of)
def intact(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bytes]]:
    path = small_form(request.param, tmp_path_factory.mktemp("damage"))
    yield path, path.read_bytes()


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_is_an_image_or_a_data_error(intact: tuple[Path, bytes], data: st.DataObject) -> None:
    path, whole = intact
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        images = opened(path, "all")
        for index in range(len(images)):
            assert images.read(index).shape == (3, SIZE, SIZE)
    except DataError as error:
        assert str(path) in str(error)


def test_a_bit_that_flips_in_a_record_or_a_member_is_found(tmp_path: Path) -> None:
    for form, suffix in ((progan_records, "tfrecords"), (flat_zip, "zip")):
        path = small_form(form, tmp_path / suffix)
        content = bytearray(path.read_bytes())
        at = 200
        content[at] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"x\.{suffix}/\S+: expected a whole (record|file)"):
            for index in range(10):
                (TfRecordEntries([path]) if suffix == "tfrecords" else ZipEntries(path)).read(index)


# Containers


def test_a_zip_gives_the_contents_of_its_images_alone(tmp_path: Path) -> None:
    contents = {"b/1.PNG": b"one", "a.jpg": b"two" * 1000, "b/é.webp": b"", "c/日本.png": os.urandom(999)}
    others = ["notes.txt", ".hidden.png", "x/.git/a.png", "__MACOSX/a.jpg", "__MACOSX/b/._1.png", "folder.png/"]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number, (name, content) in enumerate(contents.items()):
            archive.writestr(name, content, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number % 2])
        for name in others:
            archive.writestr(name, b"")
    entries = pickle.loads(pickle.dumps(ZipEntries(tmp_path / "x.zip")))
    assert list(entries.names) == [tmp_path / "x.zip" / name for name in sorted(contents)]
    for index, name in enumerate(sorted(contents)):
        assert entries.read(index) == contents[name]


def test_a_zip_behind_other_bytes_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"content")
    (tmp_path / "x.zip").write_bytes(b"#!/bin/sh\n" + (tmp_path / "x.zip").read_bytes())
    assert ZipEntries(tmp_path / "x.zip").read(0) == b"content"


def test_names_in_a_zip_stay_below_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("/etc/a.png", b"")
        archive.writestr("../b.png", b"")
    assert list(ZipEntries(tmp_path / "x.zip").names) == [tmp_path / "x.zip" / "etc" / "a.png"]


def test_zips_that_cannot_be_read_by_index_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", b"content")
    with pytest.raises(
        DataError, match=r"x\.zip/a\.png: expected a stored or deflated file, got compression method 14"
    ):
        ZipEntries(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"content")
    content = bytearray(path.read_bytes())
    for at in (6, content.index(b"PK\x01\x02") + 8):
        content[at] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.zip/a\.png: expected a file that is not encrypted"):
        ZipEntries(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", b"content")
    with pytest.raises(DataError, match=r"x\.zip: expected image files .* got none"):
        ZipEntries(path)


def test_a_zip_bomb_is_not_inflated_beyond_what_it_declares(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(1_000_000))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 10)
    path.write_bytes(content)
    with pytest.raises(DataError, match="got 11 bytes where the directory says 10, or more"):
        ZipEntries(path).read(0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("colours_first", [True, False])
def test_arrays_are_read_in_both_orders(tmp_path: Path, channels: int, colours_first: bool) -> None:
    images = np.random.default_rng(0).integers(256, size=(5, 6, 7, channels), dtype=np.uint8)
    stored = images.transpose(0, 3, 1, 2) if colours_first else images
    arrays = Hdf5Entries(hdf5(tmp_path / "x.h5", a__b=stored), "/a/b")
    framed = TfRecordEntries([records(tmp_path / "x.tfrecord", list(images), colours_first)])
    for entries in (arrays, framed, JoinedEntries([arrays])):
        assert len(entries.names) == 5
        assert all((entries.read(index) == images[index]).all() for index in range(5))
    assert arrays.names[-1] == tmp_path / "x.h5" / "a" / "b" / "00004"
    assert list(arrays.names[1:3]) == [arrays.names[1], arrays.names[2]]
    with pytest.raises(IndexError):
        arrays.names[5]


def test_virtual_images_of_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((10, 3, 8, 8), "u1")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "images", (10, 3, 8, 8))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("data8x8", layout)
    with pytest.raises(DataError, match=r"x\.h5/data8x8: expected images in the file itself, got a virtual dataset"):
        Hdf5Entries(tmp_path / "x.h5", "data8x8")


@pytest.mark.parametrize("chunks", [None, (1, 3, 8, 8), (4, 3, 8, 8)])
def test_images_that_were_never_written_are_refused(tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("data8x8", (10, 3, 8, 8), "u1", chunks=chunks)
        if chunks is not None:
            file["data8x8"][:4] = faces(range(4))
    with pytest.raises(DataError, match=r"x\.h5/data8x8: expected \d+ (chunks|bytes) of images, got [014] and nothing"):
        opened(tmp_path / "x.h5", "all")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["data8x8"][:] = faces(range(10))
    assert numbers_of(opened(tmp_path / "x.h5", "all")) == list(range(10))


def test_an_array_that_holds_no_images_is_refused(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "x.h5", a=faces(range(3)), b=np.zeros((2, 3, 4, 3), np.uint8), c=np.zeros((2, 9), np.uint8))
    with pytest.raises(DataError, match=r"x\.h5/d: expected a dataset there, got a \(uint8 \(3, 3, 8, 8\)\), b"):
        Hdf5Entries(path, "d")
    for dataset in ("b", "c"):
        with pytest.raises(DataError, match=rf"x\.h5/{dataset}: expected uint8 images"):
            Hdf5Entries(path, dataset)


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
def test_records_of_other_features_are_refused(tmp_path: Path, features: dict[str, Any]) -> None:
    writer = tfrecord.TFRecordWriter(str(tmp_path / "x.tfrecords"))
    writer.write(features)
    writer.close()
    with pytest.raises(DataError, match=r"x\.tfrecords/00000: expected the features `shape`, .*" + min(features)):
        TfRecordEntries([tmp_path / "x.tfrecords"]).read(0)


def test_records_that_are_no_examples_are_refused(tmp_path: Path) -> None:
    checksum = tfrecord.TFRecordWriter.masked_crc
    length, payload = struct.pack("<Q", 3), b"\xff\xff\xff"
    (tmp_path / "x.tfrecords").write_bytes(length + checksum(length) + payload + checksum(payload))
    with pytest.raises(DataError, match=r"x\.tfrecords/00000: expected a tensorflow\.Example"):
        TfRecordEntries([tmp_path / "x.tfrecords"]).read(0)


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    for entries in (
        lambda path: ZipEntries(path),
        lambda path: Hdf5Entries(path, "a"),
        lambda path: TfRecordEntries([path]),
        lambda path: FileEntries([path]).read(0),
    ):
        for path in (tmp_path / "missing", tmp_path):
            with pytest.raises(DataError, match=re.escape(str(path))):
                entries(path)
