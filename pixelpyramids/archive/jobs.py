"""Process many files, in several processes if requested. If a file fails, its error is a result like any other."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")
Result = TypeVar("Result")


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


class Engine(Protocol):
    """Runs tasks. Each comes back with its result, or with the error that it raised, as soon as it is done."""

    def __call__(
        self, function: Callable[..., Result], todo: Iterable[T], is_large: bool = False
    ) -> Iterator[tuple[T, Result | Exception]]:
        """Call `function(task, threads=…)` for each task, for many at a time, or for few if each `is_large`.

        Tasks are taken from `todo` as they are needed. The threads are those that a task may use.
        """


class LocalEngine:
    """See `Engine`. `jobs` tasks run at a time on this machine, but large ones one by one, with all processors."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def __call__(
        self, function: Callable[..., Result], todo: Iterable[T], is_large: bool = False
    ) -> Iterator[tuple[T, Result | Exception]]:
        """See `Engine`."""
        from pixelpyramids.codec.bundled import available_threads

        jobs = 1 if is_large else self._jobs
        work = partial(function, threads=max(available_threads() // jobs, 1))
        if is_large and self._jobs > 1:  # in a process of its own, too, which may die
            from pixelpyramids.archive.processes import run_in_processes

            return run_in_processes(work, todo, jobs)
        return run_tasks(work, todo, jobs)


def run_tasks(function: Callable[[T], Result], todo: Iterable[T], jobs: int) -> Iterator[tuple[T, Result | Exception]]:
    """Call `function` for each task, and yield the task with its result or its error, as soon as it is done.

    Each job is a process, if there are several, so `function` must be picklable. Tasks are taken as they are needed.

    If the caller stops early (Ctrl-C), the processes are ended.
    """
    if jobs > 1:
        from pixelpyramids.archive.processes import run_in_processes

        yield from run_in_processes(function, todo, jobs)
        return
    for task in todo:
        result: Result | Exception
        try:
            result = function(task)
        except Exception as error:  # the caller reports it; a bug is raised after the other files
            result = error
        yield task, result
