"""Shards of a data set, read from beginning to end: Parquet files, tars in WebDataset's manner, files of the hub."""

import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from pixelpyramids.data.containers.arrow import stored_content
from pixelpyramids.data.split_names import divide
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra

# What the readers of files, tars and tables, and those that fetch them, raise where something is damaged or missing;
# pyarrow's errors are kinds of these.
FAILURES = (OSError, ValueError, TypeError, LookupError, EOFError, NotImplementedError, tarfile.TarError, zlib.error)

# A member's key, and its field: all after the first dot of its last part. The convention of WebDataset.
_MEMBER = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
_END_OF_TAR = bytes(1024)


class StreamedShards:
    """The shards of one split: `read(i)` goes through shard i, (name, content) of one image after the other.

    `stream` is an IterableDataset of `datasets` with one undecoded image `column`. `counts` are the images of each
    shard, and `total` of all, or None where that is not known without reading them. Of the first shard the first
    `held_out` images are left out, or, with `only_held_out`, nothing else is read.
    """

    def __init__(
        self,
        stream: Any,
        column: str,
        names: Sequence[str],
        counts: Sequence[int] | None,
        total: int | None,
        held_out: int = 0,
        only_held_out: bool = False,
    ) -> None:
        self._stream, self._column, self.names = stream, column, names
        self._first = 0 if only_held_out else held_out
        self._last = held_out if only_held_out else None
        self._one_shard = only_held_out
        self.counts = None if counts is None else [len(self._kept(i, held)) for i, held in enumerate(counts)]
        if self.counts is not None:
            self.total: int | None = sum(self.counts)
        else:
            self.total = None if total is None else len(self._kept(0, total))

    def __len__(self) -> int:
        return len(self.names)

    def _kept(self, shard: int, count: int) -> range:
        """Which of its `count` images are read."""
        if shard == 0:
            return range(count)[self._first : self._last]
        return range(0 if self._one_shard else count)

    def read(self, shard: int) -> Iterator[tuple[Path, bytes]]:
        """The images of a shard, in its order; an entry without an image has no content.

        Raises DataError, naming the shard, where it is damaged.
        """
        if shard and self._one_shard:
            return
        name, rows = self.names[shard], self._rows(shard)
        for number in count():
            if shard == 0 and number == self._last:
                return
            try:
                stored = next(rows)
            except StopIteration:
                return
            except FAILURES as error:
                raise _damaged(name, error) from error
            if shard or number >= self._first:
                label = Path(name, str((stored or {}).get("path") or number))
                try:
                    yield label, stored_content(stored, label)
                except DataError:
                    yield label, b""

    def _rows(self, shard: int) -> Iterator[Any]:
        part = self._stream.shard(num_shards=len(self), index=shard)
        # Not iter(part): that would share out the rows once more among a loader's workers.
        for batch in part.iter(batch_size=1):
            yield batch[self._column][0]


def count_rows(file: str) -> int:
    """Rows of a Parquet file, here or on the hub, as its end says. Raises DataError where it is damaged."""
    fsspec, parquet = import_extra("fsspec", "data"), import_extra("pyarrow.parquet", "data")
    try:
        with fsspec.open(file) as content:
            return int(parquet.ParquetFile(content).metadata.num_rows)
    except FAILURES as error:
        raise _damaged(file, error) from error


def count_examples(file: str, train: bool = False) -> int:
    """Examples of a tar in WebDataset's manner, by its headers: runs of members with one key.

    Raises DataError where it is damaged: a tar ends with two blocks of zeros, and one that does not was cut off. Of a
    tar to `train` on it is also raised if members are in folders for other splits, or as by `divide`.
    """
    examples, last = 0, None
    forms: dict[str, str] = {}  # one member of each name, apart from its numbers
    try:
        with open(file, "rb") as content, tarfile.open(fileobj=content, mode="r:") as archive:
            for member in archive:
                vars(archive)["members"] = []  # it would keep each
                match = _MEMBER.fullmatch(member.name)
                hidden = member.name.rpartition("/")[2].startswith((".", "__"))
                if member.isfile() and match is not None and not hidden:
                    examples, last = examples + (match[1] != last), match[1]
                    forms.setdefault(re.sub("[0-9]+", "#", member.name), member.name)
            # A header that is damaged or cut off ends the loop as the end of the archive does.
            content.seek(archive.offset)
            if content.read(len(_END_OF_TAR)) != _END_OF_TAR:
                raise tarfile.ReadError(f"no further member, nor the end of a tar, at byte {archive.offset}")
    except FAILURES as error:
        raise _damaged(file, error) from error
    if train and forms and (other := divide(list(forms.values()), file).keys() - {"train"}):
        raise DataError(
            f"{file}: expected only training images, got members in folders for {' and '.join(sorted(other))}; write "
            "each split to tars of its own"
        )
    return examples


def _damaged(file: str, error: BaseException) -> DataError:
    reason = str(error.__cause__ or error).strip() or type(error).__name__
    return DataError(f"{file}: expected a shard that can be read, got {reason}; fetch or copy it again")
