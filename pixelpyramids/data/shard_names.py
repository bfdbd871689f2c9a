"""Find the shards in a folder, and the split of each shard, by its name or the name of its folder."""

import glob
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path

from pixelpyramids.data.split_names import (
    NAMES,
    divide,
    name_of_each_split,
    resembles_held_out,
    resembles_split,
    split_of,
    splits_in,
)
from pixelpyramids.errors import DataError

SUFFIXES = (".parquet", ".tar")

_NUMBERED = re.compile(r"(\d+)-of-(\d+)\b")


def find_shards(root: str) -> list[Path]:
    """The shards of a file, a glob, or a folder and the folders in it, sorted; none if `root` names the hub."""
    name = root.removeprefix("stream:")
    if not name or name.startswith("hub:"):
        return []
    path = Path(name).expanduser()
    if path.is_dir():
        found = [file for pattern in ("*", "*/*") for suffix in SUFFIXES for file in path.glob(pattern + suffix)]
        found = [file for file in found if not any(part[0] == "." for part in file.relative_to(path).parts)]
    else:
        found = [Path(file) for file in glob.glob(str(path), recursive=True)]
    return sorted(file for file in found if file.suffix in SUFFIXES and file.is_file())


@cache  # once, for any number of splits that are opened
def warn_of_incomplete_sets(shards: tuple[Path, ...]) -> None:
    """Warn if names such as train-00000-of-00010.parquet say that there are more shards."""
    for incomplete in describe_incomplete_sets(shards):
        warnings.warn(f"{incomplete}; get the others, unless they are left out on purpose", stacklevel=2)


def describe_incomplete_sets(shards: Iterable[Path]) -> Iterator[str]:
    """A line for each set of shards with names such as train-00000-of-00010.parquet that say that there are more."""
    numbers: dict[tuple[Path, str, int], set[int]] = {}
    for file in shards:
        if (match := _NUMBERED.search(file.name)) is not None:
            numbers.setdefault((file.parent, file.name[: match.start()], int(match[2])), set()).add(int(match[1]))
    for (folder, name, count), there in numbers.items():
        if len(there) < count:
            yield f"{folder}: expected {count} shards {name}*-of-*, as their names say, got {len(there)}"


def split_shards(root: str, shards: Sequence[Path]) -> dict[str, list[str]]:
    """The shards of each split, by the split's word in the file's name, or else in the name of a folder below `root`.

    If no shard has a word, all are for training. Raises DataError if a name has words for several splits, or only
    resembles one; if only some shards have a word; if one split has several words; and as `divide` does if no shard has
    a word.
    """
    path = Path(root.removeprefix("stream:")).expanduser()
    if not path.is_dir():  # a glob, or a file
        path = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts[:-1]))
    words = {file: _split_word(root, file.relative_to(path)) for file in shards}
    if not any(words.values()):
        divide([file.relative_to(path).as_posix() for file in shards], root)
        return {"train": [str(file) for file in shards]}
    if silent := [file for file, word in words.items() if not word]:
        raise DataError(
            f"{root}: expected a word for the split ({', '.join(NAMES)}) in the name of each shard or its folder, got "
            f"{silent[0].name} beside others that have one; rename it, or select the others with a glob"
        )
    name_of_each_split(((split_of(word), word) for word in words.values()), root)
    files: dict[str, list[str]] = {}
    for file, word in words.items():
        files.setdefault(str(split_of(word)), []).append(str(file))
    return files


def refuse_held_out_files(root: str, files: Mapping[str, Sequence[str]]) -> None:
    """Raise DataError if `datasets`, which knows fewer names, would train on files that are named like other splits."""
    for split, part in files.items():
        for file in part if split_of(split) == "train" else ():
            below = file.rpartition("@")[2].partition("/")[2].split("/")  # hf://datasets/OWNER/NAME@REVISION/…
            name = next(filter(resembles_split, reversed(below)), "")
            if resembles_held_out(name) and "train" not in map(split_of, splits_in(name)):
                raise DataError(
                    f"{root}: expected only training images in the split {split}, got {file}, which is named like "
                    "images for validation or test; choose another configuration, or download the files and pass these"
                )


def _split_word(root: str, file: Path) -> str:
    """The split's word in a shard's name, or else in the name of its nearest folder; "" if nothing resembles one."""
    for part in reversed(file.parts):
        found = dict.fromkeys(splits_in(part))
        if len(found) == 1:
            return next(iter(found))
        if found or resembles_split(part):
            raise DataError(
                f"{root}: expected one word for a split ({', '.join(NAMES)}) in the name of a shard, got {file}; "
                f"rename {part}"
            )
    return ""
