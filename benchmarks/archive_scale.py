"""How fast archives are written on one machine and on a Ray cluster, and what a billion photographs would cost.

    python -m benchmarks.archive_scale DIR [--count 24] [--price 0.04]

The PNG files of DIR (`python -m benchmarks.photographs` writes some) are cropped and scaled to one megapixel. They are
compressed, verified and recorded with one process, with two, and on a cluster of two raylets with one CPU each, which
runs already; in turn, `--rounds` times. One picture of 12 megapixels is made of twelve of them. Nothing else should
run meanwhile. All costs are calculated from the megapixels per second of one CPU.
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
from PIL import Image, ImageOps

from pixelpyramids.archive import ray_engine

SIDE = 1000  # pixels
BILLION, MEGAPIXELS = 10**9, 12  # the archive that is calculated
MONTH = 730  # hours
EMPTY_TASKS = 2000


@dataclass(frozen=True)
class Speed:
    """A run of the command: its seconds, the bytes before and after, and the megapixels and seconds of its work."""

    seconds: float
    before: int
    after: int
    megapixels: float
    work: float


def write_photographs(sources: Sequence[Path], folder: Path, count: int) -> None:
    """Write `count` photographs of one megapixel, and in `large` one of twelve."""
    small = []
    for number in range(max(count, 12)):
        with Image.open(sources[number % len(sources)]) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
        small.append(fitted.rotate(90 * (number // len(sources))))
    (folder / "small").mkdir()
    for number, image in enumerate(small[:count]):
        image.save(folder / "small" / f"{number:03}.png")
    (folder / "large").mkdir()
    rows = [np.concatenate([np.asarray(each) for each in small[start : start + 4]], axis=1) for start in (0, 4, 8)]
    Image.fromarray(np.concatenate(rows)).save(folder / "large" / "large.png")


def compress(source: Path, archive: Path, processors: int, *options: str) -> Speed:
    """Run the command on so many processors."""
    allowed = sorted(os.sched_getaffinity(0))[:processors]
    command = [sys.executable, "-m", "pixelpyramids", "compress", source, "--out", archive, "-q", *options]
    began = time.perf_counter()
    subprocess.run([str(each) for each in command], check=True, preexec_fn=lambda: os.sched_setaffinity(0, allowed))
    seconds = time.perf_counter() - began
    listing = [sys.executable, "-m", "pixelpyramids", "archive", "list", archive, "--json"]
    rows = json.loads(subprocess.run(listing, check=True, stdout=subprocess.PIPE).stdout)
    rows = rows if isinstance(rows, list) else rows["images"]
    sums = {name: sum(row[name] for row in rows) for name in ("size", "result_size", "pixels", "seconds")}
    return Speed(seconds, sums["size"], sums["result_size"], sums["pixels"] / 1e6, sums["seconds"])


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


def measure(folder: Path, rounds: int, address: str) -> float:
    """Print the speeds; return the megapixels per second of one process on one processor."""
    ways = {
        "local, 1 process": (1, "--jobs", "1"),
        "local, 2 processes": (2, "--jobs", "2"),
        "Ray, 2 raylets": (2, "--engine", "ray", "--address", address),
    }
    found: dict[str, list[Speed]] = {way: [] for way in ways}
    for round_ in range(rounds):
        for number, (way, (processors, *options)) in enumerate(ways.items()):
            found[way].append(compress(folder / "small", folder / f"out-{round_}-{number}", processors, *options))
    print("| | seconds | images/s | MB/s | MP/s | MP/s of the work, per CPU |\n|---|---|---|---|---|---|")
    for way, speeds in found.items():
        seconds = statistics.median(speed.seconds for speed in speeds)
        speed, count = speeds[0], len(list((folder / "small").iterdir()))
        work = statistics.median(speed.megapixels / speed.work for speed in speeds)
        print(
            f"| {way} | {seconds:.1f} | {count / seconds:.2f} | {speed.before / seconds / 1e6:.2f} | "
            f"{speed.megapixels / seconds:.3f} | {work:.3f} |"
        )
    return statistics.median(speed.megapixels / speed.work for speed in found["local, 1 process"])


def print_costs(small: float, large: Speed, price: float, storage: float) -> None:
    """Print what a billion photographs cost at the speed of a large one on one CPU."""
    speed = large.megapixels / large.work
    hours = BILLION * MEGAPIXELS / speed / 3600
    before, after = (size / large.megapixels * MEGAPIXELS * BILLION for size in (large.before, large.after))
    print(f"\n12 MP on one CPU: {speed:.3f} MP/s (1 MP: {small:.3f}), {large.after / large.before:.1%} of the PNG file")
    print(f"\n{BILLION:,} photographs of {MEGAPIXELS} MP:\n\n| | |\n|---|---|")
    print(f"| CPU-hours | {hours / 1e6:.1f} million |")
    print(f"| days with 10,000 CPUs | {hours / 10_000 / 24:.0f} |")
    print(f"| at {price} dollars per CPU-hour | {hours * price / 1e3:,.0f} thousand dollars |")
    print(f"| read from the storage: sources, and each result once | {(before + after) / 1e15:.1f} PB |")
    print(f"| written to the storage | {after / 1e15:.1f} PB |")
    print(
        f"| network of 10,000 CPUs together | {(before + 2 * after) * 8 / (hours / 10_000 * 3600) / 1e9:.0f} Gbit/s |"
    )
    saved = (before - after) / 1e9 * storage
    print(f"| saved at {storage} dollars per GB and month | {saved / 1e3:,.0f} thousand dollars a month |")
    print(f"| months until the work is paid | {hours * price / saved:.1f} |")


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
            small = measure(Path(folder), arguments.rounds, address)
        large = compress(Path(folder) / "large", Path(folder) / "out-large", 1)
        print_costs(small, large, arguments.price, arguments.storage)


if __name__ == "__main__":
    main()
