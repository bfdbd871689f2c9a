"""`archive restore`: write the images of an archive as files again."""

from functools import partial
from typing import Annotated, Literal

import typer

from pixelpyramids.cli import options


def archive_restore(
    archive: options.Archive,
    patterns: options.Patterns = None,
    out: Annotated[str, typer.Option(metavar="DIR", help="Local folder for the files.")] = ...,  # type: ignore[assignment]
    format: Annotated[
        Literal["best", "png", "tiff", "webp", "ppm", "bmp", "npy"],
        typer.Option(
            case_sensitive=False,
            help="Format to write. best: the format of the source if this package can write it, otherwise PNG, or TIFF "
            "for more than four channels.",
        ),
    ] = "best",
    jobs: options.ArchiveJobs = None,
    max_pixels: options.MaxPixels = 2**28,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Write the images of an archive as files again, after comparing the SHA-256 of their pixels with the manifest.

    Run the command again to resume it: existing files that hold the same pixels are kept. Exit status 1 if an image
    failed.
    """
    import os

    from pixelpyramids.archive import examining
    from pixelpyramids.archive.addresses import absolute, is_remote
    from pixelpyramids.archive.jobs import LocalEngine
    from pixelpyramids.archive.rows import HAS_RESULT
    from pixelpyramids.cli.archive_opening import matches, open_archive
    from pixelpyramids.cli.archive_report import ArchiveReport
    from pixelpyramids.cli.console import live_line, print_json, stdout
    from pixelpyramids.codec.bundled import available_threads
    from pixelpyramids.errors import DataError, FullDiskError, ParameterError, is_full_disk
    from pixelpyramids.terminal import count_of, explain

    if is_remote(out):
        raise ParameterError(f"expected a folder on this machine for --out, got {out}")
    at_once = jobs or available_threads()
    settings = examining.Restoring(absolute(archive), os.path.abspath(out), format, max_pixels, overwrite, dry_run)
    with open_archive(archive) as manifest, live_line(quiet, passing=True) as show:

        def wanted() -> examining.Rows:
            rows = manifest.iterate(HAS_RESULT)
            return (row for row in rows if matches(row, patterns or []))

        total = sum(1 for _ in wanted())
        if not total:
            raise DataError(f"{archive}: expected images that match {' '.join(patterns or ['*'])}, got none")
        report = ArchiveReport("", show, quiet, dry_run)
        report.begin(total, 0)
        work = partial(examining.restore_image, settings=settings)
        for row, result in LocalEngine(at_once)(work, wanted()):
            if isinstance(result, Exception) and is_full_disk(result):
                raise FullDiskError(f"{explain(result)}; {examining.AGAIN}") from result
            report.take(f"{settings.archive}/{row.result}", result, False)
    report.raise_fault()
    counts = report.counts
    if json:
        print_json({"restored": counts["done"], "already_there": counts["already there"], "failed": counts["failed"]})
    elif not quiet:
        rest = "".join(f"; {counts[what]:,} {what}" for what in ("already there", "failed") if counts[what])
        verb = "would be restored" if dry_run else f"restored to {out}, with the pixels that were compressed"
        stdout.print(f"{count_of(counts['done'], 'image')} {verb}{rest}")
    return 1 if report.has_failed else 0
