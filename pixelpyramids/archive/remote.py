"""Sources and results on remote storage, by fsspec: s3://, gs://, https:// and others. It needs the `remote` extra."""

import posixpath
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from io import BytesIO
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote

from pixelpyramids.archive.containers import ContainerSource
from pixelpyramids.archive.network import attempt, open_file_system
from pixelpyramids.archive.remote_file import open_streaming
from pixelpyramids.archive.sources import Entry, Source
from pixelpyramids.archive.stores import Facts, Store
from pixelpyramids.codec.fields import ByteSource, MemorySource
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.listing import is_excluded, is_hidden
from pixelpyramids.terminal import explain

# Storage that shows an object only when all of it has arrived. Elsewhere results are moved to their names.
_SHOWS_WHOLE_OBJECTS = ("s3://", "s3a://", "gs://", "gcs://", "abfs://", "abfss://", "az://", "memory://")
_SIZES_AT_ONCE = 16
_OUTSIDE = "its name has an empty part, '.' or '..', so its result would lie outside of the archive; rename it"


class Remote:
    """A folder of a remote file system."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._system, root = open_file_system(self.address)
        self._root = root.rstrip("/")
        self._is_web = _is_web(self.address)

    def facts(self, name: str) -> dict[str, Any]:
        """What fsspec knows of a file or folder. Raises FileNotFoundError if there is none."""
        found: dict[str, Any] = attempt(self._full(name), lambda: self._system.info(self._path(name)))
        return found

    def read_bytes(self, name: str) -> bytes:
        """The content of a file."""
        content: bytes = attempt(self._full(name), lambda: self._system.cat_file(self._path(name)))
        return content

    def get_file(self, name: str, local: str) -> None:
        """Write the content of a file to a file of this machine."""
        attempt(self._full(name), lambda: self._system.get_file(self._path(name), local))

    def put_file(self, local: str, name: str) -> None:
        """Send a file of this machine: all of it arrives, or nothing."""
        path = self._path(name)
        if self.address.startswith(_SHOWS_WHOLE_OBJECTS):
            attempt(self._full(name), lambda: self._system.put_file(local, path))
            return

        def send_and_move() -> None:
            temporary = f"{posixpath.dirname(path)}/.{secrets.token_hex(8)}.part"
            self._system.makedirs(posixpath.dirname(path), exist_ok=True)
            try:
                self._system.put_file(local, temporary)
                self._system.mv(temporary, path)
            except BaseException:
                if self._system.exists(temporary):
                    self._system.rm_file(temporary)
                raise

        attempt(self._full(name), send_and_move)

    def _full(self, name: str) -> str:
        return f"{self.address}/{name}" if name else self.address

    def _path(self, name: str) -> str:
        return f"{self._root}/{quote(name) if self._is_web else name}" if name else self._root


def is_file(address: str) -> bool:
    """Whether there is a file at an address; False for a folder.

    A web server answers both; HTML is the index of a folder. Raises DataError or FileNotFoundError if there is nothing.
    """
    if _is_web(address) and "?" in address:
        raise DataError(f"{address}: expected an address without a query ('?'); download the file, and compress that")
    facts = Remote(address).facts("")
    return facts["type"] == "file" and facts.get("mimetype") != "text/html" and not address.endswith("/")


def open_container(address: str, exclude: Sequence[str]) -> Source:
    """The files in a remote tar or zip file, which is read piece by piece."""
    system, path = open_file_system(address)
    return ContainerSource(address, lambda: open_streaming(system, path, address), exclude)


class RemoteSource(Remote, Source):
    """A folder on remote storage. Files below `without`, such as the archive itself, are left out."""

    is_local = False

    def __init__(self, address: str, exclude: Sequence[str] = (), without: str = "") -> None:
        super().__init__(address)
        self._exclude = [pattern.rstrip("/").removeprefix(f"{self.address}/") for pattern in exclude]
        self._without = without.rstrip("/")
        self.can_delete = not self._is_web and "::" not in self.address  # fsspec's chains may delete only a copy

    def entries(self) -> Iterator[Entry]:
        """See `Source`. Hidden folders are entries too, and so are folders that cannot be listed, with the problem.

        Raises DataError or FileNotFoundError if the folder itself cannot be listed.
        """
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                found = self._list(folder)
            except (OSError, DataError) as error:
                if not folder:
                    raise
                yield Entry(f"{folder}/", problem=explain(error, self._full(folder)))
                continue
            files: list[Entry] = []
            for facts in found:
                name = self._name(facts)
                if not name or is_excluded(name, self._exclude) or self._full(name) == self._without:
                    continue
                if {"", ".", ".."} & set(name.split("/")):
                    files.append(Entry(name, problem=_OUTSIDE))
                elif facts["type"] != "directory":
                    files.append(Entry(name, facts.get("size") or 0, _time_of(facts)))
                elif is_hidden(name):
                    files.append(Entry(f"{name}/"))
                else:
                    folders.append(name)
            yield from self._complete(files) if self._is_web else files

    def _list(self, folder: str) -> list[dict[str, Any]]:
        """What is in a folder. fsspec would remember it, which needs memory and misses changes."""
        found: list[dict[str, Any]] = attempt(
            self._full(folder), lambda: self._system.ls(self._path(folder), detail=True)
        )
        self._system.invalidate_cache()
        return sorted(found, key=lambda facts: str(facts["name"]))

    def _name(self, facts: dict[str, Any]) -> str:
        """The path of a listed file below the source; "" if it is the folder itself, or a link to another page."""
        path = str(facts["name"]).removeprefix(self._root).removeprefix("/")
        if not self._is_web:
            if facts["type"] == "directory":
                return path or "./"  # an object whose name has an empty part
            return "" if path.endswith("/") else path  # object storage may mark folders by such objects
        below = posixpath.normpath(unquote(path))
        is_link = any(mark in path for mark in "?#:") or below.partition("/")[0] in (".", "..")
        return "" if is_link else below

    def _complete(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """Entries with their sizes and times, which the index of a web server does not tell."""
        with ThreadPoolExecutor(_SIZES_AT_ONCE) as pool:
            yield from pool.map(self._complete_one, entries)

    def _complete_one(self, entry: Entry) -> Entry:
        if entry.problem or entry.name.endswith("/"):
            return entry
        try:
            facts = self.facts(entry.name)
        except (OSError, DataError) as error:
            return entry._replace(problem=explain(error, self.describe(entry.name)))
        return entry._replace(size=facts.get("size") or 0, time=_time_of(facts))

    def open(self, name: str) -> BinaryIO:
        """See `Source`."""
        return BytesIO(self.read_bytes(name))

    def time_of(self, name: str) -> int:
        """See `Source`."""
        return _time_of(self.facts(name))

    def delete(self, name: str, size: int, time: int) -> None:
        """See `Source`."""
        facts = self.facts(name)
        if (facts.get("size"), _time_of(facts)) != (size, time):
            raise DataError(
                f"{self.describe(name)}: changed after it was compressed, so it is not deleted; pass --update"
            )
        attempt(self._full(name), lambda: self._system.rm_file(self._path(name)))


class RemoteFilesSource(RemoteSource):
    """Some files of a folder on remote storage, which were named one by one."""

    is_complete = False
    is_named = True

    def __init__(self, address: str, names: Sequence[str]) -> None:
        super().__init__(address)
        self._names = names

    def entries(self) -> Iterator[Entry]:
        """See `Source`."""
        return self._complete([Entry(name) for name in self._names])


class RemoteStore(Remote, Store):
    """A folder of results on remote storage."""

    def find(self, name: str) -> Facts | None:
        """See `Store`."""
        try:
            facts = self.facts(name)
        except FileNotFoundError:
            return None
        if facts["type"] == "directory":
            raise DataError(f"{self.describe(name)}: expected a result or nothing, got a folder; move it")
        return Facts(int(facts["size"]), _time_of(facts))

    def write(self, name: str, write: Callable[[BinaryIO], None], source: Facts, replace: bool) -> None:
        """See `Store`. What another machine writes at the same time is not noticed."""
        with NamedTemporaryFile() as file:
            write(cast(BinaryIO, file))
            file.flush()
            self.put_file(file.name, name)

    @contextmanager
    def read(self, name: str) -> Iterator[ByteSource]:
        """See `Store`."""
        yield MemorySource(self.read_bytes(name))

    def flush(self, names: Iterable[str]) -> None:
        """See `Store`. What has arrived is kept."""


def split(address: str) -> tuple[str, str]:
    """The address of the folder of a file, and the file's name in it."""
    folder, _, name = address.rstrip("/").rpartition("/")
    return folder, unquote(name) if _is_web(address) else name


def _is_web(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _time_of(facts: dict[str, Any]) -> int:
    """The modification time in nanoseconds; 0 if it is unknown."""
    for key in ("LastModified", "Last-Modified", "mtime", "updated", "last_modified", "created"):
        found = facts.get(key)
        if isinstance(found, str) and found:
            found = parsedate_to_datetime(found) if key == "Last-Modified" else datetime.fromisoformat(found)
        if isinstance(found, datetime):
            found = found.timestamp()
        if isinstance(found, int | float):
            return int(found * 1e9)
    return 0
