"""`decompress`: convert .ppyr files to images, one or many, or from standard input to standard output."""

import io
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from pixelpyramids.cli import options, sources
from pixelpyramids.cli.console import stderr
from pixelpyramids.cli.outcomes import Outcomes
from pixelpyramids.errors import BitstreamError, ParameterError, PixelPyramidsError
from pixelpyramids.image_files.listing import Task


def decompress(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH", help=".ppyr files, folders of them, or - for standard input to standard output."
        ),
    ],
    out: options.OutBeside = None,
    jobs: options.Jobs = 1,
    format: Annotated[
        Literal["png", "tiff", "webp", "ppm", "bmp", "npy", "original"],
        typer.Option(case_sensitive=False, help="Format to write; original: the format before compressing."),
    ] = "png",
    scale: Annotated[
        int, typer.Option(metavar="2|4|8|16", help="Write every 2nd, 4th, … pixel, and read only what that needs.")
    ] = 1,
    region: Annotated[
        str | None, typer.Option(metavar="x,y,w,h", help="Write only this part, in pixels of the whole image.")
    ] = None,
    salvage: Annotated[
        bool,
        typer.Option("--salvage", help="If a file is damaged or cut short, write the largest image that is intact."),
    ] = False,
    max_pixels: options.MaxPixels = 2**28,
    overwrite: options.Overwrite = False,
    exclude: options.Exclude = None,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Decompress .ppyr files to PNG or another format: whole images, smaller ones, or a region.

    Run the command again to resume: finished files are skipped. Status 1 if a file failed or was salvaged in part.
    """
    from pixelpyramids.archive.file_tasks import Decompression, decode_picture, decompress_file, write_picture
    from pixelpyramids.codec.fields import MemorySource
    from pixelpyramids.image_files.saving import FORMATS

    if scale < 1 or scale & (scale - 1):
        raise ParameterError(f"expected --scale 2|4|8|16, a power of two, got {scale}")
    settings = Decompression(format, scale, parse_region(region), salvage, max_pixels, overwrite, dry_run)
    if sources.is_standard(paths, out=out, json=json, **{"dry-run": dry_run}):
        try:
            picture, lost = decode_picture(MemorySource(sources.read_standard_input()), settings)
        except BitstreamError as error:
            raise BitstreamError(f"{sources.STANDARD_INPUT}: {error}") from error
        file = io.BytesIO()
        write_picture(file, picture, settings)
        sources.write_standard_output(file.getbuffer())
        if lost:
            stderr.print(f"{sources.STANDARD_INPUT}: {lost}")
        return 1 if lost else 0
    rename = partial(sources.decompressed_name, suffix=FORMATS.get(format, FORMATS["png"])[0])
    listing = sources.list_results(paths, out, rename, exclude or [])
    tasks = [_with_original_suffix(task) for task in listing.tasks] if format == "original" else listing.tasks
    outcomes = Outcomes("decompressed", "every checksum right" if settings.is_whole else "", quiet, dry_run)
    outcomes.take_listing(listing)
    todo = outcomes.refuse_collisions(tasks)
    return outcomes.run(partial(decompress_file, settings=settings), todo, jobs, "decompressing", json)


def parse_region(text: str | None) -> tuple[int, int, int, int] | None:
    """`x,y,w,h` as four numbers. Raises ParameterError if the text does not have that form."""
    if text is None:
        return None
    numbers = text.split(",")
    if len(numbers) != 4 or not all(n.isascii() and n.isdigit() and len(n) < 12 for n in numbers):
        raise ParameterError(f"expected --region x,y,w,h, four numbers such as 0,0,640,480, got {text[:80]}")
    x, y, width, height = map(int, numbers)
    return x, y, width, height


def _with_original_suffix(task: Task) -> Task:
    """The task with the suffix of the original format on its target, if that format is known and can be written."""
    from pixelpyramids.codec.container import MAX_SIDE, read_index
    from pixelpyramids.image_files.file_source import open_source
    from pixelpyramids.image_files.saving import FORMATS

    try:
        with open_source(task.source) as content:
            suffixes = FORMATS.get(read_index(content, MAX_SIDE**2).header.source_format)
    except (PixelPyramidsError, OSError):  # reported when the file is decompressed
        return task
    return task._replace(target=task.target.with_suffix(suffixes[0])) if suffixes else task
