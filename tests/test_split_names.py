"""No test image is ever trained on: names decide the splits, and unclear names are refused."""

import itertools
import warnings
from functools import partial

import numpy as np
import pytest
from data_layouts import encode, noise, write_files, write_pictures, write_tar, write_zip

from pixelpyramids.data.celeba_hq import open_celeba_hq
from pixelpyramids.data.imagenet import open_imagenet
from pixelpyramids.data.lsun import open_lsun
from pixelpyramids.data.shard_names import refuse_held_out_files, split_shards
from pixelpyramids.data.shards import count_examples
from pixelpyramids.data.split_names import NAMES, is_split_column, resembles_held_out, resembles_split, split_of
from pixelpyramids.data.splits import split_files
from pixelpyramids.errors import DataError

CASES = (str.lower, str.title, str.upper)


def some(folder: str, count: int = 30) -> list[str]:
    return [f"{folder}/{number}.png" for number in range(count)]


@pytest.mark.parametrize("train", NAMES["train"])
@pytest.mark.parametrize("test", NAMES["test"])
@pytest.mark.parametrize("validation", [None, *NAMES["validation"]])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("above", ["", "data/"])
def test_every_usual_name_is_understood_in_upper_and_lower_case(tmp_path, train, test, validation, case, above):
    names = [f"{above}{case(name)}" for name in (train, test, validation) if name is not None]
    write_files(tmp_path, {file: b"" for name in names for file in some(f"{name}/a", 3)})
    found = {split: split_files(tmp_path, split, hold_out=False) for split in ("train", "test")}
    if validation is not None:
        found["validation"] = split_files(tmp_path, "validation")
    for split, name in zip(found, names, strict=True):
        assert [file.relative_to(tmp_path / name).parts[0] for file in found[split]] == ["a"] * 3


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("train", NAMES["train"])
@pytest.mark.parametrize("test", [*NAMES["test"], *NAMES["validation"]])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_celeba_is_divided_by_names_in_upper_and_lower_case(tmp_path, case, train, test, form):
    names = [*some(case(train), 27), *some(case(test), 3)]
    contents = {f"celeba/{name}": encode(noise(number)) for number, name in enumerate(names)}
    root = write_zip(tmp_path / "x.zip", contents) if form == "zip" else write_files(tmp_path, contents)
    with pytest.warns(UserWarning, match="got 27 and 3"):
        found = open_celeba_hq(root, "train", 8, n_bits=8, hold_out=False)
    assert {file.parent.name for file in found.files} == {case(train)} and len(found) == 27


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        (("Train_set", "Test_set"), "Test_set, Train_set"),
        (("a", "test2"), "test2"),
        (("a", "held-out"), "held-out"),
        (("a", "b/HoldOut"), "b/HoldOut"),
        (("cat/train", "cat/test", "dog"), "cat/test, cat/train"),
        (("cat/train", "dog/Test"), "cat/train, dog/Test"),
        (("images/train", "masks/train"), "images/train, masks/train"),
        (("trainA", "testA"), "testA, trainA"),
        (("train2017", "val2017"), "train2017, val2017"),
        (("a", "trainval"), "trainval"),
        (("x_train", "x_test"), "x_test, x_train"),
        (("xtrain", "xtest"), "xtest, xtrain"),
        (("celebatrain", "celebatest", "more"), "celebatest, celebatrain;"),
        (("imagesTr", "imagesTs"), "imagesTr, imagesTs;"),
        (("Tr", "Te"), "Te, Tr;"),
        (("tests", "a"), "tests"),
        (("photos", "testphotos"), "testphotos"),
        (("pictures", "valpicture"), "valpicture"),
        (("TESTset", "a"), "TESTset"),
        (("a", "evaluation"), "evaluation"),
        (("train", "test2"), "test2"),
        (("train", "faces"), "faces"),
        (("train", "val", "test", "extra/a"), "extra"),
        (("train", "Train"), "Train and train"),
        (("train", "training"), "train and training"),
        (("train", "val", "valid"), "val and valid"),
        (("train", "test", "Testing"), "Testing and test"),
        (("train", "train/test"), "train/test"),
        (("train/a", "train/a/Val_images", "test"), "train/a/Val_images"),
    ],
)
@pytest.mark.parametrize("open_split", [split_files, partial(open_celeba_hq, size=8, n_bits=8)])
def test_unclear_folders_are_refused_and_named(tmp_path, folders, named, open_split):
    write_pictures(tmp_path, *itertools.chain.from_iterable(some(folder, 3) for folder in folders))
    for split in ("train", "validation", "test"):
        with pytest.raises(DataError, match=named):
            open_split(tmp_path, split)
    assert len(split_files(tmp_path, "all")) == 3 * len(folders)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train_{}", "test_{}"),
        ("celeba_train_{}", "celeba_val_{}"),
        ("{}_train", "{}_test"),
        ("TrainImage{}", "TestImage{}"),
        ("trn{}", "tst{}"),
        ("cats/{}.train", "dogs/{}.test"),
        ("{}-val", "{}-test"),
    ],
)
def test_files_that_are_named_after_splits_are_refused(tmp_path, train, test):
    write_pictures(tmp_path, *(f"{name.format(number)}.png" for name in (train, test) for number in range(9)))
    with pytest.raises(DataError, match=rf"{test.format('.')}\.png.*; move them into folders train"):
        split_files(tmp_path, "train")


