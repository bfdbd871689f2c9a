"""Files appear whole or not at all: a temporary name beside the target, flushed to the disk, then renamed."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixelpyramids.errors import PixelPyramidsError


@contextmanager
def replacing(target: Path, new: bool = False, mode: int = 0o666) -> Iterator[Path]:
    """Give a temporary path in the folder of `target`; move it onto `target` once the block has ended well.

    The folder is made where it is missing. After an exception the temporary file is gone and `target` is as it was.
    With `new` a `target` that is there stays: FileExistsError, whoever made it and when (but for file systems without
    hard links). `mode` is who may do what with it, as far as the umask allows.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    start = target.name[:40]  # of a name that may be as long as names can be
    temporary = target.with_name(f".{start}.{secrets.token_hex(8)}.part")
    # The system applies the umask; to ask for it is to set it, for all threads. The owner writes whatever the mode.
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode & 0o666 | 0o600)
    except OSError as error:
        error.filename = str(target)
        raise
    rights = stat.S_IMODE(os.fstat(descriptor).st_mode) & mode  # also of what a writer puts in the file's place
    os.close(descriptor)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, rights)
        if not new or not _linked(temporary, target):
            os.replace(temporary, target)
    except OSError as error:
        # A write to a full disk names no file; the temporary one tells a person nothing.
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes, new: bool = False) -> None:
    """Write `content` to `target`, whole or not at all; with `new` as `replacing`."""
    with replacing(target, new) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, content: str, new: bool = False) -> None:
    """Write `content` to `target` as UTF-8, whole or not at all; with `new` as `replacing`."""
    write_bytes(target, content.encode(), new)


def refuse_existing(target: Path, overwrite: bool) -> None:
    """Raise `PixelPyramidsError` where `target` exists (a folder: where it holds anything), unless `overwrite`."""
    if overwrite or is_free(target):
        return
    raise PixelPyramidsError(f"{target}: exists already; choose another name, or pass --overwrite to replace it")


def is_free(target: Path) -> bool:
    """Whether nothing is at `target`, or a folder that holds nothing but what a killed process left half-written."""
    if target.is_dir():
        return all(path.name.startswith(".") and path.name.endswith(".part") for path in target.iterdir())
    return not target.exists()


def _linked(temporary: Path, target: Path) -> bool:
    """Whether `target` is now what was `temporary`. Raises FileExistsError where it was there."""
    try:
        os.link(temporary, target)
    except FileExistsError as error:  # which names the temporary file
        raise FileExistsError(error.errno, error.strerror, str(target)) from None
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        return False
    return True
