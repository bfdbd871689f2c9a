"""Seconds that a new process takes to decode 64 x 64 pixels, and to compress and decompress an image of 0.4 MP.

    python -m benchmarks.start [PYTHON ...]

PYTHON are interpreters of other environments, such as one with an earlier version. They take turns with this one, and
the ratios to this one are of neighbouring runs, because other programs slow down both.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pixelpyramids as pp
from benchmarks.codec import mosaic

COMMANDS = {
    "import and decode 64 x 64": ["-c", "import pixelpyramids as pp; pp.decode(open('small.ppyr', 'rb').read())"],
    "compress 0.4 MP": ["-m", "pixelpyramids", "compress", "large.png", "--overwrite", "--quiet"],
    "decompress 0.4 MP": ["-m", "pixelpyramids", "decompress", "large.ppyr", "--overwrite", "--quiet"],
}


def measure(pythons: list[str], arguments: list[str], folder: Path, repeat: int) -> dict[str, list[float]]:
    """The seconds of each run, for each interpreter; a first run, which reads the files, is not counted."""
    seconds: dict[str, list[float]] = {python: [] for python in pythons}
    for turn in range(repeat + 1):
        for python in pythons[:: 1 if turn % 2 else -1]:
            began = time.perf_counter()
            subprocess.run([python, *arguments], cwd=folder, check=True)
            if turn:
                seconds[python].append(time.perf_counter() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", metavar="PYTHON")
    parser.add_argument("--repeat", type=int, default=15)
    arguments = parser.parse_args()
    pythons = [sys.executable, *(str(Path(python).absolute()) for python in arguments.pythons)]
    with tempfile.TemporaryDirectory() as folder:
        pp.save(Path(folder, "small.ppyr"), mosaic(64, 64))
        pp.save(Path(folder, "large.png"), mosaic(632, 640))
        for name, command in COMMANDS.items():
            seconds = measure(pythons, command, Path(folder), arguments.repeat)
            for python, values in seconds.items():
                ratio = statistics.median(a / b for a, b in zip(values, seconds[sys.executable], strict=True))
                line = f"{name}: {statistics.median(values):.3f} s (median), {min(values):.3f} s (shortest)"
                print(line if python == sys.executable else f"{line}, ratio {ratio:.2f}: {python}", flush=True)


if __name__ == "__main__":
    main()
