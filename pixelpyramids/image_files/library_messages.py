"""Catch messages that C libraries print to standard error, so that they can be shown with the file's name."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock, current_thread, main_thread

_STANDARD_ERROR = 2
_ESCAPE = b"\x1b"
_ANY_TIFF = "tempfile.tif: "  # the name that Pillow gives libtiff for every file
_HARMLESS = "Interlace handling should be turned on"  # libpng prints it, although imagecodecs reads all passes
_one_at_a_time = Lock()


@contextmanager
def catch_messages() -> Iterator[list[str]]:
    """Yield a list that holds, after the block, the lines that libraries printed to standard error within it.

    Only one thread at a time can do this. A progress bar that is drawn in the meantime is printed at the end.
    Outside the main thread, nothing is caught, because the main thread may print something in the meantime.
    """
    lines: list[str] = []
    with _one_at_a_time, ExitStack() as stack:
        before = None
        if current_thread() is main_thread():
            with suppress(OSError):  # it is closed, or no temporary file can be created
                file = stack.enter_context(tempfile.TemporaryFile())
                before = os.dup(_STANDARD_ERROR)
        if before is None:
            yield lines
            return
        os.dup2(file.fileno(), _STANDARD_ERROR)
        try:
            yield lines
        finally:
            os.dup2(before, _STANDARD_ERROR)
            os.close(before)
            file.seek(0)
            printed = file.read()
            if _ESCAPE in printed:
                os.write(_STANDARD_ERROR, printed)
            else:
                whole = (line.removeprefix(_ANY_TIFF) for line in printed.decode(errors="replace").splitlines())
                lines += dict.fromkeys(line for line in whole if line.strip() and _HARMLESS not in line)
