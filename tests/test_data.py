"""Folders of images, their splits, and training crops."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from data_layouts import encode, noise, write_files
from pictures import close_folder
from PIL import Image

from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.photographs import photographs
from pixelpyramids.data.reading import read_decoded
from pixelpyramids.data.splits import find_images, split_files
from pixelpyramids.errors import DataError

PHOTOGRAPHS = photographs()
HALF = encode(noise(0, 40))[:2000]
"""An image with a whole header and incomplete pixels."""


def touch(root, *names):
    return write_files(root, dict.fromkeys(names, b""))


def below(root, files):
    return [file.relative_to(root).as_posix() for file in files]


def test_images_are_found_sorted_and_hidden_ones_skipped(tmp_path):
    images = ["a.png", "a/b/c.webp", "a/z.jpg", "b.PNG"]
    touch(tmp_path, *reversed(images), ".hidden.png", ".git/x.png", "notes.txt", "a/x.eps", "x.h5")
    assert below(tmp_path, find_images(tmp_path)) == images


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path, "elsewhere/a.png", "data/b.png")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    assert below(tmp_path / "data", find_images(tmp_path / "data")) == ["b.png", "link/a.png"]


def test_folders_without_images_are_named(tmp_path):
    touch(tmp_path, "a.txt")
    for name, message in (("", "at least one image .* got none"), ("a.txt", "got a file"), ("b", "got nothing there")):
        with pytest.raises(DataError, match=rf"{name}: expected .*{message}"):
            find_images(tmp_path / name)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "closed/b.png")
    close_folder(monkeypatch, tmp_path / "closed")
    with pytest.raises(DataError, match=r"closed: expected a folder that can be listed, got: Permission denied"):
        find_images(tmp_path)


LAYOUTS = {
    "celeba": (["train/train/female/{}.jpg"] * 250 + ["validation/validation/male/{}.jpg"] * 7, (248, 2, 7)),
    "three": (["train/{}.png"] * 9 + ["val/{}.png"] * 3 + ["test/a/{}.png"] * 2, (9, 3, 2)),
    "train and test": (["train/{}.png"] * 9 + ["test/{}.png"] * 3, (8, 1, 3)),
    "flat": (["{}.png"] * 37, (31, 3, 3)),
    "classes": (["cat/{}.png"] * 20 + ["dog/{}.png"] * 21, (33, 4, 4)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_splits_are_disjoint_exhaustive_and_fixed(tmp_path, layout):
    names, counts = LAYOUTS[layout]
    for root in ("one", "other"):
        touch(tmp_path / root, *(name.format(i) for i, name in enumerate(names)))
    root = tmp_path / "one"
    train, validation, test = parts = [split_files(root, split) for split in ("train", "validation", "test")]
    everything = split_files(root, "all")
    assert (len(train), len(validation), len(test)) == counts
    assert sorted(train + validation + test) == sorted(everything) == sorted(find_images(root))
    for files in (*parts, everything):
        assert below(root, files) == sorted(below(root, files))
    assert parts == [split_files(str(root), split, seed=0) for split in ("train", "validation", "test")]
    assert below(root, test) == below(tmp_path / "other", split_files(tmp_path / "other", "test"))
    if layout == "three":
        assert split_files(root, "validation", hold_out=False) == validation
        return
    assert validation != split_files(root, "validation", seed=1)
    assert sorted(split_files(root, "train", hold_out=False) + test) == sorted(everything)
    with pytest.raises(DataError, match=r"validation 0, .*nothing is held out of train here"):
        split_files(root, "validation", hold_out=False)


def test_the_hold_out_is_at_most_a_thousand(tmp_path, monkeypatch):
    monkeypatch.setattr("pixelpyramids.data.splits.HOLD_OUT_MOST", 2)
    touch(tmp_path, *(f"train/{i}.png" for i in range(300)), "test/a.png")
    assert len(split_files(tmp_path, "validation")) == 2


@pytest.mark.filterwarnings("ignore:.*lie beside")
@pytest.mark.parametrize(
    ("names", "split", "message"),
    [
        (["a.png", "b.png"], "test", r"test split .* got none \(train 2, validation 0, test 0, all 2\); add images"),
        (["train/a.png"], "validation", r"validation split .* got none \(train 1, validation 0, test 0, all 1\)"),
        (["Val/a.png"], "train", r"train split .* got none \(train 0, validation 0, test 1, all 1\); .*folder train"),
        (["a.png", "TEST/a.png"], "train", r"train split .* got none \(train 0, validation 0, test 1, all 1\)"),
        (["train/a.png", "validation/a.png", "val/a.png"], "test", "one name .* got both val and validation; keep one"),
        (["a.png"], "dev", "expected a split among train, validation, test, all, got 'dev'"),
    ],
)
def test_an_empty_split_names_the_counts(tmp_path, names, split, message):
    with pytest.raises(DataError, match=message):
        split_files(touch(tmp_path, *names), split)


def test_a_folder_reads_what_the_files_hold(tmp_path):
    write_files(tmp_path, {"test/a.png": encode(noise(1, 4, 7)), "test/b.jpg": encode(noise(2, 5, 6), "JPEG")})
    folder = open_folder(tmp_path, n_bits=5)
    assert len(folder) == 2 and folder.skipped == []
    assert folder.sizes.tolist() == [[4, 7], [5, 6]] and folder.formats == ["PNG", "JPEG"]
    for index, file in enumerate(folder.files):
        assert (folder.read(index) == read_decoded(file, 3, 5).pixels).all()
    folder.read(0)[:] = 0
    assert (folder.read(0) == read_decoded(folder.files[0], 3, 5).pixels).all()
    content = pickle.dumps(folder)
    assert len(content) < 2000 and (pickle.loads(content).read(0) == folder.read(0)).all()


def test_a_small_folder_is_decoded_once_and_a_large_one_is_not_cached(tmp_path, monkeypatch):
    write_files(tmp_path, {"a.png": encode(noise(0, 6, 5))})
    cached = open_folder(tmp_path, "all")
    monkeypatch.setattr("pixelpyramids.data.images.CACHE_BYTES", 6 * 5 * 3 - 1)
    other = open_folder(tmp_path, "all")
    first = cached.read(0)
    assert (other.read(0) == first).all()
    (tmp_path / "a.png").unlink()
    assert (cached.read(0) == first).all()
    with pytest.raises(DataError, match="there is no such file"):
        other.read(0)


def test_unreadable_files_are_named_once_and_skipped(tmp_path):
    inks = encode(Image.new("CMYK", (6, 5)), "JPEG")
    write_files(tmp_path, {"a.png": encode(noise(0)), "b.png": b"no image", "c.jpg": inks})
    with pytest.warns(UserWarning, match=r"(?s)skipped 2 unreadable image.*b\.png: .*c\.jpg: .*CMYK") as caught:
        folder = open_folder(tmp_path, "all")
    assert len(caught) == 1
    assert (below(tmp_path, folder.files), below(tmp_path, folder.skipped)) == (["a.png"], ["b.png", "c.jpg"])


def test_a_folder_of_unreadable_files_is_an_error(tmp_path):
    touch(tmp_path, *(f"{i:02}.png" for i in range(13)))
    message = r"(?s)expected at least one readable image in the split, got none.*00\.png.*and 3 more"
    with pytest.raises(DataError, match=message):
        open_folder(tmp_path, "all")


def test_another_size_is_refused_when_the_data_is_opened_and_when_it_changes(tmp_path):
    write_files(tmp_path, {"a.png": encode(noise(0, 6, 5)), "b.png": encode(noise(0, 5, 6))})
    with pytest.raises(DataError, match=r"b\.png: expected 6x5 pixels \(height x width\), got 5x6"):
        open_folder(tmp_path, "all", size=(6, 5))
    folder = open_folder(tmp_path, "all")
    write_files(tmp_path, {"a.png": encode(noise(0, 5)), "b.png": HALF})
    with pytest.raises(DataError, match=r"a\.png: expected 6x5 pixels .*, got 5x5; .* do not change images while"):
        folder.read(0)
    with pytest.raises(DataError, match=r"b\.png: expected an image that Pillow can read"):
        folder.read(1)


@pytest.fixture
def numbered(tmp_path):
    """Images whose every pixel says its image, row and column."""
    for number, (height, width) in enumerate([(16, 16), (8, 24), (11, 9), (8, 8)]):
        row, column = np.mgrid[:height, :width]
        values = np.stack([np.full_like(row, number), row, column], axis=-1)
        Image.fromarray(values.astype(np.uint8)).save(tmp_path / f"{number}.png")
    return open_folder(tmp_path, "all")


def test_an_epoch_sees_every_slot_once(numbered):
    crops = Crops(numbered, (8, 8), batch_size=3, seed=1)
    assert crops.items_per_epoch == 4 + 3 + 1 + 1 == 9 and crops.steps_per_epoch == 3
    for epoch in range(4):
        numbers = [int(c[0, 0, 0]) for step in range(3 * epoch, 3 * epoch + 3) for c in crops[step]]
        assert np.bincount(numbers).tolist() == [4, 3, 1, 1]


def test_every_valid_offset_and_every_flip_occurs(numbered):
    crops = Crops(numbered, (8, 8), batch_size=16, seed=0, flip=True)
    seen = {
        (int(c[1, 0, 0]), int(min(c[2, 0])), bool(c[2, 0, 0] > c[2, 0, -1]))
        for step in range(100)
        for c in crops[step]
        if c[0, 0, 0] == 2
    }
    assert seen == {(top, left, flip) for top in range(4) for left in range(2) for flip in (False, True)}


def test_samples_do_not_depend_on_the_size_of_the_batch(numbered):
    large, small = Crops(numbered, (8, 8), 6, seed=5), Crops(numbered, (8, 8), 2, seed=5)
    assert (large[1] == np.concatenate([small[3], small[4], small[5]])).all()


def test_a_damaged_file_is_named_once_and_the_next_image_takes_its_place(numbered):
    intact = [crop for step in range(30) for crop in Crops(numbered, (8, 8), 1)[step]]
    numbered.files[1].write_bytes(numbered.files[1].read_bytes()[:60])
    folder = pickle.loads(pickle.dumps(numbered))
    crops, again = Crops(folder, (8, 8), 1), Crops(folder, (8, 8), 1)
    with pytest.warns(UserWarning, match=r"1\.png: .*; the next image takes its place") as caught:
        batches = [crops[step][0] for step in range(30)]
    assert len(caught) == 1
    assert {int(crop[0, 0, 0]) for crop in batches} == {0, 2, 3}
    for before, after in zip(intact, batches, strict=True):
        assert after[0, 0, 0] == 2 if before[0, 0, 0] == 1 else (before == after).all()
    with pytest.warns(UserWarning):
        assert all((again[step][0] == batches[step]).all() for step in reversed(range(30)))
    assert crops.files_of(0)[0] == numbered.files[int(batches[0][0, 0, 0])]


def test_only_damaged_files_are_an_error(tmp_path):
    write_files(tmp_path, {"a.png": HALF, "b.png": HALF})
    crops = Crops(open_folder(tmp_path, "all"), (8, 8), 1)
    message = r"expected at least one readable image among 2, .*a\.png"
    with pytest.warns(UserWarning, match="Pillow can read"), pytest.raises(DataError, match=message):
        crops[0]


def test_sizes_of_crops_and_batches_are_checked(numbered):
    with pytest.raises(
        DataError, match=r"1\.png: expected an image of at least 9x8 pixels .*got 8x24; .* 1 more: .*3\.png"
    ):
        Crops(numbered, (9, 8), 1)
    with pytest.raises(ValueError, match="at least 1"):
        Crops(numbered, (8, 8), 0)
    with pytest.raises(ValueError, match="step from 0"):
        Crops(numbered, (8, 8), 1)[-1]
    large = Crops(numbered, (8, 8), batch_size=20)
    assert large.steps_per_epoch == 1 and len(large[0]) == 20


def test_sixteen_bit_crops(tmp_path):
    stored = np.random.default_rng(0).integers(2**16, size=(8, 8)).astype(np.uint16)
    write_files(tmp_path, {"a.png": encode(stored)})
    batch = Crops(open_folder(tmp_path, "all", channels=1, n_bits=12), (8, 8), 2)[0]
    assert batch.dtype == np.uint16 and (batch == stored // 16).all()


def test_the_bundled_photographs_are_those_of_their_packages():
    skimage, sklearn = pytest.importorskip("skimage"), pytest.importorskip("sklearn")
    sources = {
        "train": (Path(skimage.__file__).parent / "data", ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"]),
        "test": (Path(sklearn.__file__).parent / "datasets" / "images", ["china.jpg", "flower.jpg"]),
    }
    for split, (source, names) in sources.items():
        files = split_files(PHOTOGRAPHS, split, hold_out=False)
        assert [file.name for file in files] == names
        for file in files:
            assert file.read_bytes() == (source / file.name).read_bytes()
            assert f"`{split}/{file.name}`" in (PHOTOGRAPHS / "SOURCES.md").read_text(encoding="utf-8")
