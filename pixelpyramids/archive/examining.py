"""Read the results of an archive again: verify them against the manifest, or restore the images."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pixelpyramids.archive.addresses import open_store
from pixelpyramids.archive.comparison import UNLIMITED
from pixelpyramids.archive.jobs import Done, Engine
from pixelpyramids.archive.manifest import Manifest
from pixelpyramids.archive.pending import Pending
from pixelpyramids.archive.rows import Row, State
from pixelpyramids.archive.stores import expect_within
from pixelpyramids.archive.work import hash_content, hash_pixels
from pixelpyramids.atomic import replace_file
from pixelpyramids.codec.disk_array import allocate
from pixelpyramids.codec.image import decode_into
from pixelpyramids.codec.planes import restore_axes
from pixelpyramids.errors import BitstreamError, DataError, FullDiskError, is_full_disk
from pixelpyramids.image_files import opening
from pixelpyramids.image_files.file_source import NotAFileError
from pixelpyramids.image_files.picture import Picture
from pixelpyramids.image_files.saving import FORMATS, write_image
from pixelpyramids.terminal import explain

Rows = Iterator[Row]

_BROKEN = (BitstreamError, FileNotFoundError, NotADirectoryError, NotAFileError)  # no result, or a damaged one

BEST = "best"
"""The original format if it can be written, else PNG, or TIFF for more than four channels."""

AGAIN = "then run the same command again: it goes on where it stopped"
"""What to do about a full disk, after its message."""


@dataclass(frozen=True)
class Restoring:
    """Where and how images are restored."""

    archive: str
    out: str
    format: str
    max_pixels: int
    overwrite: bool
    dry_run: bool


def read_result(row: Row, archive: str, threads: int) -> Picture:
    """The picture of a result. Raises BitstreamError, DataError or OSError unless it is what the manifest says.

    Its size needs no limit, because it is the file that was written here.
    """
    assert row.result is not None
    expect_within(row.result)
    store = open_store(archive, 0)
    name = store.describe(row.result)
    with store.read(row.result) as content:
        if hash_content(content) != row.result_sha256:
            raise BitstreamError(f"{name}: is not the file that was written; it is damaged, or was replaced")
        try:
            header, pixels = decode_into(allocate, content, max_pixels=UNLIMITED, threads=threads)
        except BitstreamError as error:
            raise BitstreamError(f"{name}: {error}") from error
    array = restore_axes(pixels, header)
    if hash_pixels(array, header.depth) != row.pixels_sha256:
        raise BitstreamError(f"{name}: its pixels are not those that were compressed; please report this")
    return Picture(array, header.depth, dict(header.metadata), header.source_format)


def verify_image(row: Row, archive: str, threads: int) -> Done:
    """Verify a result. Raises the errors of `read_result`."""
    array = read_result(row, archive, threads).array
    return Done(row.result_size or 0, pixels=array.shape[0] * array.shape[1])


def restore_image(row: Row, settings: Restoring, threads: int) -> Done:
    """Write the image of a result as a file, with the time of its source. An existing one must hold the same pixels."""
    assert row.result is not None
    picture = read_result(row, settings.archive, threads)
    format = _format_of(picture, settings.format)
    target = Path(settings.out) / _restored_name(row, format)
    height, width = picture.array.shape[:2]
    if target.exists() and not settings.overwrite:
        found = opening.read_picture(target, settings.max_pixels)
        if hash_pixels(found.array, found.depth) != row.pixels_sha256:
            raise DataError(f"{target}: exists already, and holds another image; pass --overwrite to replace it")
        return Done(row.result_size or 0, is_there=True)
    if settings.dry_run:
        return Done(row.result_size or 0)
    with replace_file(target, new=not settings.overwrite) as temporary:
        with temporary.open("rb+") as file:
            write_image(file, picture.array, picture.depth, picture.metadata, format)
            size = file.seek(0, os.SEEK_END)
        if row.time:
            os.utime(temporary, ns=(row.time, row.time))
    return Done(row.result_size or 0, size, height * width)


def _format_of(picture: Picture, requested: str) -> str:
    if requested != BEST:
        return requested
    if picture.format in FORMATS:
        return picture.format
    return "png" if picture.array.ndim == 2 or picture.array.shape[2] <= 4 else "tiff"


def _restored_name(row: Row, format: str) -> str:
    """The path of a restored image: the folder of its result, and the name of its source with a fitting suffix."""
    assert row.result is not None
    name = PurePosixPath(row.name).name
    suffixes = FORMATS[format]
    if PurePosixPath(name).suffix.lower() not in suffixes:
        name = PurePosixPath(row.result).stem + suffixes[0]
    return str(PurePosixPath(row.result).parent / name)


def verify_archive(
    manifest: Manifest, work: Callable[..., Done], condition: str, engine: Engine
) -> Iterator[tuple[Row, Done | Exception]]:
    """Verify the images that meet a condition, and record the time at which each was found sound.

    One that is damaged or missing becomes a failed one, which the next `compress` does again.
    """
    pending = Pending(manifest)
    try:
        for row, result in engine(work, manifest.iterate(condition)):
            if isinstance(result, Exception) and is_full_disk(result):
                raise FullDiskError(f"{explain(result)}; {AGAIN}") from result
            if isinstance(result, _BROKEN):
                pending.add(row.id, {"state": State.FAILED, "error": explain(result)})
            elif not isinstance(result, Exception):
                sound = {} if row.state == State.DONE else {"state": State.DONE, "error": None}
                pending.add(row.id, sound | {"verified": time.time()})
            if pending.is_due:
                pending.record()
            yield row, result
    finally:
        pending.record()
