"""From addresses to sources and stores: a path, a tar or zip file, or remote storage such as s3://bucket/folder."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pixelpyramids.archive.containers import ContainerSource, container_stem, is_container
from pixelpyramids.archive.sources import FilesSource, FolderSource, Source, absolute_path, one_slash
from pixelpyramids.archive.stores import FolderStore, Store
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.file_source import open_regular
from pixelpyramids.image_files.listing import is_excluded

LIST_PIECE = 2**16  # bytes of a list of paths that are read at once


def is_remote(address: str) -> bool:
    """Whether an address is that of remote storage: it begins with a protocol, as in s3://bucket/folder."""
    return "://" in address


def absolute(archive: str) -> str:
    """The address of an archive: an absolute path, or a remote address without a slash at its end."""
    return archive.rstrip("/") if is_remote(archive) else absolute_path(archive)


@lru_cache(maxsize=16)
def open_source(address: str) -> Source:
    """The source at an address, to read its files by their names."""
    if is_remote(address):
        from pixelpyramids.archive.remote import RemoteSource

        return RemoteSource(address)
    return FolderSource(Path(address))


@lru_cache(maxsize=16)
def open_store(address: str, begun: int) -> Store:
    """The store at an address."""
    if is_remote(address):
        from pixelpyramids.archive.remote import RemoteStore

        return RemoteStore(address)
    return FolderStore(address, begun)


def list_sources(
    addresses: Sequence[str], exclude: Sequence[str], archive: str, list_file: BinaryIO | None = None
) -> list[tuple[Source, str]]:
    """The sources at some addresses, and the folder of the archive that each one's results go to.

    One source's results lie directly in the archive. If there are several folders or containers, each has a folder of
    its own name. Files lie directly in the archive. `list_file` holds more paths, one a line, or separated by null
    bytes. Raises DataError if there is nothing at an address.
    """
    once: dict[str, str] = {}  # as they were given, because patterns may begin with them
    for address in addresses:
        once.setdefault(absolute(address), address)
    addresses = list(once.values())
    wholes = {address for address in addresses if _is_whole(address)}
    files: dict[str, list[str]] = {}
    sources: list[tuple[Source, str]] = []
    for address in addresses:
        if address not in wholes:
            folder, name = _split(address)
            files.setdefault(folder, []).append(name)
            continue
        prefix = f"{_name_of(address)}/" if len(wholes) > 1 else ""
        sources.append((_open_whole(address, exclude, archive), prefix))
    sources += [(_open_files(folder, names, exclude), "") for folder, names in files.items()]
    if list_file is not None:
        sources.append((FilesSource(Path("."), _read_paths(list_file), False, exclude), ""))
    return sources


def _is_whole(address: str) -> bool:
    """Whether there is a folder or a container at an address; False for another file."""
    if is_remote(address):
        from pixelpyramids.archive import remote

        return not remote.is_file(address) or is_container(address)
    path = Path(address)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the name")
    return path.is_dir() or is_container(path.name)


def _split(address: str) -> tuple[str, str]:
    """The folder of a file, and its name."""
    if is_remote(address):
        from pixelpyramids.archive import remote

        return remote.split(address)
    return os.path.dirname(absolute_path(address)), Path(address).name


def _name_of(address: str) -> str:
    name = address.rstrip("/").rpartition("/")[2] if is_remote(address) else Path(os.path.abspath(address)).name
    name = container_stem(name) if is_container(name) else name
    return name if name.strip(".") else "root"  # of the file system, or of a name of dots alone


def _open_files(folder: str, names: Sequence[str], exclude: Sequence[str]) -> Source:
    if is_remote(folder):
        from pixelpyramids.archive.remote import RemoteFilesSource

        return RemoteFilesSource(folder, [name for name in names if not is_excluded(name, exclude)])
    return FilesSource(Path(folder), iter(names), True, exclude)


def _open_whole(address: str, exclude: Sequence[str], archive: str) -> Source:
    if is_remote(address):
        from pixelpyramids.archive import remote

        if is_container(address):
            return remote.open_container(address, exclude)
        return remote.RemoteSource(address, exclude, archive)
    if not os.path.isdir(address):
        return ContainerSource(absolute(address), lambda: open_regular(Path(address)), exclude)
    return FolderSource(Path(address), exclude, None if is_remote(archive) else Path(archive))


def open_list(path: str) -> BinaryIO:
    """Open a list of paths; `-` is standard input."""
    if path == "-":
        return sys.stdin.buffer
    return open(path, "rb")


def _read_paths(file: BinaryIO) -> Iterator[str]:
    """The paths of a list."""
    for line in _split_lines(iter(lambda: file.read(LIST_PIECE), b"")):
        if line.strip():
            yield one_slash(os.path.normpath(os.fsdecode(line)))


def _split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends. If there is a null byte in the first piece, they are separated by null bytes."""
    rest, end = b"", b""
    for piece in pieces:
        end = end or (b"\0" if b"\0" in piece else b"\n")
        *lines, rest = (rest + piece).split(end)
        yield from (line.removesuffix(b"\r") if end == b"\n" else line for line in lines)
    yield rest.removesuffix(b"\r") if end == b"\n" else rest
