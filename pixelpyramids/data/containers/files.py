"""Image files in folders."""

import os
from collections.abc import Sequence
from pathlib import Path

from pixelpyramids.data.index import make_index, pack
from pixelpyramids.data.split_names import refuse_held_out, resembles_held_out, resembles_split
from pixelpyramids.data.splits import image_names
from pixelpyramids.errors import DataError


class FileEntries:
    """The contents of files, in the order they are given."""

    format = ""

    def __init__(self, files: Sequence[Path]) -> None:
        self.names = files

    def read(self, index: int) -> bytes:
        """The content of file `index`. Raises DataError where it cannot be read."""
        try:
            return self.names[index].read_bytes()
        except OSError as error:
            raise DataError(f"{self.names[index]}: expected a file that can be read, got {error.strerror}") from error


def files_below(folder: Path) -> FileEntries:
    """The image files below a folder, which may be none or millions, as `find_images` finds them.

    Raises DataError if the folder is a training folder and a folder in it resembles held-out images.
    """
    names = image_names(folder)
    if resembles_split(folder.name) and not resembles_held_out(folder.name):
        names = refuse_held_out(names, folder)
    return FileEntries(make_index(pack(map(os.fsencode, names))).names(folder))
