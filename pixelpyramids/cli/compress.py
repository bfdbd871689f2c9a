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
            help="Images, folders, tar and zip files, or addresses such as s3://bucket/folder. Use - to read standard "
            "input and write to standard output.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="ARCHIVE",
            help="Folder or remote address to write to, with a manifest of everything that was done (default: write "
            "beside the sources, without a manifest).",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Compress N images at the same time (default: 1; with --out, the number of processors; with --engine "
            "ray, as many as the cluster can take). Large images are compressed one at a time, by all processors. "
            "Memory grows with N.",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="With --out: compress on this machine, or on all machines of a Ray cluster."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="With --engine ray: HOST:PORT of the cluster, or auto for the cluster that this machine belongs to "
            "(default: the environment variable RAY_ADDRESS, or a cluster of this machine, started for the run).",
        ),
    ] = None,
    effort: options.Effort = "default",
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not check results by decoding and comparing them.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also compress lossy files (JPEG, lossy WebP, AVIF) and .ppyr files.")
    ] = False,
    max_pixels: options.MaxPixels = 2**28,
    overwrite: options.Overwrite = False,
    update: Annotated[
        bool,
        typer.Option("--update", help="With --out: recompress images that have changed, and replace their results."),
    ] = False,
    check_hash: Annotated[
        bool,
        typer.Option(
            "--check-hash",
            help="With --out: detect changed images by the SHA-256 of their files, not only by size and time.",
        ),
    ] = False,
    delete_source: Annotated[
        bool,
        typer.Option(
            "--delete-source", help="Delete each image after its .ppyr file was read back and compared with it."
        ),
    ] = False,
    from_list: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With --out: read the paths of images from this file, one a line or separated by null bytes; - is "
            "standard input.",
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="With --out: take only files whose name or path matches, such as '*.tif'; repeatable.",
        ),
    ] = None,
    exclude: options.Exclude = None,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Compress images without loss: a.png becomes a.ppyr beside it, or below --out.

    Run the command again to resume: finished files are not compressed again. Lossy files and .ppyr files are skipped.
    Exit status: 1 if a file failed, if a file you named was skipped, if --delete-source kept an image, or if the disk
    was full; 2 for wrong usage or input; 130 if interrupted.
    """
    from pixelpyramids.archive.file_tasks import Compression

    settings = Compression(effort, not no_verify, force, max_pixels, overwrite, delete_source, dry_run)
    if "" in (out, from_list, *(paths or [])):
        raise ParameterError("expected a path, got an empty text; check the variables of your shell")
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
        raise ParameterError(f"{remote} needs an archive; choose one with --out ARCHIVE")
    archive_options = {
        "engine ray": engine == "ray",
        "update": update,
        "check-hash": check_hash,
        "from-list": from_list,
        "include": include,
    }
    for name, given in archive_options.items():
        if given:
            raise ParameterError(f"--{name} needs an archive; choose one with --out ARCHIVE")
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
