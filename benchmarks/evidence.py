"""Compare with PNG, WebP and JPEG XL on images of eleven domains, and write the tables of docs/evidence/codecs.md.

    python -m benchmarks.evidence docs/evidence/codecs.md

The tables replace what is between two marked lines of the file. Everything is measured once, as `pixelpyramids bench
--strongest` does: all pixels are decoded and compared. It needs cjxl and djxl. Speeds depend on what else runs on the
machine; --sizes leaves them out.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import features

from benchmarks.domains import DOMAINS, Sample
from pixelpyramids.cli.report.environment import processor_name
from pixelpyramids.cli.report.figures import NOTHING, format_figure
from pixelpyramids.cli.report.measurements import Row, Total, total
from pixelpyramids.cli.report.rivals import OURS, Codec, cost, ours, rivals, warm_up
from pixelpyramids.codec.bundled import available_threads, load_model

BEGIN, END = "<!-- begin of the tables of benchmarks.evidence -->", "<!-- end of the tables of benchmarks.evidence -->"
BASE = "JXL -e 9"
COLOURS = {1: "grey", 2: "grey + alpha", 3: "RGB", 4: "RGB + alpha"}


def codecs() -> dict[str, Codec]:
    """By the names of the columns. Ours at its default effort is named as `bench` names it."""
    efforts = {OURS: ours("default"), f"{OURS} fast": ours("fast"), f"{OURS} max": ours("max")}
    return efforts | {codec.name: codec for codec in rivals(strongest=True)}


def measure(sample: Sample, found: Mapping[str, Codec]) -> Row:
    """The sizes and times of an image."""
    pixels, depth = sample.load()
    height, width, channels = (*pixels.shape, 1)[:3]
    costs = {name: cost(codec, np.ascontiguousarray(pixels), depth) for name, codec in found.items()}
    return Row(
        sample.name, "JPEG" if sample.is_lossy else "PNG", sample.is_lossy, height, width, channels, depth, costs
    )


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """Rows by their size relative to JPEG XL at effort 9."""
    return sorted(rows, key=lambda row: row.bits(OURS) / row.bits(BASE), reverse=True)


def is_lost(row: Row) -> bool:
    """Whether another codec's file is smaller than ours at its default effort."""
    return any(row.bits(name) < row.bits(OURS) for name in row.costs if not name.startswith(OURS))


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines))


def describe(row: Row) -> str:
    depth = "" if row.depth == 8 else f", {row.depth} bits"
    return f"{row.file}, {row.width}x{row.height} {COLOURS[row.channels]}{depth}{' (JPEG)' * row.is_lossy}"


def sizes(rows: Sequence[Row]) -> str:
    """The bytes of each image with each codec; the fewest are bold."""
    names, lines = list(rows[0].costs), []
    for row in rows:
        found = {name: figures.bytes for name, figures in row.costs.items() if figures is not None}
        least = min(found.values())
        cells = [NOTHING if name not in found else f"{found[name]:,}" for name in names]
        cells = [f"**{cell}**" if found.get(name) == least else cell for name, cell in zip(names, cells, strict=True)]
        lines.append([describe(row), format_figure(row.bits(OURS) / row.bits(BASE), 3), *cells])
    return markdown(["bytes", f"{OURS} / {BASE}", *names], lines)


def speeds(rows: Sequence[Row]) -> str:
    """The megapixels per second of each image with each codec, encoding and decoding."""
    names, lines = list(rows[0].costs), []
    for row in rows:
        megapixels = row.height * row.width / 1e6
        cells = []
        for figures in row.costs.values():
            seconds = (figures.encode_seconds, figures.decode_seconds) if figures else (math.nan, math.nan)
            cells.append(", ".join(format_figure(megapixels / second, 2) for second in seconds) if figures else NOTHING)
        lines.append([row.file, *cells])
    return markdown(["MP/s, encoding and decoding", *names], lines)


