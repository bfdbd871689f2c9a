"""Shards of a data set, read from beginning to end: Parquet files, WebDataset tars, files of the hub."""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

from pixelpyramids.data.containers.arrow import image_content
from pixelpyramids.data.containers.tar import walk_tar
from pixelpyramids.data.damage import explain_damage
from pixelpyramids.data.split_names import divide
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra

# A member's key, and its field: all after the first dot of its last part. This is the convention of WebDataset.
_MEMBER = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")


class Shards:
    """The shards of one split: `read(i)` gives (name, content) of each image of shard i.

    `stream` is an IterableDataset of `datasets` with a column `image` that is not decoded. `counts` are the images of
    each shard, and `total` those of all; they are None if they are not known without reading. The first `held_out`
    images of the first shard are left out.
    """

    def __init__(
        self, stream: Any, names: Sequence[str], counts: Sequence[int] | None, total: int | None, held_out: int = 0
    ) -> None:
        self._stream, self.names, self._held_out = stream, list(names), held_out
        self.counts = None if counts is None else [max(counts[0] - held_out, 0), *counts[1:]]
        left = None if total is None else max(total - held_out, 0)
        self.total = left if self.counts is None else sum(self.counts)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, shard: int) -> Iterator[tuple[Path, bytes]]:
        """The images of a shard, in its order; the content of an entry without an image is empty.

        Raises DataError, naming the shard, if it is damaged.
        """
        return self._read(shard, 0 if shard else self._held_out, None)

    def read_held_out(self) -> Iterator[tuple[Path, bytes]]:
        """The images that are left out."""
        return self._read(0, 0, self._held_out)

    def _read(self, shard: int, begin: int, end: int | None) -> Iterator[tuple[Path, bytes]]:
        name = self.names[shard]
        with _explain_damage(name):
            for number, stored in islice(enumerate(self._rows(shard)), begin, end):
                label = Path(name, str((stored or {}).get("path") or number))
                try:
                    content = image_content(stored, label)
                except DataError:
                    content = b""
                yield label, content

    def read_all(self) -> Iterator[tuple[Path, bytes]]:
        """The images of all shards, in their order."""
        for shard in range(len(self)):
            yield from self.read(shard)

    def _rows(self, shard: int) -> Iterator[Any]:
        part = self._stream.shard(num_shards=len(self), index=shard)
        # iter(part) would divide the rows again, among a loader's workers.
        for batch in part.iter(batch_size=1):
            yield batch["image"][0]


def count_images(files: Sequence[str], train: bool = False) -> list[int] | None:
    """The number of images in each shard; None for tars on the hub, whose headers would have to be downloaded.

    Raises DataError as `count_rows` and `count_examples` do.
    """
    if all(file.endswith(".parquet") for file in files):
        return [count_rows(file) for file in files]
    if all(file.endswith(".tar") and "://" not in file for file in files):
        return [count_examples(file, train) for file in files]
    return None


def count_rows(file: str) -> int:
    """The number of rows in a Parquet file, local or on the hub, by its footer. Raises DataError if it is damaged."""
    fsspec, parquet = import_extra("fsspec", "data"), import_extra("pyarrow.parquet", "data")
    with _explain_damage(file), fsspec.open(file) as content:
        return int(parquet.ParquetFile(content).metadata.num_rows)


def count_examples(file: str, train: bool = False) -> int:
    """The number of examples in a WebDataset tar, by its headers: runs of members with the same key.

    Raises DataError if the tar is damaged or cut off. If it is for training (`train`), also raises DataError if members
    are in folders for other splits, and as `divide` does.
    """
    examples, last = 0, None
    forms: dict[str, str] = {}  # one member for each name without its numbers
    with _explain_damage(file), open(file, "rb") as content:
        for member in walk_tar(content, 0, content.seek(0, 2)):
            match = _MEMBER.fullmatch(member.name)
            is_hidden = member.name.rpartition("/")[2].startswith((".", "__"))
            if member.isfile() and match is not None and not is_hidden:
                examples, last = examples + (match[1] != last), match[1]
                forms.setdefault(re.sub("[0-9]+", "#", member.name), member.name)
    if train and forms and (other := divide(list(forms.values()), file).keys() - {"train"}):
        raise DataError(
            f"{file}: expected only training images, got members in folders for {' and '.join(sorted(other))}; write "
            "each split to tars of its own"
        )
    return examples


def _explain_damage(file: str) -> AbstractContextManager[None]:
    return explain_damage(file, "a shard that can be read", "fetch or copy it again")
