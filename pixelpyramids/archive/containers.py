"""Tar and zip files as sources of images. They are read in order, without unpacking them to the disk."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Self

from pixelpyramids.archive.sources import Entry, Source
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.listing import is_excluded

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ZIP_SUFFIXES = (".zip",)
# What a damaged file of a zip raises; after damage in a compressed tar file, nothing more can be read.
_DAMAGE_OF_A_MEMBER = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)
_DAMAGE = (*_DAMAGE_OF_A_MEMBER, tarfile.TarError, EOFError, ValueError, RuntimeError)
_COMPRESSED: dict[bytes, Callable[..., AbstractContextManager[Any]]] = {  # by how a file begins
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_LATEST = 2**33  # seconds since 1970; later times are mistakes
_OUTSIDE = "its path leads out of the file; unpack the file, and compress the folder"

Open = Callable[[], AbstractContextManager[BinaryIO]]


def is_container(name: str) -> bool:
    """Whether a file is a tar or zip file, by its name."""
    return name.lower().endswith(TAR_SUFFIXES + ZIP_SUFFIXES)


def container_stem(name: str) -> str:
    """The name of a tar or zip file without its suffix."""
    longest = max((suffix for suffix in TAR_SUFFIXES + ZIP_SUFFIXES if name.lower().endswith(suffix)), key=len)
    return name[: -len(longest)]


class ContainerSource(Source):
    """The files in a tar or zip file, which `open_file` opens: a local file, or a remote one."""

    is_sequential = True

    def __init__(self, address: str, open_file: Open, exclude: Sequence[str] = ()) -> None:
        self.address, self._open_file, self._exclude = address, open_file, exclude
        self._members = _tar_members if address.lower().endswith(TAR_SUFFIXES) else _zip_members

    def entries(self) -> Iterator[Entry]:
        """See `Source`. Raises DataError if the file is damaged."""
        for entry, _ in self._read():
            if not is_excluded(entry.name, self._exclude):
                yield entry

    def contents(self, is_wanted: Callable[[str], bool]) -> Iterator[tuple[Entry, bytes | DataError]]:
        """See `Source`."""
        for entry, read in self._read():
            if is_wanted(entry.name):
                yield entry, read()

    def _read(self) -> Iterator[tuple[Entry, Callable[[], bytes | DataError]]]:
        try:
            with self._open_file() as file:
                for entry, read in self._members(file):
                    path = PurePosixPath(entry.name.lstrip("/"))
                    problem = _OUTSIDE if ".." in path.parts or "\0" in entry.name else entry.problem
                    name = str(path).replace("\0", "\\0")
                    yield entry._replace(name=name, problem=problem), partial(self._read_member, entry, read)
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def _read_member(self, entry: Entry, read: Callable[[], bytes]) -> bytes | DataError:
        """The bytes of a file; an error if only this file is damaged. Raises DataError if the rest is, too."""
        try:
            return read()
        except _DAMAGE_OF_A_MEMBER as error:
            return DataError(f"{self.describe(entry.name)}: is damaged in its container ({error}); replace it")
        except MemoryError:
            return DataError(
                f"{self.describe(entry.name)}: does not fit in memory; unpack the container, and compress it"
            )
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.address}: expected a tar or zip file, got a damaged one ({error}); replace it")


class _Member(tarfile.TarInfo):
    """A member of a tar file, which must end with an empty block. Python takes damage between members for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the empty block
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error) or "its end is missing") from error


def _tar_members(file: BinaryIO) -> Iterator[tuple[Entry, Callable[[], bytes]]]:
    # Unlike tarfile, these also read files of several compressed streams, as parallel compressors write them.
    start = file.read(6)
    file.seek(0)
    opened = next((open_it for mark, open_it in _COMPRESSED.items() if start.startswith(mark)), nullcontext)
    with opened(file) as plain, tarfile.open(fileobj=plain, mode="r:", tarinfo=_Member) as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
            if member.isdir():
                continue
            problem = "" if member.isreg() else "a link or a device in a tar file is not read; unpack the file"

            def read(member: tarfile.TarInfo = member) -> bytes:
                content = tar.extractfile(member)
                assert content is not None
                return content.read()

            time = member.mtime if 0 < member.mtime < _LATEST else 0
            yield Entry(member.name, member.size, int(time * 1e9), problem), read


def _zip_members(file: BinaryIO) -> Iterator[tuple[Entry, Callable[[], bytes]]]:
    with zipfile.ZipFile(file) as container:
        for member in container.infolist():
            if member.is_dir():
                continue
            try:
                time = datetime(*member.date_time, tzinfo=UTC).timestamp()
            except ValueError:  # no such date
                time = 0
            problem = "it is encrypted; unpack the file" if member.flag_bits & 1 else ""

            def read(member: zipfile.ZipInfo = member) -> bytes:
                return container.read(member)

            yield Entry(member.filename, member.file_size, int(time * 1e9), problem), read
