"""Which files a command works on, the names of their results, and which files it leaves out.

No file in a folder is ignored silently: hidden files, files with other suffixes, and folders that cannot be listed are
returned beside the tasks.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn

from pixelpyramids.errors import DataError


class Task(NamedTuple):
    """A file, the path of its result, and whether it was named on the command line or found in a folder.

    `existing` is what was at the target before the command wrote anything.
    """

    source: Path
    target: Path
    is_named: bool
    existing: os.stat_result | None = None


class Listing(NamedTuple):
    """The tasks, the other files in the folders, and the folders that could not be listed with their errors."""

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
    """The files among `paths`, and the files with one of the `extensions` below its folders; each once, in order.

    The target of a file is named `rename(name)`. It lies beside the source, or below `out`: a folder's files keep their
    place below the folder, and if there are several folders, each has a subfolder of its own name. Files and folders
    whose name or path, with or without that of the folder, matches a shell pattern in `exclude` are left out and not
    reported.

    Raises DataError if a path does not exist, if a folder cannot be listed or has no such file (`what` names them in
    the error), or if `out` is not a folder.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise DataError(f"{out}: expected a folder (--out), got a file; choose another name")
    tasks: list[Task] = []
    others: list[Path] = []
    unlisted: list[tuple[Path, OSError]] = []
    several = len({os.path.abspath(path) for path in paths if path.is_dir()}) > 1
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; check the name")
        if not path.is_dir():
            target = path if out is None else out / path.name
            if not is_excluded(path.name, exclude):
                tasks.append(Task(path, target.with_name(rename(path.name)), True))
            continue
        names, left, errors = _split_files(path, extensions, exclude)
        if not names and not errors:
            left_out = f"only {describe_kinds(map(Path, left))}" if left else "none"
            raise DataError(
                f"{path}: expected {what} in the folder or below, got {left_out}; hidden files and folders do not count"
            )
        base = path if out is None else out / Path(os.path.abspath(path)).name if several else out
        for name in names:
            tasks.append(Task(path / name, (base / name).with_name(rename(os.path.basename(name))), False))
        others += [path / name for name in left]
        unlisted += errors
    first: dict[str, Task] = {}
    for task in tasks:
        first.setdefault(os.path.abspath(task.source), task)
    return Listing(list(first.values()), list(dict.fromkeys(others)), unlisted)


def walk_files(
    root: Path,
    onerror: Callable[[OSError], object],
    links: dict[str, str] | None = None,
    is_left_out: Callable[[str], bool] = lambda _: False,
) -> Iterator[str]:
    """The POSIX paths below `root` of all files, in no particular order. Links to folders are followed.

    Hidden folders are not entered; each yields its own path, with "/" at its end. Nor are folders for whose POSIX path
    `is_left_out` returns True. If a folder cannot be listed, `onerror` gets the error, whose `filename` is the folder.
    If a folder is reached again, `links` receives its second path and its first; real folders keep their own paths.
    """
    seen: dict[tuple[int, int], str] = {}
    folders, linked = deque(["."]), deque[str]()
    while folders or linked:
        below = (folders or linked).popleft()
        folder = root / below
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            status = os.stat(folder)
        except OSError as error:
            onerror(error)
            continue
        followed = seen.setdefault((status.st_dev, status.st_ino), below)
        if followed != below:
            if links is not None:
                links[below] = followed
            continue
        for entry in entries:
            path = entry.name if below == "." else f"{below}/{entry.name}"
            if not _is_folder(entry):
                yield path
            elif is_hidden(path):
                yield f"{path}/"
            elif not is_left_out(path):
                (linked if entry.is_symlink() else folders).append(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a broken link
        return False


def refuse_unlisted(error: OSError) -> NoReturn:
    """Raise the DataError for a folder that cannot be listed."""
    raise DataError(
        f"{error.filename}: expected a folder that can be listed, got: {error.strerror}; check its permissions"
    ) from error


def is_hidden(path: str) -> bool:
    """Whether the last name of a POSIX path begins with a dot."""
    return path.rstrip("/").rpartition("/")[2].startswith(".")


def stat_existing(path: Path) -> os.stat_result | None:
    """What is at a path, if anything. Links are not followed, because a new file would replace the link itself."""
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
    """Groups of tasks that would be written to one file: to equal paths, or paths at which the system finds one file.

    Links to folders and systems that ignore case make the latter. Hard links count as different files.
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
    """The counts of files by lower-case suffix; "hidden" and "without suffix" are kinds of their own."""
    return Counter("hidden" if is_hidden(path.name) else path.suffix.lower() or "without suffix" for path in paths)


def is_excluded(name: str, patterns: Sequence[str]) -> bool:
    """Whether a POSIX path below a folder, or one of its parent folders, matches a pattern by name or by path."""
    if not patterns:
        return False
    path = PurePosixPath(name)
    places = [path, *path.parents][:-1]  # without the folder itself
    return any(fnmatch(text, pattern) for pattern in patterns for place in places for text in (place.name, str(place)))


def relative_patterns(patterns: Sequence[str], root: Path) -> list[str]:
    """Patterns for `is_excluded`: as they were given, and without the path of the folder, if they begin with it."""
    plain = [str(PurePosixPath(pattern)) for pattern in patterns]  # without a slash at the end
    return plain + [pattern.removeprefix(f"{root}/") for pattern in plain]


def _split_files(
    root: Path, extensions: Container[str], exclude: Sequence[str]
) -> tuple[list[str], list[str], list[tuple[Path, OSError]]]:
    """The names below a folder with one of the extensions, the other names, and the folders that cannot be listed."""
    names: list[str] = []
    others: list[str] = []
    errors: list[tuple[Path, OSError]] = []

    def note(error: OSError) -> None:
        if Path(error.filename) == root:
            refuse_unlisted(error)
        errors.append((Path(error.filename), error))

    patterns = relative_patterns(exclude, root)
    for name in sorted(walk_files(root, note, is_left_out=lambda folder: is_excluded(folder, patterns))):
        if not is_excluded(name, patterns):
            is_taken = not is_hidden(name) and os.path.splitext(name)[1].lower() in extensions
            (names if is_taken else others).append(name)
    return names, others, errors
