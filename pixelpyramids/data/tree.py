"""The files below a folder. Links to folders are followed, each folder once."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk_files(root: Path, onerror: Callable[[OSError], object], links: dict[str, str] | None = None) -> Iterator[str]:
    """The POSIX paths below `root` of all files, in no order.

    A hidden folder is not entered; its own path, with "/" at its end, stands for what it holds. A folder that cannot be
    listed is left out after `onerror` was called with the error, whose `filename` is the folder. `links` takes each
    folder that is not followed, and the one of the same files that is.
    """
    seen: dict[tuple[int, int], str] = {}
    for folder, folders, names in os.walk(root, followlinks=True, onerror=onerror):
        status, below = os.stat(folder), Path(folder).relative_to(root).as_posix()
        followed = seen.setdefault((status.st_dev, status.st_ino), below)
        if followed != below:
            folders.clear()
            if links is not None:
                links[below] = followed
            continue
        hidden = [f"{name}/" for name in folders if is_hidden(name)]
        # In order, so that of two links to one folder always the same one is followed.
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in (*names, *hidden):
            yield name if below == "." else f"{below}/{name}"


def is_hidden(path: str) -> bool:
    """Whether the last name of a POSIX path begins with a dot."""
    return path.rstrip("/").rpartition("/")[2].startswith(".")
