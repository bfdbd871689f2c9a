"""Images of the Hugging Face hub, and shards of the forms it uses, by the library `datasets`.

    hub:owner/name[:config]       a data set of the hub, downloaded once and mapped into memory
    stream:owner/name[:config]    the same, read from the hub as it is trained on, nothing kept
    FOLDER, or a glob, or a file  of *.parquet: written once more as a table that is mapped into memory (in datasets'
                                  cache, HF_DATASETS_CACHE); of *.tar, WebDataset's manner: streamed
    stream:FOLDER, …              of *.parquet or *.tar: streamed

Splits are the data set's own; of shards lying here, by their names (`train-00000-of-00010.parquet`, `test/0.tar`), and
where these say nothing they are all for training. A published evaluation split without another is the test split, and
validation is then a hold-out of the training images (of a stream the first ones, for it has no others at hand).
"""

import glob
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

from pixelpyramids.data.containers.arrow import ArrowEntries
from pixelpyramids.data.containers.spool import SpooledEntries
from pixelpyramids.data.images import Images, Shards
from pixelpyramids.data.prepared import PreparedImages
from pixelpyramids.data.shards import FAILURES, StreamedShards, count_examples, count_rows
from pixelpyramids.data.split_names import (
    NAMES,
    divide,
    one_of_each,
    resembles_held_out,
    resembles_split,
    split_of,
    splits_in,
)
from pixelpyramids.data.splits import HOLD_OUT_MOST, HOLD_OUT_SHARE, SPLITS
from pixelpyramids.data.splits import hold_out as held_out_indices
from pixelpyramids.data.varied import VariedImages
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.pillow_reading import readable_formats

_BUILDERS = {".parquet": "parquet", ".tar": "webdataset"}
_ON_THE_HUB = re.compile(r"([\w.-]+(?:/[\w.-]+)?)(?::([\w.-]+))?")
_DIVIDING = ("split", "splits", "set", "subset", "fold", "partition")  # columns
_NUMBERED = re.compile(r"(\d+)-of-(\d+)\b")


def is_hub(root: str) -> bool:
    """Whether `root` names data that this module opens: by a prefix, or shards lying there.

    A folder with other folders or images beside the shards is left to be a folder of images.
    """
    if root.startswith(("hub:", "stream:")):
        return True
    shards, path = _local_shards(root), Path(root).expanduser()
    if not shards or not path.is_dir():
        return bool(shards)
    folders = {file.parent for file in shards}
    return not any(
        child not in folders if child.is_dir() else child.suffix.lower() in readable_formats()
        for child in path.iterdir()
        if not child.name.startswith(".")
    )


def is_stream(root: str) -> bool:
    """Whether the training images of `root` come as a stream."""
    return root.startswith("stream:") or (is_hub(root) and any(f.suffix == ".tar" for f in _local_shards(root)))


def open_hub(
    root: str,
    split: str,
    *,
    channels: int = 3,
    n_bits: int = 8,
    size: tuple[int, int] | None = None,
    hold_out: bool = True,
    seed: int = 0,
) -> Images:
    """One split of what `root` names, every image of `size` (H, W) where that is given.

    Of a stream: validation is the first images of its split, at most 1,000, or those held out of train, and test all
    of its split; they are read at once, into a temporary file. Raises DataError where there is no such split, no image
    column or several, something damaged, or the images to train on are a stream (`open_shards` gives those).
    """
    source = _open(root)
    parts = _parts(source, split, hold_out)
    if not is_stream(root):
        return _mapped(source, split, parts, channels, n_bits, size, hold_out, seed)
    if split == "train":
        raise DataError(f"{root}: expected another split than train of a stream, which is for training alone")
    if split == "validation" and split_of(parts[0]) == "train":
        shards = _shards(source, parts[0], hold_out=True, only_held_out=True)
        items: Iterator[tuple[Path, bytes]] = shards.read(0)
    else:
        streams = [_shards(source, part, hold_out=False) for part in parts]
        items = chain.from_iterable(stream.read(shard) for stream in streams for shard in range(len(stream)))
        if split == "validation":
            items = islice(items, HOLD_OUT_MOST)
    return VariedImages(SpooledEntries(items), channels=channels, n_bits=n_bits, size=size)


def open_shards(root: str, *, hold_out: bool = True) -> StreamedShards:
    """The training images of a stream, without those that are held out for validation.

    These are of the first shard the first images, 1 % of all (at least 1, at most 1,000; 1,000 where it is not known
    how many there are). Raises DataError as `open_hub` does.
    """
    source = _open(root)
    (part,) = _parts(source, "train", hold_out)
    return _shards(source, part, hold_out=hold_out and _parts(source, "validation", True) == [part])


