"""Files to integers, splits and crops: what the data side promises to training and evaluation."""

import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.images import Images
from pixelpyramids.data.photographs import photographs
from pixelpyramids.data.reading import read_header, read_image
from pixelpyramids.data.splits import find_images, split_files
from pixelpyramids.errors import DataError

PHOTOGRAPHS = photographs()
PARAMS = Path(__file__).parent.parent / "params"


def pixels(height: int, width: int, channels: int = 3, seed: int = 0, most: int = 255) -> NDArray[Any]:
    shape = (height, width, channels) if channels > 1 else (height, width)
    values = np.random.default_rng(seed).integers(most + 1, size=shape)
    return values.astype(np.uint8 if most < 256 else np.uint16)


def save(path: Path, height: int = 6, width: int = 5, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(height, width, seed=seed)).save(path)
    return path


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def damage(path: Path) -> Path:
    """The header stays; half of the pixels go."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 2, 3, 4]),
    n_bits=st.integers(1, 8),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_eight_bit_pixels_are_read_exactly(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, channels: int, n_bits: int, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "eight.png"
    stored = pixels(height, width, channels, seed)
    Image.fromarray(stored).save(path)
    image = read_image(path, channels, n_bits)
    assert image.shape == (channels, height, width)
    assert image.dtype == np.uint8
    assert image.flags.writeable and image.flags.c_contiguous
    assert (image == stored.reshape(height, width, channels).transpose(2, 0, 1) // 2 ** (8 - n_bits)).all()
    assert read_header(path, channels, n_bits)[:3] == (height, width, "PNG")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize("n_bits", range(1, 17))
def test_sixteen_bit_grey_is_read_exactly_at_every_depth(tmp_path: Path, suffix: str, n_bits: int) -> None:
    stored = pixels(7, 5, channels=1, most=65535)
    stored[0, :2] = 0, 65535
    Image.fromarray(stored).save(tmp_path / f"deep{suffix}")
    image = read_image(tmp_path / f"deep{suffix}", channels=1, n_bits=n_bits)
    assert image.dtype == (np.uint8 if n_bits <= 8 else np.uint16)
    assert (image[0] == stored // 2 ** (16 - n_bits)).all()


def test_sixteen_bit_grey_scales_where_colour_is_asked_for(tmp_path: Path) -> None:
    stored = pixels(4, 4, channels=1, most=65535)
    Image.fromarray(stored).save(tmp_path / "deep.png")
    image = read_image(tmp_path / "deep.png", channels=4, n_bits=8)
    assert (image[:3] == stored // 256).all()
    assert (image[3] == 255).all()


def test_palettes_bitmaps_and_greys_become_colour(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 128, 255])
    palette.putdata([0, 1])
    palette.save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png", 3)[:, 0].T.tolist() == [[255, 0, 0], [0, 128, 255]]

    Image.fromarray(np.array([[False, True]])).save(tmp_path / "bitmap.png")
    assert read_image(tmp_path / "bitmap.png", 1)[0].tolist() == [[0, 255]]

    Image.fromarray(np.array([[7, 200]], np.uint8)).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png", 3)[:, 0].T.tolist() == [[7, 7, 7], [200, 200, 200]]


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_transparent_colour_is_alpha(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (2, 1))
    if mode == "P":
        image.putpalette([0, 0, 0, 50, 50, 50])
        image.putdata([0, 1])
        transparency: Any = bytes([0, 90])
    else:
        image.putdata([0, 50] if mode == "L" else [(0, 0, 0), (50, 50, 50)])
        transparency = 0 if mode == "L" else (0, 0, 0)
    image.save(tmp_path / "a.png", transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "a.png", 2)[1].tolist() == [[0, 90 if mode == "P" else 255]]
        assert read_image(tmp_path / "a.png", 4)[3].tolist() == [[0, 90 if mode == "P" else 255]]
        assert read_image(tmp_path / "a.png", 3)[:, 0].T.tolist() == [[0, 0, 0], [50, 50, 50]]


def test_alpha_is_dropped_or_added_as_opaque(tmp_path: Path) -> None:
    stored = pixels(3, 4, channels=4)
    Image.fromarray(stored).save(tmp_path / "alpha.png")
    assert (read_image(tmp_path / "alpha.png", 3) == stored[..., :3].transpose(2, 0, 1)).all()
    Image.fromarray(stored[..., :3]).save(tmp_path / "opaque.png")
    assert (read_image(tmp_path / "opaque.png", 4)[3] == 255).all()


@pytest.mark.parametrize(("mode", "suffix"), [("F", ".tif"), ("CMYK", ".jpg"), ("LAB", ".tif")])
def test_modes_without_exact_integers_are_refused_by_name(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new(mode, (4, 4)).save(path)
    for read in (read_image, read_header):
        with pytest.raises(DataError, match=rf"a\{suffix}: expected grey or RGB pixels, got mode {mode}"):
            read(path)


def test_depth_is_refused_where_the_file_has_none(tmp_path: Path) -> None:
    Image.fromarray(pixels(4, 4, 1)).save(tmp_path / "a.png")
    for read in (read_image, read_header):
        with pytest.raises(DataError, match=r"a\.png: expected 16-bit grey for n_bits 12, got an 8-bit source"):
            read(tmp_path / "a.png", 1, 12)
        with pytest.raises(DataError, match="expected 1 channel for 12 bits, got 3"):
            read(tmp_path / "a.png", 3, 12)
        with pytest.raises(DataError, match="expected 1 to 16 bits a value, got n_bits 17"):
            read(tmp_path / "a.png", 1, 17)
        with pytest.raises(DataError, match="got 5"):
            read(tmp_path / "a.png", 5)
    Image.fromarray(np.array([[-1, 70000]], np.int32)).save(tmp_path / "b.tif")
    with pytest.raises(DataError, match=r"expected values in 0 … 65535, got -1 … 70000"):
        read_image(tmp_path / "b.tif", 1)


def text(path: Path) -> None:
    path.write_text("not an image")


def empty(path: Path) -> None:
    path.touch()


def truncated(path: Path) -> None:
    damage(save(path, 40, 40))


def flipped(path: Path) -> None:
    content = bytearray(save(path, 40, 40).read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n")


@pytest.mark.parametrize("spoil", [text, empty, truncated, flipped, postscript])
def test_damaged_and_foreign_files_are_named(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: expected an image that Pillow can read"):
        read_image(tmp_path / "a.png")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: expected an image, but there is no such file"):
        read_image(tmp_path / "a.png")
    with pytest.raises(DataError, match="expected a regular file, got a folder"):
        read_header(tmp_path)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damage_anywhere_is_an_image_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from(["png", "jpg", "webp", "tif", "gif", "bmp", "ppm", "tga", "jp2"]))
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    content = bytearray(save(path, 9, 8).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert read_image(path).dtype == np.uint8
        except DataError as error:
            assert str(path) in str(error)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", 20, 20)
    for limit in (399, 150):  # where Pillow warns, and where it refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        for read in (read_image, read_header):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with pytest.raises(DataError, match=rf"a\.png: expected an image of at most {limit} pixels"):
                    read(path)


def test_images_are_found_sorted_and_hidden_ones_skipped(tmp_path: Path) -> None:
    touch(
        tmp_path, "b.PNG", "a/z.jpg", "a.png", "a/b/c.webp", ".hidden.png", ".git/x.png", "notes.txt", "a/x.eps", "x.h5"
    )
    names = [file.relative_to(tmp_path).as_posix() for file in find_images(tmp_path)]
    assert names == ["a.png", "a/b/c.webp", "a/z.jpg", "b.PNG"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.png", "data/b.png")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    names = [file.relative_to(tmp_path / "data").as_posix() for file in find_images(tmp_path / "data")]
    assert names == ["b.png", "link/a.png"]


def test_folders_without_images_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    with pytest.raises(DataError, match=r"expected at least one image .* got none"):
        find_images(tmp_path)
    with pytest.raises(DataError, match=r"a\.txt: expected a folder of images, got a file"):
        find_images(tmp_path / "a.txt")
    with pytest.raises(DataError, match="got nothing there"):
        find_images(tmp_path / "none")
    with pytest.raises(DataError, match="expected a split among train, validation, test, all, got 'dev'"):
        split_files(tmp_path, "dev")


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"closed: expected a folder that can be listed, got: Permission denied"):
        find_images(tmp_path)


LAYOUTS = {
    "celeba": ["train/train/female/{}.jpg"] * 250 + ["validation/validation/male/{}.jpg"] * 7,
    "three": ["train/{}.png"] * 9 + ["val/{}.png"] * 3 + ["test/a/{}.png"] * 2,
    "train and test": ["train/{}.png"] * 9 + ["test/{}.png"] * 3,
    "flat": ["{}.png"] * 37,
    "classes": ["cat/{}.png"] * 20 + ["dog/{}.png"] * 21,
}
COUNTS = {
    "celeba": (248, 2, 7),
    "three": (9, 3, 2),
    "train and test": (8, 1, 3),
    "flat": (31, 3, 3),
    "classes": (33, 4, 4),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_splits_are_disjoint_exhaustive_and_fixed(tmp_path: Path, layout: str) -> None:
    touch(tmp_path, *(name.format(i) for i, name in enumerate(LAYOUTS[layout])))
    train, validation, test = parts = [split_files(tmp_path, split) for split in ("train", "validation", "test")]
    everything = split_files(tmp_path, "all")
    assert (len(train), len(validation), len(test)) == COUNTS[layout]
    assert sorted(train + validation + test) == sorted(everything) == sorted(find_images(tmp_path))
    for files in (*parts, everything):
        assert files == sorted(files, key=lambda file: file.relative_to(tmp_path).as_posix())
    assert parts == [split_files(str(tmp_path), split, seed=0) for split in ("train", "validation", "test")]
    if layout != "three":
        assert validation != split_files(tmp_path, "validation", seed=1)


def test_the_published_evaluation_split_is_the_test_split(tmp_path: Path) -> None:
    touch(tmp_path, *(name.format(i) for i, name in enumerate(LAYOUTS["celeba"])))
    assert {file.relative_to(tmp_path).parts[0] for file in split_files(tmp_path, "test")} == {"validation"}
    assert {file.relative_to(tmp_path).parts[0] for file in split_files(tmp_path, "validation")} == {"train"}
    # The authors' loader, pointed at the evaluation images alone, must not see a tenth of them as the test split.
    for file in split_files(tmp_path, "train") + split_files(tmp_path, "validation"):
        file.unlink()
    assert len(split_files(tmp_path, "test")) == 7


def test_the_hold_out_is_at_most_a_thousand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelpyramids.data.splits.HOLD_OUT_MOST", 2)
    touch(tmp_path, *(f"train/{i}.png" for i in range(300)), "test/a.png")
    assert len(split_files(tmp_path, "validation")) == 2


def test_moving_a_folder_does_not_change_its_splits(tmp_path: Path) -> None:
    for name in ("one", "two"):
        touch(tmp_path / name, *(f"{i}.png" for i in range(30)))
    one, two = (
        [file.relative_to(tmp_path / name) for file in split_files(tmp_path / name, "test")] for name in ("one", "two")
    )
    assert one == two


@pytest.mark.parametrize("layout", ["celeba", "train and test", "flat"])
def test_without_hold_out_train_keeps_everything(tmp_path: Path, layout: str) -> None:
    touch(tmp_path, *(name.format(i) for i, name in enumerate(LAYOUTS[layout])))
    train, test = (split_files(tmp_path, split, hold_out=False) for split in ("train", "test"))
    assert test == split_files(tmp_path, "test")
    assert sorted(train + test) == sorted(find_images(tmp_path))
    with pytest.raises(DataError, match=r"validation 0, .*nothing is held out of train here"):
        split_files(tmp_path, "validation", hold_out=False)


def test_without_hold_out_a_validation_folder_stays(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.png", "val/b.png", "test/c.png")
    assert [file.name for file in split_files(tmp_path, "validation", hold_out=False)] == ["b.png"]


def test_an_empty_split_names_the_counts(tmp_path: Path) -> None:
    touch(tmp_path / "flat", "a.png", "b.png")
    assert len(split_files(tmp_path / "flat", "train")) == 2
    with pytest.raises(DataError, match=r"test split .* got none \(train 2, validation 0, test 0, all 2\); add images"):
        split_files(tmp_path / "flat", "test")
    touch(tmp_path / "single", "train/a.png")
    assert len(split_files(tmp_path / "single", "train")) == 1
    with pytest.raises(DataError, match=r"validation split .* got none \(train 1, validation 0, test 0, all 1\)"):
        split_files(tmp_path / "single", "validation")
    touch(tmp_path / "evaluation", "validation/a.png")
    with pytest.raises(DataError, match=r"train split .* got none \(train 0, .* sub-folder train"):
        split_files(tmp_path / "evaluation", "train")
    touch(tmp_path / "both", "train/a.png", "validation/a.png", "val/a.png")
    with pytest.raises(DataError, match="one name for validation images, got both val and validation; keep one"):
        split_files(tmp_path / "both", "test")


def test_a_folder_reads_what_the_files_hold(tmp_path: Path) -> None:
    save(tmp_path / "test" / "a.png", 4, 7, seed=1)
    save(tmp_path / "test" / "b.jpg", 5, 6, seed=2)
    folder = open_folder(tmp_path, n_bits=5)
    assert len(folder) == 2
    assert folder.sizes.tolist() == [[4, 7], [5, 6]]
    assert sorted(folder.formats) == ["JPEG", "PNG"]
    assert folder.skipped == []
    for index, file in enumerate(folder.files):
        assert (folder.read(index) == read_image(file, 3, 5)).all()
    folder.read(0)[:] = 0
    assert (folder.read(0) == read_image(folder.files[0], 3, 5)).all()


def test_a_small_folder_is_decoded_once_and_a_large_one_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png")
    kept = open_folder(tmp_path, "all")
    monkeypatch.setattr("pixelpyramids.data.images.CACHE_BYTES", 6 * 5 * 3 - 1)
    unkept = open_folder(tmp_path, "all")
    first = kept.read(0)
    assert (unkept.read(0) == first).all()
    (tmp_path / "a.png").unlink()
    assert (kept.read(0) == first).all()
    with pytest.raises(DataError, match="there is no such file"):
        unkept.read(0)


def test_a_folder_can_be_pickled_without_its_pixels(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 64, 64)
    folder = open_folder(tmp_path, "all")
    before = folder.read(0)
    content = pickle.dumps(folder)
    assert len(content) < 2000
    assert (pickle.loads(content).read(0) == before).all()


def test_unreadable_files_are_named_once_and_skipped(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    text(tmp_path / "b.png")
    Image.new("CMYK", (6, 5)).save(tmp_path / "c.jpg")
    with pytest.warns(UserWarning, match=r"(?s)skipped 2 unreadable image.*b\.png: .*c\.jpg: .*CMYK") as caught:
        folder = open_folder(tmp_path, "all")
    assert len(caught) == 1
    assert [file.name for file in folder.files] == ["a.png"]
    assert [file.name for file in folder.skipped] == ["b.png", "c.jpg"]


def test_a_folder_of_unreadable_files_is_an_error(tmp_path: Path) -> None:
    for i in range(13):
        text(tmp_path / f"{i:02}.png")
    with pytest.raises(
        DataError, match=r"(?s)expected at least one readable image in the split, got none.*00\.png.*and 3 more"
    ):
        open_folder(tmp_path, "all")


def test_another_size_is_refused_when_the_data_is_opened(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 6, 5)
    save(tmp_path / "b.png", 5, 6)
    with pytest.raises(DataError, match=r"b\.png: expected 6x5 pixels \(height x width\), .*got 5x6"):
        open_folder(tmp_path, "all", size=(6, 5))


def test_damaged_pixels_raise_when_read(tmp_path: Path) -> None:
    damage(save(tmp_path / "a.png", 40, 40))
    folder = open_folder(tmp_path, "all")
    with pytest.raises(DataError, match=r"a\.png: expected an image that Pillow can read"):
        folder.read(0)


def test_a_file_that_changes_while_in_use_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 6, 5)
    folder = open_folder(tmp_path, "all")
    save(tmp_path / "a.png", 5, 5)
    with pytest.raises(DataError, match=r"a\.png: expected 6x5 pixels .*, as when the folder was opened, got 5x5"):
        folder.read(0)


@pytest.fixture
def numbered(tmp_path: Path) -> Images:
    """Images whose every pixel tells its image, row and column."""
    for number, (height, width) in enumerate([(16, 16), (8, 24), (11, 9), (8, 8)]):
        row, column = np.mgrid[:height, :width]
        values = np.stack([np.full_like(row, number), row, column], axis=-1)
        Image.fromarray(values.astype(np.uint8)).save(tmp_path / f"{number}.png")
    return open_folder(tmp_path, "all")


def test_crops_are_pieces_of_the_images(numbered: Images) -> None:
    crops = Crops(numbered, (8, 7), batch_size=4, seed=3)
    for step in range(20):
        batch, files = crops.batch(step), crops.files_of(step)
        assert batch.shape == (4, 3, 8, 7) and batch.dtype == np.uint8
        for crop, file in zip(batch, files, strict=True):
            number, (_, top, left) = crop[0, 0, 0], crop[:, 0, 0]
            assert file == numbered.files[number]
            whole = numbered.read(int(number))
            assert (crop == whole[:, top : top + 8, left : left + 7]).all()


def test_an_epoch_sees_every_slot_once(numbered: Images) -> None:
    crops = Crops(numbered, (8, 8), batch_size=3, seed=1)
    assert crops.items_per_epoch == 4 + 3 + 1 + 1 == 9
    assert crops.steps_per_epoch == 3
    for epoch in range(4):
        numbers = [int(c[0, 0, 0]) for step in range(3 * epoch, 3 * epoch + 3) for c in crops[step]]
        assert np.bincount(numbers).tolist() == [4, 3, 1, 1]


def test_every_valid_offset_and_every_flip_occurs(numbered: Images) -> None:
    crops = Crops(numbered, (8, 8), batch_size=16, seed=0, flip=True)
    seen = {
        (int(c[1, 0, 0]), int(min(c[2, 0])), bool(c[2, 0, 0] > c[2, 0, -1]))
        for step in range(100)
        for c in crops[step]
        if c[0, 0, 0] == 2
    }
    assert seen == {(top, left, flip) for top in range(4) for left in range(2) for flip in (False, True)}


@given(
    steps=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    batch_size=st.integers(1, 12),
    seed=st.integers(0, 2**40),
    flip=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_a_batch_depends_on_seed_and_step_alone(steps: list[int], batch_size: int, seed: int, flip: bool) -> None:
    folder = open_folder(PHOTOGRAPHS, "train", hold_out=False)
    one, other = (Crops(folder, (200, 300), batch_size, seed, flip) for _ in range(2))
    forward = {step: one.batch(step) for step in sorted(steps)}
    for step in steps:
        assert (pickle.loads(pickle.dumps(other)).batch(step) == forward[step]).all()


def test_the_stream_of_samples_does_not_depend_on_the_batch(numbered: Images) -> None:
    large, small = Crops(numbered, (8, 8), 6, seed=5), Crops(numbered, (8, 8), 2, seed=5)
    assert (large[1] == np.concatenate([small[3], small[4], small[5]])).all()
    assert (large[1] != Crops(numbered, (8, 8), 6, seed=6)[1]).any()


def test_a_loader_with_workers_gives_the_same_batches(numbered: Images) -> None:
    data = pytest.importorskip("torch.utils.data")
    crops = Crops(numbered, (8, 8), 2, seed=7)
    loader = data.DataLoader(crops, batch_size=None, sampler=range(3, 7), num_workers=2)
    for step, batch in zip(range(3, 7), loader, strict=True):
        assert (batch.numpy() == crops[step]).all()


def test_a_damaged_file_is_named_once_and_the_next_image_takes_its_place(numbered: Images) -> None:
    intact = [crop for step in range(30) for crop in Crops(numbered, (8, 8), 1)[step]]
    damage(numbered.files[1])
    folder = pickle.loads(pickle.dumps(numbered))
    crops, again = Crops(folder, (8, 8), 1), Crops(folder, (8, 8), 1)
    with pytest.warns(UserWarning, match=r"1\.png: .*; the next image takes its place") as caught:
        batches = [crops[step][0] for step in range(30)]
    assert len(caught) == 1
    assert {int(crop[0, 0, 0]) for crop in batches} == {0, 2, 3}
    for before, after in zip(intact, batches, strict=True):
        if before[0, 0, 0] == 1:
            assert after[0, 0, 0] == 2
        else:
            assert (before == after).all()
    with pytest.warns(UserWarning):
        assert all((again[step][0] == batches[step]).all() for step in reversed(range(30)))
    assert crops.files_of(0)[0] == numbered.files[int(batches[0][0, 0, 0])]


def test_only_damaged_files_are_an_error(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        damage(save(tmp_path / name, 40, 40))
    crops = Crops(open_folder(tmp_path, "all"), (8, 8), 1)
    with (
        pytest.warns(UserWarning, match="Pillow can read"),
        pytest.raises(DataError, match=r"expected at least one readable image among 2, .*a\.png"),
    ):
        crops.batch(0)


def test_an_image_smaller_than_the_crop_is_named(numbered: Images) -> None:
    with pytest.raises(DataError, match=r"1\.png: expected an image of at least 9x8 pixels .*got 8x24"):
        Crops(numbered, (9, 8), 1)
    with pytest.raises(ValueError, match="at least 1"):
        Crops(numbered, (8, 8), 0)
    with pytest.raises(ValueError, match="step from 0"):
        Crops(numbered, (8, 8), 1).batch(-1)


def test_a_set_smaller_than_a_batch_still_has_a_step(numbered: Images) -> None:
    crops = Crops(numbered, (8, 8), batch_size=20)
    assert crops.steps_per_epoch == 1
    assert len(crops[0]) == 20


def test_sixteen_bit_crops(tmp_path: Path) -> None:
    stored = pixels(8, 8, 1, most=65535)
    Image.fromarray(stored).save(tmp_path / "a.png")
    batch = Crops(open_folder(tmp_path, "all", channels=1, n_bits=12), (8, 8), 2)[0]
    assert batch.dtype == np.uint16
    assert (batch == stored // 16).all()


def test_the_bundled_photographs_are_those_of_their_packages() -> None:
    skimage, sklearn = pytest.importorskip("skimage"), pytest.importorskip("sklearn")
    assert [file.name for file in split_files(PHOTOGRAPHS, "train", hold_out=False)] == [
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "rocket.jpg",
    ]
    assert [file.name for file in split_files(PHOTOGRAPHS, "test")] == ["china.jpg", "flower.jpg"]
    sources = {
        "train": Path(skimage.__file__).parent / "data",
        "test": Path(sklearn.__file__).parent / "datasets" / "images",
    }
    for split, source in sources.items():
        for file in split_files(PHOTOGRAPHS, split, hold_out=False):
            assert file.read_bytes() == (source / file.name).read_bytes()
            assert f"`{split}/{file.name}`" in (PHOTOGRAPHS / "SOURCES.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("celeba_256", 0.61),
        ("celeba_1024", 0.58),
        ("lsun_bedroom", 0.88),
        ("lsun_church", 1.07),
        ("lsun_tower", 0.95),
        ("imagenet_128", 3.40),
    ],
)
def test_parameter_files_state_the_papers_figure_and_have_enough_entries(name: str, figure: float) -> None:
    content = json.loads((PARAMS / f"{name}.json").read_text(encoding="utf-8"))
    about, params = content["about"], content["params"]
    assert about["paper_bits_per_dim"] == figure
    assert about["known"] and about["unknown"] and "reached" in about
    assert params["dataset_name"] == name
    assert len(params["n_squeeze"]) >= params["L"] - 1 and len(params["n_classes"]) >= params["L"]
