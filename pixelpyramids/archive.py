"""Many files: which there are, what the results are called, and the work on them, in processes of its own where wanted.

A file that fails stays one failure: its error is a result like any other. A process that dies, for want of memory or
within a library, costs the file that it had under way.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple, TypeVar

from pixelpyramids.data.splits import image_names
from pixelpyramids.errors import DataError
from pixelpyramids.interrupts import leave_interrupts_to_the_parent

Result = TypeVar("Result")


class Task(NamedTuple):
    """A file, what is to be made of it, and whether it was named itself or found in a folder."""

    source: Path
    target: Path
    is_named: bool


def tasks(
    paths: Iterable[Path],
    out: Path | None,
    renamed: Callable[[str], str],
    extensions: Container[str],
    what: str,
) -> list[Task]:
    """The files among the paths and, of folders, those below with such an extension; each once, in their order.

    A target has the name that `renamed` makes of the source's, and lies beside it, or below `out`: of a folder's files
    at the same place as below the folder. Raises DataError where there is no such path, a folder has no such file
    (`what` says which), or `out` is no folder.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise DataError(f"expected a folder to write below (--out), got the file {out}; choose another name")
    found: dict[str, Task] = {}
    for path in paths:
        if not path.exists():
            raise DataError(f"expected a file or a folder at {path}, got nothing there; see that the name is right")
        is_named = not path.is_dir()
        names = [path.name] if is_named else sorted(image_names(path, extensions))
        if not names:
            raise DataError(f"expected {what} in {path} or below, got none; hidden files and folders do not count")
        for name in names:
            source = path if is_named else path / name
            target = (source if out is None else out / name).with_name(renamed(source.name))
            found.setdefault(os.path.abspath(source), Task(source, target, is_named))
    return list(found.values())


def by_target(todo: Iterable[Task]) -> dict[str, list[Task]]:
    """Tasks by their targets' absolute paths."""
    groups: dict[str, list[Task]] = {}
    for task in todo:
        groups.setdefault(os.path.abspath(task.target), []).append(task)
    return groups


def sharing(todo: Iterable[Task]) -> list[list[Task]]:
    """Tasks that would be written to one place, together."""
    return [group for group in by_target(todo).values() if len(group) > 1]


def worked(
    function: Callable[[Task], Result], todo: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result | Exception]]:
    """What `function` gives for each task, or the error that it raises, as it becomes known.

    Of several jobs each is a process of its own, and `function` is to be picklable. Where the work is left before its
    end (Ctrl-C), they are ended.
    """
    if jobs > 1 and len(todo) > 1:
        yield from _in_processes(function, todo, min(jobs, len(todo)))
        return
    for task in todo:
        result: Result | Exception
        try:
            result = function(task)
        except Exception as error:  # told by the caller, faults of ours too: the other files come first
            result = error
        yield task, result


def _in_processes(
    function: Callable[[Task], Result], todo: Iterable[Task], jobs: int
) -> Iterator[tuple[Task, Result | Exception]]:
    waiting, lost = deque(todo), list[Task]()
    while waiting:
        under_way: dict[Future[Result], Task] = {}
        with _pool(jobs) as pool:
            while under_way or (waiting and not lost):
                while waiting and not lost and len(under_way) < 2 * jobs:
                    task = waiting.popleft()
                    try:
                        under_way[pool.submit(function, task)] = task
                    except BrokenProcessPool:  # seen here before the work that was lost with it
                        lost.append(task)
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    task, error = under_way.pop(future), future.exception()
                    if isinstance(error, BrokenProcessPool):
                        lost.append(task)
                    elif error is None or isinstance(error, Exception):
                        yield task, future.result() if error is None else error
                    else:
                        raise error
        if lost and jobs == 1:
            yield (
                lost.pop(),
                DataError(
                    "the process that worked on it was ended; see that there is memory enough, or use fewer --jobs"
                ),
            )
        for task in lost:  # one of them is why; each alone shows which
            yield from _in_processes(function, [task], 1)
        lost.clear()


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    pool.shutdown()


def _begin() -> None:
    """A process of the pool leaves Ctrl-C to its parent, and ends when that does, even killed."""
    leave_interrupts_to_the_parent(0)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()
