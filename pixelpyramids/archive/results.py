"""Results on disk: find existing ones, write new ones safely, and delete sources safely.

A result gets the modification time of its source, so that a later run recognises it. Two sources are never written
to one file, even if the file system treats their names as equal: a run replaces only files that existed when it began.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pixelpyramids.archive.comparison import resembles
from pixelpyramids.atomic import flush_folders, replace_file
from pixelpyramids.errors import BitstreamError, DataError
from pixelpyramids.image_files.file_source import open_source
from pixelpyramids.image_files.listing import Task, stat_existing
from pixelpyramids.image_files.picture import Picture

SAME_TIME = 2_000_000_000  # nanoseconds to which some file systems round times
_WAY_OUT = "pass --overwrite to replace it, or write to another folder (--out)"


def is_there(task: Task, source: os.stat_result, overwrite: bool, is_whole: bool = True) -> bool:
    """Whether the whole result of a source exists already and is not to be overwritten.

    Raises DataError if another file is in its place.
    """
    if task.existing is None or overwrite:
        return False
    result = task.target.stat()
    is_result = stat.S_ISREG(result.st_mode) and abs(result.st_mtime_ns - source.st_mtime_ns) <= SAME_TIME
    if not is_result or not is_whole:
        raise DataError(
            f"{task.target}: exists already, and may hold another image, or an older or partial version of this one; "
            f"{_WAY_OUT}"
        )
    return True


def expect_same(task: Task, packed: Path, picture: Picture, threads: int) -> None:
    """Raise DataError unless `packed`, the task's source or target, holds the picture that was read from the other one.

    Equal times alone prove nothing: files that were unpacked or created together have the same time.
    """
    try:
        with open_source(packed) as content:
            same = resembles(content, picture, packed == task.target, threads)
    except BitstreamError as error:
        raise DataError(f"{packed}: {error}") from error
    if not same:
        raise DataError(
            f"{task.source}: {task.target} has the same modification time, but holds another image; {_WAY_OUT}"
        )


def write_result(task: Task, write: Callable[[BinaryIO], None], source: os.stat_result) -> int:
    """Let `write` write a result, completely or not at all; return its size.

    It gets the time and permissions that its source had when it was opened. Raises DataError if the source has changed
    since then, or if the target has changed since the command began.
    """
    existing = task.existing
    try:
        with replace_file(task.target, new=existing is None, mode=source.st_mode) as temporary:
            with temporary.open("rb+") as file:
                write(file)
                size = file.seek(0, os.SEEK_END)
            expect_unchanged(task, source)
            os.utime(temporary, ns=(source.st_atime_ns, source.st_mtime_ns))
            now = stat_existing(task.target)
            if existing and now and not os.path.samestat(existing, now):
                raise FileExistsError(None, None, str(task.target))
    except FileExistsError as error:
        if error.filename != str(task.target):
            raise
        raise DataError(
            f"{task.source}: {task.target} was written after the command began, by another program or from a source "
            "with a name that this file system treats as equal; rename one of them, or write to another folder (--out)"
        ) from error
    return size


def delete_source(task: Task, source: os.stat_result) -> None:
    """Delete a source after its result was read back from the disk. Raises DataError if the source has changed."""
    flush_folders([task.target.parent])  # the result's name must reach the disk before the source's is gone
    expect_unchanged(task, source)
    task.source.unlink()


def expect_unchanged(task: Task, before: os.stat_result) -> None:
    """Raise DataError if a source has changed since `before`."""
    now = task.source.stat()
    if not os.path.samestat(now, before) or (now.st_mtime_ns, now.st_size) != (before.st_mtime_ns, before.st_size):
        raise DataError(f"{task.source}: changed while it was being read; run the command again")
