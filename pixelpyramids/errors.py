"""The errors that a person can cause; everything else is a bug and shows a traceback."""


class PixelPyramidsError(Exception):
    """Says what was expected, what came, and what to do; the command line prints it and exits with status 2."""


class ParameterError(PixelPyramidsError):
    """A parameter file, or an argument, that does not describe a model."""


class DataError(PixelPyramidsError):
    """Images that are missing, unreadable, or not of the size, depth or range that was asked for."""


class EmptySplitError(DataError):
    """A split that the images, sound as they may be, do not have."""


class CheckpointError(PixelPyramidsError):
    """A run directory or a file of weights that is missing, damaged, foreign, or of another model."""


class BitstreamError(PixelPyramidsError):
    """A compressed file that is damaged, foreign, or larger than the limits allow."""
