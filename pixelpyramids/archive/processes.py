"""Process files in several processes.

If a process dies (out of memory, or a crash inside a library), only the file that it worked on fails.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from threading import Thread
from typing import TypeVar

from pixelpyramids.errors import DataError

T = TypeVar("T")
Result = TypeVar("Result")

_AHEAD = 2  # tasks that a process has: one to work on, and the next


def run_in_processes(
    function: Callable[[T], Result], todo: Iterable[T], jobs: int
) -> Iterator[tuple[T, Result | Exception]]:
    """See `jobs.run_tasks`. Each process has a pool of its own, so that the pool that breaks names the files.

    The next task waits in the process, so that it is never idle. If a process dies that had two tasks, each is tried
    again alone.
    """
    before = set(multiprocessing.active_children())
    waiting = iter(todo)
    retried = deque[T]()
    under_way: dict[Future[Result], tuple[T, ProcessPoolExecutor]] = {}

    def tasks_of(pool: ProcessPoolExecutor) -> list[Future[Result]]:
        return [future for future, (_, its_pool) in under_way.items() if its_pool is pool]

    def feed(pool: ProcessPoolExecutor | None) -> None:
        """Give a process its next tasks: one that was retried alone, others one ahead. Shut it down without any."""
        while retried or (pool is None or len(tasks_of(pool)) < _AHEAD):
            if retried:
                if pool is not None and tasks_of(pool):
                    return
                task, is_alone = retried.popleft(), True
            elif (following := next(waiting, _END)) is _END:
                break
            else:
                task, is_alone = following, False  # type: ignore[assignment]
            future, pool = _submit(pool, function, task)
            under_way[future] = task, pool
            if is_alone:
                return
        if pool is not None and not tasks_of(pool):
            pool.shutdown()

    try:
        for _ in range(jobs):
            feed(None)
        while under_way:
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                if future not in under_way:
                    continue
                task, pool = under_way.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    others = tasks_of(pool)
                    if others:
                        retried += [task, *(under_way.pop(other)[0] for other in others)]
                        feed(None)
                        continue
                    error = DataError(
                        "the process that worked on it died; check that there is enough memory, or use fewer --jobs"
                    )
                    feed(None)
                elif error is not None and not isinstance(error, Exception):
                    raise error
                else:
                    feed(pool)
                yield task, future.result() if error is None else error
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()


_END = object()


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _submit(
    pool: ProcessPoolExecutor | None, function: Callable[[T], Result], task: T
) -> tuple[Future[Result], ProcessPoolExecutor]:
    """Submit a task. If this starts a process, it inherits a blocked SIGINT, so that only the parent gets Ctrl-C."""
    pool = pool or _new_pool()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, task), pool
    except BrokenProcessPool:  # the process died after its last task
        return _submit(None, function, task)
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
