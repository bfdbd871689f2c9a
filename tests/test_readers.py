"""Every reader against every kind of damage: it reads the file, or raises its one error, which names the file.

A sound file is emptied, cut, extended, changed, replaced by another kind of file and made unreadable. Readers never
raise another exception, and commands never leave a half-written result.
"""

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import zarr
from command_line import ROOT, another_user, output_of
from data_layouts import encode, write_files, write_parquet
from image_samples import own_file
from pictures import files
from PIL import Image, features
from ppyr_files import WEIGHTS, decoder
from test_containers import CONTAINERS, Container, images, read_all
from test_release_checkpoint import checkpoint, save_checkpoint
from test_run_directory import save_run

import pixelpyramids as pp
import pixelpyramids.image_files.pillow_plugin
from pixelpyramids.codec.integer_network import load_network
from pixelpyramids.data.huggingface import open_hub
from pixelpyramids.data.reading import read_decoded
from pixelpyramids.errors import BitstreamError, CheckpointError, DataError, ParameterError
from pixelpyramids.image_files.zarr_codec import PyramidSerializer
from pixelpyramids.model.release_checkpoint import read_checkpoint
from pixelpyramids.training import run_directory

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
FLIPS = 40
UNREADABLE = ("missing", "a folder", "without rights", "a pipe")
PARAMETERS = (ROOT / "params" / "celeba_256.json").read_bytes()
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n"


class Reader(NamedTuple):
    """How to write a sound file below a folder, and how to read all of it."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    error: type[Exception] | tuple[type[Exception], ...] = DataError
    is_checked: bool = False  # checksums find every change of a bit
    is_whole: bool = False  # the reader knows where the file ends
    names_file: bool = True  # readers of bytes do not know the name
    flips: int = FLIPS
    unreadable: tuple[str, ...] = UNREADABLE  # what the reader refuses, and not another library that opens the file


def file_of(name: str, content: bytes) -> Callable[[Path], Path]:
    return lambda root: write_files(root, {name: content}) / name


def make_zarr(root: Path) -> Path:
    serializer = PyramidSerializer("fast")
    array = zarr.create_array(root / "a", shape=(9, 9), dtype="uint8", serializer=serializer, compressors=None)
    array[:] = NOISE[:9, :9, 0]
    (chunk,) = (path for path in (root / "a").rglob("*") if path.is_file() and path.name != "zarr.json")
    return chunk


def make_parquet(root: Path) -> Path:
    return write_parquet(root / "train-00000-of-00001.parquet", [encode(image) for image in NOISE.reshape(2, 6, 10, 3)])


def in_container(container: Container) -> Reader:
    def make(root: Path) -> Path:
        container.write(root / container.path)
        return root / container.path / container.data

    def read(path: Path) -> list[Any]:
        return read_all(images(container.open(path.parent if container.data else path)))

    is_mapped = container.path == "x_lmdb"  # without checksums: changes may end the process
    is_whole, is_checked = container.path not in ("x.tar", "x_lmdb"), container.path == "x.tfrecords"
    return Reader(make, read, is_checked=is_checked, is_whole=is_whole, flips=0 if is_mapped else FLIPS)


def open_and_read(path: Path) -> Any:
    with pp.open(path) as image:
        return image.read()


def read_shards(path: Path, prefix: str = "") -> list[Any]:
    images = open_hub(f"{prefix}{path.parent}", "all")
    if images.skipped:
        raise DataError(f"{path}: {images.skipped}")
    return [images.read(index) for index in range(len(images))]


def run_decoder(path: Path) -> None:
    """Run the decoder beside the format's text. Raises FormatError with what it prints."""
    out = os.path.join(path.parent, "out.npy")
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        ended = decoder.main([str(path), str(WEIGHTS), out])
    assert os.path.exists(out) == (ended == 0)
    if ended:
        raise decoder.FormatError(printed.getvalue())
    os.remove(out)


