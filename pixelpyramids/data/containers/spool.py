"""Images of a stream, kept in a temporary file so that they can be read in any order."""

import os
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pixelpyramids.errors import DataError


class SpooledEntries:
    """The (name, content) pairs of an iterable, written once to a file in the system's temporary folder.

    The file is removed when the process that wrote it ends, or needs it no more. Raises DataError where it cannot be
    written.
    """

    format = ""

    def __init__(self, items: Iterable[tuple[Path, bytes]]) -> None:
        self.names: list[Path] = []
        ends = [0]
        descriptor, self._path = tempfile.mkstemp(prefix="pixelpyramids-")
        weakref.finalize(self, _remove, self._path, os.getpid())
        try:
            with os.fdopen(descriptor, "wb") as file:
                for name, content in items:
                    self.names.append(name)
                    ends.append(ends[-1] + file.write(content))
        except OSError as error:
            raise DataError(
                f"{self._path}: expected room for the images of a stream in the temporary folder, got {error}; "
                "point the environment's TMPDIR at a folder with more"
            ) from error
        self._ends = np.array(ends, dtype=np.int64)
        self._open: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def read(self, index: int) -> bytes:
        """The content of item `index`."""
        start, end = int(self._ends[index]), int(self._ends[index + 1])
        # Positions are in the call, so that processes forked from this one may share what is open.
        if self._open is None:
            self._open = os.open(self._path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._open)
        return os.pread(self._open, end - start, start)


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a worker that was forked from it
        Path(path).unlink(missing_ok=True)
