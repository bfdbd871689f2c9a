"""Data sets of the Hugging Face hub, and shards in the formats it uses, read with the library `datasets`.

    hub:owner/name[:config]       a data set of the hub, downloaded once and mapped into memory
    stream:owner/name[:config]    the same, read from the hub during training; nothing is stored
    FOLDER, or a glob, or a file  of *.parquet: converted to a table that is mapped into memory (in datasets'
                                  cache, HF_DATASETS_CACHE); of WebDataset's *.tar: streamed
    stream:FOLDER, …              of *.parquet or *.tar: streamed

The splits are those of the data set; for local shards, see `shard_names`. If only one evaluation split is published, it
is the test split. Validation images are then held out of the training images; in a stream, they are the first ones.
"""

import glob
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pixelpyramids.data.containers.arrow import ArrowEntries
from pixelpyramids.data.containers.spool import SpooledEntries
from pixelpyramids.data.images import Images
from pixelpyramids.data.shard_names import find_shards, refuse_held_out_files, split_shards, warn_of_missing
from pixelpyramids.data.shards import FAILURES, Shards, count_images
from pixelpyramids.data.split_names import name_of_each_split, resembles_split, split_of
from pixelpyramids.data.splits import HOLD_OUT_MOST, HOLD_OUT_SHARE, check_split
from pixelpyramids.data.splits import hold_out as hold_out_indices
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.pillow_reading import readable_formats

_BUILDERS = {".parquet": "parquet", ".tar": "webdataset"}
_ON_THE_HUB = re.compile(r"([\w.-]+(?:/[\w.-]+)?)(?::([\w.-]+))?")
_DIVIDING = ("split", "splits", "set", "subset", "fold", "partition")  # columns


def is_hub(root: str) -> bool:
    """Whether this module opens `root`: it has one of the prefixes, or it holds shards.

    A folder with other folders or images beside the shards is a folder of images.
    """
    if root.startswith(("hub:", "stream:")):
        return True
    shards, path = find_shards(root), Path(root).expanduser()
    if not shards or not path.is_dir():
        return bool(shards)
    folders = {file.parent for file in shards}
    return not any(
        child not in folders if child.is_dir() else child.suffix.lower() in readable_formats()
        for child in path.iterdir()
        if not child.name.startswith(".")
    )


def is_stream(root: str) -> bool:
    """Whether the training images of `root` are streamed."""
    return root.startswith("stream:") or (is_hub(root) and any(file.suffix == ".tar" for file in find_shards(root)))


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
    """Open one split of `root`. If `size` (H, W) is given, every image must have it.

    In a stream, validation is the first images of the validation split (at most 1,000), or those held out of train;
    test is the whole test split. They are read at once, into a temporary file. Raises DataError if there is no such
    split, if there is no image column or more than one, if something is damaged, or for the training images of a
    stream (use `open_shards`).
    """
    source = _open_source(root)
    parts = _choose_parts(source, split, hold_out)
    is_held_out = hold_out and split in ("train", "validation") and split_of(parts[0]) == "train"
    is_held_out = is_held_out and _choose_parts(source, "validation", True) == parts
    if not is_stream(root):
        table = _open_table(source, parts)
        entries = ArrowEntries(table, Path(root, split if split == "all" else parts[0]))
        chosen = hold_out_indices(len(table), seed)[split == "validation"] if is_held_out else None
        if size is not None:
            return Images.of_one_size(entries, size, chosen, channels=channels, n_bits=n_bits)
        return Images.of_any_size(entries, chosen, channels=channels, n_bits=n_bits)
    if split == "train":
        raise DataError(
            f"{root}: expected another split than train, because training images of a stream are only for training; "
            "choose another split"
        )
    streams = [_open_shards(source, part, hold_out=is_held_out, only_held_out=is_held_out) for part in parts]
    items = chain.from_iterable(stream.read_all() for stream in streams)
    return spool(items, HOLD_OUT_MOST if split == "validation" else None, channels=channels, n_bits=n_bits, size=size)


def open_shards(root: str, *, hold_out: bool = True) -> Shards:
    """Open the training images of a stream, without those that are held out for validation.

    The first images of the first shard are held out, 1 % of all (at least 1, at most 1,000; 1,000 if the number of
    images is not known). Raises DataError as `open_hub` does.
    """
    source = _open_source(root)
    (part,) = _choose_parts(source, "train", hold_out)
    return _open_shards(source, part, hold_out=hold_out and _choose_parts(source, "validation", True) == [part])


def spool(items: Iterable[tuple[Path, bytes]], count: int | None, **options: Any) -> Images:
    """Store the first `count` images of a stream, or all; `options` are those of `Images.of_any_size`."""
    return Images.of_any_size(SpooledEntries(islice(items, count)), **options)


@dataclass
class _Source:
    """A data set: its name, its builder, and the shards of each split (paths, or URLs on the hub)."""

    root: str
    builder: Any
    files: dict[str, list[str]]


