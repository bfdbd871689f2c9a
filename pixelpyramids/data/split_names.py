"""The names of splits: one list for folders, datasets, shards and files, in upper or lower case.

A name in the list is a split. A name that only resembles one (`Train_set`, `test2`, `held-out`, `trainval`) is refused,
because its images would otherwise silently be trained on or left out.
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path

from pixelpyramids.errors import DataError

NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}

_SPLITS = {name: split for split, names in NAMES.items() for name in names}
_WORD_IN_NAME = re.compile(rf"(?<![a-z])({'|'.join(sorted(_SPLITS, key=len, reverse=True))})(?![a-z])", re.IGNORECASE)
_TRAIN = "(?:train(?:ing)?|trn)"
_HELD_OUT = (
    "(?:mini)?(?:val(?:id(?:ation|at[a-z]+)?)?|dev(?:el(?:opment)?)?|eval(?:uation|uate)?|test(?:ing)?|tst|unseen"
    "|held_?out|hold_?out)"
)
_WHAT = "(?:sets?|data|images?|imgs?|splits?|photos?|photographs?|pictures?|pics?|frames?|faces?|samples?|files?)?"
_LIKE_TRAIN = re.compile(f"[a-z]?{_TRAIN}{_WHAT}")
_LIKE_HELD_OUT = re.compile(f"[a-z]?{_TRAIN}?(?:{_HELD_OUT})+(?:{_WHAT}|s)")
_ANYWHERE = re.compile(f"{_TRAIN}|{_HELD_OUT}|(?<![a-z])t[rse](?![a-z])")
_SPLIT_COLUMNS = {"set", "usage", "phase"}
_SPLIT_WORDS = {"split", "splits", "datasplit", "set_type", "subset", "fold", "partition"}  # in the name of a column
_NAMED_AT_MOST = 5


def split_of(name: str) -> str | None:
    """The split that a name stands for: "train", "validation" or "test"; None for other names. Case is ignored."""
    return _SPLITS.get(name.lower())


def splits_in(name: str) -> list[str]:
    """The words for splits in a name such as `train-00000-of-00010.parquet`, as they are written there."""
    return _WORD_IN_NAME.findall(name)


def resembles_split(name: str) -> bool:
    """Whether a word in the name is, or resembles, the name of a split: `train`, `TestSet`, `val2017`, `held-out`."""
    return resembles_held_out(name) or any(_LIKE_TRAIN.fullmatch(word) for word in _words(name))


def resembles_held_out(name: str) -> bool:
    """Whether a word in the name is, or resembles, a name for images that must not be trained on."""
    return any(_LIKE_HELD_OUT.fullmatch(word) for word in _words(name))


def is_split_column(name: str) -> bool:
    """Whether a column of that name may say which rows are for validation or test."""
    return name.lower() in _SPLIT_COLUMNS or not _SPLIT_WORDS.isdisjoint(_words(name)) or resembles_split(name)


def _words(name: str) -> Iterator[str]:
    """The words of a name in lower case, both split at capitals and not, and each pair of neighbours joined."""
    for words in (re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name), re.findall("[a-z]+", name.lower())):
        lower = [word.lower() for word in words]
        yield from lower
        yield from ("_".join(pair) for pair in pairwise(lower))


def divide(names: Sequence[str], root: str | PathLike[str]) -> dict[str, list[int]]:
    """Indices of the images in each split, by the folders in their POSIX paths `names`; empty without split folders.

    Split folders lie side by side, in `root` or in the one folder that holds all images. Images directly beside them
    belong to no split, and a warning counts them.

    Raises DataError, naming the folders, if two folders are for the same split; if a folder beside split folders is not
    for a split; if a folder inside the training folder resembles held-out images; or if there are no split folders, but
    the name of a folder, or the names of the files, resemble splits.
    """
    folders: dict[tuple[str, ...], list[int]] = {}
    for index, name in enumerate(names):
        folders.setdefault(tuple(name.split("/")[:-1]), []).append(index)
    depth = shared_depth(folders)
    tops: dict[str, list[tuple[str, ...]]] = {}
    for folder in folders:
        tops.setdefault("/".join(folder[: depth + 1]) if len(folder) > depth else "", []).append(folder)
    parts = name_of_each_split(((split_of(top.rpartition("/")[2]), top) for top in tops), root)
    if not parts:
        _refuse_similar_names(names, folders, root)
        return {}
    if others := [top for top in tops if top and top not in parts.values()]:
        raise DataError(
            f"{root}: expected only folders for splits beside {_list_names(parts.values())}, got "
            f"{_list_names(others)}; rename them to {', '.join(NAMES)} if they are splits, or move them elsewhere"
        )
    if "train" in parts:
        for folder in tops[parts["train"]]:
            _refuse_held_out_folder(folder[depth + 1 :], Path(root, parts["train"]))
    if loose := [index for folder in tops.get("", ()) for index in folders[folder]]:
        warnings.warn(
            f"{root}: {len(loose)} images lie beside {_list_names(parts.values())} and belong to no split, such as "
            f"{names[loose[0]]}; move them into a split, or elsewhere",
            stacklevel=4,
        )
    return {split: sorted(index for folder in tops[top] for index in folders[folder]) for split, top in parts.items()}


def refuse_linked_splits(links: Mapping[str, str], root: str | PathLike[str]) -> None:
    """Raise DataError if a link makes one folder appear at two paths below `root` that are in different splits."""
    for one, other in links.items():
        splits = {next(filter(None, map(split_of, path.split("/"))), None) for path in (one, other)} - {None}
        if len(splits) > 1:
            raise DataError(
                f"{root}: expected splits that share no images, got {one} and {other}, which are the same folder; "
                "remove the link"
            )


def split_folders(folder: Path, suffix: str = "") -> dict[str, Path]:
    """The folders in `folder` that are named SPLIT + `suffix` (lower case), by split; empty if it is not a folder.

    Raises DataError if two are for the same split, or are the same folder.
    """
    paths = [path for path in sorted(folder.glob("*")) if path.name.lower().endswith(suffix)]
    named = ((split_of(path.name.lower().removesuffix(suffix)), path) for path in paths)
    parts = name_of_each_split(((split, path.name) for split, path in named if split and path.is_dir()), folder)
    places: dict[str, str] = {}
    for name in parts.values():
        refuse_linked_splits({name: places.setdefault(os.path.realpath(folder / name), name)}, folder)
    return {split: folder / name for split, name in parts.items()}


def refuse_held_out(names: Iterable[str], train: Path) -> Iterator[str]:
    """Yield the POSIX paths of training images. Raises DataError if one of their folders resembles held-out images."""
    seen = set()
    for name in names:
        if (folder := name.rpartition("/")[0]) not in seen:
            seen.add(folder)
            _refuse_held_out_folder(folder.split("/"), train)
        yield name


def _refuse_held_out_folder(folder: Sequence[str], train: Path) -> None:
    if depth := next((number for number, part in enumerate(folder, 1) if resembles_held_out(part)), None):
        raise DataError(
            f"{train.parent}: expected only training images in {train.name}, got "
            f"{'/'.join([train.name, *folder[:depth]])}, which is named like validation or test images; move it "
            f"out of {train.name}, or rename it"
        )


def name_of_each_split(found: Iterable[tuple[str | None, str]], root: str | PathLike[str]) -> dict[str, str]:
    """(split, name) pairs without those of no split. Raises DataError if one split has two different names."""
    parts: dict[str, str] = {}
    for split, name in found:
        if split is not None and parts.setdefault(split, name) != name:
            raise DataError(
                f"{root}: expected one name for {split} images, got both {parts[split]} and {name}; keep one"
            )
    return parts


_RENAME = f"rename them to {', '.join(NAMES)} if they are splits, or to unrelated names"


def shared_depth(folders: Collection[tuple[str, ...]]) -> int:
    """The number of nested folders that hold all images, up to the first whose name resembles a split."""
    first, last = min(folders), max(folders)
    depth = 0
    while depth < min(len(first), len(last)) and first[depth] == last[depth] and not resembles_split(first[depth]):
        depth += 1
    return depth


def _refuse_similar_names(names: Sequence[str], folders: Iterable[tuple[str, ...]], root: str | PathLike[str]) -> None:
    paths = {folder[: i + 1] for folder in folders for i in range(len(folder))}
    alike = Counter((path[:-1], _without_split(path[-1])) for path in paths)
    like = sorted(
        "/".join(path)
        for path in paths
        if resembles_split(path[-1]) or ("*" in (form := _without_split(path[-1])) and alike[path[:-1], form] > 1)
    )
    if like:
        raise DataError(
            f"{root}: expected folders {', '.join(NAMES)} side by side, or no folders with similar names, got "
            f"{_list_names(like)}; {_RENAME}, or pass the folder that holds them"
        )
    said: dict[str, str] = {}
    forms: dict[str, dict[str, str]] = {}
    for name in names:
        stem = name.rpartition("/")[2].rpartition(".")[0]
        words = re.match("[A-Za-z]*", stem)
        if words is not None and (split := split_of(words[0])) is not None:
            said.setdefault(split, name)
        if "*" in (form := _without_split(stem)):
            word = "".join(_ANYWHERE.findall(_separate_words(stem)))
            forms.setdefault(re.sub("[0-9]+", "#", form), {}).setdefault(word, name)
    several = next((found for found in (said, *forms.values()) if len(found) > 1), None)
    if several is not None:
        raise DataError(
            f"{root}: expected folders for splits, got files that are named like splits, such as "
            f"{_list_names(several.values())}; move them into folders {', '.join(NAMES)}"
        )


def _without_split(name: str) -> str:
    """The name with * for each word that may be a split. celebatrain and celebatest become the same."""
    return _ANYWHERE.sub("*", _separate_words(name))


def _separate_words(name: str) -> str:
    """The name in lower case, with - before each inner capital, so that imagesTr and images_tr both have a word tr."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "-", name).lower()


def _list_names(names: Iterable[str]) -> str:
    shown = list(names)
    more = len(shown) - _NAMED_AT_MOST
    return ", ".join(shown[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
