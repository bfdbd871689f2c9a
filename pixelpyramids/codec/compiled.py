"""Functions on integers, compiled by numba when they are first called, and kept for the next process.

Where numba finds no folder to keep them in, every process compiles anew. NUMBA_BOUNDSCHECK=1 or NUMBA_DISABLE_JIT=1 in
the environment has indices checked.
"""

from collections.abc import Callable
from typing import Any

import numba

Integer = Any  # an int, or numba's int64


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled, without the interpreter's lock."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to keep it in can be written
        return numba.njit(nogil=True)(function)
