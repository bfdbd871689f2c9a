"""Limit NumPy's matrix products to one thread while the codec uses them: it already runs tiles in several threads.

On a busy machine, such small products take many times longer in several threads, which wait for each other.
"""

import threading
from functools import cached_property

from threadpoolctl import ThreadpoolController


class _OneBlasThread:
    """While any thread is inside, BLAS has one thread; the last one to leave restores the previous limit."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0

    @cached_property
    def _controller(self) -> ThreadpoolController:
        return ThreadpoolController()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._limit = self._controller.limit(limits=1, user_api="blas")
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limit.restore_original_limits()


one_blas_thread = _OneBlasThread()
