"""Printing: progress and messages on standard error, results on standard output."""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from pixelpyramids.terminal import count_of, printable

LINE_EVERY = 20.0  # seconds between lines if standard error is not a terminal

# If a launcher such as torchrun starts several processes, only the first one prints.
_QUIET = os.environ.get("RANK", "0") != "0"


@dataclass
class Manners:
    """How much every command prints: `--quiet` and `--verbose`."""

    quiet: bool = False
    verbose: bool = False


manners = Manners()


class LineConsole(Console):
    """A console that prints each string as one line, without wrapping it, and escapes unprintable characters.

    File names may hold such characters. Rich's texts and tables are printed unchanged.
    """

    def inform(self, text: str) -> None:
        """Print what is good to know, but neither a result, nor a failure, nor a warning; nothing with `--quiet`."""
        if not manners.quiet:
            self.print(text)

    def print(self, *objects: Any, **options: Any) -> None:
        """As `Console.print`."""
        if any(isinstance(each, str) for each in objects):
            options["soft_wrap"] = True
        super().print(*(printable(each) if isinstance(each, str) else each for each in objects), **options)


stdout = LineConsole(highlight=False, markup=False, emoji=False, quiet=_QUIET)
stderr = LineConsole(stderr=True, highlight=False, markup=False, emoji=False, quiet=_QUIET)


def print_json(result: Any) -> None:
    """Print a result as one JSON object. Figures that are not finite, which JSON does not have, become null."""
    print(json.dumps(_finite(result)))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def live_line(quiet: bool = False, passing: bool = False) -> Iterator[Callable[[str], None]]:
    """Show a status line: on a terminal it is replaced in place, elsewhere a new line appears every 20 seconds.

    A `passing` line vanishes at the end, and elsewhere appears only after 20 seconds. With `quiet`, nothing is shown.
    """
    if quiet or manners.quiet:
        yield lambda line: None
        return
    last = [time.monotonic() if passing else -LINE_EVERY]
    if stderr.is_terminal:
        from rich.live import Live
        from rich.text import Text

        with Live(console=stderr, refresh_per_second=4, transient=passing) as live:
            yield lambda line: live.update(Text(printable(line), no_wrap=False))
        return

    def print_sometimes(line: str) -> None:
        if time.monotonic() - last[0] >= LINE_EVERY:
            last[0] = time.monotonic()
            stderr.print(line)

    yield print_sometimes


@contextmanager
def progress_bar(what: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar and the time left if standard error is a terminal, unless `quiet`."""
    if quiet or manners.quiet or not stderr.is_terminal:
        yield lambda done, of: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def print_warnings(name: str, texts: Iterable[str]) -> None:
    """Print warnings, each after the name of the file that it is about."""
    for text in texts:
        stderr.print(f"warning: {name}: {text}")


def describe_conversions(counts: Mapping[str, int]) -> str:
    """The conversions and their counts: "alpha dropped (12 images), 16 bits reduced to 8 (1 image)"."""
    return ", ".join(f"{what} ({count_of(count, 'image')})" for what, count in counts.items())


def format_duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: 1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