def first_images(
    shards: Shards, count: int, *, channels: int = 3, n_bits: int = 8, size: tuple[int, int] | None = None
) -> Images:
    """The first `count` images of a stream; one that cannot be read is among the `skipped`."""
    items = chain.from_iterable(shards.read(shard) for shard in range(len(shards)))
    return VariedImages(SpooledEntries(islice(items, count)), channels=channels, n_bits=n_bits, size=size)


@dataclass
class _Source:
    """A data set: how it was named, its builder, and the shards of each split (paths, or places on the hub)."""

    root: str
    builder: Any
    files: dict[str, list[str]]


def _open(root: str) -> _Source:
    datasets = import_extra("datasets", "data")
    vars(import_extra("huggingface_hub.constants", "data"))["HF_HUB_DISABLE_TELEMETRY"] = True
    shards = _local_shards(root)
    try:
        if shards:
            suffixes = {file.suffix for file in shards}
            if len(suffixes) > 1:
                raise DataError(f"{root}: expected shards of one kind, got both .parquet and .tar; name one by a glob")
            _warn_of_missing(tuple(shards))
            files = _by_split(root, shards)
            patterns = {split: [glob.escape(file) for file in part] for split, part in files.items()}
            builder = datasets.load_dataset_builder(_BUILDERS[suffixes.pop()], data_files=patterns)
        else:
            match = _ON_THE_HUB.fullmatch(root.partition(":")[2])
            if match is None or _is_path(match[1]):
                raise DataError(
                    f"{root}: expected hub:owner/name, stream:owner/name, or a folder or glob of *.parquet or *.tar, "
                    "got neither such a name nor such shards there"
                )
            builder = datasets.load_dataset_builder(match[1], match[2])
            files = {str(split): [str(file) for file in part] for split, part in builder.config.data_files.items()}
            _refuse_held_out(root, files)
    except FAILURES as error:
        raise DataError(
            f"{root}: expected a data set that `datasets` can open, got {_reason(error)}; check the name, the "
            "configuration behind a second colon, and the way to the hub"
        ) from error
    return _Source(root, builder, files)


def _is_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or any(sign in name for sign in "*?[") or Path(name).exists()


def _local_shards(root: str) -> list[Path]:
    """Shards lying here, in a folder or the folders in it, sorted; none where `root` names the hub, or has none."""
    name = root.removeprefix("stream:")
    if not name or name.startswith("hub:"):
        return []
    path = Path(name).expanduser()
    if path.is_dir():
        found = [file for pattern in ("*", "*/*") for suffix in _BUILDERS for file in path.glob(pattern + suffix)]
        found = [file for file in found if not any(part[0] == "." for part in file.relative_to(path).parts)]
    else:
        found = [Path(file) for file in glob.glob(str(path), recursive=True)]
    return sorted(file for file in found if file.suffix in _BUILDERS and file.is_file())


@cache  # once, for however many splits they are opened
def _warn_of_missing(shards: tuple[Path, ...]) -> None:
    """Warn where names such as train-00000-of-00010.parquet speak of more shards than lie here."""
    numbers: dict[tuple[Path, str, int], set[int]] = {}
    for file in shards:
        if (match := _NUMBERED.search(file.name)) is not None:
            numbers.setdefault((file.parent, file.name[: match.start()], int(match[2])), set()).add(int(match[1]))
    for (folder, name, count), there in numbers.items():
        if len(there) < count:
            warnings.warn(
                f"{folder}: expected the {count} shards {name}*-of-* that their names speak of, got {len(there)}; get "
                "the others, unless they are left out on purpose",
                stacklevel=2,
            )


def _by_split(root: str, shards: list[Path]) -> dict[str, list[str]]:
    """The shards of each split, by the word for it in the file's name, else in the name of a folder below `root`.

    Raises DataError if a name has words for several splits, or only resembles one; if only some shards have a word; if
    one split has several words; and as `divide` does if no shard has a word.
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
    one_of_each(((str(split_of(word)), word) for word in words.values()), root)
    files: dict[str, list[str]] = {}
    for file, word in words.items():
        files.setdefault(str(split_of(word)), []).append(str(file))
    return files


def _refuse_held_out(root: str, files: Mapping[str, Sequence[str]]) -> None:
    """Raise DataError if `datasets`, which knows fewer names, takes files with names of other splits for training."""
    for split, part in files.items():
        for file in part if split_of(split) == "train" else ():
            below = file.rpartition("@")[2].partition("/")[2].split("/")  # hf://datasets/OWNER/NAME@REVISION/…
            said = next(filter(resembles_split, reversed(below)), "")
            if resembles_held_out(said) and "train" not in map(split_of, splits_in(said)):
                raise DataError(
                    f"{root}: expected only training images in the split {split}, got {file}, which is named like "
                    "images for validation or test; choose another configuration, or download the files and pass these"
                )


def _split_word(root: str, file: Path) -> str:
    """The word for a split in a shard's name, else in the name of its nearest folder; "" if nothing resembles one."""
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


