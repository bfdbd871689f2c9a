"""Which files a command works on, what their results are called, and which files it leaves out.

Nothing in a folder is passed over in silence: what is no image by its name, is hidden, or cannot be listed, is listed
beside the work.
"""

import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pixelpyramids.data.tree import is_hidden, walk_files
from pixelpyramids.errors import DataError


class Task(NamedTuple):
    """A file, what is to be made of it, and whether it was named itself or found in a folder.

    `existing` is what was at the target before the command wrote anything, if `find_existing` has looked.
    """

    source: Path
    target: Path
    is_named: bool
    existing: os.stat_result | None = None


class Listing(NamedTuple):
    """The work, the files of the folders that are none of it, and the folders that could not be listed, and why."""

    tasks: list[Task]
    others: list[Path]
    unlisted: list[tuple[Path, OSError]]


def list_tasks(
    paths: Sequence[Path],
    out: Path | None,
    rename: Callable[[str], str],
    extensions: Container[str],
    what: str,
    exclude: Sequence[str] = (),
) -> Listing:
    """The files among the paths and, of folders, those below with such an extension; each once, in their order.

    A target has the name that `rename` makes of the source's, and lies beside it, or below `out`: of a folder's files
    at the same place as below the folder; if there are several folders, below the folder's own name. Files and folders
    that `exclude` matches, as shells match names or paths below a folder, do not count at all.

    Raises DataError if there is no such path, a folder cannot be listed itself or has no such file (`what` says which),
    or `out` is no folder.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise DataError(f"{out}: expected a folder to write below (--out), got a file; choose another name")
    listing = Listing([], [], [])
    several = len({os.path.abspath(path) for path in paths if path.is_dir()}) > 1
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: expected a file or a folder, got nothing there; check the name")
        if not path.is_dir():
            target = path if out is None else out / path.name
            if not is_excluded(path.name, exclude):
                listing.tasks.append(Task(path, target.with_name(rename(path.name)), True))
            continue
        names, others, errors = _split_files(path, extensions, exclude)
        if not names and not errors:
            left_out = f"others ({describe_kinds(map(Path, others))})" if others else "none"
            raise DataError(
                f"{path}: expected {what} in the folder or below, got {left_out}; hidden files and folders do not count"
            )
        base = path if out is None else out / Path(os.path.abspath(path)).name if several else out
        for name in names:
            source, target = path / name, base / name
            listing.tasks.append(Task(source, target.with_name(rename(source.name)), False))
        listing.others.extend(path / name for name in others)
        listing.unlisted.extend(errors)
    return Listing(_without_duplicates(listing.tasks), list(dict.fromkeys(listing.others)), listing.unlisted)


def find_existing(tasks: Iterable[Task]) -> list[Task]:
    """The tasks with what is at their targets."""
    return [task._replace(existing=stat_existing(task.target)) for task in tasks]


def stat_existing(path: Path) -> os.stat_result | None:
    """What is at a path, if anything; of a link itself, for it is what a new file would replace."""
    try:
        return path.lstat()
    except OSError:
        return None


def group_by_target(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Tasks by their targets' absolute paths."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(os.path.abspath(task.target), []).append(task)
    return groups


def find_collisions(tasks: Iterable[Task]) -> list[list[Task]]:
    """The groups of tasks that would be written to one file.

    One file are equal paths, and paths at which the file system shows one file: through links to folders, or because
    it ignores case. A file that has several names of its own (hard links) is one for each.
    """
    groups: dict[object, list[Task]] = {}
    for path, group in group_by_target(tasks).items():
        existing = group[0].existing
        is_one = existing is not None and existing.st_nlink == 1
        groups.setdefault((existing.st_dev, existing.st_ino) if existing and is_one else path, []).extend(group)
    return [group for group in groups.values() if len(group) > 1]


def describe_kinds(paths: Iterable[Path]) -> str:
    """How many files there are of each kind, the most frequent first: `300 .heic, 12 .xmp`."""
    return ", ".join(f"{count} {kind}" for kind, count in count_kinds(paths).most_common())


def count_kinds(paths: Iterable[Path]) -> Counter[str]:
    """The counts of files by their suffix in small letters; "hidden" and "without suffix" are kinds of their own."""
    return Counter("hidden" if is_hidden(path.name) else path.suffix.lower() or "without suffix" for path in paths)


def is_excluded(name: str, patterns: Sequence[str]) -> bool:
    """Whether a POSIX path below a folder, or a folder that it is in, matches a pattern by its name or its path."""
    path = PurePosixPath(name)
    places = [path, *path.parents][:-1]  # the last one is the folder itself
    return any(fnmatch(text, pattern) for pattern in patterns for place in places for text in (place.name, str(place)))


def _split_files(
    root: Path, extensions: Container[str], exclude: Sequence[str]
) -> tuple[list[str], list[str], list[tuple[Path, OSError]]]:
    """The names below a folder that have such an extension, the others, and what cannot be listed."""
    errors: list[tuple[Path, OSError]] = []

    def note(error: OSError) -> None:
        folder = Path(error.filename)
        if folder == root:
            raise DataError(
                f"{root}: expected a folder that can be listed, got: {error.strerror}; check its permissions"
            )
        if not is_excluded(folder.relative_to(root).as_posix(), exclude):
            errors.append((folder, error))

    names: list[str] = []
    others: list[str] = []
    for name in sorted(walk_files(root, note)):
        if not is_excluded(name, exclude):
            is_taken = not is_hidden(name) and os.path.splitext(name)[1].lower() in extensions
            (names if is_taken else others).append(name)
    return names, others, errors


def _without_duplicates(tasks: Iterable[Task]) -> list[Task]:
    found: dict[str, Task] = {}
    for task in tasks:
        found.setdefault(os.path.abspath(task.source), task)
    return list(found.values())
