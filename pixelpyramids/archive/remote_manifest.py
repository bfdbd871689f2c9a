"""The manifest of a remote archive. SQLite needs a local file, so this machine works on a copy, and sends it.

The copy lies in the user's cache folder and survives a killed process. It is sent when the archive is opened, every few
minutes, and at the end. When an archive is opened, its own manifest and the copy are compared:

- an archive without a manifest is new, whatever the copy says;
- a manifest of another identity belongs to another archive that was at this address: it replaces the copy;
- otherwise the one with the later last run or verification counts, and the copy if they are the same, because it is
  ahead.

Results that the chosen manifest does not know are found, compared with their sources and recorded by the next run.
"""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pixelpyramids.archive import archive_folder
from pixelpyramids.archive.manifest import NAME, DamagedManifestError, Manifest, missing
from pixelpyramids.archive.remote import Remote, RemoteStore
from pixelpyramids.errors import DataError
from pixelpyramids.terminal import explain

SEND_EVERY = 300.0  # seconds
_SHARE = 0.1  # of the time at most is spent on sending


@contextmanager
def open_for_writing(address: str) -> Iterator[Manifest]:
    """Open the manifest of a remote archive, which is created if it is missing, for one process on this machine.

    Raises DataError if another process writes to the archive, or if the manifest is damaged or cannot be sent.
    """
    if address.startswith(("http://", "https://")):
        raise DataError(f"{address}: results cannot be written to a web server; choose a folder, or object storage")
    folder = copy_folder(address)
    folder.mkdir(parents=True, exist_ok=True)
    with archive_folder.locked(folder, address):
        copy = _Copy(address, folder)
        copy.update()
        with Manifest(folder / NAME) as opened:
            copy.send()  # which also shows that the archive can be written to
            with copy.sent_regularly():
                yield opened


@contextmanager
def open_copy(address: str, is_needed: bool) -> Iterator[Manifest]:
    """A temporary copy of a remote archive's manifest; an empty one if there is none, unless it `is_needed`."""
    with TemporaryDirectory() as folder:
        received = Path(folder) / NAME
        if not _receive(address, received) and is_needed:
            raise missing(address)
        path = copy_folder(address) / NAME
        with Manifest.temporary(path if _is_ahead(path, received) else received) as copy:
            yield copy


def copy_folder(address: str) -> Path:
    """The folder of the copy."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "pixelpyramids" / "archives" / hashlib.sha256(address.encode()).hexdigest()[:32]


def expect_archive(address: str) -> None:
    """Raise DataError if there is no archive at an address."""
    if RemoteStore(address).find(NAME) is None:
        raise missing(address)


class _Copy:
    """The copy on this machine of the manifest of an archive."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address, self._folder, self._remote = address, folder, Remote(address)
        (folder / "address.txt").write_text(address + "\n", encoding="utf-8")

    def update(self) -> None:
        """Replace the copy if the archive's own manifest counts."""
        path, received = self._folder / NAME, self._folder / f"received.{NAME}"
        is_there = _receive(self._address, received)
        if not _is_ahead(path, received):
            for each in self._folder.glob(f"{NAME}*"):  # with SQLite's -wal and -shm
                os.replace(each, each.with_name(f"previous.{each.name}"))
            if is_there:
                os.replace(received, path)
        received.unlink(missing_ok=True)

    def send(self) -> None:
        """Send the copy as it is now, while others may write to it. Raises DataError or OSError."""
        sent = self._folder / f"sent.{NAME}"
        sent.unlink(missing_ok=True)
        try:
            with Manifest(self._folder / NAME, read_only=True) as manifest:
                manifest.copy_to(sent)
            self._remote.put_file(str(sent), NAME)
        finally:
            sent.unlink(missing_ok=True)

    @contextmanager
    def sent_regularly(self) -> Iterator[None]:
        """Send the copy every few minutes during the block, and after it, even if it is interrupted."""
        ended = threading.Event()

        def send_regularly() -> None:
            pause = SEND_EVERY
            while not ended.wait(pause):
                begun = time.monotonic()
                with suppress(DataError, OSError):  # the last attempt, at the end, reports them
                    self.send()
                pause = max(SEND_EVERY, (time.monotonic() - begun) / _SHARE)

        thread = threading.Thread(target=send_regularly, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            ended.set()
            thread.join()
            with suppress(DataError, OSError):
                self.send()
            raise
        ended.set()
        thread.join()
        try:
            self.send()
        except (DataError, OSError) as error:
            raise DataError(
                f"{explain(error)}; the results were sent, and the manifest is in {self._folder}: run the same command "
                "again to send it"
            ) from error


def _receive(address: str, path: Path) -> bool:
    """Write the archive's own manifest to a local file. False if there is none."""
    path.unlink(missing_ok=True)
    try:
        Remote(address).get_file(NAME, str(path))
    except FileNotFoundError:
        return False
    try:
        with Manifest(path, read_only=True):
            return True
    except DataError as error:
        raise type(error)(f"{address}/{NAME}: {error}") from error


def _is_ahead(path: Path, received: Path) -> bool:
    """Whether the copy counts, and not the manifest that was received. Both may be missing."""
    if not received.exists() or not path.exists():
        return False
    with Manifest(received, read_only=True) as manifest:
        identity, version = manifest.identity(), manifest.version()
    try:
        with Manifest(path, read_only=True) as copy:
            return copy.identity() == identity and copy.version() >= version
    except DamagedManifestError:
        return False
