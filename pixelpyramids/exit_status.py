"""Exit statuses, and what is said for them: 0 all well, 2 bad usage or input, 130 interrupted.

A command returns 1 by itself, where some files failed. Whatever is no fault of a person's shows a traceback.
"""

import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

from pixelpyramids.errors import PixelPyramidsError

# What torch's backends say, in RuntimeErrors, where a process that they wait for is gone.
_LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|timed out", re.IGNORECASE)
# What torch says where a process that reads images ahead has died: killed for memory, or inside a library.
_READER_DIED = re.compile(r"DataLoader worker \(pid.*", re.DOTALL)


def run(command: Callable[[], object]) -> int:
    """Call `command`, and turn what a person can cause into a line and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # takes the rest as it comes
    try:
        command()
    except PixelPyramidsError as error:
        print(f"pixelpyramids: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if died := _READER_DIED.search(str(error)):
            print(
                f"pixelpyramids: a process that reads images has ended ({died[0].strip(' .')}); see that there is "
                "memory enough and that the data is whole; a training goes on from its last checkpoint when the same "
                "command is given again",
                file=sys.stderr,
            )
            return 2
        if os.environ.get("WORLD_SIZE", "1") != "1" and _LOST.search(str(error)):
            print(
                "pixelpyramids: another process of this run has ended; a training goes on from its last checkpoint "
                "when the same command is given again",
                file=sys.stderr,
            )
            return 2
        if not _is_out_of_memory(error):
            raise
        print(
            "pixelpyramids: out of memory; use smaller batches (--batch-size, --micro-batch), tiles (--tile) or images,"
            " or a smaller model",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:
        return 1
    except OSError as error:
        print(f"pixelpyramids: cannot read or write: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        _leave_the_others()
    return 0


def _leave_the_others() -> None:
    """Take leave of the processes that a launcher started beside this one: torch may abort where this is not done."""
    if "accelerate" in sys.modules:
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    if "torch" not in sys.modules:  # then there may be none
        return False
    from accelerate.utils.memory import should_reduce_batch_size

    return bool(should_reduce_batch_size(error))


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    if issubclass(category, UserWarning):
        print(f"warning: {message}", file=sys.stderr)
