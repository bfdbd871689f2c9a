"""The work on one image of an archive: read, compress, write, read back and compare."""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

from pixelpyramids.archive.addresses import open_source, open_store
from pixelpyramids.archive.comparison import UNLIMITED, holds
from pixelpyramids.archive.file_tasks import Compression, encode_picture, reason_to_keep, reason_to_skip
from pixelpyramids.archive.jobs import Done
from pixelpyramids.archive.rows import Row, State, Todo
from pixelpyramids.archive.sources import time_of
from pixelpyramids.archive.stores import Facts, Store, WrittenMeanwhileError, expect_within
from pixelpyramids.codec.container import Content, read_index
from pixelpyramids.codec.disk_array import bands_of
from pixelpyramids.codec.fields import ByteSource
from pixelpyramids.errors import BitstreamError, DataError
from pixelpyramids.image_files import opening
from pixelpyramids.image_files.picture import Picture
from pixelpyramids.terminal import collect_warnings

_OF_ARCHIVE = "the source is not deleted, because it is a file of the archive"
_AT_ONCE = 2**20  # bytes that are hashed at once
_LOCAL = re.compile("^(file|local)://")  # matches the protocols with which fsspec reads this machine's own files


@dataclass(frozen=True)
class Settings:
    """What every process must know: the archive's address, when the run began, and how to compress."""

    store: str
    begun: int
    compression: Compression
    update: bool


class Work(NamedTuple):
    """An image to compress. `content` and `time` are its file's, if the process that lists the source reads it too."""

    row: Row
    content: bytes | None = None
    time: int = 0

    @property
    def size(self) -> int:
        """The bytes of the file."""
        return self.row.size or 0


class ChangedError(DataError):
    """An image has changed since it was compressed. Its former result stays."""


class Finished(NamedTuple):
    """What is to be recorded of an image, and what to print. `delete` says that its source may be deleted."""

    columns: dict[str, Any]
    done: Done
    delete: bool = False


def compress_image(work: Work, settings: Settings, threads: int) -> Finished:
    """Compress an image into the archive. Raises DataError, BitstreamError or OSError if that fails."""
    begin, row, how = time.perf_counter(), work.row, settings.compression
    assert row.result is not None
    expect_within(row.result)
    store = open_store(settings.store, settings.begun)
    with _open(work) as (file, facts), collect_warnings() as lost:
        sha256 = hash_file(file)
        read: dict[str, Any] = {"size": facts.size, "time": facts.time, "sha256": sha256}
        if row.todo == Todo.CHECK and sha256 == row.sha256:
            return Finished({**read, "todo": None}, Done(facts.size, is_there=True))
        if row.todo in (Todo.CHECK, Todo.DELETE) and sha256 != row.sha256 and not settings.update:
            raise ChangedError(f"{row.source_path}: {CHANGED}")
        image = opening.open(file, how.max_pixels)
        reason = reason_to_skip(image, how.force)
        if reason and row.result_sha256 is not None and sha256 != row.sha256:
            raise DataError(f"{row.source_path}: {reason}; its former result is kept")
        if reason and row.result_sha256 is None:
            return Finished({**read, "state": State.SKIPPED, "error": reason, "todo": None}, Done(skipped=reason))
        there = store.find(row.result)
        may_replace = settings.update or how.overwrite or sha256 == row.sha256
        if row.todo == Todo.REPLACE and there and not may_replace and _is_intact(store, row):
            raise ChangedError(f"{row.source_path}: {CHANGED}")
        if how.dry_run and not there:
            return Finished({**read, "todo": None}, Done(facts.size))
        picture = image.load()
    is_known = row.todo == Todo.DELETE and sha256 == row.sha256
    if there and (is_known or row.todo == Todo.NEW) and not how.overwrite:
        _expect_same(store, row, picture, threads)
        if how.dry_run:
            return Finished({**read, "todo": None}, Done(facts.size, is_there=True))
        is_new = False
    elif how.dry_run:
        return Finished({**read, "todo": None}, Done(facts.size))
    else:
        is_new = _write(store, row, picture, how, facts, threads, replace=there is not None)
    if how.delete_source:  # what is on the disk counts
        with store.read(row.result) as content:
            if not holds(content, picture, threads):
                raise DataError(
                    f"{row.source_path}: is not deleted, because {store.describe(row.result)} holds another image when "
                    "it is read back; run `pixelpyramids archive verify`"
                )
    height, width = picture.array.shape[:2]
    with store.read(row.result) as content:
        columns = (
            read
            | _describe(content)
            | {
                "state": State.DONE,
                "error": None,
                "pixels_sha256": hash_pixels(picture.array, picture.depth),
                "pixels": height * width,
                "seconds": time.perf_counter() - begin,
                "finished": time.time(),
                "verified": time.time() if how.verify or not is_new else None,
                "todo": None,
            }
        )
    size = columns["result_size"] if is_new else 0
    done = Done(facts.size, size, height * width, is_there=not is_new, warnings=tuple(lost))
    reason = _OF_ARCHIVE if _is_within(store, row) else reason_to_keep(picture, lost)
    if how.delete_source and reason:
        return Finished(columns, done._replace(lost=reason))
    return Finished(columns, done, how.delete_source)