@contextmanager
def _explain(root: str, verb: str, way_out: str = "fetch or copy it again") -> Iterator[None]:
    datasets = import_extra("datasets", "data")
    try:
        yield
    except (*FAILURES, datasets.exceptions.DatasetsError) as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(f"{root}: expected data that `datasets` can {verb}, got {reason}; {way_out}") from error


def _open_source(root: str) -> _Source:
    datasets, shards = import_extra("datasets", "data"), find_shards(root)
    vars(import_extra("huggingface_hub.constants", "data"))["HF_HUB_DISABLE_TELEMETRY"] = True
    if shards:
        suffixes = {file.suffix for file in shards}
        if len(suffixes) > 1:
            raise DataError(f"{root}: expected shards of one kind, got both .parquet and .tar; select with a glob")
        warn_of_missing(tuple(shards))
        files = split_shards(root, shards)
        patterns = {split: [glob.escape(file) for file in part] for split, part in files.items()}
        with _explain(root, "open"):
            return _Source(root, datasets.load_dataset_builder(_BUILDERS[suffixes.pop()], data_files=patterns), files)
    match = _ON_THE_HUB.fullmatch(root.partition(":")[2])
    if match is None or _is_path(match[1]):
        raise DataError(
            f"{root}: expected hub:owner/name, stream:owner/name, or a folder or glob of *.parquet or *.tar, "
            "got neither; check the name or the path"
        )
    way_out = "check the name, the configuration after the second colon, and the connection to the hub"
    with _explain(root, "open", way_out):
        builder = datasets.load_dataset_builder(match[1], match[2])
        files = {str(split): [str(file) for file in part] for split, part in builder.config.data_files.items()}
    refuse_held_out_files(root, files)
    return _Source(root, builder, files)


def _is_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or any(sign in name for sign in "*?[") or Path(name).exists()


def _choose_parts(source: _Source, split: str, hold_out: bool) -> list[str]:
    """The data set's own splits that make up `split`; train, if validation is held out of it."""
    check_split(split)
    if split == "all":
        return list(source.files)
    known = ((meaning, name) for name in source.files if (meaning := split_of(name)) is not None)
    own = name_of_each_split(known, source.root)
    published = own.get("validation")
    test = own.get("test", published)
    part = {"train": own.get("train"), "test": test, "validation": published if published != test else None}[split]
    if split == "validation" and part is None and hold_out:
        part = own.get("train")
    if part is None:
        way_out = "hold images out, or choose" if split == "validation" else "choose"
        raise EmptySplitError(
            f"{source.root}: expected a {split} split, got {', '.join(source.files)}; "
            f"{way_out} another split, such as all"
        )
    return [part]


def _open_table(source: _Source, parts: list[str]) -> Any:
    """The images of these splits as a table that is mapped into memory."""
    if not source.root.startswith("hub:"):
        count_images(list(chain.from_iterable(source.files.values())))  # so that an error names a file that was cut off
    with _explain(source.root, "prepare"):
        source.builder.download_and_prepare()
        tables = [source.builder.as_dataset(split=part) for part in parts]
        return _select_images(source.root, import_extra("datasets", "data").concatenate_datasets(tables))


def _open_shards(source: _Source, part: str, hold_out: bool, only_held_out: bool = False) -> Shards:
    files = source.files[part]
    counts = count_images(files, split_of(part) == "train")
    with _explain(source.root, "stream"):
        stream = _select_images(source.root, source.builder.as_streaming_dataset(split=part))
        count = stream.num_shards
    if count != len(files):  # for example if archives of images are the shards
        counts, files = None, [f"{source.root}/{part}/{shard}" for shard in range(count)]
    published = (source.builder.info.splits or {}).get(part)
    total = sum(counts) if counts is not None else published.num_examples if published is not None else None
    held_out = HOLD_OUT_MOST if total is None else min(HOLD_OUT_MOST, max(total // HOLD_OUT_SHARE, 1))
    return Shards(stream, files, counts, total or None, held_out if hold_out else 0, only_held_out)


def _select_images(root: str, table: Any) -> Any:
    """Keep only the column of images, not decoded, and call it `image`."""
    datasets, features = import_extra("datasets", "data"), table.features or {}
    found: list[str] = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(found) != 1:
        columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise DataError(
            f"{root}: expected one column of images (datasets.Image), got {len(found)} among {columns or 'none'}; "
            "write the data again with one, with datasets' cast_column and select_columns"
        )
    others = (name for name in features if name != found[0])
    if splits := [name for name in others if name.lower() in _DIVIDING or resembles_split(name)]:
        warnings.warn(
            f"{root}: the column {splits[0]} is not read, so its rows are not divided by it; if it names images for "
            "validation or test, write each split to shards of its own",
            stacklevel=4,
        )
    images = table.select_columns(found).cast_column(found[0], datasets.Image(decode=False))
    return images if found == ["image"] else images.rename_column(found[0], "image")
