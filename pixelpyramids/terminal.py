r"""Text for terminals: control characters are escaped, and every error has one form.

An error is one line, `FILE: what happened; what to do`. File names may hold escape sequences, new lines and bytes that
are not text; such characters are shown as Python writes them, `\x1b`.
"""

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pixelpyramids.errors import PixelPyramidsError

_ADVICE = {
    errno.ENOENT: "check the name",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EROFS: "choose a folder that can be written to",
    errno.EEXIST: "choose another name, or pass --overwrite to replace it",
    errno.ENOSPC: "free some space, or choose another folder",
    errno.EDQUOT: "free some space, or choose another folder",
    errno.EFBIG: "use a file system or a limit (ulimit -f) that allows larger files",
    errno.ENAMETOOLONG: "shorten the name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
_OTHER_ADVICE = "check the disk or its network connection"


def printable(text: str) -> str:
    r"""`text` as one line, with unprintable characters escaped: `\x1b`, `\n`, `\udcff`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def explain(error: BaseException, name: str = "") -> str:
    """An error as `FILE: what happened; what to do`. FILE is the file that the error names, or else `name`."""
    if isinstance(error, OSError) and error.strerror:
        file = error.filename if isinstance(error.filename, str) else name
        text = f"{error.strerror}; {_ADVICE.get(error.errno or 0, _OTHER_ADVICE)}"
        text = f"{file}: {text}" if file else text
    elif isinstance(error, MemoryError):
        text = "out of memory; use smaller batches (--batch-size, --micro-batch) or tiles (--tile), or fewer --jobs"
    elif isinstance(error, PixelPyramidsError | OSError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return text if text.startswith(name) else f"{name}: {text}"


def count_of(count: int, noun: str) -> str:
    """A count with its noun: "1 image", "2 images"."""
    return f"{count:,} {noun}{'s'[: count != 1]}"


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collect the UserWarnings of a block, each once. Python itself shows a repeated one only for the first file."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield texts
    texts += dict.fromkeys(str(each.message) for each in caught if issubclass(each.category, UserWarning))
