"""Open the manifest of an archive, for the commands that look into it."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixelpyramids.archive.manifest import Manifest


def open_archive(archive: str) -> "Manifest":
    """Open the manifest of an archive to read it. Raises DataError if there is none, or if it is damaged."""
    from pixelpyramids.archive.manifest import NAME, Manifest

    return Manifest(Path(archive) / NAME, read_only=True)


def matches(row_result: str | None, row_name: str, patterns: list[str]) -> bool:
    """Whether an image's source or result matches one of some patterns, by name or path; all do if there is none."""
    from pixelpyramids.image_files.listing import is_excluded

    return not patterns or is_excluded(row_name, patterns) or bool(row_result and is_excluded(row_result, patterns))
