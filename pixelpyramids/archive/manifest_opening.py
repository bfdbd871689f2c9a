"""Open the manifest of an archive, which is a folder of this machine or on remote storage."""

from contextlib import AbstractContextManager
from pathlib import Path

from pixelpyramids.archive import archive_folder
from pixelpyramids.archive.addresses import is_remote
from pixelpyramids.archive.manifest import NAME, Manifest


def open_for_writing(address: str) -> AbstractContextManager[Manifest]:
    """Open a manifest, which is created if it is missing, for one process at a time. Raises DataError."""
    if is_remote(address):
        from pixelpyramids.archive import remote_manifest

        return remote_manifest.open_for_writing(address)
    return archive_folder.open_for_writing(Path(address))


def open_existing_for_writing(address: str) -> AbstractContextManager[Manifest]:
    """Open a manifest for one process at a time. Raises DataError, also if there is none."""
    if is_remote(address):
        from pixelpyramids.archive import remote_manifest

        remote_manifest.expect_archive(address)
    else:
        with open_to_read(address):  # which also refuses an empty file, in which a new manifest would be made
            pass
    return open_for_writing(address)


def open_to_read(address: str) -> AbstractContextManager[Manifest]:
    """Open a manifest while others may write to it. Raises DataError, also if there is none."""
    if is_remote(address):
        from pixelpyramids.archive import remote_manifest

        return remote_manifest.open_copy(address, is_needed=True)
    return Manifest(Path(address) / NAME, read_only=True)


def open_temporary(address: str) -> AbstractContextManager[Manifest]:
    """Open a copy of a manifest that is thrown away, or an empty one if there is none. Raises DataError."""
    if is_remote(address):
        from pixelpyramids.archive import remote_manifest

        return remote_manifest.open_copy(address, is_needed=False)
    return Manifest.temporary(Path(address) / NAME)
