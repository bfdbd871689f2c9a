"""Work for a visitor, done in a process of its own, so that it can be cancelled at any moment."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.extras import describe_missing, is_own
from pixelpyramids.terminal import explain

Message = Mapping[str, Any]
Task = Callable[..., Iterator[Message]]

POLL = 0.5  # seconds after which `run` gives control back if there is no message
ERROR = "error"


class Jobs:
    """The processes that work now, at most one for each visitor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: dict[str, BaseProcess] = {}

    def run(self, visitor: str, folder: Path, task: Task, *arguments: Any) -> Iterator[Message | None]:
        """Call `task(folder, *arguments)` in a new process, and yield what it yields, or None after every half second.

        If it fails, the last message is {"error": text}. If `stop` was called, there is no last message.
        """
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(sender, task, (folder, *arguments)), daemon=True)
        with receiver, self._registered(visitor, process):
            sender.close()
            while True:
                if not receiver.poll(POLL):
                    yield None
                    continue
                try:
                    yield receiver.recv()
                except EOFError:
                    break
            process.join()
            if process.exitcode and self._processes.get(visitor) is process:
                yield {ERROR: "the work ended without a result, perhaps because memory ran out; try a smaller image"}

    def stop(self, visitor: str) -> None:
        """End the work for a visitor, if there is any."""
        with self._lock:
            process = self._processes.pop(visitor, None)
        if process is not None:
            process.kill()
            process.join()

    def stop_all(self) -> None:
        """End all work."""
        for visitor in list(self._processes):
            self.stop(visitor)

    @contextmanager
    def _registered(self, visitor: str, process: BaseProcess) -> Iterator[None]:
        """Start a process in place of the visitor's last one, and end it after the block."""
        self.stop(visitor)
        with self._lock:
            process.start()
            self._processes[visitor] = process
        try:
            yield
        finally:
            with self._lock:
                if self._processes.get(visitor) is process:
                    del self._processes[visitor]
            process.kill()
            process.join()


def _work(sender: Connection, task: Task, arguments: tuple[Any, ...]) -> None:
    """Send the messages of a task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends this process
    try:
        for message in task(*arguments):
            sender.send(message)
    except (PixelPyramidsError, OSError, MemoryError) as error:
        sender.send({ERROR: explain(error)})
    except ModuleNotFoundError as error:
        if is_own(error):
            raise
        sender.send({ERROR: describe_missing(error, "demo")})
