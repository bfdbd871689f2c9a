"""Whether a .ppyr file holds a picture."""

from typing import Any

import numpy as np

from pixelpyramids.codec.container import MAX_SIDE, Content, FileHeader, read_index
from pixelpyramids.codec.fields import ByteSource
from pixelpyramids.codec.image import decode
from pixelpyramids.codec.planes import decimate
from pixelpyramids.image_files.picture import Picture
from pixelpyramids.terminal import count_of

UNLIMITED = MAX_SIDE**2  # pixels; no limit is needed for files that were written here
COMPARED_WHOLE = 2**16  # pixels; of larger images that the model codes, only every fourth row and column is compared


def describe_difference(array: Any, header: FileHeader, picture: Picture) -> str:
    """The first difference of a decoded file from a picture, in words; "" if there is none."""
    if array.shape != picture.array.shape:
        return f"expected pixels of shape {picture.array.shape}, got {array.shape}"
    if header.depth != picture.depth or array.dtype != picture.array.dtype:
        return f"expected {picture.depth} bits ({picture.array.dtype}), got {header.depth} ({array.dtype})"
    if not np.array_equal(array, picture.array):
        different = (array != picture.array).reshape(*array.shape[:2], -1).any(axis=-1)
        y, x = (int(lines[0]) for lines in np.nonzero(different))
        return f"{count_of(int(different.sum()), 'pixel')}, the first at x {x}, y {y}"
    names = sorted(header.metadata.keys() | picture.metadata.keys())
    others = [name for name in names if header.metadata.get(name) != picture.metadata.get(name)]
    return f"the pixels are the same, the metadata differs ({', '.join(others)})" if others else ""


def holds(source: ByteSource, picture: Picture, threads: int | None) -> bool:
    """Whether a file decodes to exactly this picture: its pixels, depth and metadata."""
    array = decode(source, max_pixels=UNLIMITED, threads=threads)
    return not describe_difference(array, read_index(source, UNLIMITED).header, picture)


def resembles(source: ByteSource, picture: Picture, with_metadata: bool, threads: int) -> bool:
    """Whether a file seems to hold a picture; of a large one, some of the pixels are compared."""
    index = read_index(source, UNLIMITED)
    header, pixels = index.header, picture.array.reshape(*picture.array.shape[:2], -1)
    if not with_metadata and header.channels in (2, 4) and pixels.shape[2] == header.channels - 1:
        # WebP drops an opaque alpha channel
        opaque = np.full_like(pixels[..., :1], (1 << picture.depth) - 1)
        pixels = np.concatenate([pixels, opaque], axis=2)
    if (header.height, header.width, header.channels) != pixels.shape or index.size != source.size:
        return False
    if with_metadata and (header.depth, dict(header.metadata)) != (picture.depth, picture.metadata):
        return False
    is_quick = header.content != Content.MODEL or header.height * header.width <= COMPARED_WHOLE
    level = 0 if is_quick else min(2, header.octaves)
    found = decode(source, 1 << level, max_pixels=pixels.size, threads=threads)
    return np.array_equal(found.reshape(*found.shape[:2], -1), decimate(pixels, level))
