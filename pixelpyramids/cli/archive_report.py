"""What `compress` prints while it works on an archive, and its summary."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pixelpyramids.archive.jobs import Done
from pixelpyramids.archive.manifest import Manifest
from pixelpyramids.cli.console import format_duration, print_warnings, stderr
from pixelpyramids.cli.outcomes import FILES_NAMED
from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.image_files.listing import count_kinds
from pixelpyramids.terminal import count_of, explain

KINDS_SHOWN = 20


class ArchiveReport:
    """Counts what happens to the images, and prints failures as they happen.

    `show` replaces the line of progress. Failures are kept only with `keep_failures`: there may be millions.
    """

    def __init__(
        self, check: str, show: Callable[[str], None], quiet: bool, dry_run: bool, keep_failures: bool = False
    ) -> None:
        self._check, self._show, self._quiet, self._dry_run = check, show, quiet, dry_run
        self._failures: list[dict[str, str]] | None = [] if keep_failures else None
        self.counts = Counter[str]()
        self._kinds = Counter[str]()
        self._some_others: list[str] = []
        self._todo, self._size, self._worked, self._read = 0, 0, 0, 0
        self._before, self._after, self._pixels = 0, 0, 0
        self._begin = self._work_begin = time.monotonic()
        self.has_failed = False
        self._fault: Exception | None = None

    def listed(self, count: int) -> None:
        """See `planning.Report`."""
        self._show(f"listed {count_of(count, 'file')}")

    def begin(self, count: int, size: int) -> None:
        """See `planning.Report`."""
        self._todo, self._size, self._read, self._work_begin = count, size, 0, time.monotonic()
        if self._kinds and not self._quiet:
            kinds = ", ".join(f"{many} {kind}" for kind, many in self._kinds.most_common(KINDS_SHOWN))
            kinds += ", …" if len(self._kinds) > KINDS_SHOWN else ""
            more = ", …" if self._kinds.total() > FILES_NAMED else ""
            stderr.print(f"not recognised as images: {kinds} ({', '.join(self._some_others)}{more})")

    def others(self, names: Sequence[str]) -> None:
        """See `planning.Report`."""
        self._kinds += count_kinds(Path(name) for name in names)
        self._some_others += names[: FILES_NAMED - len(self._some_others)]

    def take(self, name: str, result: Done | Exception, is_named: bool) -> None:
        """See `planning.Report`."""
        if isinstance(result, Exception):
            self._fail(name, explain(result, name))
            if not isinstance(result, PixelPyramidsError | OSError | MemoryError):
                self._fault = self._fault or result
        else:
            if result.skipped:
                self.counts["skipped"] += 1
                self.has_failed |= is_named
                if not self._quiet or is_named:
                    stderr.print(f"{name}: {result.skipped}")
            elif result.is_there:
                self.counts["already there"] += 1
            else:
                self.counts["done"] += 1
                self._before += result.before
                self._after += result.after
                self._pixels += result.pixels
            self._read += result.before
            print_warnings(name, result.warnings)
            if result.lost:
                self._fail(name, f"{name}: {result.lost}")
        if self._todo:
            self._worked += 1
            self._show(self._progress())

    def raise_fault(self) -> None:
        """Raise the first exception that is a bug, if there was one."""
        if self._fault is not None:
            raise self._fault

    def _fail(self, name: str, reason: str) -> None:
        self.counts["failed"] += 1
        self.has_failed = True
        if self._failures is not None:
            self._failures.append({"source": name, "reason": reason})
        stderr.print(reason)

    def _progress(self) -> str:
        seconds = max(time.monotonic() - self._work_begin, 1e-9)
        share = self._read / self._size if self._size else self._worked / self._todo
        left = format_duration(seconds / share - seconds) if 0 < share <= 1 else "?"
        ratio = f", {100 * self._after / self._before:.1f} %" if self._before and self._after else ""
        failed = f", {self.counts['failed']:,} failed" if self.counts["failed"] else ""
        return (
            f"{self._worked:,} of {count_of(self._todo, 'image')}, {self._worked / seconds:.3g} images/s, "
            f"{self._read / seconds / 1e6:.3g} MB/s{ratio}{failed}, {left} left"
        )

    def summary(self) -> str:
        """One line on the whole run."""
        seconds = time.monotonic() - self._begin
        verb = "would be compressed" if self._dry_run else f"compressed ({self._check})"
        counts = {what: self.counts[what] for what in ("already there", "skipped", "failed")}
        counts["not recognised"] = self._kinds.total()
        ratio = (
            f" to {self._after:,} ({100 * self._after / self._before:.1f} %)" if self._before and self._after else ""
        )
        speed = f", {self._pixels / 1e6:.3g} MP, {self._pixels / 1e6 / seconds:.2g} MP/s" if self._pixels else ""
        done = count_of(self.counts["done"], "file")
        rest = "".join(f"; {count:,} {what}" for what, count in counts.items() if count)
        return f"{done} {verb}: {self._before:,} bytes{ratio}{speed}{rest}"

    def json(self, manifest: Manifest, run: int) -> dict[str, Any]:
        """The counts, what failed, and the images that were skipped or not recognised."""
        seconds = time.monotonic() - self._begin

        def rows(condition: str) -> list[dict[str, Any]]:
            found = manifest.iterate(f"run = ? AND {condition}", (run,))
            return [{"source": row.source_path, "reason": row.error} for row in found]

        return {
            "compressed": self.counts["done"],
            "already_there": self.counts["already there"],
            "skipped": rows("state = 'skipped'"),
            "failed": self._failures,
            "not_taken": {"kinds": dict(self._kinds), "files": [row["source"] for row in rows("state = 'other'")]},
            "bytes_before": self._before,
            "bytes_after": self._after,
            "ratio": self._after / self._before if self._before and self._after else None,
            "megapixels": self._pixels / 1e6,
            "seconds": seconds,
            "megapixels_per_second": self._pixels / 1e6 / seconds,
        }
