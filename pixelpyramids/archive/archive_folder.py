"""Open an archive: the folder of its results, and its manifest."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixelpyramids.archive import manifest
from pixelpyramids.archive.manifest import Manifest
from pixelpyramids.errors import DataError


@contextmanager
def open_for_writing(path: Path) -> Iterator[Manifest]:
    """Open the manifest of an archive, which is created if it is missing, for one process at a time.

    Raises DataError if the path is a file, if another process writes to the archive, or if the manifest is damaged.
    """
    if path.exists() and not path.is_dir():
        raise DataError(f"{path}: expected a folder (--out), got a file; choose another name")
    path.mkdir(parents=True, exist_ok=True)
    with locked(path, str(path)), Manifest(path / manifest.NAME) as opened:
        yield opened


@contextmanager
def locked(path: Path, archive: str) -> Iterator[None]:
    """Lock a folder against other processes. Raises DataError, which names the archive, if it is locked already."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock(descriptor, archive)
        yield
    finally:
        os.close(descriptor)  # which unlocks the folder, as the end of the process does


def clock_of(path: Path) -> int:
    """The present time of a folder's file system, in nanoseconds."""
    probe = path / f".{os.getpid()}.part"
    try:
        probe.touch()
        return probe.stat().st_ctime_ns
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def mark(path: Path) -> Iterator[str]:
    """Yield the path of a file in an archive that exists during the block, to recognise the archive elsewhere."""
    marking = path / f".{secrets.token_hex(8)}.part"
    marking.touch()
    try:
        yield str(marking)
    finally:
        marking.unlink(missing_ok=True)


def _lock(descriptor: int, archive: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(
            f"{archive}: another process compresses into this archive, or verifies it; wait until it has finished"
        ) from error
    except OSError:  # a file system without locks
        pass
