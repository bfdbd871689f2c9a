"""`compress` and `decompress`: images to .ppyr files and back, one, many, or from standard input to standard output."""

import io
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pixelpyramids.codec import bundled
from pixelpyramids.codec.container import MAX_SIDE, read_index
from pixelpyramids.codec.fields import Bytes, Source
from pixelpyramids.codec.file_source import opened, require_regular
from pixelpyramids.codec.image import EFFORTS, MAX_PIXELS, decode_source, encode
from pixelpyramids.codec.image_file import FORMATS, READ, Picture, lossy_format, read_picture, write_picture
from pixelpyramids.codec.planes import Region, level_of, window
from pixelpyramids.commands.console import err
from pixelpyramids.commands.outcomes import Done, Outcomes
from pixelpyramids.commands.results import delete_source, expect_same, is_there, write_result
from pixelpyramids.commands.standard import NAME, is_standard, read_standard_input, write_standard_output
from pixelpyramids.data.reading import readable_formats
from pixelpyramids.errors import BitstreamError, DataError, ParameterError, PixelPyramidsError
from pixelpyramids.listing import Task, find_collisions, find_existing, list_tasks

SUFFIX = ".ppyr"
ORIGINAL = "original"  # the format of the file that was compressed
AN_IMAGE = "an image (.png, .tif, .webp, …)"
IMAGES = "images"


@dataclass(frozen=True)
class Compression:
    """How `compress` works on each file."""

    effort: str
    verify: bool
    force: bool
    max_pixels: int
    overwrite: bool
    delete_source: bool
    dry_run: bool
    threads: int


@dataclass(frozen=True)
class Decompression:
    """How `decompress` works on each file."""

    format: str
    scale: int
    region: Region | None
    salvage: bool
    max_pixels: int
    overwrite: bool
    dry_run: bool
    threads: int

    @property
    def is_whole(self) -> bool:
        """Whether the whole image is requested, so that a result that exists may be this one."""
        return self.scale == 1 and self.region is None and not self.salvage


