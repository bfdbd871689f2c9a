"""Functions on integers, compiled by numba when they are first called, and kept for the next process.

That takes seconds, which a line on standard error tells (by `logging`, which can be told to leave it out). Where numba
finds no folder to keep them in, every process compiles anew. NUMBA_BOUNDSCHECK=1 or NUMBA_DISABLE_JIT=1 in the
environment has indices checked.
"""

import logging
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

Integer = Any  # an int, or numba's int64


class _Notice(event.Listener):  # type: ignore[misc]
    """Says, once a process, that functions of this package are being compiled."""

    def __init__(self) -> None:
        self._is_said = False

    def on_start(self, event: Any) -> None:
        module = event.data["dispatcher"].py_func.__module__ or ""  # what `exec` defines can have None
        is_ours = module.startswith(f"{__package__}.")
        if is_ours and not self._is_said:
            self._is_said = True
            logging.getLogger(__name__).warning("compiling the codec for this machine, which takes some seconds")

    def on_end(self, event: Any) -> None:
        """What has been compiled needs no line."""


event.register("numba:compile", _Notice())  # type: ignore[no-untyped-call]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled, without the interpreter's lock."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to keep it in can be written
        return numba.njit(nogil=True)(function)
