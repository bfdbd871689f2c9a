"""Run the work of an archive as Ray tasks, on the machines of a cluster. It needs the `ray` extra.

    driver (the process of the command)              a node of the cluster
    lists the sources, takes rows of the manifest ─► run_batch: read, compress, write, read back
    records them in the manifest                  ◄─ results, or the errors of single images

Only the driver writes the manifest: it holds the archive's lock already, and an actor beside it would end with the same
machine, but add a process that can die and a round trip to every query.

If a worker or a node dies, its tasks are done again, so an image may be worked on twice, even at the same time.
`work.compress_image` takes a result that is there for its own if it holds the same image.
"""

import math
import os
import platform
import signal
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import pixelpyramids
from pixelpyramids.codec.bundled import available_threads, load_model
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra
from pixelpyramids.terminal import collect_warnings

T = TypeVar("T")
Result = TypeVar("Result")

EXTRA = "ray"
DEATHS = 3  # of processes that worked on one image alone; then the image fails
_AHEAD = 2  # CPUs that are asked for, for each CPU of the cluster: one task to work on, and the next
_BATCH_BYTES, _BATCH_COUNT = 2**18, 64  # small images that share a Ray task, which costs about 2 ms
_BYTES_PER_CPU = 2**24  # of a large image
_COUNT_EVERY = 5.0  # seconds after which the CPUs of the cluster are counted again
_TIMEOUT = 10.0  # seconds
_QUIET = {"logging_level": "ERROR", "log_to_driver": False}


@dataclass(frozen=True)
class Requirements:
    """What every machine must have: this package in the same version, and files and folders at the same paths."""

    version: str
    paths: tuple[str, ...]

    @classmethod
    def of_this_machine(cls, paths: Sequence[str]) -> "Requirements":
        """The version that runs here, and some paths."""
        return cls(pixelpyramids.__version__, tuple(paths))


@dataclass
class _Batch(Generic[T]):
    """Tasks that share a Ray task, the CPUs of it, and how often its process has died."""

    tasks: list[T]
    cpus: int
    deaths: int = 0


