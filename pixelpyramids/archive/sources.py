"""Where the images of an archive come from: folders and files, tar and zip files, and remote storage.

A source lists its entries one by one, so a million of them need no memory. It is known by its address, from which every
process can open it again.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pixelpyramids.archive.rows import join
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.file_source import open_regular
from pixelpyramids.image_files.listing import is_excluded, refuse_unlisted, relative_patterns, walk_files
from pixelpyramids.terminal import explain

LATEST = 2**63 - 1  # nanoseconds since 1970, the largest number in SQLite


class Entry(NamedTuple):
    """A file of a source: its POSIX path below the source, its bytes, and its modification time in nanoseconds.

    `problem` says why it cannot be read; such an entry may also be a folder that cannot be listed.
    """

    name: str
    size: int = 0
    time: int = 0
    problem: str = ""


class Source(ABC):
    """Files that may be images."""

    address: str
    """An absolute path, or an address such as s3://bucket/folder."""
    is_complete = True
    """Whether `entries` gives all files at the address, so that files that are missing no longer exist."""
    is_sequential = False
    """Whether the files are read one after the other, with `contents`, by one process."""
    is_named = False
    """Whether its files were named one by one: skipping one of them is a failure."""
    can_delete = False
    is_local = True
    """Whether `open` opens a file of this machine. The content of another one is read by `open`."""

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """The files, each once."""

    def open(self, name: str) -> BinaryIO:
        """Open a file. Raises OSError or DataError."""
        raise DataError(f"{self.describe(name)}: cannot be read by itself")

    def time_of(self, name: str) -> int:
        """The present modification time of a file that is not local. Raises OSError or DataError."""
        raise DataError(f"{self.describe(name)}: its time is unknown")

    def contents(self, is_wanted: Callable[[str], bool]) -> Iterator[tuple[Entry, bytes | DataError]]:
        """The wanted files and their bytes, or why one cannot be read, in the order of the source."""
        raise DataError(f"{self.address}: cannot be read in order")

    def delete(self, name: str, size: int, time: int) -> None:
        """Delete a file. Raises OSError, or DataError if it no longer has that size and time."""
        raise DataError(f"{self.describe(name)}: cannot be deleted")

    def describe(self, name: str) -> str:
        """The name of a file in messages."""
        return join(self.address, name)


class FolderSource(Source):
    """A folder and its subfolders. Files below `without`, such as the archive itself, are left out."""

    can_delete = True

    def __init__(self, path: Path, exclude: Sequence[str] = (), without: Path | None = None) -> None:
        self.address = absolute_path(path)
        self._root, self._without = Path(self.address), without
        self._exclude = relative_patterns(exclude, path)

    def entries(self) -> Iterator[Entry]:
        """See `Source`. Hidden folders are entries too, and so are folders that cannot be listed, with the problem.

        Raises DataError if the folder itself cannot be listed.
        """
        problems: list[OSError] = []
        for name in walk_files(self._root, problems.append, is_left_out=self._is_left_out):
            yield from self._take(problems)
            if not is_excluded(name, self._exclude):
                yield _entry_of(self.address, name)
        yield from self._take(problems)

    def open(self, name: str) -> BinaryIO:
        """See `Source`."""
        return open_regular(self._root / name)

    def delete(self, name: str, size: int, time: int) -> None:
        """See `Source`."""
        path = self._root / name
        status = path.stat()
        if (status.st_size, time_of(status)) != (size, time):
            raise DataError(f"{path}: changed after it was compressed, so it is not deleted; pass --update")
        path.unlink()

    def _is_left_out(self, folder: str) -> bool:
        return is_excluded(folder, self._exclude) or (
            self._without is not None and os.path.realpath(self._root / folder) == os.path.realpath(self._without)
        )

    def _take(self, problems: list[OSError]) -> Iterator[Entry]:
        while problems:
            error = problems.pop()
            if Path(error.filename) == self._root:
                refuse_unlisted(error)
            folder = os.path.relpath(error.filename, self._root)
            yield Entry(f"{folder}/", problem=explain(error, error.filename))


class FilesSource(FolderSource):
    """Some files of a folder, by their paths below it."""

    is_complete = False

    def __init__(self, folder: Path, names: Iterator[str], is_named: bool, exclude: Sequence[str] = ()) -> None:
        super().__init__(folder, exclude)
        self._names, self.is_named = names, is_named

    def entries(self) -> Iterator[Entry]:
        """See `Source`."""
        return (_entry_of(self.address, name) for name in self._names if not is_excluded(name, self._exclude))


def absolute_path(path: str | Path) -> str:
    """The absolute path of a file or folder."""
    return one_slash(os.path.abspath(path))


def one_slash(path: str) -> str:
    """A normal path with one slash at its beginning: POSIX, and so Python, keeps two."""
    return path[1:] if path.startswith("//") else path


def _entry_of(root: str, name: str) -> Entry:
    if ".." in name.split("/"):
        return Entry(name, problem=f"{name}: expected a path without '..', so that its result lies in the archive")
    try:
        status = os.stat(os.path.join(root, name))
    except OSError as error:
        return Entry(name, problem=explain(error, os.path.join(root, name)))
    return Entry(name, status.st_size, time_of(status))


def time_of(status: os.stat_result) -> int:
    """The modification time of a file in nanoseconds, as far as the manifest can hold it (until 2262)."""
    return min(status.st_mtime_ns, LATEST)