def test_photographs_of_trains_and_tests_are_not_splits(tmp_path):
    names = ("a train at the station", "a crash test", "steam_train", "latest_1", "greatest_1", "0001_latest", "val 3")
    assert split_files(write_pictures(tmp_path, *(f"{name}.png" for name in names)), "train")


@pytest.mark.parametrize(
    ("train", "open_"),
    [("train", partial(open_lsun, category="tower")), ("train", open_imagenet), ("train_128x128", open_imagenet)],
)
@pytest.mark.parametrize("hidden", ["test", "n1/test", "n1/a/Val_images"])
def test_held_out_images_below_those_of_lsun_or_imagenet_are_refused(tmp_path, train, hidden, open_):
    write_pictures(tmp_path, *some(f"{train}/n1", 3), f"{train}/{hidden}/0.png", size=128)
    with pytest.raises(DataError, match=f"got {train}/{hidden}, which"):
        open_(tmp_path, split="train", size=128, n_bits=8)


def test_classes_are_not_splits(tmp_path):
    write_pictures(tmp_path, *some("contest", 9), *some("latest", 9), *some("rain", 9), *some("valley", 9))
    assert 0 < len(split_files(tmp_path, "train", hold_out=False)) < 36
    for name in (
        "contest",
        "latest",
        "valley",
        "evaluator",
        "device",
        "testament",
        "devices",
        "testphotography",
        "training_shoe",
        "n01440764",
        "images",
    ):
        assert not resembles_held_out(name)
    for split, names in NAMES.items():
        for name in names:
            assert split_of(name) == split and resembles_split(name) and resembles_held_out(name) == (split != "train")


def test_columns_that_may_name_splits_are_known():
    for name in (
        "split",
        "Usage",
        "phase",
        "data_split",
        "DATASET_SPLIT",
        "splitName",
        "set type",
        "Partition",
        "fold_1",
    ):
        assert is_split_column(name)
    for name in ("memory_usage", "moon_phase", "data_set", "caption", "offset", "splitter"):
        assert not is_split_column(name)


def test_images_beside_the_splits_belong_to_none_and_give_a_warning(tmp_path):
    write_pictures(tmp_path, *some("train", 5), *some("test", 2), "a.png", "b.png")
    with pytest.warns(UserWarning, match=r"2 images lie beside test, train and belong to no split, such as a\.png"):
        found = [name for split in ("train", "test") for name in split_files(tmp_path, split, hold_out=False)]
    assert len(found) == 7


@pytest.mark.parametrize(("link", "target"), [("Train/x", "Test"), ("test", "train"), ("train/a/b", "validation/c")])
def test_a_link_from_one_split_into_another_is_refused(tmp_path, link, target):
    beside = link.rpartition("/")[0]
    write_pictures(tmp_path, *some(f"{target}/d", 3), *(some(f"{beside}/own", 3) if beside else []))
    (tmp_path / link).symlink_to(tmp_path / target)
    for split in ("train", "test"):
        with pytest.raises(DataError, match="are the same folder; remove the link"):
            split_files(tmp_path, split)


def test_two_links_to_one_folder_elsewhere_are_refused_in_different_splits(tmp_path):
    write_pictures(tmp_path, *some("pool", 3), *some("images/train", 3), *some("images/test", 3))
    for name in ("train", "test"):
        (tmp_path / "images" / name / "more").symlink_to(tmp_path / "pool")
    with pytest.raises(DataError, match="train/more and test/more"):
        split_files(tmp_path / "images", "train")


