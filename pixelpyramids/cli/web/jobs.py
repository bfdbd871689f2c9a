"""Work for visitors, one job at a time, each in a process of its own, so that it can be stopped at any moment."""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.extras import describe_missing, is_own
from pixelpyramids.terminal import count_of, explain

Message = Mapping[str, Any]
Task = Callable[..., Iterator[Message]]

ERROR, PROGRESS = "error", "progress"
POLL = 0.25  # seconds between two looks at what goes on
MOST_WAITING = 16


class Job:
    """A visitor's place in the queue."""

    process: BaseProcess | None = None

    def __init__(self, visitor: str) -> None:
        self.visitor = visitor

    def end(self) -> None:
        """End its process, if it has one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()


class Jobs:
    """The jobs of all visitors. The first one is at work, and the others wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}  # by visitor, in the order in which they came
        self._is_closed = False

    @contextmanager
    def entered(self, visitor: str) -> Iterator[Job | None]:
        """Stop the visitor's last job; within the block, the visitor has a new one. None if too many others wait."""
        with self._lock:
            before = self._jobs.pop(visitor, None)
            job = None if self._is_closed or len(self._jobs) > MOST_WAITING else Job(visitor)
            if job is not None:
                self._jobs[visitor] = job
        if before is not None:
            before.end()
        try:
            yield job
        finally:
            if job is not None:
                with self._lock:
                    if self._jobs.get(visitor) is job:
                        del self._jobs[visitor]
                job.end()

    def run(self, job: Job | None, task: Task, *arguments: Any) -> Iterator[Message]:
        """Call a task in a new process, and yield what it yields.

        While it waits for others, it says so in messages of its own, and while the task is silent, it yields {} now and
        then. If the task fails, the last message is {"error": text}. After `stop`, nothing is yielded any more.
        """
        if job is None:
            yield {ERROR: "too many others are waiting; try again in a minute"}
            return
        while place := self._place(job):
            yield {PROGRESS: (f"waiting for {count_of(place, 'other image')}", 0, 1)}
            time.sleep(POLL)
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(sender, task, arguments), daemon=True)
        with receiver:
            with sender, self._lock:
                if self._jobs.get(job.visitor) is not job:
                    return
                _start_without_interrupts(process)
                job.process = process
            try:
                yield from self._messages(job, receiver)
            finally:
                job.end()
        if process.exitcode and self._place(job) is not None:
            killed = "the work was killed, perhaps because memory ran out; try a smaller image"
            yield {ERROR: killed if process.exitcode < 0 else "unexpected error; the server's terminal shows it"}

    def stop(self, visitor: str) -> None:
        """End the work for a visitor, if there is any, whether it waits or is under way."""
        with self._lock:
            job = self._jobs.pop(visitor, None)
        if job is not None:
            job.end()

    def close(self) -> None:
        """End all work, and take no more."""
        with self._lock:
            self._is_closed = True
        for visitor in list(self._jobs):
            self.stop(visitor)

    def _place(self, job: Job) -> int | None:
        """The number of jobs before this one, or None if it was stopped."""
        with self._lock:
            return list(self._jobs.values()).index(job) if self._jobs.get(job.visitor) is job else None

    def _messages(self, job: Job, receiver: Connection) -> Iterator[Message]:
        """What the process of a job sends, until it ends or is stopped."""
        assert job.process is not None
        while True:
            try:
                message = receiver.recv() if receiver.poll(POLL) else {}
            except (EOFError, OSError):  # the process has ended, perhaps within a message
                job.process.join()
                return
            if self._place(job) is None:
                return
            yield message


def _start_without_interrupts(process: BaseProcess) -> None:
    """Start a process that does not get the Ctrl-C that the server gets: the server ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        process.start()
        return
    resource_tracker.ensure_running()  # or `start` does this, and lets interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(sender: Connection, task: Task, arguments: tuple[Any, ...]) -> None:
    """Send the messages of a task, until nobody receives them any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        try:
            for message in task(*arguments):
                sender.send(message)
        except BrokenPipeError:
            raise
        except MemoryError:
            sender.send({ERROR: "out of memory; try a smaller image"})
        except (PixelPyramidsError, OSError) as error:
            sender.send({ERROR: explain(error)})
        except ModuleNotFoundError as error:
            if is_own(error):
                raise
            sender.send({ERROR: describe_missing(error, "demo")})
