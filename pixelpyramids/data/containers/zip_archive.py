"""Image files inside one zip archive (PKWARE's APPNOTE), found by its central directory.

The directory is read once, into 4 numbers and a name for each file, and the archive is opened for each read: nothing is
open that a worker could inherit, and no directory of millions is parsed again in each of them.

    at a member's offset: 30 bytes of local header, the last two uint16 of them the lengths of its name and of its extra
    field; the name; the extra field; the stored content
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.images import Names
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.pillow_reading import readable_formats

_ENCRYPTED = 0x1
_LOCAL_HEADER = 30

# What zipfile raises on damaged and foreign archives.
_DAMAGE = (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, LookupError, OverflowError, struct.error)


class ZipEntries:
    """The contents of the image files of the archive at `path`, sorted by name; hidden files and folders are skipped.

    A file counts as an image by its extension. Names are the archive's path and the member's below it.

    Raises DataError where the archive is damaged or holds no image, or an image is encrypted or neither stored nor
    deflated.
    """

    format = ""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._members = _members(self.path)
        self.names: Sequence[Path] = Names(len(self._members), partial(_name, self.path, self._members))

    def read(self, index: int) -> bytes:
        """The content of member `index`. Raises DataError where it is damaged."""
        member = self._members[index]
        size = int(member["size"])
        try:
            stored = self._stored(int(member["offset"]), int(member["stored"]))
            # The directory's size bounds what is inflated, whatever the content would grow to.
            content = zlib.decompressobj(-15).decompress(stored, size + 1) if member["deflated"] else stored
        except (OSError, struct.error, zlib.error) as error:
            raise self._damaged(index, str(error)) from error
        if len(content) != size:
            raise self._damaged(index, f"{len(content)} bytes where the directory says {size}, or more")
        if zlib.crc32(content) != member["crc"]:
            raise self._damaged(index, "content whose CRC-32 is another")
        return content

    def _stored(self, offset: int, length: int) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(offset)
            header = file.read(_LOCAL_HEADER)
            if not header.startswith(b"PK\x03\x04"):
                raise OSError("no header of a member where the directory says")
            file.seek(sum(struct.unpack_from("<HH", header, _LOCAL_HEADER - 4)), os.SEEK_CUR)
            return file.read(length)

    def _damaged(self, index: int, came: str) -> DataError:
        return DataError(
            f"{self.names[index]}: expected a whole file in the archive, got {came}; get the archive again"
        )


def _members(path: Path) -> NDArray[np.void]:
    """Name, offset of the local header, stored and real size, CRC-32 and method of the image files, sorted by name."""
    try:
        size = os.path.getsize(path)
        with zipfile.ZipFile(path) as archive:
            images = {info.filename: info for info in archive.infolist() if _is_image(info.filename)}
    except _DAMAGE as error:
        raise DataError(
            f"{path}: expected a whole zip archive, got {type(error).__name__}: {error}; get the archive again"
        ) from error
    if not images:
        raise DataError(f"{path}: expected image files (.png, .jpg, .webp, …) in the archive, got none")
    for info in images.values():
        _check(path, info, size)
    rows = [
        (
            name.encode(errors="surrogateescape"),
            info.header_offset,
            info.compress_size,
            info.file_size,
            info.CRC,
            info.compress_type == zipfile.ZIP_DEFLATED,
        )
        for name, info in images.items()
    ]
    longest = max(len(row[0]) for row in rows)
    fields: list[tuple[str, Any]] = [
        ("name", f"S{longest}"),
        ("offset", "i8"),
        ("stored", "i8"),
        ("size", "i8"),
        ("crc", "u4"),
        ("deflated", "?"),
    ]
    return np.array(sorted(rows), dtype=fields)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not name.endswith("/") and not hidden and path.suffix.lower() in readable_formats()


def _check(path: Path, info: zipfile.ZipInfo, size: int) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise DataError(f"{path}/{info.filename}: expected a file that is not encrypted; unpack the archive")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"{path}/{info.filename}: expected a stored or deflated file, got compression method {info.compress_type}; "
            "unpack the archive"
        )
    if info.header_offset < 0 or info.header_offset + _LOCAL_HEADER + info.compress_size > size:
        raise DataError(f"{path}/{info.filename}: expected a file inside the archive's {size} bytes; get it again")


def _name(path: Path, members: NDArray[np.void], index: int) -> Path:
    # A name in the archive that starts at the root would otherwise leave the archive's path behind.
    return path / os.fsdecode(bytes(members["name"][index])).lstrip("/")
