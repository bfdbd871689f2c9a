"""Image files inside uncompressed tar archives (POSIX ustar, pax, GNU), and inside the tars that these hold.

One pass over the headers notes where each member's content starts and how long it is, counted from the start of the
outermost file, so that nothing is unpacked; the index is kept (see `index`). Archives are opened for each read: nothing
is open that a worker could inherit.
"""

import os
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pixelpyramids.data.index import Index, kept_index, make_index, pack
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.pillow_reading import readable_formats

# What tarfile raises on damaged and foreign archives.
_DAMAGE = (tarfile.TarError, OSError, ValueError, EOFError, OverflowError)

_BLOCK = 512


class TarEntries:
    """The contents of the image files in the archives, sorted by name; hidden files and folders are skipped.

    A file counts as an image by its extension. A member whose name ends in .tar is an archive in its turn, as the 1,000
    classes inside of ImageNet's are. Names are the archive's path and the member's below it.

    Raises DataError, naming the archive, where one is missing, compressed, damaged, cut off, or there is no image.
    """

    format = ""

    def __init__(self, archives: Sequence[str | PathLike[str]]) -> None:
        self._archives = [Path(archive) for archive in archives]
        folders = {archive.parent for archive in self._archives}
        if len(folders) != 1:
            raise ValueError(f"expected archives of one folder, got {len(folders)}")
        for archive in self._archives:
            if not archive.is_file():
                raise DataError(f"{archive}: expected a tar archive, got none; check the path")
        self._index = kept_index("tar", self._archives, self._listed)
        if not len(self._index):
            raise DataError(f"{self._archives[0]}: expected images in the tar archive, got none")
        self.names: Sequence[Path] = self._index.names(folders.pop())

    def read(self, index: int) -> bytes:
        """The content of member `index`. Raises DataError where it cannot be read."""
        record = self._index.records[index]
        size = int(record["size"])
        try:
            with open(self._archives[record["archive"]], "rb", buffering=0) as file:
                file.seek(int(record["offset"]))
                content = file.read(size)
        except OSError as error:
            raise DataError(f"{self.names[index]}: expected a file that can be read, got {error.strerror}") from error
        if len(content) != size:
            raise DataError(
                f"{self.names[index]}: expected {size} bytes, got {len(content)}; leave the archive as it is while it "
                "is in use"
            )
        return content

    def _listed(self) -> Index:
        # Three numbers for each member: no Python object of millions stays.
        places = array("q")
        names = pack(self._members(places))
        numbers = np.frombuffer(places, dtype=np.int64).reshape(-1, 3)
        return make_index(names, archive=numbers[:, 0], offset=numbers[:, 1], size=numbers[:, 2])

    def _members(self, places: "array[int]") -> Iterator[bytes]:
        for number, archive in enumerate(self._archives):
            try:
                with open(archive, "rb") as file:
                    for name, offset, size in _images(file, archive, 0, archive.stat().st_size):
                        places.extend((number, offset, size))
                        yield os.fsencode(f"{archive.name}/{name}")
            except OSError as error:
                raise DataError(f"{archive}: expected a file that can be read, got {error.strerror}") from error


def _images(file: BinaryIO, name: Path, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Name, offset in the file, and size of the images of the archive that lies in file[start:end]."""
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it would keep them all
                if member.issparse() or not 0 <= member.size <= end - member.offset_data:
                    raise _damaged(name, f"a member {member.name} of {member.size} bytes, which are not in it")
                if not member.isreg() or any(part.startswith(".") for part in Path(member.name).parts):
                    continue
                suffix = os.path.splitext(member.name)[1].lower()
                if suffix == ".tar":
                    stop = member.offset_data + member.size
                    for inner, offset, size in _images(file, name / member.name, member.offset_data, stop):
                        yield f"{member.name}/{inner}", offset, size
                elif suffix in readable_formats():
                    yield member.name, member.offset_data, member.size
            # Two blocks of zeros end an archive; tarfile takes the end of the file for one.
            file.seek(archive.offset)
            if archive.offset + _BLOCK > end or any(file.read(_BLOCK)):
                raise _damaged(name, "one without its end")
    except _DAMAGE as error:
        raise _damaged(name, f"{type(error).__name__}: {error}") from error


def _damaged(name: Path, came: str) -> DataError:
    return DataError(f"{name}: expected a whole, uncompressed tar archive, got {came}; get it again, or unpack it")
