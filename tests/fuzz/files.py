"""Mutate the structure of files, whose checksums stay right, by Hypothesis: refused, or an image of the header's shape.

    python tests/fuzz/files.py --minutes 2 [--seed 0]

Bounds: an address space of 8 GiB, and 20 s for a file of at most 2**12 pixels.
"""

import argparse
import os
import re
import resource
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

os.environ["PIXELPYRAMIDS_ENGINE"] = "reference"  # small images; the fast engine's own threads want address space
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import hypothesis
import numpy as np
from hostile_files import CONSTANT, METADATA, STORED, VALUES, File, blobs, packed, varint
from hypothesis import strategies as st

import pixelpyramids as pp
from pixelpyramids.codec.container import read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.errors import BitstreamError

MEMORY = 8 << 30  # bytes
SECONDS = 20  # for one file
PIXELS = 2**12
OFTEN = (0, 1, 2, 3, 127, 128, 255, 2**14, 2**16, 2**30, 2**31, 2**32 - 1, 2**40, 2**63)


def seeds():
    """Sound files of each kind, small."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:13, :9]
    smooth = (127 + 100 * np.sin(y / 5) * np.cos(x / 7))[..., None]
    images = [
        (smooth + 9 * np.arange(3)).astype(np.uint8),
        smooth[..., 0].astype(np.uint8),
        np.concatenate([smooth, 255 - smooth], -1).astype(np.uint8),
        (smooth + rng.normal(0, 3, (13, 9, 4))).astype(np.uint8),
        (200 * smooth).astype(np.uint16),
        rng.integers(0, 2**12, (5, 70, 3)).astype(np.uint16),
        np.zeros((40, 2, 3), np.uint8),
    ]
    files = [File.of(pp.encode(image, effort="fast")) for image in images]
    flat = np.zeros((30, 30, 3), np.uint8)
    flat[::2, ::3] = 255
    return files + [File.of(pp.encode(image, effort="max")) for image in (flat, flat[..., 0], flat[..., :2])]


def damaged(draw, data):
    """Bytes changed, cut, or others."""
    way = draw(st.sampled_from(["none", "bytes", "cut", "random", "more"]))
    if way == "bytes" and data:
        out = bytearray(data)
        for place in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
            out[place] = draw(st.integers(0, 255))
        return bytes(out)
    if way == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if way == "random":
        return draw(st.binary(max_size=64))
    return data + draw(st.binary(max_size=8)) if way == "more" else data


@st.composite
def hostile(draw, files):
    """A file of `files`, some of its fields changed."""
    of = draw(st.sampled_from(files))
    number = st.one_of(st.sampled_from(OFTEN), st.integers(0, 80))
    for what in draw(st.lists(st.sampled_from([*range(12), *[10, 11] * 8]), max_size=3)):
        at = draw(st.integers(0, len(of.parts) - 1))
        kind, data = of.parts[at]
        if what == 0:
            of = replace(of, flags=draw(st.integers(0, 255)))
        elif what == 1:
            of = replace(of, depth=draw(st.integers(0, 20)))
        elif what == 2:
            of = replace(of, channels=draw(st.integers(0, 5)))
        elif what == 3:
            of = replace(of, height=draw(number), width=draw(number))
        elif what == 4:
            of = replace(of, size=draw(st.binary(max_size=12)))
        elif what == 5:
            of = replace(of, fields=damaged(draw, of.fields))
        elif what == 6:
            of = replace(of, index=b"".join(varint(draw(number)) + draw(st.binary(max_size=4)) for _ in of.parts))
        elif what == 7:
            of = replace(of, behind=draw(st.binary(max_size=4)))
        elif what == 8:
            tags = draw(st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=9)), max_size=3))
            told = draw(st.one_of(st.none(), number))
            of = replace(of, flags=of.flags | METADATA, fields=of.fields + packed(blobs(tags), told))
        elif what == 9:
            bitmap = draw(st.binary(max_size=4)) + bytes(max(1 << min(of.depth, 16), 8) // 8)
            of = replace(of, flags=of.flags | VALUES, fields=packed(bitmap[: max(1 << min(of.depth, 16), 8) // 8]))
        elif what == 10:
            other = draw(st.sampled_from(draw(st.sampled_from(files)).parts))
            of = of.with_part(at, draw(st.sampled_from([CONSTANT, STORED, other[0]])), other[1])
        else:
            of = of.with_part(at, draw(st.integers(0, 3)) if draw(st.booleans()) else kind, damaged(draw, data))
    return of


def attack(data, options):
    """Decode; say what became of it. Anything but an image of the header's shape or a BitstreamError is a finding."""
    signal.alarm(SECONDS)
    try:
        found = pp.decode(data, max_pixels=PIXELS, threads=1, **options)
    except BitstreamError as error:
        return re.sub(r"[0-9a-f]{16}|\d+", "N", str(error).split(",")[0].split(":")[0])
    finally:
        signal.alarm(0)
    header = read_index(MemorySource(data), PIXELS).header
    assert found.dtype == (np.uint16 if header.is_wide else np.uint8) and found.ndim == 2 + header.has_axis
    assert int(found.max()) >> header.depth == 0
    if not options:
        assert found.shape == (header.height, header.width, header.channels)[: found.ndim]
    return "decoded"


def main():
    """Attack for some minutes; print how many files there were and why they were refused."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    files, counts = seeds(), Counter()
    began, seed = time.monotonic(), arguments.seed

    def left():
        return began + 60 * arguments.minutes - time.monotonic()

    while left() > 0:

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=300,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(hostile(files), st.sampled_from([{}, {}, {"salvage": True}]))
        def run(of, options):
            if left() > 0:
                try:
                    data = of.written()
                except ValueError:  # a field that no byte holds
                    return
                counts[attack(data, options)] += 1

        run()
        seed += 1
    print(f"{counts.total()} files in {time.monotonic() - began:.0f} s, {counts['decoded']} decoded; refused as")
    for why, count in counts.most_common():
        print(f"{count:8} {why}")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"at most {most} MiB of memory")


if __name__ == "__main__":
    main()
