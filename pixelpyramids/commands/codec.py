"""`compress` and `decompress`: images to .ppyr files and back, one, many, or from standard input to standard output."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pixelpyramids.archive import Task, sharing, tasks
from pixelpyramids.atomic import refuse_existing, replacing
from pixelpyramids.codec import bundled
from pixelpyramids.codec.container import read_index
from pixelpyramids.codec.fields import Bytes, Source
from pixelpyramids.codec.file_source import opened, require_regular
from pixelpyramids.codec.image import EFFORTS, MAX_PIXELS, decode_source, encode
from pixelpyramids.codec.image_file import FORMATS, Picture, lossy_format, read_picture, write_picture
from pixelpyramids.codec.planes import Region, level_of, window
from pixelpyramids.commands.console import err
from pixelpyramids.commands.outcomes import Done, Outcomes
from pixelpyramids.commands.standard import NAME, is_standard, read_standard_input, write_standard_output
from pixelpyramids.data.reading import readable_formats
from pixelpyramids.errors import BitstreamError, DataError, ParameterError

SUFFIX = ".ppyr"
AN_IMAGE = "an image (.png, .tif, .webp, …)"


@dataclass(frozen=True)
class Compression:
    """How `compress` works on each file."""

    effort: str
    verify: bool
    force: bool
    max_pixels: int
    overwrite: bool
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
    threads: int


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
    as_json: bool,
) -> int:
    """Make a .ppyr file of each image; the exit status: 1 where some failed, or one that was named is skipped."""
    if effort not in EFFORTS:
        raise ParameterError(f"expected --effort {'|'.join(EFFORTS)}, got {effort}")
    how = Compression(effort, verify, force, max_pixels, overwrite, threads_of(1))
    if is_standard(paths, out=out, json=as_json):
        file = io.BytesIO(read_standard_input())
        if not force and (lossy := lossy_format(file)):
            raise DataError(f"{NAME} {_is_lossy(lossy)}")
        file.seek(0)
        write_standard_output(_encoded(read_picture(file, max_pixels), how))
        return 0
    outcomes = Outcomes("compressed", "decoded and compared" if verify else "not verified")
    todo = tasks(paths, out, compressed_name, image_suffixes(), AN_IMAGE)
    for group in sharing(todo):
        if not force:  # of a photograph and its JPEG only one is compressed
            group = [task for task in group if not is_skipped(task)]
        todo = _without(todo, group, outcomes)
    how = replace(how, threads=threads_of(min(jobs, len(todo))))
    outcomes.take_all(partial(_compress, how=how), todo, jobs, "compressing")
    return outcomes.told(as_json)


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
    as_json: bool,
) -> int:
    """Make an image file of each .ppyr file; the exit status: 1 where some failed, or could be had only in part."""
    if format.lower() not in FORMATS:
        raise ParameterError(f"expected --format {'|'.join(FORMATS)}, got {format}")
    format, suffix = format.lower(), FORMATS[format.lower()][0]
    if scale < 1 or scale & (scale - 1):
        raise ParameterError(f"expected --scale 2|4|8|16, a power of two, got {scale}")
    how = Decompression(format, scale, parse_region(region), salvage, max_pixels, overwrite, threads_of(1))
    if is_standard(paths, out=out, json=as_json):
        picture, lost = _decoded(Bytes(read_standard_input()), how)
        file = io.BytesIO()
        write_picture(picture, file, how.format)
        write_standard_output(file.getvalue())
        if lost:
            err.print(f"{NAME}: {lost}", soft_wrap=True)
        return 1 if lost else 0
    is_whole = scale == 1 and region is None and not salvage
    outcomes = Outcomes("decompressed", "every checksum right" if is_whole else "")
    todo = tasks(paths, out, partial(decompressed_name, suffix=suffix), {SUFFIX}, "a .ppyr file")
    for group in sharing(todo):
        todo = _without(todo, group, outcomes)
    how = replace(how, threads=threads_of(min(jobs, len(todo))))
    outcomes.take_all(partial(_decompress, how=how), todo, jobs, "decompressing")
    return outcomes.told(as_json)


def compressed_name(name: str) -> str:
    """`a.png` as a.ppyr; what does not end as image files do gets the suffix after its own."""
    stem, suffix = os.path.splitext(name)
    return (stem if suffix.lower() in image_suffixes() else name) + SUFFIX


def decompressed_name(name: str, suffix: str) -> str:
    """`a.ppyr` as a.png, or another suffix; what does not end in .ppyr gets it after its own."""
    stem, own = os.path.splitext(name)
    return (stem if own.lower() == SUFFIX else name) + suffix


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
    """What the names of image files end in: those that Pillow reads, and those that are written."""
    written = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
    return written | readable_formats().keys() - {SUFFIX}


def is_skipped(task: Task) -> bool:
    """Whether `compress` leaves an image out, for it is lossy already."""
    try:
        return bool(lossy_format(task.source))
    except (DataError, OSError):
        return False


def threads_of(jobs: int) -> int:
    """Of each of so many jobs at once, where there are any."""
    return max(1, bundled.available_threads() // max(jobs, 1))


def _compress(task: Task, how: Compression) -> Done:
    refuse_existing(task.target, how.overwrite)
    require_regular(task.source)
    source = task.source.stat()
    if not how.force and (lossy := lossy_format(task.source)):
        return Done(skipped=_is_lossy(lossy))
    picture = read_picture(task.source, how.max_pixels)
    data = _encoded(picture, how)
    _write(task, data, how.overwrite, source)
    height, width = picture.array.shape[:2]
    return Done(source.st_size, len(data), height * width)


def _decompress(task: Task, how: Decompression) -> Done:
    refuse_existing(task.target, how.overwrite)
    source = task.source.stat()
    with opened(task.source) as content:
        picture, lost = _decoded(content, how)
    file = io.BytesIO()
    write_picture(picture, file, how.format)
    data = file.getbuffer()
    _write(task, data, how.overwrite, source)
    height, width = picture.array.shape[:2]
    return Done(source.st_size, data.nbytes, height * width, lost=lost)


def _encoded(picture: Picture, how: Compression) -> bytes:
    """The file of a picture. Raises BitstreamError where it does not give the very same back."""
    data = encode(picture.array, picture.depth, how.effort, picture.metadata, threads=how.threads)
    if how.verify:
        pixels = max(MAX_PIXELS, picture.array.size)
        header = read_index(Bytes(data), pixels).header
        decoded = decode_source(Bytes(data), max_pixels=pixels, threads=how.threads)
        same = decoded.dtype == picture.array.dtype and np.array_equal(decoded, picture.array)
        if not same or header.depth != picture.depth or dict(header.metadata) != picture.metadata:
            raise BitstreamError(
                "decoding what was encoded did not give the same image, so nothing was written; this is a fault of "
                "pixelpyramids or of this machine: please report it with the image"
            )
    return data


def _decoded(source: Source, how: Decompression) -> tuple[Picture, str]:
    """The picture that is asked for, and what of it could not be salvaged, if anything."""
    header = read_index(source, how.max_pixels).header
    array = decode_source(source, how.scale, how.region, how.max_pixels, how.salvage, how.threads)
    wanted = window(header, level_of(header, how.scale), how.region)
    size = (wanted.bottom - wanted.top, wanted.right - wanted.left)
    lost = ""
    if array.shape[:2] != size:
        lost = (
            f"the file is damaged or cut short: salvaged at {array.shape[1]} x {array.shape[0]} pixels in place of "
            f"{size[1]} x {size[0]} (width x height)"
        )
    return Picture(array, header.depth, dict(header.metadata), SUFFIX, False), lost


def _write(task: Task, data: bytes | memoryview, overwrite: bool, source: os.stat_result) -> None:
    """Write a result, whole or not at all, with the time and the rights that its source had before it was read.

    What is there stays, unless `overwrite`. Raises DataError where the source has changed since.
    """
    now = task.source.stat()
    if (now.st_mtime_ns, now.st_size) != (source.st_mtime_ns, source.st_size):
        raise DataError(f"{task.source}: it has changed while it was read, so nothing was written; give it again")
    with replacing(task.target, new=not overwrite, mode=source.st_mode) as temporary:
        temporary.write_bytes(data)
        os.utime(temporary, ns=(source.st_atime_ns, source.st_mtime_ns))


def _without(todo: list[Task], group: list[Task], outcomes: Outcomes) -> list[Task]:
    """The work without tasks that would be written to one place, which are noted as failed."""
    if len(group) < 2:
        return todo
    for task in group:
        others = ", ".join(str(other.source) for other in group if other != task)
        outcomes.take(
            task,
            DataError(
                f"{task.source}: it would be written to {task.target}, and so would {others}; name one of them anew, "
                "or write them below different folders (--out)"
            ),
        )
    return [task for task in todo if task not in group]


def _is_lossy(format: str) -> str:
    return (
        f"is skipped, for it is lossy already ({format}): its pixels, stored losslessly, take more than "
        "the file itself; --force compresses it all the same"
    )
