"""Compress and decompress images of 200 megapixels: the time and the most memory that each command takes.

    python -m benchmarks.large FOLDER [--height 12500] [--width 16000] [--cases tiff-8 tiff-16 png-8 png-16]

The images are RGB, 8 or 16 bits: mosaics of the bundled photographs with noise, in a tiled TIFF with Deflate, or in a
PNG. Each is written to FOLDER, compressed (with the usual comparison), decompressed to its own format, and a region of
1,024 x 1,024 pixels and the whole at a sixteenth of its size are decompressed. "cpu" is the processor time of all
threads, which other programs disturb less than the time that passes. Memory is the largest resident set of the process.
FOLDER needs about 10 GB, and the folder for temporary files 4 GB. The files stay in FOLDER.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image

from pixelpyramids.codec.disk_array import DiskArray
from pixelpyramids.data.photographs import photographs
from pixelpyramids.image_files.saving import write_image

CASES = ("tiff-8", "tiff-16", "png-8", "png-16")
TILE = 512
ROWS = 300  # of a band of photographs


def make_image(height: int, width: int, bits: int) -> DiskArray:
    """A mosaic of photographs, each band of them shifted and with noise of its own."""
    paths = sorted(photographs().glob("*/*"))
    opened = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    strip = np.concatenate([photograph[:ROWS] for photograph in opened if len(photograph) >= ROWS], axis=1)
    image = DiskArray((height, width, 3), np.uint16 if bits == 16 else np.uint8)
    for number, top in enumerate(range(0, height, ROWS)):
        rng = np.random.default_rng(number)
        rows = np.take(strip, np.arange(width) + 97 * number, axis=1, mode="wrap")[: height - top].astype(np.int32)
        if bits == 16:
            rows = 256 * rows + rng.integers(0, 256, rows.shape)
        else:
            rows = np.clip(rows + rng.integers(-1, 2, rows.shape), 0, 255)
        image[top : top + len(rows), :] = rows
    return image


def tiles_of(image: DiskArray) -> Iterator[np.ndarray]:
    """The tiles of a TIFF, those at the edges padded with zeros."""
    for top in range(0, image.shape[0], TILE):
        for left in range(0, image.shape[1], TILE):
            found = image[top : top + TILE, left : left + TILE]
            tile = np.zeros((TILE, TILE, 3), image.dtype)
            tile[: found.shape[0], : found.shape[1]] = found
            yield tile


def write(image: DiskArray, bits: int, path: Path) -> None:
    if path.suffix == ".tif":
        options = {"shape": image.shape, "dtype": image.dtype, "tile": (TILE, TILE), "photometric": "rgb"}
        tifffile.imwrite(path, tiles_of(image), compression="zlib", **options)
        return
    with path.open("wb") as file:
        write_image(file, image, bits, {}, "png")


def make_file(height: int, width: int, bits: int, path: Path) -> None:
    write(make_image(height, width, bits), bits, path)


class Cost(NamedTuple):
    """What a command takes: seconds, seconds of processors, and MiB."""

    seconds: float
    cpu: float
    memory: float


def run(*arguments: object) -> Cost:
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pixelpyramids", *map(str, arguments), "-q", "--overwrite"])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, arguments))} failed")
    return Cost(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(folder: Path, case: str, height: int, width: int) -> tuple[list[int], list[Cost]]:
    """The bytes of the image and of the .ppyr file; and the costs of the four commands."""
    format, bits = case.split("-")
    path = folder / f"{case}.{'tif' if format == 'tiff' else format}"
    # In a process of its own: the memory of this one would count as that of the commands that it starts.
    maker = get_context("spawn").Process(target=make_file, args=(height, width, int(bits), path))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise SystemExit(f"{path} could not be made")
    packed, out = path.with_suffix(".ppyr"), folder / "out"
    costs = [
        run("compress", path),
        run("decompress", packed, "--format", format, "--out", out),
        run("decompress", packed, "--region", f"{width // 2},{height // 2},1024,1024", "--out", out),
        run("decompress", packed, "--scale", 16, "--out", out),
    ]
    return [path.stat().st_size, packed.stat().st_size], costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--height", type=int, default=12500)
    parser.add_argument("--width", type=int, default=16000)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(
        "| image | file, MB | .ppyr, MB | compress | decompress | region | --scale 16 |\n|---|---|---|---|---|---|---|"
    )
    for case in arguments.cases:
        sizes, costs = measure(arguments.folder, case, arguments.height, arguments.width)
        cells = [f"{size / 1e6:.0f}" for size in sizes]
        cells += [f"{cost.seconds:.0f} s ({cost.cpu:.0f} s cpu), {cost.memory:.0f} MiB" for cost in costs]
        print(f"| {case} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
