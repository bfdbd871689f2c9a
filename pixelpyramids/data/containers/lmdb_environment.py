"""Image files as the values of an LMDB environment, a folder with `data.mdb`, as LSUN distributes them.

The environment is opened for each read, which costs a tenth of a millisecond: LMDB allows it open once in a process and
not across a fork, and so a worker inherits nothing. Its keys, which take minutes to list where there are millions, are
listed once (see `index`).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from pixelpyramids.data.index import Index, kept_index, make_index, pack
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra


class LmdbEntries:
    """The values of the environment in the folder `path`, in the order of their keys; names are `path` / key.

    It is opened read-only and without a lock: nobody may write to it meanwhile. Not for several threads at once.

    Raises DataError where there is none, it is empty, damaged, or shorter than it says; PixelPyramidsError where lmdb
    is missing. LMDB has no checksums: damage inside the file shows when an image is decoded, or not at all.
    """

    format = ""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        if not (self.path / "data.mdb").is_file():
            raise DataError(
                f"{self.path}: expected an LMDB environment, a folder with data.mdb, got "
                f"{'a folder without it' if self.path.is_dir() else 'none'}; unpack the downloaded archive there"
            )
        with _opened(self.path):
            pass  # An index in the cache tells nothing of whether the file can be opened.
        self._index = kept_index("lmdb", [self.path / "data.mdb"], self._listed)
        if not len(self._index):
            raise DataError(f"{self.path}: expected an LMDB environment of images, got an empty one")
        self.names: Sequence[Path] = self._index.names(self.path)

    def read(self, index: int) -> bytes:
        """The value of key `index`. Raises DataError where it cannot be read, or is no longer there."""
        key = bytes(self._index.records["name"][index])
        with _opened(self.path) as transaction:
            value: bytes | None = transaction.get(key)
        if value is None:
            raise DataError(
                f"{self.names[index]}: expected an image of that key, got none; leave the environment as it is while "
                "it is in use"
            )
        return value

    def _listed(self) -> Index:
        with _opened(self.path) as transaction:
            return make_index(pack(_keys(self.path, transaction)))


def _keys(path: Path, transaction: Any) -> Iterator[bytes]:
    for key in transaction.cursor().iternext(keys=True, values=False):
        if key.endswith(b"\0"):
            raise DataError(f"{path}: expected keys that are text, as LSUN's are, got {key!r}; this is other data")
        yield key


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    lmdb = import_extra("lmdb", "data")
    try:
        # Reads are at random: what reading ahead fetched would be for nothing.
        options = {"readonly": True, "create": False, "lock": False, "readahead": False, "meminit": False}
        with lmdb.open(os.fspath(path), **options) as environment:
            _check_length(path, environment)
            with environment.begin() as transaction:
                yield transaction
    except lmdb.Error as error:
        raise DataError(
            f"{path}: expected an LMDB environment that can be read, got {type(error).__name__}: {error}; "
            "download it again"
        ) from error


def _check_length(path: Path, environment: Any) -> None:
    """A page beyond the end of the file would end the process by a signal."""
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    size = (path / "data.mdb").stat().st_size
    if size < expected:
        raise DataError(
            f"{path / 'data.mdb'}: expected at least {expected} bytes, as its header says, got {size}; "
            "download and unpack it again"
        )
