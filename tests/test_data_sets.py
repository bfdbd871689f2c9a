"""Every data set in every form: the same images give the same integers and splits in all of them."""

import pickle
import re
import shutil
import sys
import warnings
from functools import partial

import data_layouts as forms
import h5py
import numpy as np
import pytest
from data_layouts import LAYOUTS, encode, faces, noise, write_files, write_hdf5, write_records, write_zip
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from pixelpyramids.data import celeba_hq, imagenet, lsun
from pixelpyramids.data.celeba_hq import open_celeba_hq
from pixelpyramids.data.imagenet import open_imagenet
from pixelpyramids.data.lsun import open_lsun
from pixelpyramids.data.reading import center_crop
from pixelpyramids.data.splits import SPLITS, hold_out_indices, split_files
from pixelpyramids.errors import DataError, PixelPyramidsError

FACES = LAYOUTS["celeba folder"]
EACH = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
SOME = [
    "celeba folder", "celeba zip", "celeba hdf5 of parts", "celeba records of glow", "imagenet tree", "imagenet tars",
    "downsampled npz", "downsampled compressed npz", "lsun environments",
]  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The root of each layout, written once; the index of archives is cached beside them."""
    roots = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))

        def build(layout: forms.Layout):
            if layout.build not in roots:
                roots[layout.build] = layout.build(tmp_path_factory.mktemp("data") / "root")
            return roots[layout.build]

        yield build


@EACH
def test_splits_are_exact_disjoint_and_complete(built, layout):
    root, train, everything = built(layout), list(range(layout.train)), list(range(layout.count))
    found = {split: layout.numbers(layout.read(root, split, seed=5)) for split in SPLITS}
    assert sorted(found["test"]) == everything[layout.train :] and sorted(found["all"]) == everything
    assert len(found["validation"]) == 1 and sorted(found["train"] + found["validation"]) == train
    without = layout.numbers(layout.read(root, "train", hold_out=False))
    assert sorted(without) == train
    with pytest.raises(DataError, match=r"nothing is held out of train here|hold images out, or choose"):
        layout.read(root, "validation", hold_out=False)
    with pytest.raises(DataError, match="expected a split among train, validation, test, all, got 'val'"):
        layout.read(root, "val")
    held_out = {layout.read(root, "validation", seed=seed).files[0] for seed in range(12)}
    assert len(held_out) > 3
    if layout.is_ordered:
        assert (without, found["test"]) == (train, everything[layout.train :])
        stay, held = hold_out_indices(layout.train, seed=5)
        assert (found["train"], found["validation"]) == (stay.tolist(), held.tolist())


@pytest.mark.parametrize("data_set", ["imagenet", "lsun"])
def test_every_form_of_the_original_images_holds_out_the_same(built, data_set):
    forms = [layout for name, layout in LAYOUTS.items() if name.startswith(data_set) and not layout.is_ordered]
    for split in ("train", "validation"):
        assert len({tuple(form.numbers(form.read(built(form), split, seed=1))) for form in forms}) == 1


@EACH
def test_values_names_sizes_and_formats_are_correct(built, layout):
    root, images = built(layout), layout.read(built(layout), "test", n_bits=5)
    count = layout.count - layout.train
    assert sorted(layout.numbers(images, n_bits=5)) == list(range(layout.train, layout.count))
    assert (images.channels, images.n_bits, images.read(0).dtype) == (3, 5, np.uint8)
    assert len(set(images.files)) == len(images.files) == len(images) == count
    assert all(root in file.parents or root == file for file in images.files)
    assert images.sizes.tolist() == [list(layout.expected(0).shape[1:])] * count
    assert set(images.formats) <= layout.formats


@EACH
def test_copies_in_other_processes_read_the_same(built, layout, monkeypatch):
    monkeypatch.setattr("pixelpyramids.data.images.CACHE_BYTES", 0)
    images = layout.read(built(layout), "all")
    numbers = layout.numbers(images)
    assert layout.numbers(pickle.loads(pickle.dumps(images))) == numbers
    for context in ("fork", *(["spawn"] if layout is LAYOUTS["downsampled compressed npz"] else [])):
        options = {"num_workers": 2, "multiprocessing_context": context}
        loader = DataLoader(range(len(images)), batch_size=None, collate_fn=images.read, **options)  # read by workers
        for number, image in zip(numbers, loader, strict=True):
            assert (image == layout.expected(number)).all()


@pytest.mark.parametrize("name", SOME)
def test_only_unexpected_counts_give_a_warning(built, name, monkeypatch):
    layout, train, test = LAYOUTS[name], LAYOUTS[name].train, LAYOUTS[name].count - LAYOUTS[name].train
    message = {
        "celeba": f"expected 27000 images for training and validation and 3000 for test, .*got {train} and {test}",
        "imagenet": f"expected 50000 images in val, got {test}",
        "lsun": f"val_lmdb: expected 300 images in val, got {test}",
    }[name.replace("downsampled", "imagenet").split()[0]]
    with pytest.warns(UserWarning, match=message) as caught:
        layout.open(built(layout), split="test", n_bits=8)
    assert len([warning for warning in caught if "last tenth" not in str(warning.message)]) == 1
    for module, counts in (
        (celeba_hq, {"TRAIN_COUNT": train, "TEST_COUNT": test}),
        (imagenet, {"COUNTS": {"train": train, "val": test}}),
        (lsun, {"TRAIN_COUNTS": {"church_outdoor": train}, "VAL_COUNT": test}),
    ):
        for constant, count in counts.items():
            monkeypatch.setattr(module, constant, count)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*last tenth")
        for split in SPLITS:
            layout.open(built(layout), split=split, n_bits=8)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name.startswith("celeba")])
def test_a_copy_of_celeba_without_the_published_splits_gives_a_warning(built, name, monkeypatch):
    monkeypatch.setattr(celeba_hq, "TRAIN_COUNT", 27)
    monkeypatch.setattr(celeba_hq, "TEST_COUNT", 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        forms.open_celeba(built(LAYOUTS[name]), split="test", n_bits=8)
    is_divided = name.removeprefix("celeba ") in forms.CELEBA_DIVIDED
    said = ["these are not the published test images" in str(warning.message) for warning in caught]
    assert said == ([] if is_divided else [True])


@pytest.mark.parametrize(
    ("module", "name"),
    [("h5py", "celeba hdf5 of parts"), ("tfrecord", "celeba records of glow"), ("lmdb", "lsun environments")],
)
def test_the_error_for_a_missing_package_says_how_to_install_it(built, module, name, monkeypatch):
    root = built(LAYOUTS[name])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PixelPyramidsError, match=rf'{module} is not installed.*pip install "pixelpyramids\[data\]"'):
        LAYOUTS[name].read(root, "test")


def read_faces(root, split, **options):
    return FACES.numbers(FACES.read(root, split, **options))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_folders_and_a_zip_of_them_split_as_any_folder_does(tmp_path, split):
    root = write_files(tmp_path / "x", forms.authors_files())
    archive = write_zip(tmp_path / "x.zip", forms.authors_files("celeba/"))
    files = split_files(root, split, 7)
    assert list(FACES.read(root, split, seed=7).files) == files
    below = [file.relative_to(archive / "celeba") for file in FACES.read(archive, split, seed=7).files]
    assert below == [file.relative_to(root) for file in files]


def test_numbers_in_names_are_sorted_by_value(tmp_path):
    for pattern in ("a/{}.png", "b/{:05d}.png"):
        assert read_faces(write_files(tmp_path, forms.face_files(pattern)) / pattern[0], "test") == [27, 28, 29]


def test_masks_beside_the_images_are_ignored(tmp_path):
    contents = forms.face_files("CelebAMask-HQ/CelebA-HQ-img/{}.jpg.png")
    contents |= {f"CelebAMask-HQ/CelebAMask-HQ-mask-anno/{n}_hair.png": encode(noise(100 + n)) for n in range(9)}
    root = write_files(tmp_path / "x", contents)
    for path in (root, root / "CelebAMask-HQ", write_zip(tmp_path / "x.zip", contents)):
        assert sorted(read_faces(path, "all")) == list(range(30)) and read_faces(path, "test") == [27, 28, 29]


def test_every_count_is_divided_into_splits(tmp_path):
    with pytest.raises(DataError, match="train 0, validation 0, test 1"):
        FACES.read(write_hdf5(tmp_path / "1.h5", data8x8=faces(range(1))), "train", hold_out=False)
    for count in range(2, 22):
        path = write_hdf5(tmp_path / f"{count}.h5", data8x8=faces(range(count)))
        train, test = (read_faces(path, split, hold_out=False) for split in ("train", "test"))
        assert train + test == list(range(count))


def test_the_dataset_or_file_that_is_read_is_named(tmp_path):
    array, record = forms.hdf5_of_two_sizes(tmp_path / "a"), forms.records_of_three_sizes(tmp_path / "b")
    assert FACES.read(array, "test").files[0] == array / "data8x8" / "00027"
    assert FACES.read(record, "test").files[0] == record / "celebahq-r03.tfrecords" / "00027"


def test_each_image_reports_its_own_encoding(tmp_path):
    write_files(tmp_path, {"0.png": encode(noise(0)), "1.png": encode(noise(1), "JPEG")})
    images = FACES.read(tmp_path, "all")
    images.read(1)
    assert images.formats == ["PNG", "JPEG"]


@pytest.mark.parametrize(
    ("names", "below", "came"),
    [
        ([], "missing", "nothing there"),
        (["a.txt"], "", "a folder without them"),
        (["a.txt"], "a.txt", "another file"),
        (["a.zip", "b.zip"], "", r"2 zip archive\(s\), such as a\.zip"),
        (["0.png", "x.zip"], "", r"1 image file\(s\), such as 0\.png, 1 zip archive\(s\), such as x\.zip"),
        (["train/a.png", "train/b.tfrecords"], "", r"1 image.* such as a\.png, 1 TFRecord file\(s\), such as b"),
    ],
)
def test_unclear_forms_are_refused_with_a_list_of_all_forms(tmp_path, names, below, came):
    root = write_files(tmp_path, dict.fromkeys(names, b"")) / below
    message = rf"(?s){re.escape(str(root))}: expected .*train and.*zip.*HDF5.*TFRec.*got {came}"
    with pytest.raises(DataError, match=message):
        FACES.read(root, "test")


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("TRAINING", "testing"), ("train", "VALID")])
def test_records_and_datasets_are_divided_by_names_in_any_case(tmp_path, train, test):
    for part, numbers in ((train, range(27)), (test, range(27, 30))):
        write_records(tmp_path / "records" / part / "a-r03.tfrecords", [noise(number) for number in numbers])
    parts = {train: faces(range(27)), test: faces(range(27, 30)), "all": faces(range(30))}
    for root in (tmp_path / "records", write_hdf5(tmp_path / "x.h5", **parts)):
        assert read_faces(root, "train", hold_out=False) == list(range(27))
        assert read_faces(root, "test") == list(range(27, 30))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "x_test"], "one each called train, validation, test, got .*x_test .*; rename or remove the others"),
        (["train", "held_out"], "got held_out .*, train "),
        (["train", "images_val2"], "got images_val2 .*, train "),
        (["train", "val", "validation"], "got .*val .*, validation "),
        (["a", "b"], r"expected one dataset of uint8 images of 8x8 pixels, .*got a .*, b "),
        (["train__a", "train__b"], "expected one dataset of .*got train/a .*, train/b "),
        ([], "expected one dataset of .*got no dataset"),
    ],
)
def test_unclear_datasets_are_listed(tmp_path, names, message):
    path = write_hdf5(tmp_path / "x.h5", **dict.fromkeys(names, faces(range(3))))
    with pytest.raises(DataError, match=rf"x\.h5: .*{message}"):
        FACES.read(path, "train")


@pytest.mark.parametrize("array", [faces(range(3)).astype(np.float32), faces(range(3))[0]])
def test_datasets_that_are_not_images_are_listed(tmp_path, array):
    with pytest.raises(DataError, match=r"expected one dataset of uint8 images .*got a"):
        FACES.read(write_hdf5(tmp_path / "x.h5", a=array), "all")


def test_a_broken_link_in_an_hdf5_file_is_ignored(tmp_path):
    path = write_hdf5(tmp_path / "x.h5", data8x8=faces(range(10)))
    with h5py.File(path, "a") as file:
        file["elsewhere"] = h5py.ExternalLink("missing.h5", "/data8x8")
        file["nothing"] = h5py.Empty("u1")
    assert len(FACES.read(path, "all")) == 10


def test_a_missing_shard_is_named(tmp_path):
    (forms.glow_records(tmp_path) / "train" / "train-r03-s-0002-of-0006.tfrecords").unlink()
    with pytest.raises(DataError, match=r"train: expected 6 shards train-r03-s-\*-of-\*, as their names say, got 5"):
        FACES.read(tmp_path, "test")


def test_files_of_two_sets_in_a_folder_are_an_error(tmp_path):
    for name in ("a-r03.tfrecords", "b-r03.tfrecords"):
        write_records(tmp_path / name, [noise(0)])
    with pytest.raises(DataError, match=r"expected the TFRecord files of one data set, got a-rN\.tfrecords, b-rN"):
        FACES.read(tmp_path, "all")
    write_records(tmp_path / "train" / "c.tfrecords", [noise(0)])
    with pytest.raises(DataError, match="either in the folder or in its subfolders, got both"):
        FACES.read(tmp_path, "all")


def test_records_of_another_size_than_their_name_says_are_refused(tmp_path):
    images = FACES.read(write_records(tmp_path / "a-r03.tfrecords", [noise(0), noise(1, 16)]), "all")
    with pytest.raises(DataError, match=r"a-r03\.tfrecords/00001: expected 8x8 pixels .*got 16x16"):
        images.read(1)


@pytest.mark.parametrize(
    ("make", "open_", "size", "message"),
    [
        (LAYOUTS["celeba folder"].build, open_celeba_hq, 16, "16x16"),
        (LAYOUTS["celeba zip"].build, open_celeba_hq, 16, "16x16"),
        (forms.record_shards, open_celeba_hq, 16, "-r04"),
        (forms.hdf5_of_two_sizes, open_celeba_hq, 32, r"such as data32x32, .*got data16x16 \(uint8 .*\), data8x8"),
        (forms.records_of_three_sizes, open_celeba_hq, 32, "with -r05 in their names, .*got those of -r02, -r03"),
        (partial(forms.downsampled_folders, size=17), open_imagenet, 16, "14.png: expected 16x16 .*17x17"),
        (forms.downsampled_npz, open_imagenet, 8, r"val_data\.npz.000000: expected 8x8 pixels .* got 16x16"),
        (lambda root: forms.downsampled_folders(forms.tree(root)), open_imagenet, 16, "both train_16x16 and train, wh"),
    ],
)
def test_other_sizes_and_mixtures_are_refused(tmp_path, make, open_, size, message):
    root = make(tmp_path / "x")
    with warnings.catch_warnings(), pytest.raises(DataError, match=message):
        warnings.simplefilter("ignore")
        open_(root, split="test", n_bits=8, size=size)


def test_a_category_that_lsun_lacks_is_refused(tmp_path):
    with pytest.raises(DataError, match="category among bedroom, church_outdoor, tower, got 'church'"):
        open_lsun(tmp_path, "church", "test", 128, n_bits=8)


def without_train(root):
    shutil.rmtree(forms.environments(root) / "church_outdoor_train_lmdb")


@pytest.mark.parametrize(
    ("make", "layout", "split", "message"),
    [
        (lambda root: write_files(root / "train", forms.train_files()), "imagenet tree", "test",
         r"expected ImageNet in .*folder val .*ILSVRC2012_img_val\.tar.*val_16x16"),
        (lambda root: None, "imagenet tree", "all", r"img_train\.tar.* or .*img_val\.tar.*got nothing there"),
        (without_train, "lsun environments", "train", r"expected LSUN's church_outdoor in .*church_outdoor_train_lmdb"),
        (partial(forms.environments, train=1), "lsun environments", "validation", "at least 2 images .*got 1"),
        (lambda root: write_files(root, {"validation/validation/a.png": encode(noise(0))}), "celeba folder", "train",
         r"train split .*train 0, validation 0, test 1.*sub-folder train"),
    ],
)  # fmt: skip
def test_a_missing_split_says_what_was_expected_where(tmp_path, make, layout, split, message):
    make(tmp_path / "{part}")
    with pytest.raises(DataError, match=message):
        LAYOUTS[layout].read(tmp_path / "{part}", split)


def test_the_test_split_needs_no_training_images(tmp_path):
    without_train(tmp_path)
    layout = LAYOUTS["lsun environments"]
    assert len(layout.read(tmp_path, "test")) == len(layout.read(tmp_path, "all")) == 2


@given(height=st.integers(20, 60), width=st.integers(20, 60), side=st.integers(1, 20))
def test_center_crop_has_torchvisions_offsets(height, width, side):
    rows, columns = np.mgrid[:height, :width]
    cropped = np.asarray(center_crop(Image.fromarray(np.stack([rows, columns, rows], -1).astype(np.uint8)), side))
    assert cropped.shape == (side, side, 3)
    assert cropped[0, 0].tolist()[:2] == [round((height - side) / 2.0), round((width - side) / 2.0)]


def test_an_image_that_is_too_small_to_crop_is_named(tmp_path):
    forms.write_lmdb(tmp_path / "tower_val_lmdb", {b"small": encode(noise(0, 255, 300), "JPEG")})
    message = r"tower_val_lmdb.small: expected an image of at least 256x256 .* got 255x300"
    with pytest.warns(UserWarning), pytest.raises(DataError, match=message):
        open_lsun(tmp_path, "tower", "test", 128, n_bits=5)


def test_a_damaged_first_image_does_not_stop_the_split_from_opening(tmp_path):
    write_files(tmp_path / "val", {"a.png": encode(noise(0, 128))[:80], "b.png": encode(noise(1, 128))})
    with pytest.warns(UserWarning, match="expected 300 images"):
        images = open_lsun(tmp_path, "tower", "test", 128, n_bits=8)
    with pytest.raises(DataError, match=r"a\.png"):
        images.read(0)
    assert (images.read(1) == noise(1, 128).transpose(2, 0, 1)).all()
