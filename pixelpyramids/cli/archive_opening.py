"""Open the manifest of an archive, for the commands that look into it."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixelpyramids.archive.manifest import Manifest
    from pixelpyramids.archive.rows import Row


def open_archive(archive: str) -> "AbstractContextManager[Manifest]":
    """Open the manifest of an archive to read it. Raises DataError if there is none, or if it is damaged."""
    from pixelpyramids.archive.addresses import absolute
    from pixelpyramids.archive.manifest_opening import open_to_read

    return open_to_read(absolute(archive))


def matches(row: "Row", patterns: list[str]) -> bool:
    """Whether an image's source or result matches one of some patterns, by name or path; all do if there is none."""
    from pixelpyramids.image_files.listing import is_excluded

    return not patterns or any(is_excluded(name, patterns) for name in (row.name, row.result) if name)
