"""The names and places of a container's entries, in one NumPy array, because there may be millions.

An index that takes long to make is cached in the folder `pixelpyramids` in $XDG_CACHE_HOME or ~/.cache. It is mapped
into memory from there, so that workers share it. A cached index is used as long as the path, size and modification
time of its files stay the same. If the cache cannot be written, the index is made again each time.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.atomic import replace_file

_PACKED_AT_ONCE = 2**16


class NameIndex:
    """One record for each entry: the field `name` is bytes, any others belong to the container.

    If the records are mapped from a file in the cache, a pickled index is the path of that file.
    """

    def __init__(self, records: NDArray[np.void]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self.records, np.memmap):
            return _map_index, (self.records.filename,)
        return NameIndex, (self.records,)

    def name(self, index: int) -> str:
        """The name of entry `index`, without a leading /, so that its path stays below the container."""
        return os.fsdecode(bytes(self.records["name"][index])).lstrip("/")


def pack(names: Iterable[bytes]) -> NDArray[np.bytes_]:
    """Pack names into an array as wide as the longest name. NumPy drops zero bytes at the end of a name."""
    remaining: Iterator[bytes] = iter(names)
    packed = [np.empty(0, dtype="S1")]
    while some := list(islice(remaining, _PACKED_AT_ONCE)):
        packed.append(np.array(some, dtype=np.bytes_))
    return np.concatenate(packed)


def make_index(names: NDArray[np.bytes_], **columns: NDArray[Any]) -> NameIndex:
    """Make an index, sorted by name, with further columns."""
    fields: dict[str, NDArray[Any]] = {"name": names, **columns}
    records = np.empty(len(names), dtype=[(field, values.dtype) for field, values in fields.items()])
    for field, values in fields.items():
        records[field] = values
    return NameIndex(records[np.argsort(names, kind="stable")])


def load_index(kind: str, files: Sequence[Path], make: Callable[[], NameIndex]) -> NameIndex:
    """Load the index of `files` from the cache, or make it with `make`; `kind` names the container."""
    cache = cache_folder()
    if cache is None:
        return make()
    identity = [kind]
    for file in files:
        status = file.stat()
        identity += [os.path.realpath(file), str(status.st_size), str(status.st_mtime_ns)]
    digest = hashlib.sha256("\0".join(identity).encode(errors="surrogateescape")).hexdigest()
    target = cache / f"{kind}-{digest[:32]}.npy"
    try:
        return _map_index(target)
    except (OSError, ValueError):
        index = make()
    try:
        with replace_file(target) as temporary, open(temporary, "wb") as written:
            # Write to the file, not to a map of it: a full disk is then an error and does not end the process.
            np.save(written, index.records, allow_pickle=False)
        return _map_index(target)
    except (OSError, ValueError):
        return index


def cache_folder() -> Path | None:
    """The folder of cached indices; None if the user has no home."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return chosen / "pixelpyramids" if chosen.is_absolute() else None


def _map_index(file: str | Path) -> NameIndex:
    """Map an index file. Raises OSError or ValueError if it is missing or damaged. Nothing in it can be executed."""
    records: NDArray[Any] = np.lib.format.open_memmap(os.fspath(file), mode="r")
    if records.ndim != 1 or records.dtype.names is None or records.dtype["name"].kind != "S":
        raise ValueError(f"{file} holds no index")
    return NameIndex(records)
