"""`bench`: compare the size and speed of .ppyr with PNG, lossless WebP and JPEG XL, on the user's images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from pixelpyramids.cli.report.environment import command_line, describe_environment, environment_section
from pixelpyramids.cli.report.figures import (
    best_in_bold,
    names_in_common_folder,
    new_table,
)
from pixelpyramids.cli.report.page import write_page
from pixelpyramids.cli.report.rival_chart import save_chart
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.terminal import collect_warnings, count_of, explain

if TYPE_CHECKING:
    from pixelpyramids.cli.report.measurements import Row, Total

MAX_LISTED = 100  # with more images, only the totals are printed


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
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a page: the figures, charts, and the best and worst images with maps of bits."
        ),
    ] = None,
    max_pixels: options.MaxPixels = 2**28,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> int:
    """Compare size and speed with PNG, lossless WebP and JPEG XL (if imagecodecs is installed) on your own images.

    Status 1 if an image could not be read.
    """
    from pixelpyramids.cli.report.measurements import Row, to_csv, total
    from pixelpyramids.cli.report.rivals import codecs, cost, warm_up
    from pixelpyramids.image_files.opening import read_picture

    for file in (csv, plot, html):
        if file is not None:
            refuse_existing(file, overwrite)
    if plot is not None or html is not None:
        chart_format(plot or Path("chart.svg"))  # raises before the images are measured if charts cannot be drawn
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
    if html is not None:
        from pixelpyramids.cli.report.bench_page import bench_page
        from pixelpyramids.codec.bundled import available_threads

        environment = describe_environment(("numpy", "pillow", "imagecodecs"), available_threads())
        write_page(html, bench_page(rows, totals, effort, environment_section(command_line(), environment)))
    if json:
        images = [row._asdict() | {"costs": {k: c and c._asdict() for k, c in row.costs.items()}} for row in rows]
        result = {"images": images, "totals": [t._asdict() for t in totals]}
        print_json(result | {"failed": failed, "not_taken": others_json(listing.others)})
    else:
        _print_tables(rows, totals)
    return 1 if failed else 0


def _print_tables(rows: "Sequence[Row]", totals: "Sequence[Total]") -> None:
    from pixelpyramids.cli.report.measurements import TOTALS_HEAD, cells_of, notes

    codecs = [t.codec for t in totals]
    if len(rows) <= MAX_LISTED:
        table = new_table("file", "height x width", *codecs, title="bits/dim of each image")
        for row, name in zip(rows, names_in_common_folder([row.file for row in rows]), strict=True):
            bits = best_in_bold([row.bits(codec) for codec in codecs])
            table.add_row(name + Text(" *" * row.is_lossy), f"{row.height} x {row.width}", *bits)
        stdout.print(table)
    table = new_table(*TOTALS_HEAD, title=f"{count_of(len(rows), 'image')}; encode and decode in MP/s")
    for t in totals:
        table.add_row(*cells_of(t))
    stdout.print(table)
    for line in notes(rows, totals):
        stdout.print(line)