@pytest.mark.parametrize(("train", "val"), [("Train", "Val"), ("TRAINING", "validation"), ("train", "valid")])
@pytest.mark.parametrize("suffix", ["", "_8x8"])
def test_imagenet_trees_are_divided_in_upper_and_lower_case(tmp_path, train, val, suffix):
    write_pictures(tmp_path, *some(train + suffix, 4), *some(val + suffix, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for split, name, count in (("train", train, 4), ("test", val, 2)):
            found = open_imagenet(tmp_path, split, 8, n_bits=8, hold_out=False)
            assert {file.parent.name for file in found.files} == {name + suffix} and len(found) == count


def test_imagenet_trees_with_two_training_folders_or_links_are_refused(tmp_path):
    write_pictures(tmp_path / "b", *some("train", 4), *some("Train", 2))
    with pytest.raises(DataError, match="both Train and train"):
        open_imagenet(tmp_path / "b", "train", 8, n_bits=8)
    write_pictures(tmp_path / "c", *some("train", 4))
    (tmp_path / "c" / "val").symlink_to(tmp_path / "c" / "train")
    with pytest.raises(DataError, match="are the same folder"):
        open_imagenet(tmp_path / "c", "train", 8, n_bits=8)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("0.tar", "1.tar"), {"train": 2}),
        (("Train-0.tar", "TEST-0.tar", "TEST-1.tar"), {"train": 1, "test": 2}),
        (("training/0.tar", "Valid/0.tar"), {"train": 1, "validation": 1}),
        (("train/0.tar", "Test/0.tar", "Test/1.tar"), {"train": 1, "test": 2}),
        (("train2017-00000-of-00001.tar", "dev.tar"), {"train": 1, "validation": 1}),
    ],
)
def test_shards_are_divided_in_upper_and_lower_case(tmp_path, names, splits):
    found = split_shards(f"{tmp_path}/**", [tmp_path / name for name in names])
    assert {split: len(files) for split, files in found.items()} == splits


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (("train-0.tar", "holdout-0.tar"), r"holdout-0\.tar; rename"),
        (("train-0.tar", "0.tar"), r"got 0\.tar beside others"),
        (("train-0.tar", "evalset/0.tar"), "rename evalset"),
        (("train_val-0.tar", "test-0.tar"), r"train_val-0\.tar"),
        (("train-0.tar", "val-0.tar", "valid-0.tar"), "both val and valid"),
        (("Train-0.tar", "train-1.tar"), "both Train and train"),
        (("0.tar", "held-out/0.tar"), "rename held-out"),
        (("celebatrain.tar", "celebatest.tar"), "celebatrain.tar, celebatest.tar"),
        (("0_tr.tar", "0_te.tar"), "0_tr.tar, 0_te.tar"),
        (("imagesTr/0.tar", "imagesTs/0.tar"), "imagesTr, imagesTs"),
    ],
)
def test_shards_with_unclear_splits_are_refused(tmp_path, names, named):
    with pytest.raises(DataError, match=named):
        split_shards(str(tmp_path), [tmp_path / name for name in names])


def test_training_files_of_the_hub_must_not_be_named_like_other_splits():
    def check(*train):
        at = "hf://datasets/owner/test-set@0123abcd/"
        refuse_held_out_files("hub:owner/test-set", {"train": [at + name for name in train], "test": [f"{at}Test-0"]})

    check("data/train-0.parquet", "test_config/train-0.parquet", "data/0.parquet")
    for name in ("data/Test-0.parquet", "HoldOut/0.parquet", "data/eval-0.parquet"):
        with pytest.raises(DataError, match="named like images for validation or test"):
            check("data/train-0.parquet", name)


@pytest.mark.parametrize("other", ["test/0.png", "Val/a/0.png", "held_out/0.png", "train/test/0.png"])
def test_tars_to_train_on_that_hold_other_splits_are_refused(tmp_path, other):
    for name, members in (("good", ["train/0.png", "train/1.png"]), ("bad", ["train/0.png", other])):
        write_tar(tmp_path / f"{name}.tar", dict.fromkeys(members, b""))
    assert count_examples(str(tmp_path / "good.tar"), train=True) == 2
    assert count_examples(str(tmp_path / "bad.tar")) == 2
    with pytest.raises(DataError, match=r"bad\.tar"):
        count_examples(str(tmp_path / "bad.tar"), train=True)


@pytest.mark.parametrize("name", ["train_heldout", "training_eval", "train_unseen"])
def test_downsampled_training_images_named_like_others_are_refused(tmp_path, name):
    for file in ("train_data_batch_1", name, "val_data"):
        np.savez(tmp_path / f"{file}.npz", data=np.zeros((4, 192), np.uint8))
    with pytest.raises(DataError, match=name):
        open_imagenet(tmp_path, "train", 8, n_bits=8)
