"""One error, which names the file, for all that libraries raise for damaged, missing and foreign files."""

import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.file_source import DAMAGE

# pyarrow's errors are kinds of those in DAMAGE.
_FAILURES: tuple[type[Exception], ...] = (*DAMAGE, tarfile.TarError, zipfile.BadZipFile)


@contextmanager
def explain_damage(
    name: str | PathLike[str], expected: str, way_out: str = "get the file again", *also: type[Exception]
) -> Iterator[None]:
    """Turn such exceptions of the block, and those of the types `also`, into a DataError."""
    try:
        yield
    except _FAILURES + also as error:
        if isinstance(error, FileNotFoundError) and error.filename is not None:
            raise DataError(f"{name}: expected {expected}, but there is no such file; check the path") from error
        # Errors of `datasets` only say that something failed; their cause says what.
        cause = error.__cause__ if isinstance(error, also) and error.__cause__ else error
        kind, text = type(cause).__name__, str(cause).strip().partition("\n")[0]
        reason = text if text and isinstance(cause, OSError) else f"{kind}: {text}" if text else kind
        raise DataError(f"{name}: expected {expected}, got {reason}; {way_out}") from error