CHANGED = (
    "has changed since it was compressed; pass --update to compress it again and replace its result, or, if it is "
    "another image under the same name, rename it"
)


def hash_pixels(array: Any, depth: int) -> str:
    """The SHA-256 of an image.

    It is that of its shape and depth as text ("H W C depth", and a new line), and of its values, row by row, as
    little-endian numbers of 8 or 16 bits.
    """
    digest = hashlib.sha256(f"{' '.join(map(str, array.shape))} {depth}\n".encode())
    for _, band in bands_of(array):
        digest.update(band.astype(band.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


@contextmanager
def _open(work: Work) -> Iterator[tuple[BinaryIO, Facts]]:
    if work.content is not None:
        yield BytesIO(work.content), Facts(len(work.content), work.time)
        return
    row, source = work.row, open_source(work.row.address)
    if not source.is_local:
        is_listed = row.todo == Todo.NEW and row.result_sha256 is None  # otherwise the time is that of the result
        time_ = row.time or 0 if is_listed else source.time_of(row.name)
        with source.open(row.name) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            yield file, Facts(size, time_)
        return
    with source.open(row.name) as file:
        status = os.fstat(file.fileno())
        yield file, Facts(status.st_size, time_of(status), status.st_mode)
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            raise DataError(f"{row.source_path}: changed while it was being read; run the command again")


def hash_content(content: ByteSource) -> str:
    """The SHA-256 of all bytes."""
    digest = hashlib.sha256()
    for offset in range(0, content.size, _AT_ONCE):
        digest.update(content.read(offset, _AT_ONCE))
    return digest.hexdigest()


def hash_file(file: BinaryIO) -> str:
    """The SHA-256 of a file's bytes, from its place on. Goes back to its beginning."""
    digest = hashlib.sha256()
    while piece := file.read(_AT_ONCE):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()


def _is_within(store: Store, row: Row) -> bool:
    """Whether an image is itself a compressed file of the archive, or a link there."""
    if not row.name.lower().endswith(".ppyr"):
        return False
    archive, path = _LOCAL.sub("", store.address), _LOCAL.sub("", row.source_path)
    folder, name = os.path.split(path)
    places = (os.path.realpath(path), os.path.join(os.path.realpath(folder), name))
    return any(place.startswith(os.path.realpath(archive) + "/") for place in places)


def _is_intact(store: Store, row: Row) -> bool:
    """Whether a result is the file that was written."""
    assert row.result is not None
    with store.read(row.result) as content:
        return hash_content(content) == row.result_sha256


def _expect_same(store: Store, row: Row, picture: Picture, threads: int) -> None:
    """Raise DataError unless a result that exists, but that the manifest does not know, holds the picture."""
    assert row.result is not None
    try:
        with store.read(row.result) as content:
            if holds(content, picture, threads):
                return
        what = "holds another image"
    except BitstreamError as error:
        what = f"is damaged, or of another kind: {error}"
    raise DataError(
        f"{row.source_path}: {store.describe(row.result)} exists already, and {what}; pass --overwrite to replace it, "
        "or write to another folder (--out)"
    )


def _write(
    store: Store, row: Row, picture: Picture, how: Compression, facts: Facts, threads: int, *, replace: bool
) -> bool:
    """Write a result. Returns False if it is there already, from a process or machine that died, or seemed to."""
    assert row.result is not None
    encode = partial(encode_picture, picture=picture, settings=how, threads=threads)
    try:
        store.write(row.result, encode, facts, replace)
    except WrittenMeanwhileError as error:
        try:
            _expect_same(store, row, picture, threads)
        except DataError:
            raise error from None
        return False
    return True


def _describe(content: ByteSource) -> dict[str, Any]:
    """The columns of the manifest that describe a result."""
    header = read_index(content, UNLIMITED).header
    return {
        "result_size": content.size,
        "result_sha256": hash_content(content),
        "model": header.model.hex() if header.content == Content.MODEL else header.content.name,
    }
