"""Sources and results on remote storage, by fsspec: s3://, gs://, https:// and others. It needs the `remote` extra.

What a network can do (a dropped connection, a server that is busy or slow) is tried again, each time after a longer
pause; then the image fails, and the next run tries it again.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO, TypeVar, cast

from pixelpyramids.archive.containers import ContainerSource, is_container
from pixelpyramids.archive.sources import Entry, Source
from pixelpyramids.archive.stores import Facts, Store, WrittenMeanwhileError
from pixelpyramids.codec.fields import ByteSource, MemorySource
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.listing import is_excluded, is_hidden

EXTRA = "remote"
ATTEMPTS = 5
FIRST_PAUSE = 0.5  # seconds before the second attempt; each further pause is twice as long
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)

Result = TypeVar("Result")


def open_whole(address: str, exclude: Sequence[str]) -> Source:
    """The source at an address: a tar or zip file, or a folder."""
    if is_container(address):
        source = RemoteSource(address.rpartition("/")[0])
        return ContainerSource(address, lambda: source.open_streaming(address), exclude)
    return RemoteSource(address, exclude)


class _Remote:
    """A folder of a remote file system."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        core = import_extra("fsspec.core", EXTRA)
        try:
            self._system, self._root = core.url_to_fs(self.address)
        except ImportError as error:  # the package for this protocol
            raise DataError(f'{address}: {error}; this needs: pip install "pixelpyramids[{EXTRA}]"') from error
        except ValueError as error:
            raise DataError(f"{address}: {error}; check the address") from error

    def path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else str(self._root)

    def attempt(self, name: str, action: Callable[[], Result]) -> Result:
        """Call `action`, several times if the network fails. Raises OSError or DataError."""
        for attempt in range(ATTEMPTS):
            try:
                return action()
            except _FINAL:
                raise
            except Exception as error:
                if not _is_of_the_network(error):
                    raise
                if attempt == ATTEMPTS - 1:
                    raise DataError(
                        f"{self.address}/{name}: {_describe(error)}, {ATTEMPTS} times; check the network, and run the "
                        "same command again"
                    ) from error
            time.sleep(FIRST_PAUSE * 2**attempt * random.uniform(0.75, 1.25))
        raise AssertionError("unreachable")


class RemoteSource(_Remote, Source):
    """A folder on remote storage, or one file."""

    can_delete = True

    def __init__(self, address: str, exclude: Sequence[str] = ()) -> None:
        super().__init__(address)
        self._exclude = exclude

    def entries(self) -> Iterator[Entry]:
        """See `Source`. Hidden folders are entries too."""
        folders = [""]
        while folders:
            folder = folders.pop()
            for entry in self._list(folder):
                path = str(entry["name"])
                name = path[len(self._root.rstrip("/")) :].lstrip("/")
                if is_excluded(name, self._exclude):
                    continue
                if entry["type"] != "directory":
                    yield Entry(name, int(entry.get("size") or 0), _time_of(entry))
                elif is_hidden(name):
                    yield Entry(f"{name}/")
                else:
                    folders.append(name)

    def _list(self, folder: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.attempt(folder, lambda: self._system.ls(self.path(folder), detail=True))
        if not found and not folder:
            raise DataError(f"{self.address}: no such folder, or nothing in it; check the address")
        return sorted(found, key=lambda entry: str(entry["name"]))

    def open(self, name: str) -> BinaryIO:
        """See `Source`."""
        return BytesIO(self.attempt(name, lambda: self._system.cat_file(self.path(name))))

    @contextmanager
    def open_streaming(self, address: str) -> Iterator[BinaryIO]:
        """Open a large file, to read it piece by piece."""
        with self._system.open(address, "rb") as file:
            yield file

    def delete(self, name: str, size: int, time: int) -> None:
        """See `Source`."""
        facts = self.attempt(name, lambda: self._system.info(self.path(name)))
        if (facts.get("size"), _time_of(facts)) != (size, time):
            raise DataError(f"{self.describe(name)}: changed while it was being read; run the command again")
        self.attempt(name, lambda: self._system.rm_file(self.path(name)))


class RemoteStore(_Remote, Store):
    """A folder of results on remote storage."""

    def find(self, name: str) -> Facts | None:
        """See `Store`."""
        try:
            facts = self.attempt(name, lambda: self._system.info(self.path(name)))
        except FileNotFoundError:
            return None
        return Facts(int(facts["size"]), _time_of(facts))

    def write(self, name: str, write: Callable[[BinaryIO], None], source: Facts, replace: bool) -> None:
        """See `Store`. Object storage shows an object only when all of it has arrived."""
        if not replace and self.find(name) is not None:
            raise WrittenMeanwhileError(
                f"{self.describe(name)}: was written after the command began, by another program"
            )
        with NamedTemporaryFile() as file:
            write(cast(BinaryIO, file))
            file.flush()
            self.attempt(name, lambda: self._system.put_file(file.name, self.path(name)))

    @contextmanager
    def read(self, name: str) -> Iterator[ByteSource]:
        """See `Store`."""
        yield MemorySource(self.attempt(name, lambda: self._system.cat_file(self.path(name))))

    def flush(self, names: Iterable[str]) -> None:
        """See `Store`. What was sent is kept."""


def _time_of(facts: dict[str, Any]) -> int:
    """The modification time in nanoseconds; 0 if it is unknown."""
    for key in ("LastModified", "mtime", "updated", "last_modified", "created"):
        found = facts.get(key)
        if isinstance(found, str):
            found = datetime.fromisoformat(found)
        if isinstance(found, datetime):
            found = found.timestamp()
        if isinstance(found, int | float):
            return int(found * 1e9)
    return 0


def _is_of_the_network(error: Exception) -> bool:
    """Whether an error may vanish by itself: of the system, or of a library for a protocol."""
    module = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError | TimeoutError) or module in ("aiohttp", "botocore", "aiobotocore", "gcsfs")


def _describe(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
