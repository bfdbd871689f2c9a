"""`compress`: convert images to .ppyr files, beside them, into an archive, or from standard input to output."""

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pixelpyramids.cli import options, sources
from pixelpyramids.cli.outcomes import Outcomes
from pixelpyramids.errors import DataError, ParameterError

if TYPE_CHECKING:
    from pixelpyramids.archive.file_tasks import Compression


def compress(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Images, folders of them, tar and zip files, addresses such as s3://bucket/folder, or - for standard "
            "input to standard output.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="ARCHIVE",
            help="Folder to write to, with a manifest of everything that was done; it may be remote (default: beside "
            "the sources).",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Compress N images at the same time (default: with --out, as many as there are processors; otherwise "
            "one; with --engine ray, as many as the cluster can take). Large images use all processors, one at a time. "
            "Memory grows with N.",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="With --out: work on this machine, or on all machines of a Ray cluster."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="With --engine ray: HOST:PORT of the cluster, or auto for the one of this machine (default: the "
            "environment variable RAY_ADDRESS, or a cluster of this machine alone, for this run).",
        ),
    ] = None,
    effort: options.Effort = "default",
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not decode and compare each result.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Compress lossy files (JPEG, WebP, AVIF) and .ppyr files too.")
    ] = False,
    max_pixels: options.MaxPixels = 2**28,
    overwrite: options.Overwrite = False,
    update: Annotated[
        bool,
        typer.Option("--update", help="With --out: compress changed images again, and replace their results."),
    ] = False,
    check_hash: Annotated[
        bool,
        typer.Option(
            "--check-hash", help="With --out: find changed images by reading them, not only by their size and time."
        ),
    ] = False,
    delete_source: Annotated[
        bool, typer.Option("--delete-source", help="Delete each image after its .ppyr file was read back and compared.")
    ] = False,
    from_list: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With --out: a file of paths, one a line or separated by null bytes; - for standard input.",
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="With --out: only files whose name or path matches; repeatable."),
    ] = None,
    exclude: options.Exclude = None,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Compress images without loss: a.png becomes a.ppyr beside it, or below --out.

    Run the command again to resume: finished files are skipped. Lossy files and .ppyr files are skipped too. Status 1
    if a file failed, or if a file you named was skipped.
    """
    from pixelpyramids.archive.file_tasks import Compression

    settings = Compression(effort, not no_verify, force, max_pixels, overwrite, delete_source, dry_run)
    if not paths and from_list is None:
        raise ParameterError("expected a path, or --from-list FILE, got neither")
    files = [Path(path) for path in paths or []]
    if sources.is_standard(files, out=out, json=json, **{"delete-source": delete_source, "dry-run": dry_run}):
        _compress_standard_input(settings)
        return 0
    if address is not None and engine != "ray":
        raise ParameterError("--address is that of a Ray cluster; add --engine ray")
    if out is not None:
        from pixelpyramids.cli.archive_run import ArchiveOptions, compress_archive

        chosen = ArchiveOptions(
            jobs, engine, address, update, check_hash, from_list, include or [], exclude or [], quiet, json
        )
        return compress_archive(paths or [], out, settings, chosen)
    if remote := next((path for path in paths or [] if "://" in path), None):
        raise ParameterError(f"{remote} needs an archive; choose one with --out DIR")
    archive_options = {
        "engine ray": engine == "ray",
        "update": update,
        "check-hash": check_hash,
        "from-list": from_list,
        "include": include,
    }
    for name, given in archive_options.items():
        if given:
            raise ParameterError(f"--{name} needs an archive; choose one with --out DIR")
    return _compress_beside(files, settings, jobs or 1, exclude or [], quiet, json)


def _compress_standard_input(settings: "Compression") -> None:
    from pixelpyramids.archive.file_tasks import encode_picture, explain_lossy
    from pixelpyramids.image_files import opening

    image = opening.open(io.BytesIO(sources.read_standard_input()), settings.max_pixels)
    if not settings.force and image.is_lossy:
        raise DataError(f"{sources.STANDARD_INPUT}: {explain_lossy(image.format)}")
    file = io.BytesIO()
    encode_picture(file, image.load(), settings)
    sources.write_standard_output(file.getbuffer())


def _compress_beside(
    paths: list[Path], settings: "Compression", jobs: int, exclude: list[str], quiet: bool, json: bool
) -> int:
    from pixelpyramids.archive.file_tasks import compress_file, describe_check, is_skipped

    listing = sources.list_images(paths, None, exclude)
    outcomes = Outcomes("compressed", describe_check(settings), quiet, settings.dry_run)
    outcomes.take_listing(listing, sources.IMAGES)
    # If a lossless image and its JPEG have the same target, only the lossless one is compressed.
    todo = outcomes.refuse_collisions(listing.tasks, lambda task: not settings.force and is_skipped(task))
    return outcomes.run(partial(compress_file, settings=settings), todo, jobs, "compressing", json)