def load_pillow(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


SUFFIXES = {
    "PNG": "png", "JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2", "PPM": "ppm", "BMP": "bmp", "GIF": "gif",
    "TGA": "tga", "PCX": "pcx", "QOI": "qoi",
}  # fmt: skip
IMAGE_FILES = {kind: file_of(f"a.{suffix}", encode(NOISE, kind)) for kind, suffix in SUFFIXES.items()} | {
    "TIFF with deflate": file_of("a.tif", encode(NOISE, "TIFF", compression="tiff_adobe_deflate")),
    "WebP": file_of("a.webp", encode(NOISE, "WEBP", lossless=True)),
    "npy": file_of("a.npy", own_file(NOISE, 8, "npy")),
}
if features.check("avif"):
    IMAGE_FILES["AVIF"] = file_of("a.avif", encode(NOISE, "AVIF", quality=90))

ZIP, PNG = b"PK\5\6" + bytes(18), encode(NOISE)
make_ppyr = file_of("a.ppyr", pp.encode(NOISE // 8 * 8, effort="fast"))

READERS = {
    **{f"{name}, for training": Reader(make, read_decoded) for name, make in IMAGE_FILES.items() if name != "npy"},
    **{
        name: Reader(make, open_and_read, is_checked=name == "PNG", is_whole=name in ("PNG", "PPM"))
        for name, make in IMAGE_FILES.items()
    },
    ".ppyr": Reader(make_ppyr, open_and_read, (BitstreamError, DataError), True, True),
    ".ppyr, as specified": Reader(make_ppyr, run_decoder, decoder.FormatError, True, True, unreadable=()),
    ".ppyr in Pillow": Reader(make_ppyr, load_pillow, OSError, True, True, names_file=False, unreadable=()),
    ".ppyr in zarr": Reader(make_zarr, lambda path: zarr.open_array(path.parents[2])[:], BitstreamError, True, True,
                            names_file=False, unreadable=()),
    **{kind: in_container(container) for kind, container in CONTAINERS.items()},
    "Parquet": Reader(make_parquet, read_shards, is_whole=True, flips=10, unreadable=UNREADABLE[:3]),
    "Parquet, streamed": Reader(make_parquet, partial(read_shards, prefix="stream:"), is_whole=True, flips=10,
                                unreadable=UNREADABLE[:3]),
    "WebDataset": Reader(lambda root: CONTAINERS["tar"].write(root / "train-0.tar"), read_shards, flips=10,
                         unreadable=UNREADABLE[:3]),
    "weights of a run": Reader(lambda root: run_directory.level_file(save_run(root / "run", seed=5), 1),
                               lambda path: run_directory.load(path.parent), CheckpointError, is_whole=True),
    "weights of the codec": Reader(file_of("w.safetensors", WEIGHTS.read_bytes()), load_network, CheckpointError,
                                   is_whole=True, unreadable=UNREADABLE[:3]),
    "parameters": Reader(file_of("a.json", PARAMETERS), pp.load_parameters, ParameterError),
    "the authors' weights": Reader(lambda root: save_checkpoint(root / "a.pt", checkpoint(8)[0]),
                                   lambda path: read_checkpoint(path, checkpoint(8)[1]), CheckpointError,
                                   is_whole=True, flips=10),
}  # fmt: skip


@pytest.fixture(params=READERS, scope="module")
def reader(request):
    return READERS[request.param]


@pytest.fixture
def path(reader, monkeypatch):
    """A sound file, in a folder that every user can read."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        monkeypatch.setenv("XDG_CACHE_HOME", os.path.join(folder, "cache"))
        warnings.simplefilter("ignore")
        Path(folder).chmod(0o755)
        made = reader.make(Path(folder))
        reader.read(made)
        yield made


def read_or_refuse(reader, path):
    """Whether the reader refuses the file with its error, in the way that it must."""
    try:
        reader.read(path)
    except reader.error as error:
        assert not reader.names_file or str(path) in str(error) or str(path.parent) in str(error), error
        return True
    return False


def test_other_files_are_refused(reader, path):
    own = path.read_bytes()
    another = ZIP if reader.read in (read_decoded, open_and_read, load_pillow) else PNG
    others = EPS, another, b"\x1f\x8b\x08" + bytes(40), b"\2\0\0\0\0\0\0\0{}"
    for content in (b"", own[:1], b"not an image", RNG.bytes(1000), bytes(64), *others):
        path.write_bytes(content)
        assert read_or_refuse(reader, path), content[:20]


def test_cut_files_are_refused(reader, path):
    own = path.read_bytes()
    for length in (len(own) // 3, len(own) // 2 + 1, 11, len(own) - 1, len(own) - 5, *RNG.integers(0, len(own), 9)):
        path.write_bytes(own[:length])
        must = length == len(own) // 3 or length == len(own) // 2 + 1 or reader.is_whole
        assert read_or_refuse(reader, path) or not must, length


def test_extended_files_are_refused_or_read(reader, path):
    own = path.read_bytes()
    for behind in (b"\0", b"text", RNG.bytes(2000)):
        path.write_bytes(own + behind)
        read_or_refuse(reader, path)


def test_changed_files_are_refused_or_read(reader, path):
    own = path.read_bytes()
    for count in range(reader.flips):
        changed = bytearray(own)
        end = len(own) if count % 2 else min(len(own), 300)  # headers are short
        for place in RNG.integers(0, end, 1 + count % 4):
            changed[place] ^= 1 << RNG.integers(8)
        path.write_bytes(changed)
        assert read_or_refuse(reader, path) or not reader.is_checked or bytes(changed) == own


@pytest.mark.parametrize("how", UNREADABLE)
def test_unreadable_files_are_refused(how, reader, path):
    if how not in reader.unreadable:
        pytest.skip("another library opens the file")
    if how == "without rights":
        path.chmod(0)
    else:
        path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how == "a pipe":
        os.mkfifo(path)
    with another_user():
        assert read_or_refuse(reader, path)


@pytest.mark.parametrize(
    "command, name",
    [*(("compress", name) for name in IMAGE_FILES), *((c, ".ppyr") for c in ("decompress", "verify", "info"))],
)
def test_commands_name_a_bad_file_and_write_nothing(command, name, tmp_path, capsys):
    path, out = READERS[name].make(tmp_path), tmp_path / "out"
    own = path.read_bytes()
    for content in (b"", own[: len(own) // 2], ZIP, None):
        path.unlink()
        if content is None:
            os.mkfifo(path)
        else:
            path.write_bytes(content)
        options = ("--out", out) if command.endswith("compress") else ()
        printed = "".join(output_of(capsys, command, path, *options, expected=1))
        assert path.name in printed.replace("\n", "") and "Traceback" not in printed
        assert files(out) == []
