"""What a container of millions of images holds: a name for each, and where it lies, in one NumPy array.

An index that is slow to make is kept in the user's cache folder, `pixelpyramids` in $XDG_CACHE_HOME or ~/.cache, and
mapped into memory from there, so that workers share it. It belongs to the path, the size and the time of change of each
file it was made from. Where the cache cannot be written it is made again.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.atomic import replacing
from pixelpyramids.data.images import Names

_PACKED_AT_ONCE = 2**16


class Index:
    """One record for each entry; the field `name` is bytes, what others there are is the container's.

    Pickled, it is the path of its file in the cache where it is mapped from one, else the records.
    """

    def __init__(self, records: NDArray[np.void]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self.records, np.memmap):
            return _mapped, (self.records.filename,)
        return Index, (self.records,)

    def names(self, parent: Path) -> Sequence[Path]:
        """The names, below `parent`, each made when it is asked for."""
        return Names(len(self), partial(_name, parent, self))


def pack(names: Iterable[bytes]) -> NDArray[np.bytes_]:
    """Names in an array as wide as the longest. NumPy takes no names that end in a zero byte."""
    remaining: Iterator[bytes] = iter(names)
    packed = [np.empty(0, dtype="S1")]
    while some := list(islice(remaining, _PACKED_AT_ONCE)):
        packed.append(np.array(some, dtype=np.bytes_))
    return np.concatenate(packed)


def make_index(names: NDArray[np.bytes_], **columns: NDArray[Any]) -> Index:
    """An index, sorted by name, with further columns."""
    fields: dict[str, NDArray[Any]] = {"name": names, **columns}
    records = np.empty(len(names), dtype=[(field, values.dtype) for field, values in fields.items()])
    for field, values in fields.items():
        records[field] = values
    return Index(records[np.argsort(names, kind="stable")])


def kept_index(kind: str, files: Sequence[Path], make: Callable[[], Index]) -> Index:
    """The index that `make` makes of `files`, kept in the cache; `kind` names the container and its kind of records."""
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
        return _mapped(target)
    except (OSError, ValueError):
        index = make()
    try:
        with replacing(target) as temporary, open(temporary, "wb") as written:
            # Through the file, not a map of it: a full disk is then an error and not the end of the process.
            np.save(written, index.records, allow_pickle=False)
        return _mapped(target)
    except (OSError, ValueError):
        return index


def cache_folder() -> Path | None:
    """Where indices are kept; None where the user has no home."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return chosen / "pixelpyramids" if chosen.is_absolute() else None


def _mapped(file: str | Path) -> Index:
    """Raises OSError or ValueError where the file is not there or damaged; nothing in it can be executed."""
    records: NDArray[Any] = np.lib.format.open_memmap(os.fspath(file), mode="r")
    if records.ndim != 1 or records.dtype.names is None or records.dtype["name"].kind != "S":
        raise ValueError(f"{file} holds no index")
    return Index(records)


def _name(parent: Path, index: Index, number: int) -> Path:
    # A name that starts at the root would leave the parent behind.
    return parent / os.fsdecode(bytes(index.records["name"][number])).lstrip("/")
