"""Write files completely or not at all: to a temporary name beside the target, flushed to disk, then renamed."""

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pixelpyramids.errors import PixelPyramidsError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.part")


@contextmanager
def replace_file(target: Path, new: bool = False, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path in the folder of `target`, and rename it to `target` if the block succeeds.

    The folder is created if it is missing. After an exception, the temporary file is removed and `target` is unchanged.
    With `new`, raise FileExistsError if `target` exists, even if it appeared in the meantime (this is certain only on
    file systems with hard links). `mode` is the permissions before the umask.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    start = target.name[:40]  # the name may already be as long as the system allows
    temporary = target.with_name(f".{start}.{secrets.token_hex(8)}.part")
    # Reading the umask would set it for all threads, so the system applies it here. The owner must be able to write.
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode & 0o666 | 0o600)
    except OSError as error:
        error.filename = str(target)
        raise
    rights = stat.S_IMODE(os.fstat(descriptor).st_mode) & mode  # kept even if a writer replaces the file
    os.close(descriptor)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, rights)
        if not new or not _link_new(temporary, target):
            os.replace(temporary, target)
    except OSError as error:
        # The error of a full disk names no file, and the temporary name means nothing to people.
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary_files(folder: str) -> None:
    """Remove what killed processes left of `replace_file` below a folder. No other process may be writing there.

    Links are not followed. Raises OSError.
    """
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:  # a folder may hold millions of names
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    Path(entry.path).unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes, new: bool = False) -> None:
    """Write `content` to `target`, completely or not at all; `new` is as for `replace_file`."""
    with replace_file(target, new) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, content: str, new: bool = False) -> None:
    """Write `content` to `target` as UTF-8, completely or not at all; `new` is as for `replace_file`."""
    write_bytes(target, content.encode(), new)


def flush_folders(folders: Iterable[Path]) -> None:
    """Return when the names of the files in some folders would survive a power cut. Raises OSError."""
    is_complete = True
    for folder in folders:
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except PermissionError:  # it can be written to, but not read
            is_complete = False
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if not is_complete:
        os.sync()  # flushes all disks


def refuse_existing(target: Path, overwrite: bool) -> None:
    """Raise PixelPyramidsError if `target` exists (or is a folder with content), unless `overwrite`."""
    if overwrite or is_free(target):
        return
    raise PixelPyramidsError(f"{target}: exists already; choose another name, or pass --overwrite to replace it")


def is_free(target: Path) -> bool:
    """Whether `target` does not exist, or is a folder with nothing but temporary files of a killed process."""
    if target.is_dir():
        return all(path.name.startswith(".") and path.name.endswith(".part") for path in target.iterdir())
    return not target.exists()


def _link_new(temporary: Path, target: Path) -> bool:
    """Hard-link `temporary` as `target`; return False if that is impossible. Raises FileExistsError if it exists."""
    try:
        os.link(temporary, target)
    except FileExistsError as error:  # it names the temporary file
        raise FileExistsError(error.errno, error.strerror, str(target)) from None
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        return False
    return True
