"""ImageNet in every form it comes in: the same images give the same integers and splits, whatever holds them."""

import io
import pickle
import tarfile
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

from pixelpyramids.data import imagenet
from pixelpyramids.data.containers.npz import NpzEntries
from pixelpyramids.data.containers.tar import TarEntries
from pixelpyramids.data.imagenet import open_imagenet
from pixelpyramids.data.reading import decode
from pixelpyramids.data.splits import SPLITS
from pixelpyramids.errors import DataError

SIZE = 16
CLASSES = ("n01440764", "n02105855", "n07831146")
SIZES = [(16, 16), (24, 31), (40, 33), (17, 16), (9, 12), (50, 21), (32, 32)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixelpyramids"


def picture(number: int) -> Image.Image:
    height, width = SIZES[number % len(SIZES)]
    return Image.fromarray(np.random.default_rng(number).integers(256, size=(height, width, 3), dtype=np.uint8))


def content(number: int) -> bytes:
    """Mostly JPEG files of colour; as in ILSVRC there are grey and CMYK ones, and a PNG file."""
    file, image = io.BytesIO(), picture(number)
    if number == 3:
        image.save(file, "PNG")
    else:
        modes = {1: "L", 4: "CMYK", 5: "CMYK"}
        image.convert(modes.get(number, "RGB")).save(file, "JPEG", quality=95)
    return file.getvalue()


def train_name(number: int) -> str:
    name = CLASSES[number % len(CLASSES)]
    return f"{name}/{name}_{number}.JPEG"


def val_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


TRAIN = {train_name(n): content(n) for n in range(14)}
VAL = {val_name(n): content(n) for n in range(14, 19)}


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, stored in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(stored)
    return root


def tar(path: Path, files: dict[str, bytes], format: int = tarfile.GNU_FORMAT) -> Path:
    """Members in the order given, as the reader must sort them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for name, stored in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(stored)
            archive.addfile(member, io.BytesIO(stored))
    return path


def class_tars(folder: Path, format: int = tarfile.GNU_FORMAT) -> dict[str, bytes]:
    """The 1,000 archives that ILSVRC's archive of train holds, one a class."""
    for name in reversed(CLASSES):
        members = {file.partition("/")[2]: stored for file, stored in TRAIN.items() if file.startswith(name)}
        tar(folder / f"{name}.tar", dict(reversed(members.items())), format)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir(), reverse=True)}


def tree(root: Path) -> Path:
    write(root / "val", VAL)
    return write(root / "train", TRAIN).parent


def tree_of_classes_below(root: Path) -> Path:
    write(root / "ILSVRC/Data/CLS-LOC/val", {f"n0000000{n % 2}/{name}": VAL[name] for n, name in enumerate(VAL)})
    write(root / "ILSVRC/Data/CLS-LOC/train", TRAIN)
    return root


def tree_below_data(root: Path) -> Path:
    tree(root / "Data/CLS-LOC")
    return root


def tars(root: Path, format: int = tarfile.GNU_FORMAT) -> Path:
    tar(root / "ILSVRC2012_img_val.tar", dict(reversed(VAL.items())), format)
    tar(root / "ILSVRC2012_img_train.tar", class_tars(root.parent / "classes", format), format)
    return root


def tars_with_pax_headers(root: Path) -> Path:
    return tars(root, tarfile.PAX_FORMAT)


def tars_of_classes(root: Path) -> Path:
    class_tars(root / "train")
    write(root / "val", VAL)
    return root


ORIGINALS = [tree, tree_of_classes_below, tree_below_data, tars, tars_with_pax_headers, tars_of_classes]


