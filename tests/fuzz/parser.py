"""Attack header, index, parts and streams with atheris, guided by coverage; every checksum is taken to match.

    NUMBA_DISABLE_JIT=1 python tests/fuzz/parser.py FOLDER -max_total_time=60

FOLDER holds the first inputs, which `--seeds FOLDER` writes. The other arguments are libFuzzer's. Without the JIT the
compiled functions are plain Python, and indices are checked. Images of at most 64 pixels are also decoded.
"""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed; pip install 'pixelpyramids[fuzz]', with a Python version that it supports")

os.environ["PIXELPYRAMIDS_ENGINE"] = "reference"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["pixelpyramids.codec"]):
    from pixelpyramids.codec import coder, container, fallback, image, kernels, parts, planes  # noqa: F401

import zlib

import numpy as np
from ppyr_files import File

from pixelpyramids.errors import BitstreamError

PIXELS = 64


class Matching(int):
    """A checksum that equals every other number."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = int.__hash__


def attack(data):
    """Read and decode; any exception but a BitstreamError is a finding."""
    try:
        index = container.read_index(container.MemorySource(data), 2**20, image.bundled.model_names())
        if index.header.height * index.header.width <= PIXELS:
            found = image.decode(data, max_pixels=PIXELS, threads=1)
            assert int(found.max()) >> index.header.depth == 0
    except BitstreamError:
        return


def write_seeds(folder):
    """Write sound files of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, shape in enumerate([(7, 8, 3), (8, 8), (3, 5, 2), (1, 20, 4), (2, 2, 1)]):
        grid = np.indices(shape).sum(0)
        for depth in (8, 12):
            pixels = (grid * 11).astype(np.uint8 if depth == 8 else np.uint16)
            for effort in ("fast", "max"):
                data = image.encode(pixels, depth, effort, {"ICC": b"profile"} if number % 2 else {})
                (folder / f"{number}-{depth}-{effort}.ppyr").write_bytes(data)
    comb = np.array([[3, 900], [900, 3]], np.uint16).repeat(4, 0).repeat(4, 1)
    (folder / "comb.ppyr").write_bytes(image.encode(comb, 10, "fast"))
    (folder / "bare.ppyr").write_bytes(File(1, 1, parts=((1, bytes(2)),)).to_bytes())


def main():
    """Write seeds, or fuzz."""
    if sys.argv[1:2] == ["--seeds"]:
        write_seeds(Path(sys.argv[2]))
        return
    container.zlib = SimpleNamespace(
        crc32=lambda data: Matching(zlib.crc32(data)),
        decompressobj=zlib.decompressobj,
        error=zlib.error,
    )
    atheris.Setup(sys.argv, attack)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
