"""Speed and memory of the codec: seconds to the first byte, megapixels per second, memory of a large photograph.

    python -m benchmarks.codec

Each figure is of the second of two new processes, so that files are in memory already. The images are tiled with the
bundled photographs.
"""

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.data.photographs import photographs


def mosaic(height: int, width: int) -> np.ndarray:
    """An image of that size, tiled with the photographs, each cut to 300 x 451."""
    files = sorted(photographs().rglob("*.[jp][pn]g"))
    pictures = [np.asarray(Image.open(file).convert("RGB"))[:300, :451] for file in files]
    columns, rows = -(-width // 451), -(-height // 300)
    order = [[pictures[(3 * row + column) % len(pictures)] for column in range(columns)] for row in range(rows)]
    return np.ascontiguousarray(np.concatenate([np.concatenate(row, axis=1) for row in order])[:height, :width])


def first_byte(began: float) -> str:
    pp.encode(mosaic(64, 64))
    return f"64 x 64, import and first byte: {time.time() - began:.2f} s"


def speed(side: int) -> str:
    image = mosaic(side, side)
    pp.encode(image[:600, :600], effort="fast")  # load everything first
    times = [time.perf_counter()]
    data = pp.encode(image)
    times.append(time.perf_counter())
    back = pp.decode(data)
    times.append(time.perf_counter())
    assert np.array_equal(back, image)
    encoded, decoded = (side * side / 1e6 / (b - a) for a, b in pairwise(times))
    return f"{side * side / 1e6:.1f} MP: {encoded:.2f} MP/s encoding, {decoded:.2f} MP/s decoding, {len(data)} bytes"


def memory(height: int, width: int) -> str:
    image = mosaic(height, width)
    data = pp.encode(image)
    peaks = [peak()]
    del image
    pp.decode(data)
    peaks.append(peak())
    return f"{height * width / 1e6:.0f} MP: {peaks[0]:.0f} MiB to encode it, {peaks[1]:.0f} MiB to decode it as well"


def peak() -> float:
    """Peak memory of this process in MiB (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    measures = {"first_byte": "began", "speed": "2048", "memory": "4000, 6000"}
    for name, arguments in measures.items():
        for is_second in (False, True):
            if not is_second and name == "memory":
                continue
            code = f"import time; began = time.time(); from benchmarks import codec; print(codec.{name}({arguments}))"
            said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            if is_second:
                print(said.strip(), flush=True)


if __name__ == "__main__":
    main()
