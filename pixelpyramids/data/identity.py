"""The identity of a data set: a hash of a small part of each image, cheap enough for the start of every training.

    fingerprint of a file     SHA-256(size, first 4 KiB, last 4 KiB), or of its content if its end is monotonous
    fingerprint of an entry   SHA-256(shape, values) of an image inside a container
    identity                  SHA-256(count, the fingerprints in order)

The identity covers all files, if there are at most 100,000. If there are more, and in containers, it covers evenly
spaced images, because reading all would take as long as an epoch. Names and folders do not matter, so a copy elsewhere
has the same identity.

A run records the first 8 bytes of the fingerprints of its training images, as numbers, for comparison.
"""

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.images import Images
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels

FILES_AT_MOST = 100_000
ENTRIES_AT_MOST = 256
_END = 4096  # bytes at either end of a file


class Identity(NamedTuple):
    """A hash that covers `covered` of the `images` images of a split. Equal images in equal order have equal hashes."""

    sha256: str
    images: int
    covered: int


def data_identity(images: Images) -> Identity:
    """The identity of a split's images. Files take about 0.1 ms each; entries of containers are decoded.

    All images that cannot be read have the same fingerprint.
    """
    fingerprints = list(_fingerprints(images))
    digest = hashlib.sha256(b"%d\n%b" % (len(images), b"".join(fingerprints)))
    return Identity(digest.hexdigest(), len(images), len(fingerprints))


def image_numbers(images: Images) -> NDArray[np.uint64]:
    """A number for each of the images that the identity covers, equal for equal images."""
    return as_numbers(fingerprint for fingerprint in _fingerprints(images) if any(fingerprint))


def as_numbers(fingerprints: Iterable[bytes]) -> NDArray[np.uint64]:
    """The first 8 bytes of each fingerprint, as a number."""
    return np.frombuffer(b"".join(fingerprint[:8] for fingerprint in fingerprints), "<u8").astype(np.uint64)


def _fingerprints(images: Images) -> Iterator[bytes]:
    files, count = are_files(images), len(images)
    covered = min(count, FILES_AT_MOST if files else ENTRIES_AT_MOST)
    for index in np.linspace(0, count - 1, covered).astype(int).tolist():
        yield file_fingerprint(images.files[index]) if files else _entry_fingerprint(images, index)


def are_files(images: Images) -> bool:
    """Whether each image is a file of its own, rather than an entry of a container."""
    return images.files[0].is_file()


def file_fingerprint(file: Path) -> bytes:
    """32 bytes that are equal for equal files, and almost never for others; zeros if the file cannot be read."""
    try:
        with open(file, "rb") as content:
            size = os.fstat(content.fileno()).st_size
            begin = content.read(_END)
            content.seek(max(size - _END, 0))
            end = content.read(_END)
            if size > 2 * _END and len(zlib.compress(end, 1)) < _END / 2:  # as margins of uncompressed pixels are
                content.seek(0)
                return hashlib.file_digest(content, "sha256").digest()
            return hashlib.sha256(b"%d\n%b%b" % (size, begin, end)).digest()
    except OSError:
        return bytes(32)


def same_files(first: Sequence[Path], second: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pairs of a file of `first` and one of `second` with the same content. Each of `second` occurs at most once.

    Only files with equal fingerprints are read completely.
    """
    of_second = [(file_fingerprint(file), file) for file in second]
    wanted = {fingerprint for fingerprint, _ in of_second}
    alike = [(fingerprint, file) for file in first if (fingerprint := file_fingerprint(file)) in wanted]
    known = {_content_hash(file): file for _, file in alike}
    wanted = {fingerprint for fingerprint, _ in alike}
    pairs = ((known.get(_content_hash(file)), file) for fingerprint, file in of_second if fingerprint in wanted)
    return [(one, other) for one, other in pairs if one is not None]


def _content_hash(file: Path) -> bytes | Path:
    """SHA-256 of a file's content. If the file cannot be read, its path, which equals no other value."""
    try:
        with open(file, "rb") as content:
            return hashlib.file_digest(content, "sha256").digest()
    except OSError:
        return file


def _entry_fingerprint(images: Images, index: int) -> bytes:
    try:
        image = images.read(index, copy=False)
    except DataError:
        return bytes(32)
    return hashlib.sha256(pixel_bytes(image)).digest()


def pixel_bytes(image: Pixels) -> bytes:
    r"""The bytes of an image that are hashed: "C H W\n", and its values, the lower byte first above 8 bits."""
    return "{} {} {}\n".format(*image.shape).encode() + image.astype(image.dtype.newbyteorder("<")).tobytes()
