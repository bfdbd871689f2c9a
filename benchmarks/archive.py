"""What an archive's manifest costs, and how soon a finished archive is found finished.

    python -m benchmarks.archive [--count 100000]
    python -m benchmarks.archive --restart [--count 100000]

Images of about 4 KiB are made in a temporary folder. In turn, a tenth of them at a time, they are compressed into an
archive (one process), and by a loop that only reads, encodes, verifies and writes. Nothing else should run
meanwhile. benchmarks.archive_scale compares one process with two, and with a Ray cluster.

Compressing 100,000 images takes hours. `--restart` measures only the restart: it compresses one image, copies its
result for all others, and records them as done. A restart looks at names, sizes and times, and reads no result.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixelpyramids.archive.file_tasks import Compression, compress_file
from pixelpyramids.archive.manifest import NAME, Manifest
from pixelpyramids.archive.rows import State
from pixelpyramids.image_files.listing import Task

ROUNDS = 10
SIDE = 38  # pixels; such a picture of noise takes about 4 KiB as a PNG
IN_FOLDER = 1000
COMPRESSION = Compression("default", True, False, 2**28, False, False, False)


def make_images(folder: Path, count: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (count + 2 * SIDE) * 3 + SIDE * SIDE * 3, dtype=np.uint8)
    for number in range(count):
        path = folder / f"{folder.name}-{number // IN_FOLDER:04}" / f"{number % IN_FOLDER:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = noise[3 * number : 3 * number + SIDE * SIDE * 3].reshape(SIDE, SIDE, 3)
        Image.fromarray(pixels).save(path, compress_level=1)


def compress(source: Path, archive: Path, jobs: int) -> tuple[float, float]:
    """The seconds and the peak MiB of a run of the command."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "pixelpyramids", "compress", source, "--out", archive, "--jobs", str(jobs), "-q"]
    process = subprocess.Popen([str(each) for each in command])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"compress failed with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def compress_alone(source: Path, target: Path) -> float:
    """The seconds of a process that compresses without listing or recording anything."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmarks.archive", "--alone", source, target], check=True)
    return time.perf_counter() - began


def alone(source: Path, target: Path) -> None:
    for folder in sorted(source.iterdir()):
        for path in sorted(folder.iterdir()):
            compress_file(Task(path, target / folder.name / f"{path.stem}.ppyr", False), COMPRESSION, 1)


def measure_overhead(work: Path, count: int) -> None:
    for round_ in range(ROUNDS):
        make_images(work / "in" / str(round_), count // ROUNDS)
    ratios, rate = [], []
    for round_ in range(ROUNDS):
        source = work / "in" / str(round_)
        first = compress_alone(source, work / "alone" / str(round_))
        second, memory = compress(source, work / "archive", 1)
        ratios.append(second / first)
        rate.append(count // ROUNDS / second)
    print(
        f"{count:,} images of 4 KiB, {ROUNDS} rounds: the archive takes {statistics.median(ratios):.3f} times as long "
        f"as compressing alone (from {min(ratios):.3f} to {max(ratios):.3f}), {statistics.median(rate):.0f} images/s, "
        f"{memory:.0f} MiB"
    )
    shutil.rmtree(work / "archive")
    shutil.rmtree(work / "alone")
    seconds, memory = compress(work / "in", work / "archive", 2)
    print(f"all of them with two processes: {count / seconds:.0f} images/s, {memory:.0f} MiB for the largest process")
    seconds, memory = compress(work / "in", work / "archive", 2)
    print(f"the finished archive again: {seconds:.2f} s, {memory:.0f} MiB")


def measure_restart(work: Path, count: int) -> None:
    source, archive = work / "in" / "0", work / "archive"
    make_images(source, count)
    first = source / "0-0000" / "000.png"
    begun = time.time()
    compress(first, work / "one", 1)
    with Manifest(work / "one" / NAME) as manifest:
        (row,) = manifest.iterate("1")
    archive.mkdir()
    with Manifest(archive / NAME) as manifest:
        run, number = manifest.begin_run(), manifest.source_number(str(source))
        for folder in source.iterdir():
            (archive / folder.name).mkdir()
            listed = [listed_entry(path) for path in folder.iterdir()]
            for entry in listed:
                shutil.copyfile(work / "one" / "000.ppyr", archive / entry["result"])
            manifest.set_listed(number, run, listed)
        keep = ("sha256", "pixels_sha256", "result_size", "result_sha256", "model", "pixels", "seconds")
        columns = {name: getattr(row, name) for name in keep}
        columns |= {"finished": begun, "verified": begun}
        manifest.record([(each.id, columns) for each in manifest.iterate("1")])
        manifest.end_run(run)
    runs = [compress(source, archive, 2) for _ in range(5)]
    seconds = statistics.median(seconds for seconds, _ in runs)
    print(f"a finished archive of {count:,} images again: {seconds:.2f} s (median of 5), {runs[-1][1]:.0f} MiB")


def listed_entry(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {
        "name": f"{path.parent.name}/{path.name}",
        "size": status.st_size,
        "time": status.st_mtime_ns,
        "state": State.DONE,
        "error": None,
        "result": f"{path.parent.name}/{path.stem}.ppyr",
        "todo": None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--alone", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        alone(*arguments.alone)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure = measure_restart if arguments.restart else measure_overhead
        measure(Path(folder), arguments.count)


if __name__ == "__main__":
    main()
