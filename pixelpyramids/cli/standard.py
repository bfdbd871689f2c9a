"""`-`: one file from standard input, its result on standard output."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pixelpyramids.errors import DataError, ParameterError

STANDARD = Path("-")
NAME = "standard input"


def is_standard(paths: Sequence[Path], **others: object) -> bool:
    """Whether the paths are `-`. Raises ParameterError for other paths beside it, or options that exclude it."""
    if STANDARD not in paths:
        return False
    if len(paths) > 1:
        raise ParameterError("expected - alone, for one file from standard input, got other paths beside it")
    for name, given in others.items():
        if given:
            raise ParameterError(f"expected no --{name} with -, whose result is written to standard output")
    return True


def read_standard_input() -> bytes:
    """All of it. Raises DataError if it is empty or closed."""
    data = sys.stdin.buffer.read() if sys.stdin else b""
    if not data:
        raise DataError("expected a file on standard input, got nothing")
    return data


def write_standard_output(data: bytes) -> None:
    """Write all of it. Raises ParameterError if standard output is a terminal, or closed."""
    if not sys.stdout:
        raise ParameterError("standard output is closed; send it to a file (> FILE) or into another command")
    if sys.stdout.isatty():
        raise ParameterError("standard output is a terminal; send it to a file (> FILE) or into another command")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