def _parts(source: _Source, split: str, hold_out: bool) -> list[str]:
    """The data set's own splits that `split` is made of; of train, for a validation that is held out of it."""
    if split not in SPLITS:
        raise DataError(f"expected a split among {', '.join(SPLITS)}, got {split!r}")
    if split == "all":
        return list(source.files)
    own = one_of_each(((said, name) for name in source.files if (said := split_of(name)) is not None), source.root)
    published = own.get("validation")
    test = own.get("test", published)
    part = {"train": own.get("train"), "test": test, "validation": published if published != test else None}[split]
    if split == "validation" and part is None and hold_out:
        part = own.get("train")
    if part is None:
        way_out = "hold out, or ask" if split == "validation" else "ask"
        raise EmptySplitError(
            f"{source.root}: expected a {split} split, got {', '.join(source.files)}; "
            f"{way_out} for another, such as all"
        )
    return [part]


def _mapped(
    source: _Source,
    split: str,
    parts: list[str],
    channels: int,
    n_bits: int,
    size: tuple[int, int] | None,
    hold_out: bool,
    seed: int,
) -> Images:
    datasets = import_extra("datasets", "data")
    if not source.root.startswith("hub:"):
        for file in chain.from_iterable(source.files.values()):
            count_rows(file)  # so that a file that was cut off is named
    try:
        source.builder.download_and_prepare()
        table = datasets.concatenate_datasets([source.builder.as_dataset(split=part) for part in parts])
    except (*FAILURES, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{source.root}: expected data that `datasets` can prepare, got {_reason(error)}; fetch or copy it again"
        ) from error
    column = _image_column(source.root, table.features)
    table = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    entries = ArrowEntries(table, column, Path(source.root, split if split == "all" else parts[0]))
    chosen = None
    if hold_out and split in ("train", "validation") and split_of(_parts(source, "validation", True)[0]) == "train":
        chosen = [array.tolist() for array in held_out_indices(len(table), seed)][split == "validation"]
    if size is not None:
        return PreparedImages(entries, size, chosen, channels=channels, n_bits=n_bits)
    return VariedImages(entries, chosen, channels=channels, n_bits=n_bits)


def _shards(source: _Source, part: str, hold_out: bool, only_held_out: bool = False) -> StreamedShards:
    datasets = import_extra("datasets", "data")
    files = source.files[part]
    counts = None
    if all(file.endswith(".parquet") for file in files):
        counts = [count_rows(file) for file in files]
    elif all(file.endswith(".tar") and "://" not in file for file in files):
        counts = [count_examples(file, split_of(part) == "train") for file in files]
    try:
        stream = source.builder.as_streaming_dataset(split=part)
        column = _image_column(source.root, stream.features)
        stream = stream.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        shards = stream.num_shards
    except (*FAILURES, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{source.root}: expected data that `datasets` can stream, got {_reason(error)}; fetch or copy it again"
        ) from error
    if shards != len(files):  # such as archives of many images, whose files are shards
        counts, files = None, [f"{source.root}/{part}/{shard}" for shard in range(shards)]
    published = (source.builder.info.splits or {}).get(part)
    total = sum(counts) if counts is not None else published.num_examples if published is not None else None
    held_out = 0
    if hold_out:
        held_out = HOLD_OUT_MOST if total is None else min(HOLD_OUT_MOST, max(total // HOLD_OUT_SHARE, 1))
    return StreamedShards(stream, column, files, counts, total or None, held_out, only_held_out)


def _image_column(root: str, features: Any) -> str:
    datasets = import_extra("datasets", "data")
    found: list[str] = [name for name, feature in (features or {}).items() if isinstance(feature, datasets.Image)]
    if len(found) != 1:
        columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in (features or {}).items())
        raise DataError(
            f"{root}: expected one column of images (datasets.Image), got {len(found)} among {columns or 'none'}; "
            "write the data again with one, by datasets' cast_column and select_columns"
        )
    others = (name for name in features if name != found[0])
    if told := [name for name in others if name.lower() in _DIVIDING or resembles_split(name)]:
        warnings.warn(
            f"{root}: the column {told[0]} is not read, so its rows are not divided by it; if it names images for "
            "validation or test, write each split to shards of its own",
            stacklevel=4,
        )
    return found[0]


def _reason(error: BaseException) -> str:
    return str(error.__cause__ or error).strip().partition("\n")[0] or type(error).__name__
