"""What the manifest of an archive knows of an image."""

from enum import StrEnum
from typing import NamedTuple

HAS_RESULT = "(state = 'done' OR (state IN ('failed', 'waiting') AND result_sha256 IS NOT NULL))"
"""The condition for images that have a result, which may be damaged or missing (SQL)."""

HAS_FAILED = "(state = 'failed' OR (state = 'done' AND error IS NOT NULL))"
"""The condition for images that failed, or of which only an older version is compressed (SQL)."""


class State(StrEnum):
    """What became of an image."""

    WAITING = "waiting"
    DONE = "done"
    SKIPPED = "skipped"  # it is lossy already, or a .ppyr file
    FAILED = "failed"
    OTHER = "other"  # a file that is not recognised as an image


class Todo(StrEnum):
    """What a run will do with an image."""

    NEW = "new"  # compress it; a result that exists must hold it already
    REPLACE = "replace"  # compress it, and replace its result
    CHECK = "check"  # compare the hash of its bytes; if it has changed, it is refused, or replaced with --update
    DELETE = "delete"  # delete its source, after its result was read back and compared


class Row(NamedTuple):
    """An image of the manifest."""

    id: int
    address: str
    """Where it came from: the address of its source …"""
    name: str
    """… and its path below it."""
    size: int | None
    time: int | None
    sha256: str | None
    pixels_sha256: str | None
    state: State
    error: str | None
    result: str | None
    """The path of its result below the archive."""
    result_size: int | None
    result_sha256: str | None
    model: str | None
    pixels: int | None
    seconds: float | None
    finished: float | None
    verified: float | None
    run: int
    todo: str | None

    @property
    def source_path(self) -> str:
        """Where the image came from: the address of its source, and its path below it."""
        return join(self.address, self.name)


def join(address: str, name: str) -> str:
    """The path of a file or folder below an address. A name that begins with a slash is a path of its own."""
    return name if name.startswith("/") else f"{address.rstrip('/')}/{name.rstrip('/')}"
