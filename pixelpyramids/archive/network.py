"""Call remote storage: try again after what a network does, set time limits, and explain errors in one line.

A dropped connection, a server that is busy (HTTP 429, 500, 503) and a slow read are tried again, each time after a
longer pause. A missing file, missing rights or a wrong address are final. Libraries raise hundreds of classes of
errors, and some cannot be sent to another process, so every error leaves this file as an OSError or a DataError.
"""

import errno
import os
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.extras import describe_missing, import_extra

EXTRA = "remote"
ATTEMPTS = 5
FIRST_PAUSE = 0.5  # seconds before the second attempt; each further pause is twice as long
CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 60.0  # seconds
_FINAL = (
    FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError, ValueError,
    NotImplementedError
)  # fmt: skip
# s3fs translates the statuses 400, 405 and 501 to these; the others come from a file system on this machine.
_FINAL_NUMBERS = (
    errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, errno.EMSGSIZE, errno.ENOSPC, errno.EDQUOT, errno.EROFS
)  # fmt: skip
_BUSY_STATUSES = (408, 425, 429)  # below 500, where an error is the server's
# botocore's errors of the network, among many that are errors of the request
_OF_BOTOCORE = (
    "HTTPClientError", "IncompleteReadError", "ResponseParserError", "FlexibleChecksumError", "ConnectTimeoutError",
    "EndpointConnectionError", "ProxyConnectionError"
)  # fmt: skip

Result = TypeVar("Result")


def open_file_system(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it. It opens no connection. Raises DataError."""
    core = import_extra("fsspec.core", EXTRA)
    protocol = address.partition("://")[0].rpartition("::")[2]
    try:
        system, path = core.url_to_fs(address, **_options(protocol))
    except ImportError as error:
        raise DataError(f"{address}: {_describe_missing(error)}") from error
    except ValueError as error:
        raise DataError(f"{address}: {error}; check the address") from error
    if protocol in ("s3", "s3a"):
        system.retries = 1  # s3fs would retry by itself, inside each of our attempts
    return system, str(path)


def attempt(name: str, action: Callable[[], Result]) -> Result:
    """Call `action`, several times if the network fails. `name` is the file that it is about, for errors.

    Raises FileNotFoundError, or another OSError or DataError.
    """
    for number in range(ATTEMPTS):
        try:
            return action()
        except Exception as error:
            cause = _cause_of(error)
            if not _is_of_storage(cause):
                raise
            if not _may_pass(cause):
                raise _explained(name, cause) from error
            if number == ATTEMPTS - 1:
                raise DataError(
                    f"{name}: {_describe(cause)}, {ATTEMPTS} times; check the network, and run the same command again"
                ) from error
        time.sleep(FIRST_PAUSE * 2**number * random.uniform(0.75, 1.25))
    raise AssertionError("unreachable")


def _options(protocol: str) -> dict[str, Any]:
    """Time limits and the count of attempts, unless the user sets them (FSSPEC_S3, FSSPEC_HTTP, AWS_MAX_ATTEMPTS)."""
    chosen: dict[str, Any] = import_extra("fsspec.config", EXTRA).conf.get(protocol, {})
    if protocol in ("s3", "s3a"):
        limits: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": READ_TIMEOUT}
        if "AWS_MAX_ATTEMPTS" not in os.environ:
            limits["retries"] = {"total_max_attempts": 1}
        # With several requests for one file, s3fs asks for its size first.
        return {"max_concurrency": 1} | chosen | {"config_kwargs": limits | chosen.get("config_kwargs", {})}
    if protocol in ("http", "https"):
        timeout = import_extra("aiohttp", EXTRA).ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT
        )
        return chosen | {"client_kwargs": {"timeout": timeout} | chosen.get("client_kwargs", {})}
    return {}


def _describe_missing(error: ImportError) -> str:
    """The package of a protocol that is not installed, and the line that installs it."""
    cause = error.__cause__
    if not isinstance(cause, ModuleNotFoundError) or cause.name is None:
        return str(error)
    if cause.name in ("s3fs", "aiohttp"):
        return describe_missing(cause, EXTRA)
    return f"{cause.name} is not installed; this needs: pip install {cause.name}"


def _cause_of(error: Exception) -> Exception:
    """The error itself, or the one that a library hides.

    Over HTTP, fsspec reports every error as a missing file. s3fs fails while it handles an error without a number.
    """
    if isinstance(error, IndexError) and isinstance(error.__context__, OSError):
        return error.__context__
    if isinstance(error, FileNotFoundError) and _library_of(error.__cause__) == "aiohttp":
        assert isinstance(error.__cause__, Exception)
        return error if _status_of(error.__cause__) == 404 else error.__cause__
    return error


def _is_of_storage(error: Exception) -> bool:
    """Whether an error is that of a system or library, and not of this package."""
    return isinstance(error, OSError | ValueError | NotImplementedError) or _library_of(error) not in (
        "builtins",
        "pixelpyramids",
    )


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may succeed."""
    status = _status_of(error)
    if status is not None:
        return status >= 500 or status in _BUSY_STATUSES
    if _library_of(error) == "botocore":
        return any(base.__name__ in _OF_BOTOCORE for base in type(error).__mro__)
    if isinstance(error, _FINAL):
        return False
    return not isinstance(error, OSError) or error.errno not in _FINAL_NUMBERS


def _explained(name: str, error: Exception) -> Exception:
    """A final error with the name of the file, as an error that can be sent to another process."""
    if isinstance(error, FileNotFoundError):
        text = str(error) if "bucket does not exist" in str(error) else os.strerror(errno.ENOENT)
        return FileNotFoundError(errno.ENOENT, text, name)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(error.errno, os.strerror(error.errno), name)
    status = _status_of(error)
    if type(error).__name__ == "NoCredentialsError":
        return DataError(
            f"{name}: no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or "
            "FSSPEC_S3_ANON=true for a public bucket"
        )
    if isinstance(error, PermissionError) or status in (401, 403):
        return DataError(f"{name}: {_describe(error)}; check the credentials and their rights")
    return DataError(f"{name}: {_describe(error)}; check the address")


def _status_of(error: BaseException) -> int | None:
    """The HTTP status of an error of aiohttp."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _library_of(error: BaseException | None) -> str:
    return type(error).__module__.partition(".")[0]


def _describe(error: Exception) -> str:
    """What happened, in words."""
    if isinstance(error, PixelPyramidsError):
        return str(error)
    if status := _status_of(error):
        return f"the server answered {status} {getattr(error, 'message', '')}".rstrip()
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text.strip().rstrip(".")
