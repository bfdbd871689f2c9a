"""Compile functions on integers with numba when they are first called, and cache them for the next process.

Compiling takes seconds, so a warning is logged. If numba finds no folder for its cache, every process compiles again.
Set NUMBA_BOUNDSCHECK=1 or NUMBA_DISABLE_JIT=1 in the environment to have indices checked.
"""

import logging
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

Integer = Any  # an int, or numba's int64


class _Notice(event.Listener):  # type: ignore[misc]
    """Logs once per process that functions of this package are being compiled."""

    def __init__(self) -> None:
        self._is_logged = False

    def on_start(self, event: Any) -> None:
        module = event.data["dispatcher"].py_func.__module__ or ""  # None for functions defined by `exec`
        is_ours = module.startswith(f"{__package__}.")
        if is_ours and not self._is_logged:
            self._is_logged = True
            logging.getLogger(__name__).warning(
                "compiling the codec for this machine, which is done once and can take a minute"
            )

    def on_end(self, event: Any) -> None:
        """Log nothing."""


event.register("numba:compile", _Notice())  # type: ignore[no-untyped-call]


def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that runs without the interpreter's lock."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # there is no writable folder for the cache
        return numba.njit(nogil=True)(function)
