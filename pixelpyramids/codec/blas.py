"""Limit NumPy's matrix products to one thread while the codec uses them: it already runs tiles in several threads.

On a busy machine, such small products take many times longer in several threads, which wait for each other.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


class _Shared:
    """The limit, and the number of threads that need it."""

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.limit: Any = None


_shared = _Shared()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread while any thread is inside; the last one to leave restores the previous limit."""
    with _shared.lock:
        _shared.users += 1
        if _shared.users == 1:
            _shared.limit = _controller().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _shared.lock:
            _shared.users -= 1
            if _shared.users == 0:
                _shared.limit.restore_original_limits()


@lru_cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
