"""`verify`: check that .ppyr files are intact, and that they hold their originals."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pixelpyramids.cli import options
from pixelpyramids.cli.console import collect_warnings, print_warnings
from pixelpyramids.cli.outcomes import Done, Outcomes
from pixelpyramids.cli.sources import (
    A_PPYR_FILE,
    AN_IMAGE,
    IMAGES,
    SUFFIX,
    compressed_name,
    image_suffixes,
    list_compressed,
    name_of,
    open_compressed,
)
from pixelpyramids.errors import DataError, ParameterError
from pixelpyramids.image_files.listing import Task, group_by_target, list_tasks

if TYPE_CHECKING:
    from pixelpyramids.image_files.picture import Picture


def verify(
    files: options.CompressedFiles,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Compare with the originals in this folder; each needs a .ppyr file."),
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

    With --against, every image in that folder needs a .ppyr file that holds it. Status 1 if a file is damaged, differs
    or is missing.
    """
    original = None
    if against:
        outcomes = Outcomes("whole", "decoded, and the same as the originals", quiet)
        todo = _pair_folders(files, against, ignore or [], outcomes)
    else:
        paths, original = _split_original(files, max_pixels)
        outcomes = Outcomes("whole", "decoded" if original is None else "decoded, and the same as the original", quiet)
        listing = list_compressed(paths, ignore or [])
        outcomes.take_listing(listing, ".ppyr files")
        todo = listing.tasks
    check = partial(_verify_pair if against else partial(_verify, original=original), max_pixels=max_pixels)
    return outcomes.run(check, todo, jobs, "verifying", json)


def _split_original(paths: Sequence[Path], max_pixels: int) -> "tuple[Sequence[Path], Picture | None]":
    """The .ppyr files to verify, and the original if the last path is one."""
    *files, last = paths
    if not files or last.suffix.lower() == SUFFIX or last.is_dir():
        return paths, None
    if len(files) > 1 or files[0].is_dir():
        raise ParameterError(
            f"{last}: expected one .ppyr file to compare with this original, got several paths or a folder; "
            "verify one file at a time, or a folder with --against DIR"
        )
    with collect_warnings() as texts:
        original = _read_original(last, max_pixels)
    print_warnings(str(last), texts)
    return files, original


def _pair_folders(
    paths: Sequence[Path], against: Sequence[Path], ignore: Sequence[str], outcomes: Outcomes
) -> list[Task]:
    """The .ppyr files of the folders, each with its original as the target. Files without one fail."""
    for path in (*paths, *against):
        if not path.is_dir():
            raise ParameterError(
                f"{path}: expected a folder, because --against compares folders, got none; to compare one file, use "
                "`pixelpyramids verify FILE.ppyr ORIGINAL`"
            )
    # Both sides are matched by their paths below their folders.
    files = list_tasks(paths, against[0], str, {SUFFIX}, A_PPYR_FILE, ignore)
    images = list_tasks(against, against[0], compressed_name, image_suffixes(), AN_IMAGE, ignore)
    verified = {file.source.absolute() for file in files.tasks}
    outcomes.take_listing(files._replace(others=[]), "")
    outcomes.take_listing(
        images._replace(others=[path for path in images.others if path.absolute() not in verified]),
        IMAGES,
        "no .ppyr file holds them; keep them, or pass --ignore PATTERN to leave them out",
    )
    return _match_originals(files.tasks, images.tasks, against, outcomes)


def _match_originals(
    files: Sequence[Task], images: Sequence[Task], against: Sequence[Path], outcomes: Outcomes
) -> list[Task]:
    """The .ppyr files, each with its original as the target. Files and originals without a match fail."""
    from pixelpyramids.cli.file_tasks import is_skipped

    files_at, images_at = group_by_target(files), group_by_target(images)
    compared: list[Task] = []
    for place in dict.fromkeys([*files_at, *images_at]):
        packed, sources = files_at.get(place, []), images_at.get(place, [])
        if len(sources) > 1 or not packed:
            lossy = [source for source in sources if is_skipped(source)]
            for source in lossy:
                # Only suggest ignoring the suffix if all such files are lossy.
                is_jpeg = source.source.suffix.lower() in (".jpg", ".jpeg")
                pattern = f"*{source.source.suffix}" if is_jpeg else source.source.name
                outcomes.take(
                    source,
                    DataError(
                        f"{source.source}: lossy, and no .ppyr file holds it; keep it, or pass "
                        f"--ignore '{pattern}' to leave {'such files' if is_jpeg else 'it'} out"
                    ),
                )
            sources = [source for source in sources if source not in lossy]
        for file in packed:
            if len(sources) == 1:
                compared.append(file._replace(target=sources[0].source))
            else:
                found = ", ".join(str(source.source) for source in sources) or "none"
                places = ", ".join(map(str, against))
                outcomes.take(
                    file,
                    DataError(
                        f"{file.source}: expected one original in {places}, got {found}; pass the folder that it was "
                        "compressed from"
                    ),
                )
        if not packed:
            for source in sources:
                outcomes.take(
                    source,
                    DataError(
                        f"{source.source}: no .ppyr file holds it; compress it, or repair or remove it if it is damaged"
                    ),
                )
    return compared


def _verify_pair(task: Task, max_pixels: int, threads: int) -> Done:
    return _verify(task, _read_original(task.target, max_pixels), max_pixels, threads)


def _read_original(path: Path, max_pixels: int) -> "Picture":
    """The picture in an original. Metadata that cannot be kept is reported only after the comparison."""
    from pixelpyramids.image_files.opening import read_picture

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "not kept: ", UserWarning)
        return read_picture(path, max_pixels)


def _verify(task: Task, original: "Picture | None", max_pixels: int, threads: int) -> Done:
    from pixelpyramids.codec.container import read_index
    from pixelpyramids.codec.image import decode_source

    with open_compressed(task) as source:
        header = read_index(source, max_pixels).header
        array = decode_source(source, max_pixels=max_pixels, threads=threads)
        if original is not None and (fault := _difference(array, header.depth, header.metadata, original)):
            raise DataError(f"{name_of(task)}: differs from the original: {fault}")
        if original is not None and original.not_kept:
            warnings.warn(f"the pixels are the same; not kept: {', '.join(original.not_kept)}", stacklevel=1)
        return Done(source.size, pixels=header.height * header.width)


def _difference(array: Any, depth: int, metadata: Any, original: "Picture") -> str:
    """The first difference from the original, in words; "" if there is none."""
    if array.shape != original.array.shape:
        return f"expected pixels of shape {original.array.shape}, got {array.shape}"
    if depth != original.depth or array.dtype != original.array.dtype:
        return f"expected {original.depth} bits ({original.array.dtype}), got {depth} ({array.dtype})"
    if not np.array_equal(array, original.array):
        different = array != original.array
        if different.ndim == 3:
            different = different.any(axis=-1)
        y, x = (int(lines[0]) for lines in np.nonzero(different))
        return f"{int(different.sum())} pixels, the first at x {x}, y {y}"
    names = sorted(metadata.keys() | original.metadata.keys())
    others = [name for name in names if metadata.get(name) != original.metadata.get(name)]
    return f"the pixels are the same, the metadata differs ({', '.join(others)})" if others else ""
