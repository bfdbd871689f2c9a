"""`verify`: check that .ppyr files are intact, and that they hold their originals."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixelpyramids.archive.jobs import Done
from pixelpyramids.cli import options, sources
from pixelpyramids.cli.console import print_warnings
from pixelpyramids.cli.outcomes import Outcomes
from pixelpyramids.errors import DataError, ParameterError
from pixelpyramids.image_files.listing import Task, group_by_target, list_tasks
from pixelpyramids.terminal import collect_warnings

if TYPE_CHECKING:
    from pixelpyramids.image_files.picture import Picture


def verify(
    files: options.CompressedFiles,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folder of originals; each must have its .ppyr file; repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Skip files whose name or path matches; repeatable.")
    ] = None,
    jobs: options.Jobs = 1,
    max_pixels: options.MaxPixels = 2**28,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Check that .ppyr files are intact by decoding them; FILE.ppyr ORIGINAL also compares the images.

    With --against, the images in that folder are compared: each needs a .ppyr file with the same place and name. Status
    1 if a file is damaged, differs or is missing.
    """
    *rest, last = files
    original, check = None, "decoded, and the same as the original"
    if against:
        outcomes = Outcomes("whole", f"{check}s", quiet)
        todo = _pair_folders(files, against, ignore or [], outcomes)
    else:
        if rest and last.suffix.lower() != sources.SUFFIX and not last.is_dir():
            original, files = _read_single_original(rest, last, max_pixels), rest
        outcomes = Outcomes("whole", check if original else "decoded", quiet)
        listing = sources.list_compressed(files, ignore or [])
        outcomes.take_listing(listing, ".ppyr files")
        todo = listing.tasks
    work = partial(_verify, original=original, max_pixels=max_pixels)
    return outcomes.run(work, todo, jobs, "verifying", json)


def _read_single_original(files: Sequence[Path], path: Path, max_pixels: int) -> "Picture":
    """The picture in the original of a single .ppyr file."""
    if len(files) > 1 or files[0].is_dir():
        raise ParameterError(
            f"{path}: expected one .ppyr file to compare with this original, got several paths or a folder; "
            "verify one file at a time, or a folder with --against DIR"
        )
    with collect_warnings() as texts:
        original = _read_original(path, max_pixels)
    print_warnings(str(path), texts)
    return original


def _pair_folders(
    paths: Sequence[Path], against: Sequence[Path], ignore: Sequence[str], outcomes: Outcomes
) -> list[Task]:
    """The .ppyr files of the folders, each with its original as the target. Files and originals without one fail."""
    from pixelpyramids.archive.file_tasks import is_skipped

    for path in (*paths, *against):
        if not path.is_dir():
            raise ParameterError(
                f"{path}: expected a folder, because --against compares folders, got none; to compare one file, use "
                "`pixelpyramids verify FILE.ppyr ORIGINAL`"
            )
    # Both sides are matched by their paths below their folders.
    files = sources.list_results(paths, against[0], str, ignore)
    images = list_tasks(against, against[0], sources.compressed_name, sources.IMAGE_SUFFIXES, sources.AN_IMAGE, ignore)
    verified = {file.source.absolute() for file in files.tasks}
    outcomes.take_listing(files)
    outcomes.take_listing(
        images._replace(others=[path for path in images.others if path.absolute() not in verified]),
        sources.IMAGES,
        "no .ppyr file holds them; keep them, or pass --ignore PATTERN to leave them out",
    )
    files_at, images_at = group_by_target(files.tasks), group_by_target(images.tasks)
    compared: list[Task] = []
    for place in dict.fromkeys([*files_at, *images_at]):
        packed, originals = files_at.get(place, []), images_at.get(place, [])
        lossy = [image for image in originals if is_skipped(image)] if len(originals) > 1 or not packed else []
        candidates = [image for image in originals if image not in lossy]
        for image in lossy if packed else originals:
            kind, force = ("lossy, and ", " with --force") if image in lossy else ("", "")
            outcomes.fail(
                str(image.source),
                f"{image.source}: {kind}no .ppyr file holds it; compress it{force}, or keep it and pass --ignore "
                "PATTERN to leave it out",
            )
        for file in packed:
            if len(candidates) == 1:
                compared.append(file._replace(target=candidates[0].source))
                continue
            found = ", ".join(str(image.source) for image in candidates) or "none"
            outcomes.fail(
                str(file.source),
                f"{file.source}: expected one original in {', '.join(map(str, against))}, got {found}; pass the folder "
                "that it was compressed from",
            )
    return compared


def _read_original(path: Path, max_pixels: int) -> "Picture":
    """The picture in an original. Metadata that cannot be kept is reported only after the comparison."""
    from pixelpyramids.image_files.opening import read_picture

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "not kept: ", UserWarning)
        return read_picture(path, max_pixels)


def _verify(task: Task, original: "Picture | None", max_pixels: int, threads: int) -> Done:
    """Decode a file, and compare it with `original`, or with the picture in the task's target."""
    from pixelpyramids.archive.comparison import describe_difference
    from pixelpyramids.codec.container import read_index
    from pixelpyramids.codec.disk_array import allocate
    from pixelpyramids.codec.image import decode_into
    from pixelpyramids.codec.planes import restore_axes

    if original is None and task.target != task.source:
        original = _read_original(task.target, max_pixels)
    with sources.open_compressed(task) as source:
        header = read_index(source, max_pixels).header
        _, pixels = decode_into(allocate, source, max_pixels=max_pixels, threads=threads)
        array = restore_axes(pixels, header)
        if original is not None and (difference := describe_difference(array, header, original)):
            raise DataError(f"{sources.name_of(task)}: differs from the original: {difference}")
        if original is not None and original.not_kept:
            warnings.warn(f"the pixels are the same; not kept: {', '.join(original.not_kept)}", stacklevel=1)
        return Done(source.size, pixels=header.height * header.width)
