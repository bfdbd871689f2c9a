"""The results of a command on many files: failures are printed as they happen, a summary at the end."""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pixelpyramids.cli.console import collect_warnings, print_warnings, progress_bar, stderr, stdout
from pixelpyramids.cli.jobs import run_tasks
from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.image_files.listing import Listing, Task, count_kinds, describe_kinds, find_collisions, stat_existing
from pixelpyramids.terminal import explain

FILES_NAMED = 3  # of the files that are not recognised


class Done(NamedTuple):
    """The result of a file: its bytes before and after (0 if nothing was written), and its pixels.

    `skipped` says why the file was skipped, `is_there` whether its result existed already, and `lost` what could not be
    done or recovered. `warnings` are further lines to print.
    """

    before: int = 0
    after: int = 0
    pixels: int = 0
    skipped: str = ""
    is_there: bool = False
    lost: str = ""
    warnings: tuple[str, ...] = ()


class Outcomes:
    """The files of a command, grouped by result. `check` says how the finished files were checked.

    With `quiet`, only failures and warnings are printed. With `dry_run`, nothing is done, and the plan is printed.
    """

    def __init__(self, verb: str, check: str, quiet: bool = False, dry_run: bool = False) -> None:
        self._verb, self._check, self._quiet, self._dry_run = verb, check, quiet, dry_run
        self._done: list[tuple[Task, Done]] = []
        self._there: list[Task] = []
        self._skipped: list[tuple[Task, str]] = []
        self._failed: list[tuple[str, str]] = []
        self._others: dict[str, Any] = {"kinds": {}, "files": []}
        self._fault: Exception | None = None
        self._begin = time.monotonic()

    def take(self, task: Task, result: Done | Exception) -> None:
        """Record a file's result; print it if it is skipped, failed or came with warnings."""
        if isinstance(result, Exception):
            self.fail(str(task.source), explain(result, str(task.source)))
            if not isinstance(result, PixelPyramidsError | OSError | MemoryError):
                self._fault = self._fault or result
        elif result.skipped:
            self._skipped.append((task, f"{task.source}: {result.skipped}"))
            if not self._quiet or task.is_named:
                stderr.print(self._skipped[-1][1])
        elif result.is_there:
            self._there.append(task)
        else:
            self._done.append((task, result))
        if isinstance(result, Done):
            print_warnings(str(task.source), result.warnings)
            if result.lost:
                self.fail(str(task.source), f"{task.source}: {result.lost}")

    def take_listing(self, listing: Listing, what: str, way_out: str = "") -> None:
        """Record folders that could not be listed, as failures, and files that are not recognised as `what`.

        If `way_out` says what to do about unrecognised files, they are failures too.
        """
        take_unlisted(listing, self.fail)
        if listing.others:
            self._others = others_json(listing)
            line = describe_others(listing, what)
            if way_out:
                self.fail(str(listing.others[0]), f"{line}; {way_out}")
            elif not self._quiet:
                stderr.print(line)

    def fail(self, source: str, reason: str) -> None:
        """Record a failure, and print it."""
        self._failed.append((source, reason))
        stderr.print(reason)

    def refuse_collisions(
        self, tasks: Sequence[Task], is_skipped: Callable[[Task], bool] = lambda task: False
    ) -> list[Task]:
        """Record tasks that share a target with another one as failed, and return the others.

        Tasks that `is_skipped` are ignored.
        """
        todo = [task._replace(existing=stat_existing(task.target)) for task in tasks]
        refused = set[Path]()
        for group in find_collisions(todo):
            group = [task for task in group if not is_skipped(task)]
            for task in group if len(group) > 1 else ():
                others = ", ".join(str(other.source) for other in group if other != task)
                self.fail(
                    str(task.source),
                    f"{task.source}: it would be written to {task.target}, and so would {others}; rename one of them, "
                    "or write them below different folders (--out)",
                )
                refused.add(task.source)
        return [task for task in todo if task.source not in refused]

    def run(self, function: Callable[..., Done], todo: Sequence[Task], jobs: int, what: str, as_json: bool) -> int:
        """Call `function(task, threads=…)` for all tasks, show the progress, and print the summary.

        The processes share the threads of this machine. Returns the exit status.
        """
        from pixelpyramids.codec.bundled import available_threads
        from pixelpyramids.codec.image import compile_kernels

        at_once = max(min(jobs, len(todo)), 1)
        if at_once > 1:
            compile_kernels()
        function = partial(_run_with_warnings, partial(function, threads=max(available_threads() // at_once, 1)))
        with progress_bar(what, self._quiet) as report:
            report(0, len(todo))
            for done, (task, result) in enumerate(run_tasks(function, todo, jobs), 1):
                report(done, len(todo))
                self.take(task, result)
        return self._print_summary(as_json)

    def _print_summary(self, as_json: bool) -> int:
        """Print the summary. Returns the exit status: 1 if a file failed, or if a file that was named was skipped.

        An exception that is a bug is raised here, after all other files were processed.
        """
        if as_json:
            print(json.dumps(self._json()))
        elif not self._quiet:
            for task, _ in self._done if self._dry_run else ():
                stdout.print(f"{task.source} -> {task.target}")
            stdout.print(self._summary())
        if self._fault is not None:
            raise self._fault
        return 1 if self._failed or any(task.is_named for task, _ in self._skipped) else 0

    def _json(self) -> dict[str, Any]:
        before, after, megapixels, seconds = self._totals()
        files = [_task_json(task) | done._asdict() for task, done in self._done]
        for file in files:
            del file["skipped"], file["is_there"]
        return {
            "files": files,
            "already_there": [_task_json(task) for task in self._there],
            "skipped": [{"source": str(task.source), "reason": text} for task, text in self._skipped],
            "failed": [{"source": source, "reason": text} for source, text in self._failed],
            "not_taken": self._others,
            "bytes_before": before,
            "bytes_after": after,
            "ratio": after / before if before and after else None,
            "megapixels": megapixels,
            "seconds": seconds,
            "megapixels_per_second": megapixels / seconds,
        }

    def _summary(self) -> str:
        before, after, megapixels, seconds = self._totals()
        counts = {
            "already there": len(self._there),
            "skipped": len(self._skipped),
            "failed": len(self._failed),
            "not recognised": len(self._others["files"]),
        }
        verb = f"would be {self._verb}" if self._dry_run else self._verb
        check = f" ({self._check})" if self._check and self._done and not self._dry_run else ""
        return (
            f"{_count_files(len(self._done))} {verb}{check}: {before:,} bytes"
            + (f" to {after:,} ({100 * after / before:.1f} %)" if before and after else "")
            + (f", {megapixels:.3g} MP, {megapixels / seconds:.2g} MP/s" if megapixels else "")
            + "".join(f"; {count} {what}" for what, count in counts.items() if count)
        )

    def _totals(self) -> tuple[int, int, float, float]:
        """Bytes before and after, megapixels, and seconds until now."""
        return (
            sum(done.before for _, done in self._done),
            sum(done.after for _, done in self._done),
            sum(done.pixels for _, done in self._done) / 1e6,
            time.monotonic() - self._begin,
        )


def take_unlisted(listing: Listing, fail: Callable[[str, str], None]) -> None:
    """Call `fail` with each folder that could not be listed, and the reason."""
    for folder, error in listing.unlisted:
        fail(str(folder), explain(error, str(folder)))


def describe_others(listing: Listing, what: str) -> str:
    """`not recognised as images: 300 .heic, 12 .xmp (a.heic, …)`, with the first of them by name."""
    count, first = len(listing.others), ", ".join(map(str, listing.others[:FILES_NAMED]))
    return f"not recognised as {what}: {describe_kinds(listing.others)} ({first}{', …' if count > FILES_NAMED else ''})"


def others_json(listing: Listing) -> dict[str, Any]:
    """The files of the folders that are not recognised: all names, and the count of each kind."""
    return {"kinds": dict(count_kinds(listing.others)), "files": [str(path) for path in listing.others]}


def _run_with_warnings(function: Callable[[Task], Done], task: Task) -> Done:
    """The result of `function` with the warnings of this file."""
    with collect_warnings() as texts:
        done = function(task)
    return done._replace(warnings=tuple(texts))


def _task_json(task: Task) -> dict[str, Any]:
    return {"source": str(task.source), "target": str(task.target)}


def _count_files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
