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
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from pixelpyramids.data.containers.arrow import ArrowEntries
from pixelpyramids.data.containers.spool import SpooledEntries
from pixelpyramids.data.damage import explain_damage
from pixelpyramids.data.images import Images
from pixelpyramids.data.shard_names import find_shards, refuse_held_out_files, split_shards, warn_of_incomplete_sets
from pixelpyramids.data.shards import Shards, count_images
from pixelpyramids.data.split_names import is_split_column, name_of_each_split, split_of
from pixelpyramids.data.splits import HOLD_OUT_MOST, HOLD_OUT_SHARE, check_split, hold_out_indices
from pixelpyramids.errors import DataError, EmptySplitError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.pillow_reading import readable_formats

_BUILDERS = {".parquet": "parquet", ".tar": "webdataset"}
_ON_THE_HUB = re.compile(r"([\w.-]+(?:/[\w.-]+)?)(?::([\w.-]+))?")


def is_hub(root: str) -> bool:
    """Whether this module opens `root`: it has one of the prefixes, or it holds shards.

    A folder with other folders or images beside its shards, or beside those of a folder in it, is a folder of images.
    """
    if root.startswith(("hub:", "stream:")):
        return True
    shards, path = find_shards(root), Path(root).expanduser()
    if not shards or not path.is_dir():
        return bool(shards)
    folders = {path, *(file.parent for file in shards)}
    return not any(
        child not in folders if child.is_dir() else child.suffix.lower() in readable_formats()
        for child in chain.from_iterable(folder.iterdir() for folder in folders)
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
    opened = _open_data_set(root)
    parts, holds_out = _choose_parts(opened, split, hold_out)
    if not is_stream(root):
        table = _open_table(opened, parts)
        _refuse_nothing(root, split, len(table))
        entries = ArrowEntries(table, Path(root, split if split == "all" else parts[0]))
        chosen = hold_out_indices(len(table), seed)[split == "validation"] if holds_out else None
        if size is not None:
            return Images.of_one_size(entries, size, chosen, channels=channels, n_bits=n_bits)
        return Images.of_any_size(entries, chosen, channels=channels, n_bits=n_bits)
    if split == "train":
        raise DataError(
            f"{root}: expected another split than train, because training images of a stream are only for training; "
            "choose another split"
        )
    streams = [_open_shards(opened, part, holds_out) for part in parts]
    items = streams[0].read_held_out() if holds_out else chain.from_iterable(stream.read_all() for stream in streams)
    spooled = SpooledEntries(islice(items, HOLD_OUT_MOST if split == "validation" else None))
    _refuse_nothing(root, split, len(spooled))
    return Images.of_any_size(spooled, channels=channels, n_bits=n_bits, size=size)


def _refuse_nothing(root: str, split: str, count: int) -> None:
    """Raise DataError if a split has no rows."""
    if not count:
        raise DataError(f"{root}: expected at least one image in {split}, got none; check the files")


def open_shards(root: str, *, hold_out: bool = True) -> Shards:
    """Open the training images of a stream, without those that are held out for validation.

    The first images of the first shard are held out, 1 % of all (at least 1, at most 1,000; 1,000 if the number of
    images is not known). Raises DataError as `open_hub` does.
    """
    opened = _open_data_set(root)
    (part,), holds_out = _choose_parts(opened, "train", hold_out)
    return _open_shards(opened, part, holds_out)


class _DataSet(NamedTuple):
    """Its name, its builder, and the shards of each split (paths, or URLs on the hub)."""

    root: str
    builder: Any
    files: dict[str, list[str]]


def _explain(root: str, verb: str, way_out: str = "fetch or copy it again") -> AbstractContextManager[None]:
    error = import_extra("datasets", "data").exceptions.DatasetsError
    return explain_damage(root, f"data that `datasets` can {verb}", way_out, error)


def _open_data_set(root: str) -> _DataSet:
    datasets, shards = import_extra("datasets", "data"), find_shards(root)
    vars(import_extra("huggingface_hub.constants", "data"))["HF_HUB_DISABLE_TELEMETRY"] = True
    if shards:
        suffixes = {file.suffix for file in shards}
        if len(suffixes) > 1:
            raise DataError(f"{root}: expected shards of one kind, got both .parquet and .tar; select with a glob")
        warn_of_incomplete_sets(tuple(shards))
        files = split_shards(root, shards)
        patterns = {split: [glob.escape(file) for file in part] for split, part in files.items()}
        with _explain(root, "open"):
            return _DataSet(root, datasets.load_dataset_builder(_BUILDERS[suffixes.pop()], data_files=patterns), files)
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
    return _DataSet(root, builder, files)


def _is_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or any(sign in name for sign in "*?[") or Path(name).exists()


def _choose_parts(opened: _DataSet, split: str, hold_out: bool) -> tuple[list[str], bool]:
    """The data set's own splits that make up `split`, and whether they are divided into train and validation."""
    check_split(split)
    if split == "all":
        return list(opened.files), False
    own = name_of_each_split(((split_of(name), name) for name in opened.files), opened.root)
    published = own.get("validation") if "test" in own else None
    holds_out = hold_out and published is None and split != "test"
    parts = {
        "train": own.get("train"),
        "validation": own.get("train") if holds_out else published,
        "test": own.get("test", own.get("validation")),
    }
    if (part := parts[split]) is None:
        way_out = "hold images out, or choose" if split == "validation" else "choose"
        raise EmptySplitError(
            f"{opened.root}: expected a {split} split, got {', '.join(opened.files)}; "
            f"{way_out} another split, such as all"
        )
    return [part], holds_out


def _open_table(opened: _DataSet, parts: list[str]) -> Any:
    """The images of these splits as a table that is mapped into memory."""
    if not opened.root.startswith("hub:"):
        count_images(list(chain.from_iterable(opened.files.values())))  # so that an error names a file that was cut off
    with _explain(opened.root, "prepare"):
        opened.builder.download_and_prepare()
        tables = [opened.builder.as_dataset(split=part) for part in parts]
        return _select_images(opened.root, import_extra("datasets", "data").concatenate_datasets(tables))


def _open_shards(opened: _DataSet, part: str, hold_out: bool) -> Shards:
    files = opened.files[part]
    counts = count_images(files, split_of(part) == "train")
    with _explain(opened.root, "stream"):
        stream = _select_images(opened.root, opened.builder.as_streaming_dataset(split=part))
        count = stream.num_shards
    if count != len(files):  # for example if archives of images are the shards
        counts, files = None, [f"{opened.root}/{part}/{shard}" for shard in range(count)]
    published = (opened.builder.info.splits or {}).get(part)
    total = sum(counts) if counts is not None else published.num_examples if published is not None else None
    held_out = HOLD_OUT_MOST if total is None else min(HOLD_OUT_MOST, max(total // HOLD_OUT_SHARE, 1))
    return Shards(stream, files, counts, total or None, held_out if hold_out else 0)


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
    if splits := [name for name in features if name != found[0] and is_split_column(name)]:
        warnings.warn(
            f"{root}: the column {splits[0]} is not read, so its rows are not divided by it; if it names images for "
            "validation or test, write each split to shards of its own",
            stacklevel=4,
        )
    images = table.select_columns(found).cast_column(found[0], datasets.Image(decode=False))
    return images if found == ["image"] else images.rename_column(found[0], "image")
