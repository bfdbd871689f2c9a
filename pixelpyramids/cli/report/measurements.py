"""What codecs made of images: a row for each image, and totals."""

import io
import math
from collections.abc import Iterator, Sequence
from csv import writer
from typing import NamedTuple

from pixelpyramids.cli.report.figures import NOTHING, format_figure, ratio
from pixelpyramids.cli.report.rivals import OURS, Cost

COLUMNS = (
    "file", "format", "is_lossy", "height", "width", "channels", "depth", "codec", "bytes", "bits_per_subpixel",
    "encode_seconds", "decode_seconds",
)  # fmt: skip

TOTALS_HEAD = ("codec", "images", "bytes", "bits/dim", f"{OURS} / this", "encode", "decode")


class Row(NamedTuple):
    """An image, and its cost with each codec (None if a codec does not support it)."""

    file: str
    format: str
    is_lossy: bool
    height: int
    width: int
    channels: int
    depth: int
    costs: dict[str, Cost | None]

    @property
    def subpixels(self) -> int:
        """Pixels times channels."""
        return self.height * self.width * self.channels

    def bits(self, codec: str) -> float:
        """Bits per subpixel with a codec."""
        figures = self.costs[codec]
        return math.nan if figures is None else 8 * figures.bytes / self.subpixels


class Total(NamedTuple):
    """A codec's totals over the images that it supports; `ratio` is our bytes divided by its bytes for these images."""

    codec: str
    images: int
    bytes: int
    bits_per_subpixel: float
    ratio: float
    encode_megapixels_per_second: float
    decode_megapixels_per_second: float


def total(rows: Sequence[Row], codec: str) -> Total:
    """The totals of a codec over the images that it supports."""
    supported = [(row, figures) for row in rows if (figures := row.costs[codec]) is not None]
    size = sum(figures.bytes for _, figures in supported)
    ours = sum(figures.bytes for row, _ in supported if (figures := row.costs[OURS]) is not None)
    megapixels = sum(row.height * row.width for row, _ in supported) / 1e6
    return Total(
        codec,
        len(supported),
        size,
        ratio(8 * size, sum(row.subpixels for row, _ in supported)),
        ratio(ours, size),
        ratio(megapixels, sum(figures.encode_seconds for _, figures in supported)),
        ratio(megapixels, sum(figures.decode_seconds for _, figures in supported)),
    )


def to_csv(rows: Sequence[Row]) -> str:
    """The figures as CSV: a line for each image and each codec that supports it."""
    file = io.StringIO()
    lines = writer(file, lineterminator="\n")
    lines.writerow(COLUMNS)
    for row in rows:
        name = row.file.encode(errors="backslashreplace").decode()  # names may hold bytes that are not text
        for codec, figures in row.costs.items():
            if figures is not None:
                bits, seconds = f"{row.bits(codec):.5f}", (f"{s:.4f}" for s in figures[1:])
                lines.writerow([name, row.format, int(row.is_lossy), *row[3:7], codec, figures.bytes, bits, *seconds])
    return file.getvalue()


def cells_of(total: Total) -> list[str]:
    """A codec's totals as texts, in the order of TOTALS_HEAD; speeds are in MP/s."""
    codec, images, size, *figures = total
    decimals = zip(figures, (3, 4, 2, 2), strict=True)
    return [codec, str(images), f"{size:,}", *(format_figure(figure, places) for figure, places in decimals)]


def notes(rows: Sequence[Row], totals: Sequence[Total]) -> Iterator[str]:
    """What a reader of the tables must know."""
    yield "Pixels only, without metadata; every codec's pixels were decoded and compared."
    if any(t.codec == "JXL -I 100" for t in totals):
        yield "JXL -I 100: cjxl -e 9 -g 3 -E 3 -I 100; times include the start of cjxl and djxl."
    if any(row.is_lossy for row in rows):
        yield "* from a lossy file, which left traces in the pixels: says little about how well photographs compress."
    if any(t.images < len(rows) for t in totals):
        yield f"{NOTHING}: the codec does not support this image; its totals are over the others."
