"""Updates of a manifest that are not recorded yet. Recording flushes the disk, so many are recorded at once."""

import time
from typing import Any

from pixelpyramids.archive.manifest import Manifest

_AT_ONCE, _EVERY = 200, 1.0  # updates, or seconds, after which they are due


class Pending:
    """Updates of some images."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest, self._updates, self._recorded = manifest, list[tuple[int, dict[str, Any]]](), time.monotonic()

    def add(self, number: int, columns: dict[str, Any]) -> None:
        """Add columns of the image of that number."""
        self._updates.append((number, columns))

    @property
    def is_due(self) -> bool:
        """Whether they should be recorded now: at least every second."""
        return len(self._updates) >= _AT_ONCE or time.monotonic() - self._recorded > _EVERY

    def record(self) -> None:
        """Record them."""
        if self._updates:
            self._manifest.record(self._updates)
        self._updates, self._recorded = [], time.monotonic()
