"""The image column of a table of `datasets`, memory-mapped: rows by index."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra


class ArrowEntries:
    """The contents of the image files in `column` of a `datasets.Dataset`, which is not decoded; row i is `source`/i.

    The table is a file that every process maps: pickled, it is its path.
    """

    format = ""

    def __init__(self, table: Any, column: str, source: Path) -> None:
        self._table, self._column = table, column
        self.names: Sequence[Path] = _Rows(source, len(table))

    def read(self, index: int) -> bytes:
        """The content of row `index`. Raises DataError where it holds no image, or cannot be read."""
        name = self.names[index]
        try:
            stored = self._table[int(index)][self._column]
        except (OSError, ValueError, LookupError) as error:
            raise DataError(f"{name}: expected a row of a table of `datasets` that can be read, got {error}") from error
        return stored_content(stored, name)


def stored_content(stored: Any, name: Path) -> bytes:
    """The content of an undecoded value of `datasets.Image`: its bytes, else those of the file that it names.

    Raises DataError where it has neither.
    """
    stored = stored or {}
    if stored.get("bytes"):
        return bytes(stored["bytes"])
    if not stored.get("path"):
        raise DataError(f"{name}: expected an image, got an empty entry; remove it from the data")
    if "://" not in stored["path"] and not os.path.isabs(stored["path"]):
        raise DataError(f"{name}: expected an image, or where it lies, got the name {stored['path']} alone")
    try:
        with import_extra("fsspec", "data").open(stored["path"]) as file:  # here, or on the hub
            return bytes(file.read())
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: expected its image in {stored['path']}, got {error}") from error


class _Rows(Sequence[Path]):
    """Names of rows, made when they are asked for."""

    def __init__(self, source: Path, count: int) -> None:
        self._source, self._numbers = source, range(count)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._source / str(number) for number in self._numbers[index]]
        return self._source / str(self._numbers[index])
