"""Small fixtures of the data sets, in every layout in which they are distributed, and the pixels to be read."""

import io
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import datasets
import h5py
import lmdb
import numpy as np
import tfrecord
from numpy.typing import NDArray
from pictures import encode
from PIL import Image

from pixelpyramids.data.celeba_hq import open_celeba_hq
from pixelpyramids.data.huggingface import open_hub
from pixelpyramids.data.imagenet import open_imagenet
from pixelpyramids.data.lsun import open_lsun


def noise(number: int, height: int = 8, width: int | None = None) -> NDArray[np.uint8]:
    """(H, W, 3); no two are alike."""
    shape = (height, height if width is None else width, 3)
    pixels = np.random.default_rng(number).integers(256, size=shape, dtype=np.uint8)
    pixels[0, 0] = number % 256, number // 256, 0
    return pixels


def write_files(root: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_pictures(root: Path, *names: str, size: int = 8, seed: int = 0) -> Path:
    """Write PNG files of noise, of which no two are alike."""
    return write_files(root, {name: encode(noise(1000 * seed + n, size)) for n, name in enumerate(names)})


def write_tar(path: Path, contents: dict[str, bytes], format: int = tarfile.GNU_FORMAT) -> Path:
    """Write a tar whose members are not in the order of their names, because the reader must sort them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in reversed(contents.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in reversed(contents.items()):
            archive.writestr(name, content)
    return path


def write_lmdb(path: Path, values: dict[bytes, bytes]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=2**27) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    return path


def write_records(path: Path, images: list[NDArray[np.uint8]], colours_first: bool = True, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = tfrecord.TFRecordWriter(str(path))
    for image in images:
        stored = image.transpose(2, 0, 1) if colours_first else image
        writer.write({"shape": (list(stored.shape), "int"), "data": (stored.tobytes(), "byte"), **more})
    writer.close()
    return path


def write_hdf5(path: Path, **datasets: NDArray[Any]) -> Path:
    """With chunks, compression and growing datasets, as the official script writes them; `__` stands for /."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, images in datasets.items():
            shape = images.shape[1:]
            options = {"maxshape": (None, *shape), "chunks": (1, *shape), "compression": "gzip", "dtype": images.dtype}
            target = file.create_dataset(name.replace("__", "/"), shape=(0, *shape), **options)
            target.resize(len(images), axis=0)
            target[:] = images
    return path


@dataclass(frozen=True)
class Layout:
    """A data set in one form: `build` writes it, `expected` are its images at 8 bits by their numbers.

    The first `train` numbers are for training, the others for test. `is_ordered` says whether they are read in order.
    """

    build: Callable[[Path], Path]
    open: Callable[..., Any]
    expected: Callable[[int], NDArray[np.uint8]]
    train: int
    count: int
    formats: frozenset[str]
    is_ordered: bool = False

    def read(self, root: Path, split: str, n_bits: int = 8, **options: Any) -> Any:
        """One split, without the warning that the fixture is smaller than the data set."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*figures are not comparable")
            return self.open(root, split=split, n_bits=n_bits, **options)

    def numbers(self, images: Any, n_bits: int = 8) -> list[int]:
        """The numbers of the images, found by comparing all pixels."""
        known = {(self.expected(n) >> (8 - n_bits)).tobytes(): n for n in range(self.count)}
        return [known[images.read(index).tobytes()] for index in range(len(images))]


# CelebA-HQ: 30 faces of 8x8, the last three for test

FACES, FACES_TRAIN = 30, 27
open_celeba = partial(open_celeba_hq, size=8)


def faces(numbers: range, size: int = 8, colours_first: bool = True) -> NDArray[np.uint8]:
    images = np.stack([noise(number, size) for number in numbers])
    return images.transpose(0, 3, 1, 2) if colours_first else images


def face_files(pattern: str = "{}.png", numbers: range = range(FACES)) -> dict[str, bytes]:
    return {pattern.format(n): encode(noise(n)) for n in numbers}


def hdf5_of_two_sizes(root: Path) -> Path:
    return write_hdf5(root / "celeba-hq.h5", data8x8=faces(range(FACES)), data16x16=faces(range(FACES), 16))


def records_of_three_sizes(root: Path) -> Path:
    for size in (4, 8, 16):
        images = [noise(number, size) for number in range(FACES)]
        write_records(root / f"celebahq-r{size.bit_length() - 1:02d}.tfrecords", images)
    return write_files(root, {"celebahq-rxx.labels": b"labels"})


def record_shards(root: Path) -> Path:
    for shard in range(3):
        images = [noise(number) for number in range(10 * shard, 10 * shard + 10)]
        write_records(root / f"celeba-r03.tfrecords.{shard:03d}", images)
    return root


def authors_files(top: str = "") -> dict[str, bytes]:
    train = face_files(top + "train/train/{:06d}.jpg.png", range(FACES_TRAIN))
    return train | face_files(top + "validation/validation/{:06d}.png", range(FACES_TRAIN, FACES))


def glow_records(root: Path) -> Path:
    for part, numbers, count in (("train", range(27), 6), ("validation", range(27, 30), 2)):
        for size in (8, 16):
            for shard in range(count):
                images = [noise(number, size) for number in numbers[shard::count]]
                name = f"{part}-r{size.bit_length() - 1:02d}-s-{shard:04d}-of-{count:04d}.tfrecords"
                write_records(root / part / name, images, False, label=([0], "int"), attr=([1] * 40, "int"))
    return root


def celeba(build: Callable[[Path], Any], format: str, is_ordered: bool) -> Layout:
    expected = cache(lambda n: noise(n).transpose(2, 0, 1))
    return Layout(build, open_celeba, expected, FACES_TRAIN, FACES, frozenset({format}), is_ordered)


CELEBA_UNDIVIDED = {
    "folder": lambda root: write_files(root, face_files()),
    "zip": lambda root: write_zip(root / "celeba_hq.zip", face_files()),
    "zip in a folder": lambda root: (
        write_zip(root / "x.zip", face_files("celeba/celeba-256/{}.png"), zipfile.ZIP_STORED).parent
    ),
    "hdf5 of two sizes": hdf5_of_two_sizes,
    "hdf5 in a folder": lambda root: write_hdf5(root / "x.hdf5", x=faces(range(30), colours_first=False)).parent,
    "records of three sizes": records_of_three_sizes,
    "records in a file": lambda root: records_of_three_sizes(root) / "celebahq-r03.tfrecords",
    "records in shards": record_shards,
}
TRAIN_FACES, TEST_FACES = faces(range(27)), faces(range(27, 30))
CELEBA_DIVIDED = {
    "folder of the authors": lambda root: write_files(root, authors_files()),
    "zip of the authors": lambda root: write_zip(root / "celeba.zip", authors_files("celeba/")),
    "hdf5 of parts": lambda root: write_hdf5(root / "x.h5", train=TRAIN_FACES, validation=TEST_FACES),
    "hdf5 of nested parts": lambda root: write_hdf5(
        root / "x.h5", all__faces=faces(range(30)), images__train=TRAIN_FACES, images__val=TEST_FACES
    ),
    "records of glow": glow_records,
}


# ImageNet: 19 images of several sizes and modes, the last five for test

CLASSES = ("n01440764", "n02105855", "n07831146")
IMAGENET_SIZE = 16
open_small_imagenet = partial(open_imagenet, size=IMAGENET_SIZE)
_IMAGENET_SIZES = [(16, 16), (24, 31), (40, 33), (17, 16), (9, 12), (50, 21), (32, 32)]


@cache
def imagenet_content(number: int) -> bytes:
    """Mostly JPEG files of colour; as in ILSVRC there are grey and CMYK ones, and a PNG file."""
    image = Image.fromarray(noise(number, *_IMAGENET_SIZES[number % len(_IMAGENET_SIZES)]))
    if number == 3:
        return encode(image)
    return encode(image.convert({1: "L", 4: "CMYK", 5: "CMYK"}.get(number, "RGB")), "JPEG", quality=95)


def train_files() -> dict[str, bytes]:
    names = {n: CLASSES[n % len(CLASSES)] for n in range(14)}
    return dict(sorted((f"{name}/{name}_{n:02d}.JPEG", imagenet_content(n)) for n, name in names.items()))


def val_files() -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{n:08d}.JPEG": imagenet_content(n) for n in range(14, 19)}


def class_tars(folder: Path, format: int = tarfile.GNU_FORMAT) -> dict[str, bytes]:
    """The 1,000 archives in ILSVRC's archive of train, one for each class."""
    for name in CLASSES:
        files = {file.partition("/")[2]: content for file, content in train_files().items() if file.startswith(name)}
        write_tar(folder / f"{name}.tar", files, format)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def tree(root: Path) -> Path:
    write_files(root / "val", val_files())
    return write_files(root / "train", train_files()).parent


def tree_of_the_challenge(root: Path) -> Path:
    top = root / "ILSVRC/Data/CLS-LOC"
    write_files(top / "val", {f"n0000000{n % 2}/{name}": data for n, (name, data) in enumerate(val_files().items())})
    write_files(top / "train", train_files())
    return root


def tars(root: Path, format: int = tarfile.GNU_FORMAT) -> Path:
    write_tar(root / "ILSVRC2012_img_val.tar", val_files(), format)
    return write_tar(root / "ILSVRC2012_img_train.tar", class_tars(root.parent / "classes", format), format).parent


def tars_of_classes(root: Path) -> Path:
    class_tars(root / "train")
    return write_files(root / "val", val_files()).parent


def tree_and_tar(root: Path) -> Path:
    write_files(root / "train", train_files())
    (root / "val").mkdir()  # an empty folder does not hide an archive
    return write_tar(root / "ILSVRC2012_img_val.tar", val_files()).parent


def downsampled_folders(root: Path, val: str = "valid", size: int = IMAGENET_SIZE) -> Path:
    for part, numbers in (("train", range(14)), (val, range(14, 19))):
        files = {f"{number:07d}.png": encode(noise(number, size)) for number in numbers}
        write_files(root / f"{part}_{IMAGENET_SIZE}x{IMAGENET_SIZE}", files)
    return root


def downsampled_npz(root: Path, flat: bool = True, save: Callable[..., None] = np.savez) -> Path:
    """Three files of train and one of val, as those of Chrabaszcz et al."""
    root.mkdir(parents=True)
    batches = {f"train_data_batch_{n + 1}": range(5 * n, min(5 * n + 5, 14)) for n in range(3)}
    for name, numbers in (batches | {"val_data": range(14, 19)}).items():
        data = np.stack([noise(number, IMAGENET_SIZE) for number in numbers])
        if flat:
            data = data.transpose(0, 3, 1, 2).reshape(len(data), -1)
        save(root / f"{name}.npz", data=data, labels=np.arange(len(data)), mean=data.mean(0))
    return root


def _resample(
    pixels: NDArray[np.uint8], size: int, weigh: Callable[[int, float], dict[int, float]]
) -> NDArray[np.uint8]:
    """A filter of Pillow's, written out: each pixel is a weighted mean of sources, along rows and then along columns.

    `weigh(x, scale)` gives the weights of the sources of pixel x. They are scaled to 1 and rounded to 22 bits after the
    point; the means are rounded to integers after rows and after columns.
    """
    values = pixels.astype(np.int64)
    for _ in range(2):
        result = np.empty((len(values), size, 3), np.int64)
        for x in range(size):
            raw = weigh(x, values.shape[1] / size)
            weights = np.floor(np.array(list(raw.values())) / sum(raw.values()) * 2**22 + 0.5).astype(np.int64)
            result[:, x] = ((values[:, list(raw)] * weights[:, None]).sum(1) + 2**21) >> 22
        values = result.transpose(1, 0, 2)
    return values.clip(0, 255).astype(np.uint8)


def _box(x: int, scale: float) -> dict[int, float]:
    """The pixels whose centre is in pixel x of the result; a smaller image repeats its pixels."""
    inside = [s for s in range(int(x * scale), int((x + 1) * scale) + 1) if x * scale < s + 0.5 <= (x + 1) * scale]
    return dict.fromkeys(inside if scale >= 1 else [int((x + 0.5) * scale)], 1.0)


def _bilinear_half(x: int, scale: float) -> dict[int, float]:
    """From 256 to 128, a triangle 2 pixels wide to each side of the centre: (1, 3, 3, 1)/8, cut off at the border."""
    assert scale == 2
    return {s: 1 - abs(s + 0.5 - (2 * x + 1)) / 2 for s in range(max(0, 2 * x - 1), min(256, 2 * x + 3))}


def cmyk_to_rgb(inks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The product of two bytes over 255, rounded."""
    light = 255 - inks.astype(np.int64)
    return np.floor(light[..., :3] * light[..., 3:] / 255 + 0.5).astype(np.uint8)


@cache
def prepared_imagenet(number: int) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(imagenet_content(number)))
    pixels = cmyk_to_rgb(np.asarray(image)) if image.mode == "CMYK" else np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = round((height - side) / 2), round((width - side) / 2)
    return _resample(pixels[top : top + side, left : left + side], IMAGENET_SIZE, _box).transpose(2, 0, 1)


def imagenet(build: Callable[[Path], Any]) -> Layout:
    return Layout(build, open_small_imagenet, prepared_imagenet, 14, 19, frozenset({"JPEG", "PNG"}))


def downsampled(build: Callable[[Path], Any], format: str) -> Layout:
    expected = cache(lambda n: noise(n, IMAGENET_SIZE).transpose(2, 0, 1))
    return Layout(build, open_small_imagenet, expected, 14, 19, frozenset({format}), is_ordered=True)


IMAGENET = {
    "tree": tree,
    "tree of the challenge": tree_of_the_challenge,
    "tree below data": lambda root: tree(root / "Data/CLS-LOC").parents[1],
    "tars": tars,
    "tars with pax headers": lambda root: tars(root, tarfile.PAX_FORMAT),
    "tars of classes": tars_of_classes,
    "tree and tar": tree_and_tar,
}


# LSUN: 8 scenes of several sizes, the last two for test

_LSUN_SIZES = [(256, 256), (256, 301), (322, 256), (257, 258), (128, 128), (259, 400)]


def lsun_key(number: int) -> bytes:
    """40 hexadecimal digits, as LSUN's; not in the order of the numbers."""
    return f"{(number * 0x9E3779B97F4A7C15 + 1) % 2**64:016x}".encode() * 2 + b"0" * 8


@cache
def scene(number: int, format: str = "JPEG") -> bytes:
    """An image file with smooth and noisy parts."""
    height, width = _LSUN_SIZES[number % len(_LSUN_SIZES)]
    draw = np.random.default_rng(number)
    smooth = np.linspace(0, 200, width)[None, :, None] + draw.integers(0, 50, (1, 1, 3))
    pixels = np.broadcast_to(smooth, (height, width, 3)).copy()
    pixels[: height // 2] += draw.integers(0, 6, (height // 2, width, 3))
    return encode(pixels.astype(np.uint8), format, quality=75)


def environments(root: Path, format: str = "JPEG", train: int = 6, category: str = "church_outdoor") -> Path:
    for part, numbers in (("train", range(train)), ("val", range(6, 8))):
        write_lmdb(root / f"{category}_{part}_lmdb", {lsun_key(n): scene(n, format) for n in numbers})
    return root


def exported_folders(root: Path, is_flat: bool = False, suffix: str = "webp") -> Path:
    """What LSUN's data.py writes: each value unchanged, below folders of the key's first six digits unless flat."""
    for part, numbers in (("train", range(6)), ("val", range(6, 8))):
        for number in numbers:
            key = lsun_key(number).decode()
            folders = "" if is_flat else "/".join(key[:6]) + "/"
            write_files(root / part, {f"{folders}{key}.{suffix}": scene(number)})
    return root


@cache
def prepared_scene(number: int, format: str = "JPEG") -> NDArray[np.uint8]:
    """What the authors' loader gives, except for the decoder, in NumPy; torchvision's CenterCrop by its formula."""
    pixels = np.asarray(Image.open(io.BytesIO(scene(number, format))).convert("RGB"))
    height, width, _ = pixels.shape
    if (height, width) != (128, 128):
        top, left = round((height - 256) / 2.0), round((width - 256) / 2.0)
        pixels = _resample(pixels[top : top + 256, left : left + 256], 128, _bilinear_half)
    return pixels.transpose(2, 0, 1)


def lsun(build: Callable[[Path], Any], format: str = "JPEG") -> Layout:
    open_ = partial(open_lsun, category="church_outdoor", size=128)
    return Layout(build, open_, partial(prepared_scene, format=format), 6, 8, frozenset({format}))


# Any data set in Parquet files, read by `datasets`: 30 images, the last three for test


def write_parquet(path: Path, contents: list[bytes | None], **more: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {"image": [content and {"bytes": content, "path": None} for content in contents], **more}
    datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).to_parquet(str(path))
    return path


def parquet_shards(root: Path) -> Path:
    contents = list(face_files().values())
    for number, (name, start) in enumerate({"train-0": 0, "train-1": 10, "train-2": 20, "test-0": 27}.items()):
        write_parquet(root / f"{name}.parquet", contents[start : (10, 20, 27, 30)[number]])
    return root


FORMATS = {"folder": "PNG", "zip": "PNG", "hdf5": "HDF5", "records": "TFRecord"}
LAYOUTS = {
    **{f"celeba {name}": celeba(build, FORMATS[name.split()[0]], True) for name, build in CELEBA_UNDIVIDED.items()},
    **{f"celeba {name}": celeba(build, FORMATS[name.split()[0]], False) for name, build in CELEBA_DIVIDED.items()},
    **{f"imagenet {name}": imagenet(build) for name, build in IMAGENET.items()},
    "downsampled folders": downsampled(downsampled_folders, "PNG"),
    "downsampled npz": downsampled(downsampled_npz, "NPZ"),
    "downsampled npz of images": downsampled(partial(downsampled_npz, flat=False), "NPZ"),
    "downsampled compressed npz": downsampled(partial(downsampled_npz, save=np.savez_compressed), "NPZ"),
    "lsun environments": lsun(environments),
    "lsun environments of webp": lsun(partial(environments, format="WEBP"), "WEBP"),
    "lsun folders": lsun(exported_folders),
    "lsun flat folders": lsun(partial(exported_folders, is_flat=True, suffix="jpg")),
    "parquet": replace(
        celeba(parquet_shards, "PNG", False), open=lambda root, **options: open_hub(str(root), **options)
    ),
}
