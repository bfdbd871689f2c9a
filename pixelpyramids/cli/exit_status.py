"""Exit statuses and their messages: 0 all well, 2 bad usage or input, 130 interrupted (Ctrl-C, SIGTERM).

A command itself returns 1 if some files failed, and a full disk ends it with 1 too. An error that is a bug shows a
traceback.
"""

import io
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from pixelpyramids.cli.console import manners
from pixelpyramids.errors import PixelPyramidsError, is_full_disk
from pixelpyramids.extras import describe_missing, is_own
from pixelpyramids.interrupts import interrupt_on_signals
from pixelpyramids.terminal import explain, printable

# matches the RuntimeErrors of torch's backends if a process that they wait for has ended
_LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|timed out", re.IGNORECASE)
# matches torch's RuntimeError if a process that reads images has died: out of memory, or inside a library
_READER_DIED = re.compile(r"DataLoader worker \(pid.*", re.DOTALL)


def run(command: Callable[[], object]) -> int:
    """Call `command`; return the exit status. An error that a user can cause becomes a line on standard error."""
    _fill_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold bytes that are not text
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # it ignores the other arguments
    manners.quiet = manners.verbose = False
    began = time.monotonic()
    with interrupt_on_signals() as interrupted:
        try:
            command()
        except BaseException as error:
            if interrupted() or isinstance(error, KeyboardInterrupt):  # or an error that the interrupt caused
                _print_error("interrupted; run the same command again to finish")
                return 130
            if isinstance(error, BrokenPipeError):
                return 1
            line = _explain(error)
            if line is None:
                raise
            if manners.verbose:
                traceback.print_exception(error)
            _print_error(line)
            return 1 if is_full_disk(error) else 2
        finally:
            _leave_process_group()
            if manners.verbose:
                _print_error(_describe_costs(time.monotonic() - began))
    return 0


def _fill_closed_streams() -> None:
    """Open the null device in place of standard streams that are closed, so that no image gets their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _describe_costs(seconds: float) -> str:
    from pixelpyramids import __version__

    time_taken = f"pixelpyramids {__version__}: {seconds:.1f} s"
    if sys.platform == "win32":  # it has no module resource
        return time_taken
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return f"{time_taken}, {peak:.0f} MiB of memory at most"


def _print_error(line: str) -> None:
    print(printable(line), file=sys.stderr)


def _explain(error: BaseException) -> str | None:
    """An error as a line that says what to do; None if it is a bug."""
    again = "run the same command again to resume a training from its last checkpoint"
    if isinstance(error, PixelPyramidsError | OSError | MemoryError):
        return explain(error)
    if isinstance(error, ModuleNotFoundError) and not is_own(error):
        return describe_missing(error)
    if not isinstance(error, RuntimeError):
        return None
    if died := _READER_DIED.search(str(error)):
        return (
            f"a process that reads images has ended ({died[0].strip(' .')}); check that there is enough memory and "
            f"that the data is undamaged; {again}"
        )
    if os.environ.get("WORLD_SIZE", "1") != "1" and _LOST.search(str(error)):
        return f"another process of this run has ended; {again}"
    return explain(MemoryError()) if _is_out_of_memory(error) else None


def _leave_process_group() -> None:
    """Leave the group of processes that a launcher started. Otherwise torch may abort."""
    if "accelerate" in sys.modules:
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()


def _is_out_of_memory(error: Exception) -> bool:
    if "torch" not in sys.modules:
        return False
    from accelerate.utils.memory import should_reduce_batch_size

    return bool(should_reduce_batch_size(error))


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    if issubclass(category, UserWarning):
        _print_error(f"warning: {message}")
