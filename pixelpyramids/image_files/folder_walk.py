"""The files below a folder. Links to folders are followed, each folder once."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from pixelpyramids.errors import DataError


def walk_files(
    root: Path,
    onerror: Callable[[OSError], object],
    links: dict[str, str] | None = None,
    is_left_out: Callable[[str], bool] = lambda _: False,
) -> Iterator[str]:
    """The POSIX paths below `root` of all files, in no particular order.

    Hidden folders are not entered; each yields its own path, with "/" at its end. Folders for whose POSIX path
    `is_left_out` returns True are not entered either. If a folder cannot be listed, `onerror` is called with the error,
    whose `filename` is the folder. If a folder is reached a second time, it is not entered, and `links` receives its
    second path and its first. Links are followed last and in order, so real folders keep their own paths.
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
