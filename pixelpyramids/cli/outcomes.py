"""The results of a command on many files: failures are printed as they happen, a summary at the end."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pixelpyramids.archive.jobs import Done, run_tasks
from pixelpyramids.cli.console import (
    print_json,
    print_warnings,
    progress_bar,
    stderr,
    stdout,
)
from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.image_files.listing import Listing, Task, count_kinds, describe_kinds, find_collisions, stat_existing
from pixelpyramids.terminal import collect_warnings, count_of, explain

FILES_NAMED = 3  # of the files that are not recognised


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
        self._others: list[Path] = []
        self._fault: Exception | None = None
        self._begin = time.monotonic()

    def take(self, task: Task, result: Done | Exception) -> None:
        """Record a file's result; print it if it is skipped, failed or came with warnings."""
        name = str(task.source)
        if isinstance(result, Exception):
            self.fail(name, explain(result, name))
            if not isinstance(result, PixelPyramidsError | OSError | MemoryError):
                self._fault = self._fault or result
            return
        if result.skipped:
            self._skipped.append((task, f"{name}: {result.skipped}"))
            if not self._quiet or task.is_named:
                stderr.print(self._skipped[-1][1])
        elif result.is_there:
            self._there.append(task)
        else:
            self._done.append((task, result))
        print_warnings(name, result.warnings)
        if result.lost:
            self.fail(name, f"{name}: {result.lost}")

    def take_listing(self, listing: Listing, what: str = "", way_out: str = "") -> None:
        """Record folders that could not be listed, as failures, and files that are not recognised as `what`, if given.

        If `way_out` says what to do about unrecognised files, they are failures too.
        """
        for folder, error in listing.unlisted:
            self.fail(str(folder), explain(error, str(folder)))
        if what and listing.others:
            self._others = listing.others
            line = describe_others(listing.others, what)
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

        The processes share the threads of this machine. Returns the exit status: 1 if a file failed, or if a file that
        was named was skipped. An exception that is a bug is raised after all other files were processed.
        """
        from pixelpyramids.codec.bundled import available_threads

        at_once = max(min(jobs, len(todo)), 1)
        function = partial(_run_with_warnings, partial(function, threads=max(available_threads() // at_once, 1)))
        with progress_bar(what, self._quiet) as report:
            report(0, len(todo))
            for done, (task, result) in enumerate(run_tasks(function, todo, jobs), 1):
                report(done, len(todo))
                self.take(task, result)
        if as_json:
            print_json(self._json())
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
            "not_taken": others_json(self._others),
            "bytes_before": before,
            "bytes_after": after,
            "ratio": after / before if before and after else None,
            "megapixels": megapixels,
            "seconds": seconds,
            "megapixels_per_second": megapixels / seconds,
        }

    def _summary(self) -> str:
        before, after, megapixels, seconds = self._totals()
        incomplete = sum(1 for _, done in self._done if done.lost)  # these are among the failures too
        counts = {
            "already there": len(self._there),
            "skipped": len(self._skipped),
            "of them incomplete": incomplete,
            "failed": len(self._failed) - incomplete,
            "not recognised": len(self._others),
        }
        verb = f"would be {self._verb}" if self._dry_run else self._verb
        check = f" ({self._check})" if self._check and self._done and not self._dry_run else ""
        return (
            f"{count_of(len(self._done), 'file')} {verb}{check}: {before:,} bytes"
            + (f" to {after:,} ({100 * after / before:.1f} %)" if before and after else "")
            + (f", {megapixels:.3g} MP, {megapixels / seconds:.2g} MP/s" if megapixels else "")
            + "".join(f"; {count} {what}" for what, count in counts.items() if count)
        )

    def _totals(self) -> tuple[int, int, float, float]:
        """Bytes before and after, megapixels, and seconds until now."""
        before, after = sum(done.before for _, done in self._done), sum(done.after for _, done in self._done)
        return before, after, sum(done.pixels for _, done in self._done) / 1e6, time.monotonic() - self._begin


def describe_others(others: Sequence[Path], what: str) -> str:
    """`not recognised as images: 300 .heic, 12 .xmp (a.heic, …)`, with the first of them by name."""
    first = ", ".join(map(str, others[:FILES_NAMED])) + (", …" if len(others) > FILES_NAMED else "")
    return f"not recognised as {what}: {describe_kinds(others)} ({first})"


def others_json(others: Sequence[Path]) -> dict[str, Any]:
    """The files of the folders that are not recognised: all names, and the count of each kind."""
    return {"kinds": dict(count_kinds(others)), "files": [str(path) for path in others]}


def _run_with_warnings(function: Callable[[Task], Done], task: Task) -> Done:
    """The result of `function` with the warnings of this file."""
    with collect_warnings() as texts:
        done = function(task)
    return done._replace(warnings=tuple(texts))


def _task_json(task: Task) -> dict[str, Any]:
    return {"source": str(task.source), "target": str(task.target)}
