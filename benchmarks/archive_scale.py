"""How fast archives are written on one machine and on a Ray cluster, and what a billion photographs would cost.

    python -m benchmarks.archive_scale DIR [--count 24] [--price 0.04]

Pieces of the PNG files of DIR (`python -m benchmarks.photographs` writes some) are put together to pictures of one
megapixel. They are compressed, verified and recorded with one process, with two, and on a cluster of two raylets with
one CPU each, which runs already; in turn, `--rounds` times. Nothing else should run meanwhile. A picture of 12
megapixels is made in the same way; all costs are calculated from the CPU time that it takes, and from its size.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pixelpyramids.archive import ray_engine

PIECE = 250  # pixels
SMALL, LARGE = (4, 4), (12, 16)  # pieces down and across: 1 MP and 12 MP
BILLION, CPUS = 10**9, 10_000  # photographs, and the CPUs that compress them
EMPTY_TASKS = 2000


@dataclass(frozen=True)
class Speed:
    """A run of the command: its seconds, those of a CPU in it, the bytes before and after, and the megapixels."""

    seconds: float
    cpu: float
    before: int
    after: int
    megapixels: float


def write_photographs(sources: Sequence[Path], folder: Path, count: int) -> None:
    """Write `count` pictures of one megapixel to `small`, and one of twelve to `large`."""
    photographs = [np.asarray(Image.open(path).convert("RGB")) for path in sources]
    draw = np.random.default_rng(0)
    for name, shape, many in (("small", SMALL, count), ("large", LARGE, 1)):
        (folder / name).mkdir()
        for number in range(many):
            Image.fromarray(put_together(photographs, shape, draw)).save(folder / name / f"{number:03}.png")


def put_together(photographs: Sequence[np.ndarray], shape: tuple[int, int], draw: np.random.Generator) -> np.ndarray:
    """A picture of random pieces of photographs, unscaled."""
    picture = np.empty((shape[0] * PIECE, shape[1] * PIECE, 3), np.uint8)
    for y in range(0, picture.shape[0], PIECE):
        for x in range(0, picture.shape[1], PIECE):
            photograph = photographs[draw.integers(len(photographs))]
            top, left = (draw.integers(side - PIECE + 1) for side in photograph.shape[:2])
            picture[y : y + PIECE, x : x + PIECE] = photograph[top : top + PIECE, left : left + PIECE]
    return picture


def compress(source: Path, archive: Path, processors: int, *options: str) -> Speed:
    """Run the command on so many processors."""
    allowed = sorted(os.sched_getaffinity(0))[:processors]
    command = [sys.executable, "-m", "pixelpyramids", "compress", source, "--out", archive, "-q", *options]
    began = time.perf_counter()
    process = subprocess.Popen([str(each) for each in command], preexec_fn=lambda: os.sched_setaffinity(0, allowed))
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit(f"compress failed with status {os.waitstatus_to_exitcode(status)}")
    listing = [sys.executable, "-m", "pixelpyramids", "archive", "list", archive, "--json"]
    rows = json.loads(subprocess.run(listing, check=True, stdout=subprocess.PIPE).stdout)["images"]
    before, after, pixels = (sum(row[name] for row in rows) for name in ("size", "result_size", "pixels"))
    return Speed(seconds, usage.ru_utime + usage.ru_stime, before, after, pixels / 1e6)


@contextmanager
def two_raylets() -> Iterator[str]:
    """The address of a cluster of two raylets with one CPU each."""
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    cluster.add_node(**options)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def nothing(task: int, threads: int) -> int:
    return task


def measure_overhead(address: str) -> None:
    """Print what Ray adds to an image that is alone in its task, and to one of many."""
    here = ray_engine.Requirements.of_this_machine([])
    for what, size in (("alone in its Ray task", 2**20), ("of 4 KiB", 2**12)):
        with ray_engine.open_cluster(address, here, lambda task, size=size: size) as engine:
            list(engine(nothing, range(100)))
            began = time.perf_counter()
            list(engine(nothing, range(EMPTY_TASKS)))
            milliseconds = (time.perf_counter() - began) / EMPTY_TASKS * 1e3
        print(f"Ray's overhead for an image {what}: {milliseconds:.2f} ms")


def measure(folder: Path, rounds: int, address: str) -> None:
    """Print the speeds of the ways to compress."""
    ways = {
        "local, 1 process": (1, "--jobs", "1"),
        "local, 2 processes": (2, "--jobs", "2"),
        "Ray, 2 raylets": (2, "--engine", "ray", "--address", address),
    }
    found: dict[str, list[Speed]] = {way: [] for way in ways}
    for round_ in range(rounds):
        for number, (way, (processors, *options)) in enumerate(ways.items()):
            found[way].append(compress(folder / "small", folder / f"out-{round_}-{number}", processors, *options))
    print("\n| pictures of 1 MP | seconds | images/s | MB/s |\n|---|---|---|---|")
    for way, speeds in found.items():
        seconds, speed = statistics.median(speed.seconds for speed in speeds), speeds[0]
        print(f"| {way} | {seconds:.1f} | {speed.megapixels / seconds:.3f} | {speed.before / seconds / 1e6:.2f} |")


def print_costs(large: Speed, price: float, storage: float) -> None:
    """Print what a billion photographs cost, each as a large picture does."""
    hours = BILLION * large.cpu / 3600
    before, after = BILLION * large.before, BILLION * large.after
    traffic = (before + 2 * after) * 8 / (hours / CPUS * 3600)
    saved = (before - after) / 1e9 * storage
    print(
        f"\n12 MP: {large.cpu:.1f} s of a CPU, {large.megapixels / large.cpu:.3f} MP/s, "
        f"{large.before / 1e6:.1f} MB to {large.after / 1e6:.1f} MB ({large.after / large.before:.1%})"
    )
    print("\n| a billion photographs of 12 MP | |\n|---|---|")
    print(f"| CPU-hours | {hours / 1e6:.1f} million |")
    print(f"| days with {CPUS:,} CPUs | {hours / CPUS / 24:.0f} |")
    print(f"| at {price} dollars for a CPU-hour | {hours * price / 1e3:,.0f} thousand dollars |")
    print(f"| read from storage: the sources, and each result once | {(before + after) / 1e15:.1f} PB |")
    print(f"| written to storage | {after / 1e15:.1f} PB |")
    print(f"| traffic of {CPUS:,} CPUs | {traffic / 1e9:.0f} Gbit/s, {traffic / 1e6 / CPUS:.1f} Mbit/s each |")
    print(f"| saved at {storage} dollars for a GB and month | {saved / 1e3:,.0f} thousand dollars a month |")
    print(f"| months until that pays for the CPUs | {hours * price / saved:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder of PNG files")
    parser.add_argument("--count", type=int, default=24, help="photographs of one megapixel")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--price", type=float, default=0.04, help="dollars for an hour of a CPU")
    parser.add_argument("--storage", type=float, default=0.02, help="dollars for a month of a GB")
    arguments = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(sorted(arguments.folder.rglob("*.png")), Path(folder), arguments.count)
        with two_raylets() as address:
            measure_overhead(address)
            measure(Path(folder), arguments.rounds, address)
        large = compress(Path(folder) / "large", Path(folder) / "out-large", 1)
        print_costs(large, arguments.price, arguments.storage)


if __name__ == "__main__":
    main()
