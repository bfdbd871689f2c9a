"""`bench`: compare the size and speed of .ppyr with PNG, lossless WebP and JPEG XL, on the user's images."""

import io
import math
from collections.abc import Sequence
from csv import writer
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.text import Text

from pixelpyramids.atomic import refuse_existing, write_text
from pixelpyramids.cli import options, sources
from pixelpyramids.cli.console import (
    print_json,
    print_warnings,
    progress_bar,
    stderr,
    stdout,
)
from pixelpyramids.cli.outcomes import describe_others, others_json
from pixelpyramids.cli.report.charts import chart_format
from pixelpyramids.cli.report.figures import (
    NOTHING,
    best_in_bold,
    format_figure,
    names_in_common_folder,
    new_table,
    ratio,
)
from pixelpyramids.cli.report.rival_chart import save_chart
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.terminal import collect_warnings, count_of, explain

if TYPE_CHECKING:
    from pixelpyramids.cli.report.rivals import Cost

COLUMNS = (
    "file", "format", "is_lossy", "height", "width", "channels", "depth", "codec", "bytes", "bits_per_subpixel",
    "encode_seconds", "decode_seconds",
)  # fmt: skip
MAX_LISTED = 100  # with more images, only the totals are printed


class Row(NamedTuple):
    """An image, and its cost with each codec (None if a codec does not support it)."""

    file: str
    format: str
    is_lossy: bool
    height: int
    width: int
    channels: int
    depth: int
    costs: "dict[str, Cost | None]"

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


def bench(
    paths: options.ImagePaths,
    effort: options.Effort = "default",
    strongest: Annotated[
        bool,
        typer.Option(
            "--strongest",
            help="Also compare with JPEG XL at effort 10, and at effort 9 with '-g 3 -E 3 -I 100'. Slow; needs "
            "imagecodecs, and cjxl and djxl on the PATH.",
        ),
    ] = False,
    exclude: options.Exclude = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures of each image.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the figures (.png, .svg or .pdf).")] = None,
    max_pixels: options.MaxPixels = 2**28,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> int:
    """Compare size and speed with PNG, lossless WebP and JPEG XL (if imagecodecs is installed) on your own images.

    Status 1 if an image could not be read.
    """
    from pixelpyramids.cli.report.rivals import codecs, cost, warm_up
    from pixelpyramids.image_files.opening import read_picture

    for file in (csv, plot):
        if file is not None:
            refuse_existing(file, overwrite)
    if plot is not None:
        chart_format(plot)  # raises before the images are measured if the chart cannot be drawn
    found, listing = codecs(effort, strongest), sources.list_images(paths, None, exclude)
    todo = listing.tasks
    rows: list[Row] = []
    failed = [explain(error, str(folder)) for folder, error in listing.unlisted]
    for line in (*failed, *([describe_others(listing.others, sources.IMAGES)] if listing.others else [])):
        stderr.print(line)
    with progress_bar("images") as report:
        report(0, len(todo))
        for codec in found:
            warm_up(codec)
        for number, task in enumerate(todo, 1):
            name = str(task.source)
            try:
                with collect_warnings() as texts:
                    picture = read_picture(task.source, max_pixels)
                print_warnings(name, texts)
                costs = {codec.name: cost(codec, picture.array[:, :], picture.depth) for codec in found}
            except (PixelPyramidsError, OSError, MemoryError) as error:
                failed.append(explain(error, name))
                stderr.print(failed[-1])
            else:
                height, width, channels = (*picture.array.shape, 1)[:3]
                kind = picture.format, picture.is_lossy
                rows.append(Row(name, *kind, height, width, channels, picture.depth, costs))
            report(number, len(todo))
    if not rows:
        raise DataError(f"expected images that can be read, got none among {len(todo)} files")
    totals = [total(rows, codec.name) for codec in found]
    if csv is not None:
        write_text(csv, to_csv(rows))
    if plot is not None:
        bits = {t.codec: [row.bits(t.codec) for row in rows] for t in totals}
        save_chart(plot, bits, {t.codec: (t.encode_megapixels_per_second, t.bits_per_subpixel) for t in totals})
    if json:
        images = [row._asdict() | {"costs": {k: c and c._asdict() for k, c in row.costs.items()}} for row in rows]
        result = {"images": images, "totals": [t._asdict() for t in totals]}
        print_json(result | {"failed": failed, "not_taken": others_json(listing.others)})
    else:
        _print_tables(rows, totals)
    return 1 if failed else 0


def total(rows: Sequence[Row], codec: str) -> Total:
    """The totals of a codec over the images that it supports."""
    supported = [(row, figures) for row in rows if (figures := row.costs[codec]) is not None]
    size = sum(figures.bytes for _, figures in supported)
    ours = sum(figures.bytes for row, _ in supported if (figures := row.costs[sources.SUFFIX]) is not None)
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


def _print_tables(rows: Sequence[Row], totals: Sequence[Total]) -> None:
    codecs = [t.codec for t in totals]
    if len(rows) <= MAX_LISTED:
        table = new_table("file", "height x width", *codecs, title="bits/dim of each image")
        for row, name in zip(rows, names_in_common_folder([row.file for row in rows]), strict=True):
            bits = best_in_bold([row.bits(codec) for codec in codecs])
            table.add_row(name + Text(" *" * row.is_lossy), f"{row.height} x {row.width}", *bits)
        stdout.print(table)
    table = new_table(
        "codec", "images", "bytes", "bits/dim", f"{sources.SUFFIX} / this", "encode", "decode",
        title=f"{count_of(len(rows), 'image')}; encode and decode in MP/s",
    )  # fmt: skip
    for codec, images, size, *figures in totals:
        decimals = zip(figures, (3, 4, 2, 2), strict=True)
        table.add_row(codec, str(images), f"{size:,}", *(format_figure(figure, places) for figure, places in decimals))
    stdout.print(table)
    stdout.print("Pixels only, without metadata; every codec's pixels were decoded and compared.")
    if "JXL -I 100" in codecs:
        stdout.print("JXL -I 100: cjxl -e 9 -g 3 -E 3 -I 100; times include the start of cjxl and djxl.")
    if any(row.is_lossy for row in rows):
        stdout.print(
            "* from a lossy file, which left traces in the pixels: says little about how well photographs compress."
        )
    if any(t.images < len(rows) for t in totals):
        stdout.print(f"{NOTHING}: the codec does not support this image; its totals are over the others.")
