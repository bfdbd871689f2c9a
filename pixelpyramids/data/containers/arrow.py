"""Image files in a table of `datasets`, which is mapped into memory."""

import os
from pathlib import Path
from typing import Any

from pixelpyramids.data.damage import explain_damage
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra


class ArrowEntries:
    """The contents of the image files in the column `image` of a `datasets.Dataset`; row i is called `source`/i.

    A pickled table holds only the path of its file, which every process maps.
    """

    format = ""

    def __init__(self, table: Any, source: Path) -> None:
        self._table, self._source = table, source

    def __len__(self) -> int:
        return len(self._table)

    def name(self, index: int) -> Path:
        return self._source / str(index)

    def read(self, index: int) -> bytes:
        name = self.name(index)
        with explain_damage(name, "a row of a table of `datasets` that can be read"):
            stored = self._table[int(index)]["image"]
        return image_content(stored, name)


def image_content(stored: Any, name: Path) -> bytes:
    """The content of an undecoded value of `datasets.Image`: its bytes, else those of the file that it names.

    Raises DataError if it has neither.
    """
    stored = stored or {}
    if stored.get("bytes"):
        return bytes(stored["bytes"])
    path = stored.get("path") or ""
    if "://" not in path and not os.path.isabs(path):
        raise DataError(f"{name}: expected an image, got {path or 'an empty entry'}; remove it from the data")
    with explain_damage(name, f"its image in {path}"), import_extra("fsspec", "data").open(path) as file:
        return bytes(file.read())
