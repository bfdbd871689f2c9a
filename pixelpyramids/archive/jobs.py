"""Process many files, in several processes if requested. If a file fails, its error is a result like any other."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from pixelpyramids.image_files.listing import Task

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


def run_tasks(
    function: Callable[[Task], Result], todo: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result | Exception]]:
    """Yield each task with the result of `function`, or with the error that it raised, as soon as it is done.

    Each job is a process, so `function` must be picklable if there are several. If the caller stops early (Ctrl-C), the
    processes are ended.
    """
    if jobs > 1 and len(todo) > 1:
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
