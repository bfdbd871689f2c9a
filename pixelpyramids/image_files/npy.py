"""Read .npy files that hold an image of uint8 or uint16."""

import io
import math

import numpy as np

from pixelpyramids.errors import DataError
from pixelpyramids.image_files.picture import Facts, Inspected, Picture, check_limit

NPY = b"\x93NUMPY"


def inspect_npy(data: bytes, max_pixels: int) -> Inspected:
    """Read the header. Before allocating memory, raises DataError if the file holds no image or is incomplete."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    is_image = len(shape) in (2, 3) and 0 not in shape and (*shape, 1)[2] <= 4
    if dtype not in (np.uint8, np.dtype("<u2"), np.dtype(">u2")) or not is_image:
        raise DataError(
            f"expected an array (H, W) or (H, W, C), C from 1 to 4, of uint8 or uint16, got {dtype} of shape {shape}; "
            "convert it"
        )
    check_limit(shape[0], shape[1], max_pixels)
    size, found = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if found != size:
        raise DataError(f"expected {size} bytes of pixels, got {found}; save it again")
    facts = Facts(shape, dtype.newbyteorder("="), 8 * dtype.itemsize, {})
    return Inspected(facts, lambda: Picture(np.load(io.BytesIO(data)).astype(facts.dtype, "C"), facts.depth, {}, "npy"))