def compress(
    paths: Sequence[Path],
    *,
    out: Path | None,
    jobs: int,
    effort: str,
    verify: bool,
    force: bool,
    max_pixels: int,
    overwrite: bool,
    delete_source: bool,
    exclude: Sequence[str],
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Make a .ppyr file of each image. Returns the exit status: 1 if some failed, or one named by itself is skipped."""
    if effort not in EFFORTS:
        raise ParameterError(f"expected --effort {'|'.join(EFFORTS)}, got {effort}")
    how = Compression(effort, verify, force, max_pixels, overwrite, delete_source, dry_run, threads_of(1))
    if is_standard(paths, out=out, json=as_json, **{"delete-source": delete_source, "dry-run": dry_run}):
        file = io.BytesIO(read_standard_input())
        if not force and (lossy := lossy_format(file)):
            raise DataError(f"{NAME}: {_is_lossy(lossy)}")
        file.seek(0)
        write_standard_output(_encoded(read_picture(file, max_pixels), how))
        return 0
    listing = list_tasks(paths, out, compressed_name, image_suffixes(), AN_IMAGE, exclude)
    listing = listing._replace(others=[path for path in listing.others if path.suffix.lower() != SUFFIX])
    check = "decoded and compared" if verify else "not verified"
    outcomes = Outcomes("compressed", check, quiet, dry_run)
    outcomes.take_listing(listing, IMAGES)
    # Of a photograph and its JPEG only one is compressed.
    todo = _refuse_collisions(listing.tasks, outcomes, lambda task: not force and is_skipped(task))
    how = replace(how, threads=threads_of(min(jobs, len(todo))))
    outcomes.take_all(partial(_compress, how=how), todo, jobs, "compressing")
    return outcomes.print_summary(as_json)


def decompress(
    paths: Sequence[Path],
    *,
    out: Path | None,
    jobs: int,
    format: str,
    scale: int,
    region: str | None,
    salvage: bool,
    max_pixels: int,
    overwrite: bool,
    exclude: Sequence[str],
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Make an image file of each .ppyr file. Returns the exit status: 1 if some failed, or were salvaged in part."""
    if format.lower() not in (*FORMATS, ORIGINAL):
        raise ParameterError(f"expected --format {'|'.join(FORMATS)}|{ORIGINAL}, got {format}")
    format, suffix = format.lower(), FORMATS.get(format.lower(), FORMATS["png"])[0]
    if scale < 1 or scale & (scale - 1):
        raise ParameterError(f"expected --scale 2|4|8|16, a power of two, got {scale}")
    how = Decompression(format, scale, parse_region(region), salvage, max_pixels, overwrite, dry_run, threads_of(1))
    if is_standard(paths, out=out, json=as_json, **{"dry-run": dry_run}):
        try:
            picture, lost = _decoded(Bytes(read_standard_input()), how)
        except BitstreamError as error:
            raise BitstreamError(f"{NAME}: {error}") from error
        file = io.BytesIO()
        write_picture(picture, file, _format_of(picture, how))
        write_standard_output(file.getvalue())
        if lost:
            err.print(f"{NAME}: {lost}", soft_wrap=True)
        return 1 if lost else 0
    outcomes = Outcomes("decompressed", "every checksum right" if how.is_whole else "", quiet, dry_run)
    rename = partial(decompressed_name, suffix=suffix)
    listing = list_tasks(paths, out, rename, {SUFFIX}, "a .ppyr file", exclude)
    outcomes.take_listing(listing._replace(others=[]), "")
    tasks = [_with_original_suffix(task) for task in listing.tasks] if format == ORIGINAL else listing.tasks
    todo = _refuse_collisions(tasks, outcomes)
    how = replace(how, threads=threads_of(min(jobs, len(todo))))
    outcomes.take_all(partial(_decompress, how=how), todo, jobs, "decompressing")
    return outcomes.print_summary(as_json)


def compressed_name(name: str) -> str:
    """`a.png` as a.ppyr; what does not end as image files do gets the suffix after its own."""
    stem, suffix = os.path.splitext(name)
    return (stem if suffix.lower() in image_suffixes() else name) + SUFFIX


def decompressed_name(name: str, suffix: str) -> str:
    """`a.ppyr` as a.png, or another suffix; what does not end in .ppyr gets it after its own."""
    stem, own = os.path.splitext(name)
    return (stem if own.lower() == SUFFIX else name) + suffix


def _with_original_suffix(task: Task) -> Task:
    """The task with the suffix of the original format on its target, if that format is known and one of `FORMATS`."""
    try:
        with opened(task.source) as content:
            suffixes = FORMATS.get(read_index(content, MAX_SIDE**2).header.source_format)
    except (PixelPyramidsError, OSError):  # decompressing the file reports it
        return task
    return task._replace(target=task.target.with_suffix(suffixes[0])) if suffixes else task


def _format_of(picture: Picture, how: Decompression) -> str:
    """The format to write. Raises DataError if it is the original one and that cannot be written."""
    format = picture.source_format if how.format == ORIGINAL else how.format
    if format not in FORMATS:
        raise DataError(
            f"expected an original format that can be written without loss, got {format[:20]!r}; choose --format "
            f"{'|'.join(FORMATS)}"
        )
    return format


def parse_region(text: str | None) -> Region | None:
    """`x,y,w,h` as four numbers. Raises ParameterError for what is not of that form."""
    if text is None:
        return None
    numbers = text.split(",")
    if len(numbers) != 4 or not all(n.isascii() and n.isdigit() and len(n) < 12 for n in numbers):
        raise ParameterError(f"expected --region x,y,w,h, four numbers of pixels such as 0,0,640,480, got {text[:80]}")
    x, y, width, height = map(int, numbers)
    return x, y, width, height


def image_suffixes() -> set[str]:
    """What the names of the image files that are read end in."""
    written = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
    opened_by_pillow = {suffix for suffix, format in readable_formats().items() if format in READ}
    return written | opened_by_pillow | {".pbm", ".pnm", ".mpo"}  # Pillow opens .mpo as the JPEG that it is


def is_skipped(task: Task) -> bool:
    """Whether `compress` leaves an image out because it is lossy already."""
    try:
        return bool(lossy_format(task.source))
    except (DataError, OSError):
        return False


def threads_of(jobs: int) -> int:
    """How many threads each of so many parallel jobs gets."""
    return max(1, bundled.available_threads() // max(jobs, 1))


def _compress(task: Task, how: Compression) -> Done:
    require_regular(task.source)
    source = task.source.stat()
    if not how.force and (lossy := lossy_format(task.source)):
        return Done(skipped=_is_lossy(lossy))
    there = is_there(task, source, how.overwrite)
    if how.dry_run and not there:
        return Done(source.st_size)
    with warnings.catch_warnings(record=True) as lacking:
        warnings.simplefilter("always", UserWarning)
        picture = read_picture(task.source, how.max_pixels)
    if there:
        expect_same(task, task.target, picture, how.threads)
        if how.dry_run or not how.delete_source:
            return Done(source.st_size, is_there=True)
    size = 0
    if not there:
        data = _encoded(picture, how)
        size = len(data)
        write_result(task, data, source)
    height, width = picture.array.shape[:2]
    done = Done(source.st_size, size, height * width, is_there=there)
    for warning in lacking:
        warnings.warn(warning.message, warning.category, stacklevel=1)
    if how.delete_source and (lacking or picture.is_lossy):
        reason = (
            "the warnings above" if lacking else "the .ppyr file, which holds its pixels, not its lossy compression"
        )
        return done._replace(lost=f"the source is not deleted because of {reason}")
    if how.delete_source:
        with opened(task.target) as content:
            if not _holds(content, picture, how.threads):
                raise DataError(
                    f"{task.source}: {task.target} holds another image, so the source is not deleted; compare them "
                    "with `pixelpyramids verify`"
                )
        delete_source(task, source)
    return done


def _decompress(task: Task, how: Decompression) -> Done:
    require_regular(task.source)
    source = task.source.stat()
    if is_there(task, source, how.overwrite, how.is_whole):
        expect_same(task, task.source, read_picture(task.target, how.max_pixels), how.threads)
        return Done(source.st_size, is_there=True)
    if how.dry_run:
        return Done(source.st_size)
    with opened(task.source) as content:
        picture, lost = _decoded(content, how, is_found=not task.is_named)
    file = io.BytesIO()
    write_picture(picture, file, _format_of(picture, how))
    data = file.getbuffer()
    write_result(task, data, source)
    height, width = picture.array.shape[:2]
    return Done(source.st_size, data.nbytes, height * width, lost=lost)


def _encoded(picture: Picture, how: Compression) -> bytes:
    """A picture as a .ppyr file. Raises BitstreamError if it does not decode to the very same picture."""
    data = encode(
        picture.array,
        picture.depth,
        how.effort,
        picture.metadata,
        threads=how.threads,
        source_format=picture.source_format.lower(),
    )
    if how.verify and not _holds(Bytes(data), picture, how.threads):
        raise BitstreamError(
            "decoding the result did not give the same image, so nothing was written; this is a bug in pixelpyramids "
            "or a fault of this machine: please report it with the image"
        )
    return data


def _holds(source: Source, picture: Picture, threads: int) -> bool:
    """Whether a file gives back a picture: its pixels, depth and metadata."""
    pixels = max(MAX_PIXELS, picture.array.size)
    header = read_index(source, pixels).header
    decoded = decode_source(source, max_pixels=pixels, threads=threads)
    same = decoded.dtype == picture.array.dtype and np.array_equal(decoded, picture.array)
    return same and header.depth == picture.depth and dict(header.metadata) == picture.metadata


def _decoded(source: Source, how: Decompression, is_found: bool = False) -> tuple[Picture, str]:
    """The requested picture, and a text that says what could not be salvaged, if anything.

    If an image that `is_found` in a folder is too small for the scale, its smallest octave is returned.
    """
    header = read_index(source, how.max_pixels).header
    scale = min(how.scale, 1 << header.octaves) if is_found else how.scale
    if scale != how.scale:
        warnings.warn(f"too small for --scale {how.scale}, so it was written at --scale {scale}", stacklevel=2)
    array = decode_source(source, scale, how.region, how.max_pixels, how.salvage, how.threads)
    wanted = window(header, level_of(header, scale), how.region)
    size = (wanted.bottom - wanted.top, wanted.right - wanted.left)
    lost = ""
    if array.shape[:2] != size:
        lost = (
            f"the file is damaged or cut short: salvaged at {array.shape[1]} x {array.shape[0]} pixels in place of "
            f"{size[1]} x {size[0]} (width x height)"
        )
    return Picture(array, header.depth, dict(header.metadata), header.source_format, False), lost


def _refuse_collisions(
    tasks: Sequence[Task], outcomes: Outcomes, is_skipped: Callable[[Task], bool] = lambda task: False
) -> list[Task]:
    """The tasks that no other one shares its target with; those that do are noted as failed, but for skipped ones."""
    todo, refused = find_existing(tasks), set[Path]()
    for group in find_collisions(todo):
        group = [task for task in group if not is_skipped(task)]
        for task in group if len(group) > 1 else ():
            others = ", ".join(str(other.source) for other in group if other != task)
            outcomes.fail(
                str(task.source),
                f"{task.source}: it would be written to {task.target}, and so would {others}; rename one of them, or "
                "write them below different folders (--out)",
            )
            refused.add(task.source)
    return [task for task in todo if task.source not in refused]


def _is_lossy(format: str) -> str:
    return (
        f"skipped because it is lossy already ({format}): its pixels, stored losslessly, take more space than the "
        "file; pass --force to compress it anyway"
    )
