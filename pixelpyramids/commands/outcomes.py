"""What became of many files: failures said as they happen, a line or one JSON object at the end."""

import json
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from pixelpyramids.archive import Task, worked
from pixelpyramids.codec.image import compile_kernels
from pixelpyramids.commands.console import counted, err, out
from pixelpyramids.errors import PixelPyramidsError


class Done(NamedTuple):
    """What became of a file: its bytes before and after (0 where none are written), and its pixels.

    `skipped` says why nothing was made of it, `lost` what could not be had of it, `warnings` what else is to be known.
    """

    before: int = 0
    after: int = 0
    pixels: int = 0
    skipped: str = ""
    lost: str = ""
    warnings: tuple[str, ...] = ()


class Outcomes:
    """The files of a command, by what became of them. `check` says how the ones that are done were checked."""

    def __init__(self, verb: str, check: str) -> None:
        self._verb, self._check = verb, check
        self._done: list[tuple[Task, Done]] = []
        self._skipped: list[tuple[Task, str]] = []
        self._failed: list[tuple[Task, str]] = []
        self._fault: Exception | None = None
        self._begin = time.monotonic()

    def take(self, task: Task, result: Done | Exception) -> None:
        """Note a file's result; where it is not all well, say so."""
        if isinstance(result, Exception):
            self._note(self._failed, task, reason(result, str(task.source)))
            if not isinstance(result, PixelPyramidsError | OSError | MemoryError):
                self._fault = self._fault or result
        elif result.skipped:
            self._note(self._skipped, task, f"{task.source}: {result.skipped}")
        else:
            self._done.append((task, result))
            for warning in result.warnings:
                err.print(f"warning: {task.source}: {warning}", soft_wrap=True)
            if result.lost:
                self._note(self._failed, task, f"{task.source}: {result.lost}")

    def take_all(self, function: Callable[[Task], Done], todo: Sequence[Task], jobs: int, what: str) -> None:
        """Do the work, and show how far it is."""
        done = 0
        if min(jobs, len(todo)) > 1:
            compile_kernels()
        with counted(what) as report:
            report(0, len(todo))
            for task, result in worked(partial(_with_warnings, function), todo, jobs):
                done += 1
                report(done, len(todo))
                self.take(task, result)

    def told(self, as_json: bool) -> int:
        """Print the summary; the exit status: 1 where files failed, or one that was named itself is skipped.

        What was a fault of ours is raised now that all else is done.
        """
        seconds = time.monotonic() - self._begin
        before, after = sum(done.before for _, done in self._done), sum(done.after for _, done in self._done)
        megapixels = sum(done.pixels for _, done in self._done) / 1e6
        if as_json:
            result: dict[str, Any] = {
                "files": [
                    {"source": str(task.source), "target": str(task.target)} | done._asdict()
                    for task, done in self._done
                ],
                "skipped": [{"source": str(task.source), "reason": text} for task, text in self._skipped],
                "failed": [{"source": str(task.source), "reason": text} for task, text in self._failed],
                "bytes_before": before,
                "bytes_after": after,
                "ratio": after / before if before and after else None,
                "megapixels": megapixels,
                "seconds": seconds,
                "megapixels_per_second": megapixels / seconds,
            }
            for file in result["files"]:
                del file["skipped"]
            print(json.dumps(result))
        else:
            out.print(
                f"{_files(len(self._done))} {self._verb}{f' ({self._check})' if self._check and self._done else ''}: "
                f"{before:,} bytes"
                + (f" to {after:,} ({100 * after / before:.1f} %)" if before and after else "")
                + f", {megapixels:.3g} MP, {megapixels / seconds:.2g} MP/s"
                + (f"; {len(self._skipped)} skipped" if self._skipped else "")
                + (f"; {len(self._failed)} failed" if self._failed else ""),
                soft_wrap=True,
            )
        if self._fault is not None:
            raise self._fault
        return 1 if self._failed or any(task.is_named for task, _ in self._skipped) else 0

    def _note(self, where: list[tuple[Task, str]], task: Task, text: str) -> None:
        where.append((task, text))
        err.print(text, soft_wrap=True)


def reason(error: BaseException, name: str) -> str:
    """An error as a line that names the file."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    elif isinstance(error, MemoryError):
        text = "out of memory; use fewer --jobs, or a machine with more"
    elif isinstance(error, PixelPyramidsError | OSError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return text if name in text else f"{name}: {text}"


def _with_warnings(function: Callable[[Task], Done], task: Task) -> Done:
    """What a function gives, with its warnings: each file's own, where Python shows equal ones once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        done = function(task)
    texts = (str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
    return done._replace(warnings=tuple(dict.fromkeys(texts)))


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
