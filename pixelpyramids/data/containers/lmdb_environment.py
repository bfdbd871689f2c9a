"""Image files as the values of an LMDB environment, a folder with `data.mdb`, as LSUN distributes them.

The environment is opened for each read, which takes 0.1 ms, because LMDB must not have it open twice in a process or
across a fork. Listing millions of keys takes minutes, so they are listed once (see `name_index`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from pixelpyramids.data.damage import explain_damage
from pixelpyramids.data.name_index import NameIndex, load_index, make_index, pack
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra


class LmdbEntries:
    """The values of the environment in the folder `path`, in the order of their keys.

    The environment is opened read-only and without a lock: do not write to it in the meantime, and do not read it from
    several threads at once.

    Raises DataError if there is no environment, or if it is empty, damaged, or shorter than it says. Raises
    PixelPyramidsError if lmdb is missing. LMDB has no checksums: damage inside the file shows when an image is decoded,
    or not at all.
    """

    format = ""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        if not (self.path / "data.mdb").is_file():
            raise DataError(
                f"{self.path}: expected an LMDB environment, a folder with data.mdb, got none; unpack the downloaded "
                "archive there"
            )
        with _open(self.path):
            pass  # The keys may come from the cache, which does not show whether the file can be opened.
        self._index = load_index("lmdb", [self.path / "data.mdb"], self._list_keys)
        if not len(self._index):
            raise DataError(f"{self.path}: expected an LMDB environment of images, got an empty one")

    def __len__(self) -> int:
        return len(self._index)

    def name(self, index: int) -> Path:
        return self.path / self._index.name(index)

    def read(self, index: int) -> bytes:
        with _open(self.path) as transaction:
            value: bytes | None = transaction.get(bytes(self._index.records["name"][index]))
        if value is None:
            raise DataError(
                f"{self.name(index)}: expected an image of that key, got none; do not change the environment while "
                "it is in use"
            )
        return value

    def _list_keys(self) -> NameIndex:
        with _open(self.path) as transaction:
            return make_index(pack(_keys(self.path, transaction)))


def _keys(path: Path, transaction: Any) -> Iterator[bytes]:
    for key in transaction.cursor().iternext(keys=True, values=False):
        if key.endswith(b"\0"):
            raise DataError(f"{path}: expected keys that are text, as LSUN's are, got {key!r}; this is other data")
        yield key


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    lmdb = import_extra("lmdb", "data")
    # Images are read in random order, so reading ahead would be wasted.
    options = {"readonly": True, "create": False, "lock": False, "readahead": False, "meminit": False}
    with (
        explain_damage(path, "an LMDB environment that can be read", "get it again", lmdb.Error),
        lmdb.open(os.fspath(path), **options) as environment,
    ):
        _check_length(path, environment)
        with environment.begin() as transaction:
            yield transaction


def _check_length(path: Path, environment: Any) -> None:
    """Refuse a file that was cut off: reading a page beyond its end would kill the process by a signal."""
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    size = (path / "data.mdb").stat().st_size
    if size < expected:
        raise DataError(
            f"{path / 'data.mdb'}: expected at least {expected} bytes, as its header says, got {size}; "
            "download and unpack it again"
        )
