"""`-`: read one file from standard input, and write its result to standard output."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pixelpyramids.errors import DataError, ParameterError

STANDARD = Path("-")
STANDARD_INPUT = "standard input"


def is_standard(paths: Sequence[Path], **others: object) -> bool:
    """Whether the path is `-`. Raises ParameterError if there are other paths too, or if one of `others` is set."""
    if STANDARD not in paths:
        return False
    if len(paths) > 1:
        raise ParameterError("expected - alone, for one file from standard input, got other paths too")
    for name, given in others.items():
        if given:
            raise ParameterError(f"--{name} cannot be used with -, whose result is written to standard output")
    return True


def read_standard_input() -> bytes:
    """All bytes of standard input. Raises DataError if it is empty or closed."""
    data = sys.stdin.buffer.read() if sys.stdin else b""
    if not data:
        raise DataError("expected a file on standard input, got nothing")
    return data


def write_standard_output(data: bytes | memoryview) -> None:
    """Write the bytes to standard output. Raises ParameterError if it is a terminal, or closed."""
    if not sys.stdout or sys.stdout.isatty():
        state = "a terminal" if sys.stdout else "closed"
        raise ParameterError(f"standard output is {state}; send it to a file (> FILE) or into another command")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
