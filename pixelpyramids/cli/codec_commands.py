"""The commands of the codec: `compress`, `decompress`, `info`, `verify`, `bench`, `export`."""

from pathlib import Path
from typing import Annotated

import typer

from pixelpyramids.cli.options import Json, Overwrite, load_commands

app = typer.Typer()

Images = Annotated[
    list[Path], typer.Argument(metavar="PATH…", help="Images, folders of them, or - for standard input to output.")
]
Files = Annotated[
    list[Path],
    typer.Argument(metavar="PATH…", help="Files .ppyr, folders of them, or - for standard input to output."),
]
Examined = Annotated[
    list[Path], typer.Argument(metavar="PATH…", help="Files .ppyr, folders of them, or - for standard input.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder to write to; several folders get a subfolder each. Default: beside each file.",
    ),
]
Jobs = Annotated[
    int, typer.Option("--jobs", min=1, help="Files at once, each by a process; one at a time uses all processors too.")
]
Effort = Annotated[
    str,
    typer.Option(
        "--effort",
        metavar="fast|default|max",
        help="max also tries PNG and lossless WebP for every image; default where they may win; fast never.",
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        "--max-pixels", min=1, show_default=False, help="Refuse files that say they hold more. Default: 2**28."
    ),
]

Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="PATTERN", help="Leave out what matches by name or path, such as '*.jpg'; repeatable."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and write nothing.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only failures and warnings.")]


@app.command()
def compress(
    paths: Images,
    out: Out = None,
    jobs: Jobs = 1,
    effort: Effort = "default",
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not decode and compare before a file counts as done.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Compress lossy sources (JPEG, WebP, AVIF) too.")] = False,
    max_pixels: MaxPixels = 2**28,
    overwrite: Overwrite = False,
    delete_source: Annotated[
        bool,
        typer.Option("--delete-source", help="Delete each image once its .ppyr file was read back and compared."),
    ] = False,
    exclude: Exclude = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Compress images losslessly: a.png to a.ppyr beside it."""
    status = load_commands("compress").compress(
        paths, out=out, jobs=jobs, effort=effort, verify=not no_verify, force=force, max_pixels=max_pixels,
        overwrite=overwrite, delete_source=delete_source, exclude=exclude or [], dry_run=dry_run, quiet=quiet,
        as_json=json,
    )  # fmt: skip
    raise typer.Exit(status)


@app.command()
def decompress(
    paths: Files,
    out: Out = None,
    jobs: Jobs = 1,
    format: Annotated[
        str, typer.Option("--format", metavar="png|tiff|webp|…|original", help="Format to write.")
    ] = "png",
    scale: Annotated[
        int, typer.Option("--scale", metavar="2|4|8|16", help="Every second, fourth, … pixel: reads that alone.")
    ] = 1,
    region: Annotated[
        str | None, typer.Option("--region", metavar="x,y,w,h", help="A part, in pixels of the whole image.")
    ] = None,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Of a damaged or cut file, what it still holds whole: a smaller image.")
    ] = False,
    max_pixels: MaxPixels = 2**28,
    overwrite: Overwrite = False,
    exclude: Exclude = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Turn .ppyr files into images of another format, whole, smaller or a region of them."""
    status = load_commands("compress").decompress(
        paths,
        out=out,
        jobs=jobs,
        format=format,
        scale=scale,
        region=region,
        salvage=salvage,
        max_pixels=max_pixels,
        overwrite=overwrite,
        exclude=exclude or [],
        dry_run=dry_run,
        quiet=quiet,
        as_json=json,
    )
    raise typer.Exit(status)


@app.command()
def info(files: Examined, max_pixels: MaxPixels = 2**28, json: Json = False) -> None:
    """What .ppyr files say of themselves: size, depth, model, metadata, bytes of each octave, time to decode."""
    raise typer.Exit(load_commands("examine").info(files, max_pixels=max_pixels, as_json=json))


@app.command()
def verify(
    files: Examined,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            metavar="DIR",
            help="Compare each file with its original in this folder; repeatable.",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="PATTERN", help="Leave out files whose name or path matches; repeatable."),
    ] = None,
    jobs: Jobs = 1,
    max_pixels: MaxPixels = 2**28,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Check that .ppyr files decode whole; FILE.ppyr ORIGINAL also that the image is the original's."""
    status = load_commands("examine").verify(
        files, against=against or [], ignore=ignore or [], jobs=jobs, max_pixels=max_pixels, quiet=quiet, as_json=json
    )
    raise typer.Exit(status)


@app.command()
def bench(
    paths: Annotated[list[Path], typer.Argument(metavar="DIR", help="A folder of images, or images.")],
    effort: Effort = "default",
    exclude: Exclude = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write each image's figures.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw them (.png, .svg, .pdf; extra plots).")
    ] = None,
    max_pixels: MaxPixels = 2**28,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Bytes and speed beside PNG, lossless WebP and, where cjxl is installed, JPEG XL, on your own images."""
    status = load_commands("bench").bench(
        paths, effort=effort, exclude=exclude or [], max_pixels=max_pixels, table=csv, plot=plot, overwrite=overwrite,
        as_json=json,
    )  # fmt: skip
    raise typer.Exit(status)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run directory of a trained compact model.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of integer weights to write.")],
    overwrite: Overwrite = False,
) -> None:
    """The integers of a compact model that `train compact` made, as the codec's bundled ones are."""
    load_commands("export").export(run, file, overwrite=overwrite)
