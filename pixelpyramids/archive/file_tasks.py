"""The work of `compress` and `decompress` on one file."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from pixelpyramids.archive.comparison import holds
from pixelpyramids.archive.jobs import Done
from pixelpyramids.archive.results import delete_source, expect_same, is_there, write_result
from pixelpyramids.codec.container import read_index
from pixelpyramids.codec.disk_array import allocate
from pixelpyramids.codec.fields import ByteSource
from pixelpyramids.codec.image import decode_into, encode_to
from pixelpyramids.codec.planes import Region, find_window, octave_of_scale, restore_axes
from pixelpyramids.errors import BitstreamError, DataError, PixelPyramidsError
from pixelpyramids.image_files import opening
from pixelpyramids.image_files.file_source import FileSource, open_regular, open_source
from pixelpyramids.image_files.listing import Task
from pixelpyramids.image_files.picture import Picture
from pixelpyramids.image_files.saving import FORMATS, write_image
from pixelpyramids.terminal import collect_warnings


@dataclass(frozen=True)
class Compression:
    """The settings of `compress` for every file."""

    effort: str
    verify: bool
    force: bool
    max_pixels: int
    overwrite: bool
    delete_source: bool
    dry_run: bool


@dataclass(frozen=True)
class Decompression:
    """The settings of `decompress` for every file."""

    format: str
    scale: int
    region: Region | None
    salvage: bool
    max_pixels: int
    overwrite: bool
    dry_run: bool

    @property
    def is_whole(self) -> bool:
        """Whether the whole image is requested. Only such a result is recognised when the command runs again."""
        return self.scale == 1 and self.region is None and not self.salvage


def write_picture(file: BinaryIO, picture: Picture, settings: Decompression) -> None:
    """Write a picture's file. Raises DataError if the original format is requested and cannot be written."""
    format = picture.format if settings.format == "original" else settings.format
    if format not in FORMATS:
        raise DataError(
            f"expected an original format that this package can write without loss, got {format[:20]!r}; choose "
            f"--format {'|'.join(FORMATS)}"
        )
    write_image(file, picture.array, picture.depth, picture.metadata, format)


def is_skipped(task: Task) -> bool:
    """Whether `compress` skips an image because it is lossy already."""
    try:
        with opening.open(task.source) as image:
            return image.is_lossy
    except PixelPyramidsError:  # reported when the file is compressed
        return False


def compress_file(task: Task, settings: Compression, threads: int) -> Done:
    """Write the .ppyr file of an image, and delete the image if that is requested."""
    with open_regular(task.source) as file:
        source, image = os.fstat(file.fileno()), opening.open(file, settings.max_pixels)
        if reason := reason_to_skip(image, settings.force):
            return Done(skipped=reason)
        there = is_there(task, source, settings.overwrite)
        if settings.dry_run and not there:
            return Done(source.st_size)
        with collect_warnings() as lost:
            picture = image.load()
    if there:
        expect_same(task, task.target, picture, threads)
        if settings.dry_run or not settings.delete_source:
            return Done(source.st_size, is_there=True)
    size = 0
    if not there:
        size = write_result(task, lambda file: encode_picture(file, picture, settings, threads), source)
    height, width = picture.array.shape[:2]
    done = Done(source.st_size, size, height * width, is_there=there)
    for warning in lost:
        warnings.warn(warning, stacklevel=1)
    if not settings.delete_source:
        return done
    if reason := reason_to_keep(picture, lost):
        return done._replace(lost=reason)
    with open_source(task.target) as content:
        if not holds(content, picture, threads):
            raise DataError(
                f"{task.source}: {task.target} holds another image, so the source is not deleted; compare them with "
                "`pixelpyramids verify`"
            )
    delete_source(task, source)
    return done


def decompress_file(task: Task, settings: Decompression, threads: int) -> Done:
    """Write the image of a .ppyr file."""
    with open_regular(task.source) as file:
        source = os.fstat(file.fileno())
        if is_there(task, source, settings.overwrite, settings.is_whole):
            expect_same(task, task.source, opening.read_picture(task.target, settings.max_pixels), threads)
            return Done(source.st_size, is_there=True)
        if settings.dry_run:
            return Done(source.st_size)
        picture, lost = decode_picture(FileSource(file), settings, threads, is_found=not task.is_named)
    size = write_result(task, lambda file: write_picture(file, picture, settings), source)
    height, width = picture.array.shape[:2]
    return Done(source.st_size, size, height * width, lost=lost)


def encode_picture(file: BinaryIO, picture: Picture, settings: Compression, threads: int | None = None) -> None:
    """Write a picture as a .ppyr file. Raises BitstreamError if the file does not decode to the same picture."""
    kind = picture.format.lower()
    encode_to(
        file, picture.array, picture.depth, settings.effort, picture.metadata, threads=threads, source_format=kind
    )
    if settings.verify and not holds(FileSource(file), picture, threads):
        raise BitstreamError(
            "decoding the result did not give the same image, so nothing was written; this is a bug in pixelpyramids "
            "or a fault of this machine; please report it with the image"
        )


def decode_picture(
    source: ByteSource, settings: Decompression, threads: int | None = None, is_found: bool = False
) -> tuple[Picture, str]:
    """The requested picture, and a message if only a part of it could be salvaged, else "".

    If an image was found in a folder (`is_found`) and is too small for the scale, its smallest octave is returned.
    """
    header = read_index(source, settings.max_pixels).header
    scale = min(settings.scale, 1 << header.octaves) if is_found else settings.scale
    if scale != settings.scale:
        warnings.warn(f"too small for --scale {settings.scale}, so it was written at --scale {scale}", stacklevel=2)
    header, pixels = decode_into(
        allocate, source, scale, settings.region, settings.max_pixels, settings.salvage, threads
    )
    array = restore_axes(pixels, header)
    requested = find_window(header, octave_of_scale(header, scale), settings.region)
    picture = Picture(array, header.depth, dict(header.metadata), header.source_format)
    (height, width), size = array.shape[:2], (requested.bottom - requested.top, requested.right - requested.left)
    if (height, width) == size:
        return picture, ""
    return picture, (
        f"the file is damaged or cut short: salvaged at {height} x {width} pixels instead of {size[0]} x {size[1]} "
        "(height x width)"
    )


def reason_to_skip(image: opening.ImageFile, force: bool) -> str:
    """Why `compress` skips an image, unless it is forced; "" if it does not."""
    if force:
        return ""
    if image.is_lossy:
        return explain_lossy(image.format)
    if image.format == "PPYR":
        return "skipped because it is a .ppyr file already; pass --force to compress it again"
    return ""


def reason_to_keep(picture: Picture, lost: Sequence[str]) -> str:
    """Why `--delete-source` keeps an image, of which reading gave the warnings `lost`; "" if it may be deleted."""
    if lost:
        return "the source is not deleted, because the .ppyr file lacks a part of it (see its warnings)"
    if picture.is_lossy:
        return "the source is not deleted, because the .ppyr file holds its pixels, not its lossy compression"
    return ""


def explain_lossy(format: str) -> str:
    """Why a file of a lossy format is skipped, and how to compress it anyway."""
    return (
        f"skipped because it is lossy already ({format}): without loss, its pixels take more space than the file; pass "
        "--force to compress it anyway"
    )


def describe_check(settings: Compression) -> str:
    """How results are checked, in words."""
    return "decoded and compared" if settings.verify else "not verified"
