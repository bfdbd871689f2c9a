"""`compress`: convert images to .ppyr files, one or many, or from standard input to standard output."""

import io
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pixelpyramids.cli import options, sources
from pixelpyramids.cli.outcomes import Outcomes
from pixelpyramids.errors import DataError


def compress(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Images, folders of them, or - for standard input to standard output."),
    ],
    out: options.OutBeside = None,
    jobs: options.Jobs = 1,
    effort: options.Effort = "default",
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not decode and compare each result.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Compress lossy files (JPEG, WebP, AVIF) and .ppyr files too.")
    ] = False,
    max_pixels: options.MaxPixels = 2**28,
    overwrite: options.Overwrite = False,
    delete_source: Annotated[
        bool, typer.Option("--delete-source", help="Delete each image after its .ppyr file was read back and compared.")
    ] = False,
    exclude: options.Exclude = None,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Compress images without loss: a.png becomes a.ppyr beside it.

    Run the command again to resume: finished files are skipped. Lossy files and .ppyr files are skipped too. Status 1
    if a file failed, or if a file you named was skipped.
    """
    from pixelpyramids.cli.file_tasks import Compression, compress_file, encode_picture, explain_lossy, is_skipped
    from pixelpyramids.image_files import opening

    settings = Compression(effort, not no_verify, force, max_pixels, overwrite, delete_source, dry_run)
    if sources.is_standard(paths, out=out, json=json, **{"delete-source": delete_source, "dry-run": dry_run}):
        image = opening.open(io.BytesIO(sources.read_standard_input()), max_pixels)
        if not force and image.is_lossy:
            raise DataError(f"{sources.STANDARD_INPUT}: {explain_lossy(image.format)}")
        file = io.BytesIO()
        encode_picture(file, image.load(), settings)
        sources.write_standard_output(file.getbuffer())
        return 0
    listing = sources.list_images(paths, out, exclude)
    outcomes = Outcomes("compressed", "not verified" if no_verify else "decoded and compared", quiet, dry_run)
    outcomes.take_listing(listing, sources.IMAGES)
    # If a lossless image and its JPEG have the same target, only the lossless one is compressed.
    todo = outcomes.refuse_collisions(listing.tasks, lambda task: not force and is_skipped(task))
    return outcomes.run(partial(compress_file, settings=settings), todo, jobs, "compressing", json)