def opened(root: Path, split: str, n_bits: int = 8, size: int = SIZE, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*expected (1281167|50000) images")
        return open_imagenet(root, split, size, n_bits=n_bits, **more)


def same(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all((one.read(i) == other.read(i)).all() for i in range(len(one)))


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3), CMYK by the formula: the product of two bytes over 255, rounded."""
    if image.mode != "CMYK":
        return np.asarray(image.convert("RGB"))
    light = 255 - np.asarray(image).astype(np.int64)
    return np.floor(light[..., :3] * light[..., 3:] / 255 + 0.5).astype(np.uint8)


def box(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The mean of the pixels whose centre is in each pixel of the result, rounded along rows, then along columns."""

    def along_rows(values: NDArray[np.int64]) -> NDArray[np.int64]:
        scale = values.shape[1] / size
        result = np.empty((len(values), size, 3), np.int64)
        for x in range(size):
            inside = [s for s in range(values.shape[1]) if x * scale < s + 0.5 <= (x + 1) * scale]
            if scale < 1:  # a smaller image repeats its pixels
                inside = [int((x + 0.5) * scale)]
            weight = int(2**22 / len(inside) + 0.5)
            result[:, x] = (values[:, inside].sum(1) * weight + 2**21) >> 22
        return result

    rows = along_rows(pixels.astype(np.int64))
    return along_rows(rows.transpose(1, 0, 2)).transpose(1, 0, 2).astype(np.uint8)


def prepared(stored: bytes, n_bits: int = 8) -> NDArray[np.uint8]:
    pixels = rgb(Image.open(io.BytesIO(stored)))
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = round((height - side) / 2), round((width - side) / 2)
    return box(pixels[top : top + side, left : left + side], SIZE).transpose(2, 0, 1) // 2 ** (8 - n_bits)


# Pixels


@pytest.mark.parametrize("make", ORIGINALS)
@pytest.mark.parametrize("n_bits", [5, 8])
def test_every_image_of_every_form_is_cropped_and_resized_to_the_integer(
    tmp_path: Path, make: Callable[[Path], Path], n_bits: int
) -> None:
    images = opened(make(tmp_path / "root"), "all", n_bits)
    stored = {Path(name).name: content for name, content in (TRAIN | VAL).items()}
    assert sorted(file.name for file in images.files) == sorted(stored)
    for index, file in enumerate(images.files):
        assert images.read(index).shape == (3, SIZE, SIZE) and images.read(index).dtype == np.uint8
        assert (images.read(index) == prepared(stored[file.name], n_bits)).all()
        assert images.formats[index] == ("PNG" if file.name.endswith("_3.JPEG") else "JPEG")


@pytest.mark.parametrize("seed", range(4))
def test_cmyk_is_converted_where_it_is_accepted_and_refused_elsewhere(seed: int) -> None:
    file = io.BytesIO()
    inks = np.random.default_rng(seed).integers(256, size=(40, 40, 4), dtype=np.uint8)
    Image.fromarray(inks, "CMYK").save(file, "TIFF")
    image, format, conversions = decode(file.getvalue(), "a.tif", accept_cmyk=True)
    assert conversions == ("CMYK to RGB",)
    assert format == "TIFF"
    light = 255 - inks.astype(np.int64)
    assert (image == np.floor(light[..., :3] * light[..., 3:] / 255 + 0.5).transpose(2, 0, 1)).all()
    with pytest.raises(DataError, match=r"a\.tif: expected grey or RGB pixels, got mode CMYK"):
        decode(file.getvalue(), "a.tif")


# Splits


@pytest.mark.parametrize("make", ORIGINALS[1:])
def test_every_form_has_the_splits_of_the_tree(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    one, other = tree(tmp_path / "tree"), make(tmp_path / "root")
    for split in SPLITS:
        if make is tree_of_classes_below and split in ("test", "all"):
            continue  # in the order of its own folders
        assert same(opened(one, split), opened(other, split))


@pytest.mark.parametrize("make", ORIGINALS)
def test_splits_are_disjoint_and_complete(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    root = make(tmp_path / "root")
    names = {split: [file.name for file in opened(root, split).files] for split in SPLITS}
    assert [len(names[split]) for split in SPLITS] == [13, 1, 5, 19]
    assert sorted(names["train"] + names["validation"] + names["test"]) == sorted(names["all"])
    assert sorted(names["test"]) == sorted(VAL)
    assert len(opened(root, "train", hold_out=False)) == 14
    with pytest.raises(DataError, match="nothing is held out of train here"):
        opened(root, "validation", hold_out=False)


def test_a_part_may_be_an_archive_and_the_other_a_tree(tmp_path: Path) -> None:
    write(tmp_path / "train", TRAIN)
    tar(tmp_path / "ILSVRC2012_img_val.tar", VAL)
    assert [len(opened(tmp_path, split)) for split in SPLITS] == [13, 1, 5, 19]


def test_an_empty_folder_does_not_hide_an_archive(tmp_path: Path) -> None:
    tar(tmp_path / "ILSVRC2012_img_val.tar", VAL)
    (tmp_path / "val").mkdir()
    assert len(opened(tmp_path, "test")) == 5


def test_missing_splits_say_what_was_expected_where(tmp_path: Path) -> None:
    write(tmp_path / "train", TRAIN)
    with pytest.raises(DataError, match=r"expected ImageNet in .*folder val .*ILSVRC2012_img_val\.tar.*val_16x16"):
        opened(tmp_path, "test")
    assert len(opened(tmp_path, "all")) == 14
    with pytest.raises(DataError, match=r"ILSVRC2012_img_train\.tar.* or .*ILSVRC2012_img_val\.tar.*got none"):
        opened(tmp_path / "nowhere", "all")
    with pytest.raises(DataError, match="expected a split among train, validation, test, all, got 'val'"):
        opened(tmp_path, "val")


def test_other_counts_are_a_warning_that_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path)
    with pytest.warns(UserWarning, match="expected 1281167 images in train, got 14"):
        open_imagenet(tmp_path, "train", SIZE, n_bits=8)
    with pytest.warns(UserWarning, match="expected 50000 images in val, got 5"):
        open_imagenet(tmp_path, "test", SIZE, n_bits=8)
    monkeypatch.setattr(imagenet, "COUNTS", {"train": 14, "val": 5})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(open_imagenet(tmp_path, "all", SIZE, n_bits=8)) == 19


# Downsampled


def small(number: int, size: int = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(256, size=(size, size, 3), dtype=np.uint8)


def downsampled_folders(root: Path, val: str = "valid", size: int = SIZE) -> Path:
    for part, numbers in (("train", range(14)), (val, range(14, 19))):
        (root / f"{part}_{SIZE}x{SIZE}").mkdir(parents=True)
        for number in numbers:
            Image.fromarray(small(number, size)).save(root / f"{part}_{SIZE}x{SIZE}" / f"{number:07d}.png")
    return root


def downsampled_npz(root: Path, flat: bool = True, save: Callable[..., None] = np.savez) -> Path:
    """Three files of train and one of val, as those of Chrabaszcz et al."""
    root.mkdir()
    batches = {f"train_data_batch_{n + 1}": range(5 * n, min(5 * n + 5, 14)) for n in range(3)}
    for name, numbers in (batches | {"val_data": range(14, 19)}).items():
        data = np.stack([small(number) for number in numbers])
        if flat:
            data = data.transpose(0, 3, 1, 2).reshape(len(data), -1)
        save(root / f"{name}.npz", data=data, labels=np.arange(len(data)), mean=data.mean(0))
    return root


@pytest.mark.parametrize("n_bits", [5, 8])
@pytest.mark.parametrize(
    "make",
    [
        downsampled_folders,
        lambda root: downsampled_folders(root, "val"),
        downsampled_npz,
        lambda root: downsampled_npz(root, save=np.savez_compressed),
        lambda root: downsampled_npz(root, flat=False),
        lambda root: downsampled_npz(root, flat=False, save=np.savez_compressed),
    ],
)
def test_downsampled_images_are_taken_as_they_are(tmp_path: Path, make: Callable[[Path], Path], n_bits: int) -> None:
    root = make(tmp_path / "root")
    images = opened(root, "all", n_bits)
    assert len(images) == len(set(images.files)) == 19
    for number in range(19):
        assert (images.read(number) == small(number).transpose(2, 0, 1) // 2 ** (8 - n_bits)).all()
        assert images.formats[number] in ("PNG", "NPZ")
    held_out, train = opened(root, "validation"), opened(root, "train")
    assert {*held_out.files, *train.files, *opened(root, "test").files} == set(images.files)
    assert len(held_out) == 1 and len(train) == 13
    assert same(pickle.loads(pickle.dumps(images)), images)


def test_downsampled_images_of_another_size_are_refused(tmp_path: Path) -> None:
    root = downsampled_folders(tmp_path / "root", size=SIZE + 1)
    with pytest.raises(DataError, match=r"0000014\.png: expected 16x16 pixels .* got 17x17"):
        opened(root, "test")
    with pytest.raises(DataError, match=r"val_data\.npz.000000: expected 8x8 pixels .* got 16x16"):
        opened(downsampled_npz(tmp_path / "npz"), "test", size=8)


def test_both_ilsvrcs_images_and_downsampled_ones_are_refused(tmp_path: Path) -> None:
    downsampled_folders(tree(tmp_path))
    with pytest.raises(DataError, match=r"expected either .* got both train_16x16 and train, whose pixels differ"):
        opened(tmp_path, "test")
    assert len(opened(tmp_path, "test", size=8)) == 5  # those of another size do not count


# Processes


@pytest.mark.parametrize(
    "make", [tree, tars, downsampled_npz, lambda root: downsampled_npz(root, save=np.savez_compressed)]
)
def test_pickles_and_workers_give_the_same(
    tmp_path: Path, make: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pytest.importorskip("torch.utils.data")
    monkeypatch.setattr("pixelpyramids.data.kept.KEPT_BYTES", 0)
    images = opened(make(tmp_path / "root"), "train")
    assert same(pickle.loads(pickle.dumps(images)), images)
    for context in ("fork", "spawn"):
        loader = data.DataLoader(_Items(images), batch_size=None, num_workers=2, multiprocessing_context=context)
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
        return self.images.read(index)


# Archives


def test_the_index_is_kept_and_mapped(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tars(tmp_path / "root") / "ILSVRC2012_img_train.tar"
    first = TarEntries([path])
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr("pixelpyramids.data.containers.tar._images", None)
    again = TarEntries([path])
    assert len(pickle.dumps(again)) < 1500
    for entries in (again, pickle.loads(pickle.dumps(again))):
        assert list(entries.names) == list(first.names)
        assert [entries.read(i) for i in range(14)] == [first.read(i) for i in range(14)]
    by_name = {"/".join(name.parts[-2:]).replace(".tar", ""): first.read(i) for i, name in enumerate(first.names)}
    assert by_name == TRAIN
    assert first.names[0] == path / "n01440764.tar" / "n01440764_0.JPEG"


def test_what_is_no_image_is_skipped(tmp_path: Path) -> None:
    files = {"./a.JPEG": b"1", "notes.txt": b"2", "._a.JPEG": b"3", ".git/b.png": b"4", "c/b.PNG": b"5", "/d.jpg": b"6"}
    path = tar(tmp_path / "a.tar", files)
    with tarfile.open(path, "a") as archive:
        folder = tarfile.TarInfo("folder.png")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "a.JPEG"
        archive.addfile(link)
    entries = TarEntries([path])
    contents = {name.relative_to(path).as_posix(): entries.read(i) for i, name in enumerate(entries.names)}
    assert contents == {"a.JPEG": b"1", "c/b.PNG": b"5", "d.jpg": b"6"}


def test_long_and_foreign_names_are_read(tmp_path: Path) -> None:
    files = {f"{'x' * 90}/{'y' * 90}.png": b"1", "ä\udcff.png": b"2", "z.png": b""}
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tar(tmp_path / f"{format}.tar", files, format)
        entries = TarEntries([path])
        assert {str(name.relative_to(path)): entries.read(i) for i, name in enumerate(entries.names)} == files


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"])
def test_an_archive_cut_anywhere_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tars(tmp_path / "root") / name
    stored, entries = path.read_bytes(), TarEntries([path])
    with tarfile.open(path) as archive:
        end = max(member.offset_data + -(-member.size // 512) * 512 for member in archive)
    for length in [0, 1, 511, 512, 513, 1024, *range(1536, end, 1789), end - 512, end - 1, end, end + 511]:
        path.write_bytes(stored[:length])
        with pytest.raises(DataError, match=rf"{name}.*: expected a whole, uncompressed tar archive, got"):
            TarEntries([path])
    with pytest.raises(DataError, match=r"expected \d+ bytes, got \d+; leave the archive"):
        path.write_bytes(stored[:1000])
        entries.read(len(entries.names) - 1)
    path.unlink()
    with pytest.raises(DataError, match="expected a file that can be read, got No such file"):
        entries.read(0)
    with pytest.raises(DataError, match=r": expected a tar archive, got none"):
        TarEntries([path])


@pytest.mark.parametrize("offset", [0, 100, 700])
def test_an_archive_inside_that_is_cut_is_refused_by_name(tmp_path: Path, offset: int) -> None:
    inside = class_tars(tmp_path / "classes")
    inside[f"{CLASSES[1]}.tar"] = inside[f"{CLASSES[1]}.tar"][:offset]
    path = tar(tmp_path / "ILSVRC2012_img_train.tar", inside)
    with pytest.raises(DataError, match=rf"ILSVRC2012_img_train\.tar/{CLASSES[1]}\.tar: expected a whole"):
        TarEntries([path])


def test_an_archive_inside_does_not_run_into_the_next(tmp_path: Path) -> None:
    inside = class_tars(tmp_path / "classes")
    with tarfile.open(tmp_path / "classes" / f"{CLASSES[1]}.tar") as archive:
        end = max(member.offset_data + -(-member.size // 512) * 512 for member in archive)
    inside[f"{CLASSES[1]}.tar"] = inside[f"{CLASSES[1]}.tar"][:end]  # cut between two members
    path = tar(tmp_path / "ILSVRC2012_img_train.tar", inside)
    with pytest.raises(DataError, match=rf"{CLASSES[1]}\.tar: expected a whole, uncompressed tar archive"):
        TarEntries([path])


def test_compressed_foreign_and_empty_archives_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.add(__file__, "a.png")
    write(tmp_path, {"b.tar": b"foreign" * 1000})
    tar(tmp_path / "c.tar", {"a.txt": b"1"})
    for name in ("a.tar", "b.tar"):
        with pytest.raises(DataError, match=rf"{name}: expected a whole, uncompressed tar archive, got ReadError"):
            TarEntries([tmp_path / name])
    with pytest.raises(DataError, match=r"c\.tar: expected images in the tar archive, got none"):
        TarEntries([tmp_path / "c.tar"])


def test_a_changed_archive_is_indexed_again(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"a.png": b"1"})
    assert len(TarEntries([path]).names) == 1
    tar(path, {"a.png": b"1", "b.png": b"22" * 9000})
    assert len(TarEntries([path]).names) == 2


def test_a_damaged_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    files = dict(VAL)
    damaged = val_name(16)
    files[damaged] = files[damaged][: len(files[damaged]) // 2]
    tar(tmp_path / "ILSVRC2012_img_val.tar", files)
    images = opened(tmp_path, "test")
    with pytest.raises(DataError, match=rf"ILSVRC2012_img_val\.tar/{damaged}: expected an image that Pillow can read"):
        images.read(2)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damage_anywhere_is_read_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / data.draw(st.sampled_from(["damaged.tar", "damaged.npz"]))
    if path.suffix == ".tar":
        tar(path, {"a.png": b"1" * 600, "b.tar": tar(folder / "inner.tar", {"c.png": b"2"}).read_bytes()})
    else:
        np.savez(path, data=small(0)[None])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        entries: Any = TarEntries([path]) if path.suffix == ".tar" else NpzEntries(path)
        for index in range(len(entries.names)):
            entries.read(index)
    except DataError as error:
        assert str(path) in str(error)


# Arrays


def test_a_stored_array_is_mapped_and_a_compressed_one_is_read(tmp_path: Path) -> None:
    stored = NpzEntries(downsampled_npz(tmp_path / "stored") / "val_data.npz")
    compressed = NpzEntries(downsampled_npz(tmp_path / "zip", save=np.savez_compressed) / "val_data.npz")
    assert isinstance(stored._array, np.memmap) and not isinstance(compressed._array, np.memmap)
    for entries in (stored, compressed):
        assert len(pickle.dumps(entries)) < 500
        assert [(entries.read(i) == small(14 + i)).all() for i in range(5)] == [True] * 5
    assert stored.names[3] == tmp_path / "stored" / "val_data.npz" / "000003"


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_either_order_are_read(tmp_path: Path, order: Any) -> None:
    data = np.stack([small(n) for n in range(3)])
    np.savez(tmp_path / "a.npz", data=np.asarray(data, order=order))
    entries = NpzEntries(tmp_path / "a.npz")
    assert all((entries.read(i) == data[i]).all() for i in range(3))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_cut_anywhere_is_refused_by_name(tmp_path: Path, save: Callable[..., None]) -> None:
    path = downsampled_npz(tmp_path / "root", save=save) / "val_data.npz"
    stored, entries = path.read_bytes(), NpzEntries(path)
    for length in [0, 1, 29, 30, 100, *range(200, len(stored), 997), len(stored) - 1]:
        path.write_bytes(stored[:length])
        with pytest.raises(DataError, match=r"val_data\.npz: expected an \.npz file with an array data, got"):
            NpzEntries(path)
    path.write_bytes(stored)
    np.savez(path, data=np.zeros((2, 12), np.uint8))
    with pytest.raises(DataError, match="expected 5 images, as when it was opened, got 2"):
        pickle.loads(pickle.dumps(entries)).read(0)


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.zeros((2, 12), np.uint8)},
        {"data": np.zeros((2, 12), np.float32)},
        {"data": np.zeros((2, 13), np.uint8)},
        {"data": np.zeros((2, 0), np.uint8)},
        {"data": np.zeros((0, 12), np.uint8)},
        {"data": np.zeros((2, 4, 4, 4), np.uint8)},
        {"data": np.array([{}, {}], dtype=object)},
        {"data": np.uint8(3)},
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=r"a\.npz: expected an"):
        NpzEntries(tmp_path / "a.npz")


def test_an_array_of_another_name_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 12), np.uint8), labels=np.zeros(2))
    with pytest.raises(DataError, match=r"a\.npz: expected an array called data, got images, labels; write"):
        NpzEntries(tmp_path / "a.npz")


def test_a_damaged_compressed_array_is_refused(tmp_path: Path) -> None:
    path = downsampled_npz(tmp_path / "root", save=np.savez_compressed) / "val_data.npz"
    stored = bytearray(path.read_bytes())
    stored[2000] ^= 0xFF
    path.write_bytes(stored)
    with pytest.raises(DataError, match=r"val_data\.npz: expected an \.npz file"):
        NpzEntries(path)
