"""Read large TIFFs strip by strip or tile by tile."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pixelpyramids.codec.disk_array import AT_ONCE, DiskArray
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.file_source import FileSource


def read_large(source: FileSource, tags: ImageFileDirectory_v2, shape: tuple[int, ...], dtype: DTypeLike) -> DiskArray:
    """The stored values of an image (H, W) or (H, W, C). Raises DataError if there is more than one."""
    array = DiskArray(shape, dtype)
    pixels = array.reshape(*shape[:2], -1)
    with open_page(source.file) as page:
        if _is_uncompressed(tags):  # such a strip often holds the whole image
            for window, values in _read_uncompressed(source, tags, pixels.shape):
                pixels[window] = values
            return array
        for values, (sample, _, top, left, _), (_, height, width, samples) in page.segments(maxworkers=1, buffersize=1):
            bottom, right = min(top + height, shape[0]), min(left + width, shape[1])  # of a tile, within the image
            window = slice(top, bottom), slice(left, right), slice(sample, sample + samples)
            pixels[window] = values[0, : bottom - top, : right - left]
    return array


@contextmanager
def open_page(file: BinaryIO) -> Iterator[Any]:
    """The only page of a TIFF, for tifffile. Raises PixelPyramidsError if there are more, or an extra is missing."""
    import tifffile  # slow to import, and no other format needs it

    file.seek(0)
    try:
        with tifffile.TiffFile(file) as opened:
            page, count = opened.pages[0], len(opened.pages)
            # One directory can describe a stack. A single picture may still have the description of a stack.
            stacked = math.prod(opened.series[0].shape) // math.prod(page.shape)
            if count == 1 and stacked * page.nbytes <= file.seek(0, os.SEEK_END):
                count = stacked
            if count != 1:
                raise DataError(f"expected one picture, got {count} pages; save one of them as a file")
            yield page
    except tifffile.TiffFileError as error:
        raise DataError(f"the TIFF cannot be read: {error}; replace or remove the file") from error
    except (ValueError, RuntimeError):  # tifffile raises them for what it cannot decode
        import_extra("imagecodecs", "images")  # most compressions need it
        raise


def several(value: Any) -> tuple[Any, ...]:
    """The numbers of a tag, which may be a single one."""
    return value if isinstance(value, tuple) else (value,)


def _is_uncompressed(tags: ImageFileDirectory_v2) -> bool:
    """Whether the image has strips that hold nothing but the bytes of the values."""
    has_bytes = set(several(tags.get(Tag.BitsPerSample, 1))) <= {8, 16} and tags.get(Tag.FillOrder, 1) == 1
    return tags.get(Tag.Compression, 1) == 1 and Tag.TileOffsets not in tags and has_bytes


def _read_uncompressed(
    source: FileSource, tags: ImageFileDirectory_v2, shape: tuple[int, ...]
) -> Iterator[tuple[tuple[slice, slice, slice], Any]]:
    """Yield the rows of uncompressed strips, a few at a time, and the windows of the image (H, W, C) that they fill."""
    height, width, channels = shape
    lines = min(tags.get(Tag.RowsPerStrip, height), height)
    samples, size = 1 if tags.get(Tag.PlanarConfiguration) == 2 else channels, several(tags[Tag.BitsPerSample])[0] // 8
    kind, of_row = f"{'>' if tags.prefix == b'MM' else '<'}u{size}", width * samples * size
    at_once = max(AT_ONCE // of_row, 1)
    for number, start in enumerate(several(tags[Tag.StripOffsets])):
        plane, strip = divmod(number, -(-height // lines))
        top, bottom = strip * lines, min((strip + 1) * lines, height)
        for begin in range(top, bottom, at_once):
            count = min(at_once, bottom - begin)
            rows = np.frombuffer(source.read(start + (begin - top) * of_row, count * of_row), kind)
            window = slice(begin, begin + count), slice(0, width), slice(plane, plane + samples)
            yield window, rows.reshape(count, width, samples)
