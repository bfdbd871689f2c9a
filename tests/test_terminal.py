"""Printed text cannot control the terminal, and errors have one form."""

import errno
import signal
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelpyramids.cli.console import stderr, stdout
from pixelpyramids.cli.exit_status import run
from pixelpyramids.errors import DataError
from pixelpyramids.terminal import explain, printable

EVIL = "\x1b[2J\n\udcff"
SHOWN = r"\x1b[2J\n\udcff"


@given(st.text(st.characters()))
def test_printable_text_is_one_line_of_printable_characters(text):
    shown = printable(text)
    assert shown.isprintable() and (shown == text) == text.isprintable()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("a: is odd; replace it"), "a: is odd; replace it"),
        (DataError("is odd; replace it"), "a: is odd; replace it"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission denied; check its permissions"),
        (OSError(errno.ENOSPC, "No space left", "b"), "a: b: No space left; free some space, or choose another folder"),
        (OSError(errno.EIO, "I/O error"), "a: I/O error; check the disk or its network connection"),
        (ZeroDivisionError("a fault"), "a: ZeroDivisionError: a fault"),
    ],
)
def test_an_error_names_the_file_what_happened_and_what_to_do(error, line):
    assert explain(error, "a") == line


def test_printing_always_escapes(capsys):
    def refuse():
        warnings.warn(EVIL, UserWarning, stacklevel=1)
        raise DataError(EVIL)

    assert run(refuse) == 2
    assert capsys.readouterr().err == f"warning: {SHOWN}\n{SHOWN}\n"
    stdout.print(EVIL)
    stderr.print(EVIL)
    assert capsys.readouterr() == (f"{SHOWN}\n", f"{SHOWN}\n")


@pytest.mark.parametrize("error", [SystemExit(130), KeyboardInterrupt(), RuntimeError("a consequence")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_prints_one_line(number, error, capsys):
    def command():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise error from None

    before = {each: signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert run(command) == 130
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert capsys.readouterr() == ("", "interrupted; run the same command again to finish\n")


def test_signals_that_the_caller_ignores_stay_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert run(lambda: signal.raise_signal(signal.SIGTERM)) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
