"""Process files in several processes.

If a process dies (out of memory, or a crash inside a library), only the file that it worked on fails.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from threading import Thread
from typing import TypeVar

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.listing import Task

Result = TypeVar("Result")
_Started = tuple[Future[Result], tuple[Task, ProcessPoolExecutor]]


def run_in_processes(
    function: Callable[[Task], Result], todo: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result | Exception]]:
    """As `jobs.run_tasks`. Each process has a pool of its own, so that the pool that breaks names the file."""
    before = set(multiprocessing.active_children())
    waiting = iter(todo)
    under_way = dict(_submit(_new_pool(), function, task) for _, task in zip(range(jobs), waiting, strict=False))
    try:
        while under_way:
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                (task, pool), error = under_way.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    reason = (
                        "the process that worked on it died; check that there is enough memory, or use fewer --jobs"
                    )
                    error, pool = DataError(reason), _new_pool()
                elif error is not None and not isinstance(error, Exception):
                    raise error
                if (following := next(waiting, None)) is None:
                    pool.shutdown()
                else:
                    under_way |= [_submit(pool, function, following)]
                yield task, future.result() if error is None else error
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Task], Result], task: Task) -> _Started[Result]:
    """Submit a task. If this starts a process, it inherits a blocked SIGINT, so that only the parent gets Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, task), (task, pool)
    except BrokenProcessPool:  # the process died after its last task
        return _submit(_new_pool(), function, task)
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
