"""Functions on integers, compiled by numba when they are first called, and kept for the next process.

Where numba finds no folder to keep them in, every process compiles anew. With NUMBA_BOUNDSCHECK=1 or NUMBA_DISABLE_JIT=1
in the environment indices are checked.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function compiled, without the interpreter's lock."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder to keep it in can be written
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]
