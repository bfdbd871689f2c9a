"""Image files inside uncompressed tar archives (POSIX ustar, pax, GNU), and inside the tars that these contain.

One pass over the headers records the offset of each member's content in the outermost file, so nothing is unpacked. The
index is cached (see `name_index`). Archives are opened for each read, so that workers inherit nothing open.
"""

import os
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pixelpyramids.data.damage import explain_damage
from pixelpyramids.data.name_index import NameIndex, load_index, make_index, pack
from pixelpyramids.data.splits import is_image_name
from pixelpyramids.errors import DataError

_BLOCK = 512


class TarEntries:
    """The contents of the image files in archives of one folder, sorted by name; hidden files are skipped.

    A file is an image if its suffix says so. A member whose name ends in .tar is an archive too, such as those of the
    1,000 classes in ImageNet's.

    Raises DataError, naming the archive, if one is missing, compressed, damaged, cut off, or contains no image.
    """

    format = ""

    def __init__(self, archives: Sequence[str | PathLike[str]]) -> None:
        self._archives = [Path(archive) for archive in archives]
        self._folder = self._archives[0].parent
        for archive in self._archives:
            if not archive.is_file():
                raise DataError(f"{archive}: expected a tar archive, got none; check the path")
        self._index = load_index("tar", self._archives, self._list_members)
        if not len(self._index):
            raise DataError(f"{self._archives[0]}: expected images in the tar archive, got none")

    def __len__(self) -> int:
        return len(self._index)

    def name(self, index: int) -> Path:
        return self._folder / self._index.name(index)

    def read(self, index: int) -> bytes:
        record = self._index.records[index]
        size = int(record["size"])
        with (
            explain_damage(self.name(index), "a file that can be read"),
            open(self._archives[record["archive"]], "rb", buffering=0) as file,
        ):
            file.seek(int(record["offset"]))
            content = file.read(size)
        if len(content) != size:
            raise DataError(
                f"{self.name(index)}: expected {size} bytes, got {len(content)}; do not change the archive while it "
                "is in use"
            )
        return content

    def _list_members(self) -> NameIndex:
        # Three numbers for each member, because millions of Python objects would not fit in memory.
        places = array("q")
        names = pack(self._members(places))
        numbers = np.frombuffer(places, dtype=np.int64).reshape(-1, 3)
        return make_index(names, archive=numbers[:, 0], offset=numbers[:, 1], size=numbers[:, 2])

    def _members(self, places: "array[int]") -> Iterator[bytes]:
        for number, archive in enumerate(self._archives):
            with explain_damage(archive, "a file that can be read"), open(archive, "rb") as file:
                for name, offset, size in _find_images(file, archive, 0, archive.stat().st_size):
                    places.extend((number, offset, size))
                    yield os.fsencode(f"{archive.name}/{name}")


def walk_tar(file: BinaryIO, start: int, end: int) -> Iterator[tarfile.TarInfo]:
    """The members of the uncompressed archive in file[start:end]. Raises TarError or OSError.

    An archive ends with two blocks of zeros. tarfile also ends at a damaged header and at the end of the file, so this
    looks for the blocks.
    """
    file.seek(start)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would keep them all
            if member.issparse() or not 0 <= member.size <= end - member.offset_data:
                raise tarfile.ReadError(f"member {member.name} of {member.size} bytes does not fit in it")
            yield member
        file.seek(archive.offset)
        if archive.offset + _BLOCK > end or any(file.read(_BLOCK)):
            raise tarfile.ReadError(f"neither a member nor the end of the archive at byte {archive.offset}")


def _find_images(file: BinaryIO, name: Path, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Name, offset in the file, and size of the images of the archive in file[start:end]."""
    with explain_damage(name, "a whole, uncompressed tar archive", "get it again, or unpack it"):
        for member in walk_tar(file, start, end):
            if not member.isreg() or not is_image_name(member.name, ".tar"):
                continue
            if member.name.lower().endswith(".tar"):
                stop = member.offset_data + member.size
                for inner, offset, size in _find_images(file, name / member.name, member.offset_data, stop):
                    yield f"{member.name}/{inner}", offset, size
            else:
                yield member.name, member.offset_data, member.size
