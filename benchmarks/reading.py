"""Milliseconds that one core takes to read an image of each data set, on files made of the bundled photographs.

    python -m benchmarks.reading [--images 64]

Reading is everything that a loader's worker does: find the entry, decode, crop, resize, quantise. It runs in one
process and one thread.
"""

import argparse
import io
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import lmdb
import numpy as np
from PIL import Image

from pixelpyramids.data.celeba_hq import open_celeba_hq
from pixelpyramids.data.imagenet import open_imagenet
from pixelpyramids.data.images import Images
from pixelpyramids.data.lsun import open_lsun
from pixelpyramids.data.photographs import photographs


def pictures(count: int, width: int, height: int) -> Iterator[Image.Image]:
    """Crops of the photographs in turn."""
    sources = [Image.open(file).convert("RGB") for file in sorted(photographs().rglob("*.jpg"))]
    rng = np.random.default_rng(0)
    for i in range(count):
        source = sources[i % len(sources)]
        scale = max(1.2 * width / source.width, 1.2 * height / source.height, 1.0)
        source = source.resize((round(source.width * scale), round(source.height * scale)))
        left, top = rng.integers(source.width - width + 1), rng.integers(source.height - height + 1)
        yield source.crop((int(left), int(top), int(left) + width, int(top) + height))


def encode(image: Image.Image, kind: str) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, quality=75 if kind == "JPEG" else 80)
    return content.getvalue()


def celeba_zip(root: Path, count: int, size: int) -> Images:
    with zipfile.ZipFile(root / "celeba.zip", "w") as archive:
        for i, image in enumerate(pictures(count, size, size)):
            archive.writestr(f"{i:05d}.png", encode(image, "PNG"))
    return open_celeba_hq(root, "all", size, n_bits=8)


def celeba_hdf5(root: Path, count: int) -> Images:
    with h5py.File(root / "celeba.h5", "w") as file:
        file["data256x256"] = np.stack([np.asarray(image).transpose(2, 0, 1) for image in pictures(count, 256, 256)])
    return open_celeba_hq(root, "all", 256, n_bits=5)


def lsun(root: Path, count: int, kind: str) -> Images:
    environment = lmdb.open(str(root / "tower_val_lmdb"), map_size=2**28)
    with environment, environment.begin(write=True) as transaction:
        for i, image in enumerate(pictures(count, 341, 256)):
            transaction.put(f"{i:040x}".encode(), encode(image, kind))
    return open_lsun(root, "tower", "test", 128, n_bits=5)


def imagenet(root: Path, count: int) -> Images:
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as archive:
        for i, image in enumerate(pictures(count, 500, 375)):
            content = encode(image, "JPEG")
            member = tarfile.TarInfo(f"ILSVRC2012_val_{i + 1:08d}.JPEG")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return open_imagenet(root, "test", 128, n_bits=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    count = parser.parse_args().images
    forms = {
        "CelebA-HQ 256, PNG in a zip": lambda root: celeba_zip(root, count, 256),
        "CelebA-HQ 256, HDF5": lambda root: celeba_hdf5(root, count),
        "CelebA-HQ 1024, PNG in a zip": lambda root: celeba_zip(root, count, 1024),
        "LSUN, LMDB of JPEG 341x256": lambda root: lsun(root, count, "JPEG"),
        "LSUN, LMDB of WebP 341x256": lambda root: lsun(root, count, "WEBP"),
        "ImageNet, tar of JPEG 500x375": lambda root: imagenet(root, count),
    }
    warnings.simplefilter("ignore")  # a fixture holds fewer images than the data set
    print("| form | ms an image |\n|---|---|")
    for name, form in forms.items():
        with tempfile.TemporaryDirectory() as folder:
            images = form(Path(folder))
            began = time.perf_counter()
            for index in range(1, len(images)):
                images.read(index)
            print(f"| {name} | {1000 * (time.perf_counter() - began) / (len(images) - 1):.1f} |", flush=True)


if __name__ == "__main__":
    main()
