"""Image files for tests: pixels of any depth, files that libraries write, and files built chunk by chunk."""

import io
import struct
import zlib

import numpy as np
import tifffile

from pixelpyramids.image_files.opening import read_picture
from pixelpyramids.image_files.saving import write_image

RNG = np.random.default_rng(0)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def noise(depth, channels=1, height=11, width=13):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return RNG.integers(0, 1 << depth, shape).astype(np.uint8 if depth <= 8 else np.uint16)


def read(data, **options):
    return read_picture(io.BytesIO(data), **options)


def assert_read(data, array, depth):
    """Check that a file is read as this array, with this depth."""
    picture = read(data)
    assert picture.array.dtype == array.dtype and np.array_equal(picture.array, array) and picture.depth == depth


def own_file(array, depth, format, metadata=None):
    """The file that this package writes for an array."""
    file = io.BytesIO()
    write_image(file, array, depth, metadata or {}, format)
    return file.getvalue()


def tiff(array, order="<", big=False, **options):
    """The TIFF that tifffile writes for an array."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=order, bigtiff=big) as writer:
        writer.write(array, **({"metadata": None} | options))
    return file.getvalue()


def tiff_tags(data):
    """The tags of a TIFF by their numbers, as tifffile reads them."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return {tag.code: tag for tag in file.pages[0].tags}


def chunk(name, content):
    """A PNG's chunk."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, depth, kind, rows, *chunks, interlaced=0):
    """A PNG with the given size and rows of bytes, which may be incomplete, and chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    end = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return SIGNATURE + chunk(b"IHDR", header) + b"".join(chunks) + end


def insert_chunks(data, *chunks):
    """Add chunks after the header of a PNG."""
    return data[:33] + b"".join(chunks) + data[33:]
