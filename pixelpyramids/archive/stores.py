"""Where the results of an archive are written to."""

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from pixelpyramids.atomic import flush_folders, remove_temporary_files, replace_file
from pixelpyramids.codec.fields import ByteSource
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.file_source import open_source
from pixelpyramids.image_files.listing import stat_existing


class Facts(NamedTuple):
    """What is known of a file: its bytes, its modification time in nanoseconds (0 if unknown), and its permissions."""

    size: int
    time: int = 0
    mode: int = 0o666


class WrittenMeanwhileError(DataError):
    """A file was written in the place of a result after the run began."""


def expect_within(name: str) -> None:
    """Raise DataError if the path of a result leads out of the archive."""
    if ".." in PurePosixPath(name).parts or name.startswith("/"):
        raise DataError(f"{name}: expected the path of a result within the archive; the manifest is damaged")


class Store(ABC):
    """The folder of an archive. It is known by its address, from which every process can open it again."""

    address: str
    """An absolute path, or an address such as s3://bucket/folder."""
    is_quick = False
    """Whether `find` takes no time, so that every known result is looked for before the work begins."""

    @abstractmethod
    def find(self, name: str) -> Facts | None:
        """What is known of a result; None if there is none."""

    @abstractmethod
    def write(self, name: str, write: Callable[[BinaryIO], None], source: Facts, replace: bool) -> None:
        """Let `write` write a result, completely or not at all. It gets the time of its source.

        Raises WrittenMeanwhileError if another file is in its place, unless `replace`, which only replaces a file that
        was there when the run began.
        """

    @abstractmethod
    def read(self, name: str) -> AbstractContextManager[ByteSource]:
        """Open a result."""

    @abstractmethod
    def flush(self, names: Iterable[str]) -> None:
        """Return when the results would survive a power cut."""

    def remove_temporary_files(self) -> None:  # noqa: B027
        """Remove what killed processes left, while no process writes results. By default, there is nothing."""

    def describe(self, name: str) -> str:
        """The name of a result in messages."""
        return f"{self.address.rstrip('/')}/{name}"


class FolderStore(Store):
    """A folder on this machine. `begun` is the time of its file system when the run began."""

    is_quick = True

    def __init__(self, address: str, begun: int) -> None:
        self.address, self._begun = address, begun

    def find(self, name: str) -> Facts | None:
        """See `Store`. Raises DataError if it is a folder or a device, and OSError if it cannot be looked for."""
        path = os.path.join(self.address, name)  # faster than paths of pathlib, for hundreds of thousands of names
        try:
            status = os.stat(path)
            is_file = stat.S_ISREG(status.st_mode)
        except (FileNotFoundError, NotADirectoryError):
            if not os.path.lexists(path):
                return None
            is_file = False
        if not is_file:
            raise DataError(f"{path}: expected a result or nothing, got a folder, a device or a broken link; move it")
        return Facts(status.st_size, status.st_mtime_ns, status.st_mode)

    def write(self, name: str, write: Callable[[BinaryIO], None], source: Facts, replace: bool) -> None:
        """See `Store`."""
        path = self._path(name)
        try:
            with replace_file(path, new=not replace, mode=source.mode) as temporary:
                with temporary.open("rb+") as file:
                    write(file)
                if source.time:
                    os.utime(temporary, ns=(source.time, source.time))
                existing = stat_existing(path) if replace else None
                if existing and existing.st_ctime_ns >= self._begun:
                    raise FileExistsError(errno.EEXIST, "", str(path))
        except FileExistsError as error:
            if error.filename != str(path):
                raise
            raise WrittenMeanwhileError(
                f"{path}: was written after the command began, by another program or from an image with a name that "
                "this file system treats as equal; rename one of them, or write to another folder (--out)"
            ) from error

    @contextmanager
    def read(self, name: str) -> Iterator[ByteSource]:
        """See `Store`."""
        with open_source(self._path(name)) as source:
            yield source

    def flush(self, names: Iterable[str]) -> None:
        """See `Store`. The files are flushed already; their names are not."""
        flush_folders({self._path(str(above)) for name in names for above in PurePosixPath(name).parents})

    def remove_temporary_files(self) -> None:
        """See `Store`. Raises OSError."""
        remove_temporary_files(self.address)

    def _path(self, name: str) -> Path:
        return Path(self.address) / name
