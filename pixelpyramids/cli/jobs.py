"""Process many files, in several processes if requested.

If a file fails, its error is a result like any other. If a process dies (out of memory, or a crash inside a library),
only the file that it worked on fails.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from threading import Thread
from typing import TypeVar

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.listing import Task

Result = TypeVar("Result")


def run_tasks(
    function: Callable[[Task], Result], todo: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result | Exception]]:
    """Yield each task with the result of `function`, or with the error that it raised, as soon as it is done.

    Each job is a process, so `function` must be picklable if there are several. If the caller stops early (Ctrl-C), the
    processes are ended.
    """
    if jobs > 1 and len(todo) > 1:
        yield from _run_in_processes(function, todo, min(jobs, len(todo)))
        return
    for task in todo:
        result: Result | Exception
        try:
            result = function(task)
        except Exception as error:  # the caller reports it; a bug is raised after the other files
            result = error
        yield task, result


def _run_in_processes(
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
                        under_way[_submit(pool, function, task)] = task
                    except BrokenProcessPool:  # raised here before the futures of the lost tasks are done
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
            reason = "the process that worked on it died; check that there is enough memory, or use fewer --jobs"
            yield lost.pop(), DataError(reason)
        for task in lost:  # one of them broke the pool; running each alone shows which
            yield from _run_in_processes(function, [task], 1)
        lost.clear()


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_end_with_parent)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    pool.shutdown()


def _submit(pool: ProcessPoolExecutor, function: Callable[[Task], Result], task: Task) -> Future[Result]:
    """Submit a task. If this starts a process, it inherits a blocked SIGINT, so that only the parent gets Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, task)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Make a process of the pool end when its parent ends, even if the parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def exit_with_parent() -> None:
        parent.join()
        os._exit(1)

    Thread(target=exit_with_parent, daemon=True).start()