def summary(domains: Mapping[str, Sequence[Row]]) -> str:
    """The size of ours relative to each codec, for each domain and for all images."""
    every = [row for rows in domains.values() for row in rows]
    others = [name for name in every[0].costs if name != OURS]
    lines = []
    for domain, rows in (*domains.items(), ("all", every)):
        totals: dict[str, Total] = {name: total(rows, name) for name in every[0].costs}
        ratios = [format_figure(totals[name].ratio, 3) for name in others]
        lost = sum(map(is_lost, rows))
        lines.append([domain, str(len(rows)), str(lost), f"{totals[OURS].bytes:,}", *ratios])
    return markdown(["", "images", "lost", f"bytes, {OURS}", *(f"/ {name}" for name in others)], lines)


def total_speeds(rows: Sequence[Row]) -> str:
    """The megapixels per second of each codec over all images that it supports."""
    totals = [total(rows, name) for name in rows[0].costs]
    figures = [(t.codec, t.encode_megapixels_per_second, t.decode_megapixels_per_second) for t in totals]
    return markdown(
        ["all images, MP/s", "encoding", "decoding"],
        [[name, format_figure(encoding, 2), format_figure(decoding, 2)] for name, encoding, decoding in figures],
    )


def sources(domains: Mapping[str, Sequence[Sample]]) -> str:
    """Where each image is from."""
    return markdown(["image", "source"], [[s.name, s.source] for samples in domains.values() for s in samples])


def versions() -> str:
    """What was measured."""
    version = subprocess.run(["cjxl", "--version"], capture_output=True, text=True, check=True).stdout.split(" [")[0]
    return (
        f"Measured with the weights `{load_model('compact').network.name.hex()}`, {imagecodecs.jpegxl_version()} in "
        f"imagecodecs, {version}, libwebp {features.version('webp')}."
    )


def processor() -> str:
    """The processor's name and the number of threads."""
    return f"Speeds: {available_threads()} threads of {processor_name()}."


def report(measured: Mapping[str, Sequence[Row]], with_speeds: bool) -> str:
    """All tables, the worst domain and the worst image first."""
    domains = {name: worst_first(rows) for name, rows in measured.items()}
    relative = {name: total(rows, OURS).bytes / total(rows, BASE).bytes for name, rows in domains.items()}
    domains = dict(sorted(domains.items(), key=lambda item: relative[item[0]], reverse=True))
    every = [row for rows in domains.values() for row in rows]
    parts = [versions(), summary(domains)]
    if with_speeds:
        parts += [processor(), total_speeds(every)]
    for domain, rows in domains.items():
        parts += [f"### {domain}", sizes(rows), *([speeds(rows)] if with_speeds else [])]
    return "\n\n".join([*parts, "### Where the images are from", sources(DOMAINS)])


def replace_tables(text: str, tables: str) -> str:
    """The page with other tables between the marked lines. Raises ValueError if it does not have them once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"expected one line {BEGIN} and, after it, one line {END}")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def run(found: Mapping[str, Codec], say: Callable[[str], None]) -> dict[str, list[Row]]:
    """Measure all images."""
    for codec in found.values():
        warm_up(codec)
    measured: dict[str, list[Row]] = {}
    for domain, samples in DOMAINS.items():
        for sample in samples:
            say(f"{domain}: {sample.name}")
            measured.setdefault(domain, []).append(measure(sample, found))
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE", help="the page whose tables are replaced")
    parser.add_argument("--sizes", action="store_true", help="leave out speeds")
    arguments = parser.parse_args()
    text = arguments.file.read_text(encoding="utf-8")
    try:
        replace_tables(text, "")  # before minutes are spent
    except ValueError as error:
        parser.error(f"{arguments.file}: {error}")
    measured = run(codecs(), lambda line: print(line, file=sys.stderr, flush=True))
    arguments.file.write_text(replace_tables(text, report(measured, not arguments.sizes)), encoding="utf-8")


if __name__ == "__main__":
    main()
