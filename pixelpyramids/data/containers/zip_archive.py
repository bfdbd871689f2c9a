"""Image files inside one zip archive, read by `zipfile`."""

import os
import zipfile
from os import PathLike
from pathlib import Path
from typing import Any

from pixelpyramids.data.damage import explain_damage
from pixelpyramids.data.splits import is_image_name
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.file_source import check_regular


class ZipEntries:
    """The contents of the image files of the archive at `path`, sorted by name; hidden files and folders are skipped.

    A file is an image if its suffix says so. Every process opens the archive again at its first read, because
    forked workers would share the offset in a file that is already open.

    Raises DataError if the archive is damaged or contains no image.
    """

    format = ""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        check_regular(self.path)
        self._archive, self._process = self._open(), os.getpid()
        self._members = sorted({name for name in self._archive.namelist() if is_image_name(name)}, key=os.fsencode)
        if not self._members:
            raise DataError(f"{path}: expected image files (.png, .jpg, .webp, …) in the archive, got none")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None, "_process": None}

    def __len__(self) -> int:
        return len(self._members)

    def name(self, index: int) -> Path:
        return self.path / self._members[index].lstrip("/")

    def read(self, index: int) -> bytes:
        if self._process != os.getpid():
            self._archive, self._process = self._open(), os.getpid()
        with explain_damage(self.name(index), "a whole file in the archive", "get the archive again"):
            return self._archive.read(self._members[index])

    def _open(self) -> zipfile.ZipFile:
        with explain_damage(self.path, "a whole zip archive"):
            return zipfile.ZipFile(self.path)
