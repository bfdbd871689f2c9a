"""The errors that a user can cause. Every other exception is a bug and shows a traceback."""

import errno


class PixelPyramidsError(Exception):
    """Says what was expected, what was found, and what to do.

    The command line prints it and exits with status 2, or 1 after a FullDiskError.
    """


class ParameterError(PixelPyramidsError):
    """A parameter file or an argument that is wrong."""


class DataError(PixelPyramidsError):
    """Images that are missing, unreadable, or not of the size, depth or range that was requested."""


class FullDiskError(DataError):
    """A disk, or the user's share of it, on which there is no more room."""


class EmptySplitError(DataError):
    """A requested split that does not exist, in data that are otherwise sound."""


class CheckpointError(PixelPyramidsError):
    """A run directory or a file of weights that is missing, damaged, of another format or of another model."""


class BitstreamError(PixelPyramidsError):
    """A compressed file that is damaged, of another format, or larger than the limits allow."""


def is_full_disk(error: BaseException) -> bool:
    """Whether there is no more room on a disk, or in the user's share of it."""
    return isinstance(error, FullDiskError) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    )
