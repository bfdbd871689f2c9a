"""Image files in folders."""

import os
from collections.abc import Sequence
from pathlib import Path

from pixelpyramids.data.name_index import NameIndex, make_index, pack
from pixelpyramids.data.split_names import refuse_held_out, resembles_held_out, resembles_split
from pixelpyramids.data.splits import image_names


class FileEntries:
    """Image files, in the order they are given."""

    format = ""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> Path:
        return self._files[index]

    read = name


class FolderEntries:
    """The image files below a folder, which may be none or millions, as `find_images` finds them.

    Raises DataError if the folder is a training folder and a folder in it resembles held-out images.
    """

    format = ""

    def __init__(self, folder: Path) -> None:
        names = image_names(folder)
        if resembles_split(folder.name) and not resembles_held_out(folder.name):
            names = refuse_held_out(names, folder)
        self._folder = folder
        self._index: NameIndex = make_index(pack(map(os.fsencode, names)))

    def __len__(self) -> int:
        return len(self._index)

    def name(self, index: int) -> Path:
        return self._folder / self._index.name(index)

    read = name
