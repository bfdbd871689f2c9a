"""`compress`: images to .ppyr files, one, many, or from standard input to standard output."""

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pixelpyramids.cli.options import (
    DryRunOption,
    Effort,
    EffortOption,
    ExcludeOption,
    JobsOption,
    JsonOption,
    MaxPixelsOption,
    OutBesideOption,
    OverwriteOption,
    QuietOption,
)
from pixelpyramids.cli.outcomes import Outcomes
from pixelpyramids.cli.sources import IMAGES, list_images
from pixelpyramids.cli.standard import NAME, is_standard, read_standard_input, write_standard_output
from pixelpyramids.errors import DataError


def compress(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH…", help="Images, folders of images, or - to read standard input and write standard output."
        ),
    ],
    out: OutBesideOption = None,
    jobs: JobsOption = 1,
    effort: EffortOption = Effort.DEFAULT,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not decode and compare each file before it is written.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Compress lossy files (JPEG, WebP, AVIF) too.")] = False,
    max_pixels: MaxPixelsOption = 2**28,
    overwrite: OverwriteOption = False,
    delete_source: Annotated[
        bool,
        typer.Option("--delete-source", help="Delete each image after its .ppyr file was read back and compared."),
    ] = False,
    exclude: ExcludeOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> int:
    """Compress images without loss: a.png becomes a.ppyr beside it.

    Run the command again to resume: finished files are skipped. Status 1 if a file failed, or if a file that was named
    itself was skipped because it is lossy.
    """
    from pixelpyramids.cli.file_tasks import (
        Compression,
        compress_file,
        encode_picture,
        explain_lossy,
        is_skipped,
        threads_per_job,
    )
    from pixelpyramids.image_files import opening

    how = Compression(
        effort, not no_verify, force, max_pixels, overwrite, delete_source, dry_run, threads=threads_per_job(1)
    )
    if is_standard(paths, out=out, json=json, **{"delete-source": delete_source, "dry-run": dry_run}):
        image = opening.open(io.BytesIO(read_standard_input()), max_pixels)
        if not force and image.is_lossy:
            raise DataError(f"{NAME}: {explain_lossy(image.format)}")
        write_standard_output(encode_picture(image.load(), how))
        return 0
    listing = list_images(paths, out, exclude)
    outcomes = Outcomes("compressed", "not verified" if no_verify else "decoded and compared", quiet, dry_run)
    outcomes.take_listing(listing, IMAGES)
    # If a photograph and its JPEG have the same target, only the photograph is compressed.
    todo = outcomes.refuse_collisions(listing.tasks, lambda task: not force and is_skipped(task))
    how = replace(how, threads=threads_per_job(min(jobs, len(todo))))
    outcomes.take_all(partial(compress_file, how=how), todo, jobs, "compressing")
    return outcomes.print_summary(json)
