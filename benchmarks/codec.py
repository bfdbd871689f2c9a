"""Speed and memory of the codec: time to the first byte, MP/s, its stages, the network alone, memory of a large image.

    python -m benchmarks.codec

Each figure is of the second of two new processes, so that files are in memory already. The images are tiled with the
bundled photographs.
"""

import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.codec.bundled import available_threads, load_model
from pixelpyramids.codec.engine import Engine
from pixelpyramids.codec.native import NativeEngine, supported_instructions
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


class Timed:
    """An engine that adds up the seconds of this thread in each of its functions."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.seconds = engine, Counter[str]()

    def __getattr__(self, name: str) -> Callable[..., object]:
        def timed(*arguments: object) -> object:
            began = time.thread_time()
            result = getattr(self.engine, name)(*arguments)
            self.seconds[name] += time.thread_time() - began
            return result

        return timed


def stages(side: int) -> str:
    image, model = mosaic(side, side), load_model("compact")
    data = pp.encode(image, effort="fast", threads=1)  # which also compares the engines
    model.engine, lines = Timed(model.engine), ["us per pixel, one thread: network, coder, the rest"]
    for name, call in {
        "encoding": partial(pp.encode, image, effort="fast"),
        "decoding": partial(pp.decode, data),
    }.items():
        model.engine.seconds.clear()
        began = time.process_time()
        call(threads=1)
        whole, network = time.process_time() - began, model.engine.seconds.pop("run")
        coder = model.engine.seconds.total()
        shares = (1e6 * seconds / side**2 for seconds in (network, coder, whole - network - coder))
        lines.append(f"{name}: {', '.join(f'{share:.2f}' for share in shares)}")
    return "\n".join(lines)


def network(side: int) -> str:
    """The network alone, on grids of that many sites a side, with each instruction set; all threads."""
    whole, threads, lines = load_model("compact").network, available_threads(), []
    inputs = [np.full((stack.inputs, side, side), 9, dtype=np.uint8) for stack in whole.stacks]
    filters = [shape for stack in whole.stacks for shape in stack.filters]
    filters += [stack.last.weight.shape for stack in whole.stacks if stack.last]

    def run_all(engine: Engine) -> None:
        for number, array in enumerate(inputs):
            engine.run(number, [array], side, side)

    for instructions in supported_instructions():
        engine = NativeEngine(whole, instructions)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run_all, [engine] * threads))  # which also compares the engines
            began = time.perf_counter()
            list(pool.map(run_all, [engine] * 4 * threads))
            seconds = time.perf_counter() - began
        billions = 4 * threads * side**2 * sum(map(math.prod, filters)) / seconds / 1e9
        lines.append(f"network, {instructions.name}, {threads} threads: {billions:.0f} * 10^9 multiplications/s")
    return "\n".join(lines)


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
    measures = {"first_byte": "began", "speed": "2048", "stages": "1024", "network": "256", "memory": "4000, 6000"}
    for name, arguments in measures.items():
        for is_second in (False, True):
            if not is_second and name in ("network", "memory"):
                continue
            code = f"import time; began = time.time(); from benchmarks import codec; print(codec.{name}({arguments}))"
            said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            if is_second:
                print(said.strip(), flush=True)


if __name__ == "__main__":
    main()