@contextmanager
def open_cluster(
    address: str | None, requirements: Requirements, size_of: Callable[[Any], int], limit: int | None = None
) -> Iterator["RayEngine"]:
    """Connect to a cluster, by HOST:PORT or "auto", and check its machines. Without an address, start one here.

    `size_of` gives the bytes of a task. `limit` is the most tasks that are submitted at a time. Raises DataError if
    there is no such cluster, or if a machine lacks a requirement.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = import_extra("ray", EXTRA)
    # Ray prints the deaths of machines to standard output, which may be JSON; no option of its own turns that off.
    worker: Any = import_extra("ray._private.worker", EXTRA)
    worker._worker_logs_enabled = False
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own = {"num_cpus": available_threads(), "include_dashboard": False} if address == "local" else {}
    try:
        if address not in ("auto", "local"):  # Ray would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), _TIMEOUT).close()
        with _keep_signal_handler():
            ray.init(address, **own, **_QUIET)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{address}: expected HOST:PORT of the Ray cluster of this machine, or auto, got none ({error}); "
            "start one with `ray start --head`, or leave out --address"
        ) from error
    try:
        engine = RayEngine(ray, requirements, size_of, limit)
        engine.check_nodes()
        yield engine
    finally:
        ray.shutdown()


class RayEngine:
    """See `jobs.Engine`. A small task has one CPU; a large one has one for each 16 MiB, at most those of a machine."""

    def __init__(self, ray: Any, requirements: Requirements, size_of: Callable[[Any], int], limit: int | None) -> None:
        self._ray, self._errors = ray, import_extra("ray.exceptions", EXTRA)
        self._requirements, self._size_of, self._limit = requirements, size_of, limit
        # Ray itself would repeat a batch as a whole, and so kill a process for all images of it.
        self._remote = ray.remote(max_retries=0)(run_batch)
        self._count_cpus()

    def check_nodes(self) -> None:
        """Raise DataError if a machine of the cluster lacks a requirement."""
        strategies = import_extra("ray.util.scheduling_strategies", EXTRA)
        checks = [
            self._remote.options(
                num_cpus=0, scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(None, [], 1, self._requirements)
            for node in self._nodes()
        ]
        for check in checks:
            self._get(check)

    def __call__(
        self, function: Callable[..., Result], todo: Iterable[T], is_large: bool = False
    ) -> Iterator[tuple[T, Result | Exception]]:
        """See `jobs.Engine`. If the caller stops early, what was submitted ends with the connection.

        Nothing is cancelled: Ray 2.60 ends the whole process if a task that it cancels finishes at that moment.
        """
        waiting, again = iter(todo), deque[_Batch[T]]()
        under_way: dict[Any, _Batch[T]] = {}
        while True:
            while room := self._room(under_way.values()):
                batch = again.popleft() if again else self._next_batch(waiting, is_large, room)
                if not batch.tasks:
                    break
                task = self._remote.options(num_cpus=batch.cpus)
                under_way[task.remote(function, batch.tasks, batch.cpus, self._requirements)] = batch
            if not under_way:
                return
            for reference in self._finished(under_way):
                batch = under_way.pop(reference)
                results = self._get(reference)
                if results is not None:
                    yield from zip(batch.tasks, results, strict=True)
                elif len(batch.tasks) > 1:
                    again += [_Batch([each], batch.cpus) for each in batch.tasks]
                elif batch.deaths + 1 < DEATHS:
                    again.append(_Batch(batch.tasks, batch.cpus, batch.deaths + 1))
                else:
                    yield (
                        batch.tasks[0],
                        DataError(
                            f"the process that worked on it, or its machine, died {DEATHS} times; check that the "
                            "machines have enough memory"
                        ),
                    )

    def _next_batch(self, waiting: Iterator[T], is_large: bool, room: int) -> _Batch[T]:
        """The next tasks; at most `room` of them. None are left if it is empty."""
        tasks, size = list[T](), 0
        for task in waiting:
            tasks.append(task)
            size += self._size_of(task)
            if is_large or size >= _BATCH_BYTES or len(tasks) >= min(_BATCH_COUNT, room):
                break
        return _Batch(tasks, min(math.ceil(size / _BYTES_PER_CPU), self._cpus_of_a_node) if is_large else 1)

    def _room(self, under_way: Iterable[_Batch[T]]) -> int:
        """How many images may be submitted together; 0 if there is enough to do."""
        if time.monotonic() > self._counted + _COUNT_EVERY:
            self._count_cpus()
        batches = list(under_way)
        most = _AHEAD * max(self._cpus, 1)
        if sum(batch.cpus for batch in batches) >= most:
            return 0
        if self._limit is None:
            return _BATCH_COUNT
        left = self._limit - sum(len(batch.tasks) for batch in batches)
        return max(min(left, self._limit // most or 1), 0)

    def _finished(self, under_way: dict[Any, _Batch[T]]) -> list[Any]:
        """The tasks that are finished; none if the cluster is to be counted again."""
        references = list(under_way)
        if not self._ray.wait(references, num_returns=1, timeout=_COUNT_EVERY, fetch_local=False)[0]:
            return []
        found: list[Any] = self._ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False)[0]
        return found

    def _get(self, reference: Any) -> list[Any] | None:
        """What a task returned; None if it was lost with its process or its machine."""
        try:
            results: list[Any] = self._ray.get(reference)
        except self._errors.RayTaskError as error:
            if isinstance(error.cause, DataError):
                raise error.cause from None
            reason = str(error.cause).partition("\n")[0]
            raise DataError(
                f"{error.ip}: cannot run pixelpyramids ({reason}); install the same version of it, and of Python, on "
                "all machines"
            ) from error
        except self._errors.LocalRayletDiedError as error:
            raise DataError(
                "Ray has ended on this machine; start it again, and run the same command: it goes on where it stopped"
            ) from error
        except self._errors.RayError:
            return None
        return results

    def _nodes(self) -> list[dict[str, Any]]:
        """The machines of the cluster that work."""
        return [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]

    def _count_cpus(self) -> None:
        cpus = [int(node["Resources"]["CPU"]) for node in self._nodes()]
        self._cpus, self._cpus_of_a_node = sum(cpus), min(cpus, default=1)
        self._counted = time.monotonic()


def run_batch(
    function: Callable[..., Result], tasks: Sequence[T], threads: int, requirements: Requirements
) -> list[Result | Exception]:
    """Work on some tasks, on a machine of the cluster. Raises DataError if it lacks a requirement."""
    _expect(requirements)
    return [_attempt(function, task, threads) for task in tasks]


def _attempt(function: Callable[..., Result], task: T, threads: int) -> Result | Exception:
    try:
        return function(task, threads=threads)
    except Exception as error:  # a result like any other
        error.add_note(traceback.format_exc())  # a traceback does not go from one machine to another
        return error


@lru_cache
def _expect(requirements: Requirements) -> None:
    machine, found = platform.node(), pixelpyramids.__version__
    if found != requirements.version:
        raise DataError(
            f"{machine}: expected pixelpyramids {requirements.version}, as the command, got {found}; install the same "
            "version on all machines"
        )
    with collect_warnings() as slow:
        load_model("compact")
    if slow:
        raise DataError(f"{machine}: {slow[0]}")
    for path in requirements.paths:
        if not os.path.exists(path):
            raise DataError(
                f"{machine}: {path} is not there; all machines must have the folders of the images and of the archive "
                "at the same paths, on shared storage"
            )


@contextmanager
def _keep_signal_handler() -> Iterator[None]:
    """Restore the handler of SIGTERM, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
