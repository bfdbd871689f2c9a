"""The identity of a data set: a hash of a small part of each image, cheap enough for the start of every training.

    fingerprint of a file     SHA-256(size, first 4 KiB, last 4 KiB) if its format compresses, or else of its content
    fingerprint of an entry   SHA-256(shape, values) of an image inside a container
    identity                  SHA-256(count, the fingerprints in order)

The identity covers all files, if there are at most 100,000. If there are more, and in containers, it covers evenly
spaced images, because reading all would take as long as an epoch. Names and folders do not matter, so a copy elsewhere
has the same identity.

The size of a compressed file depends on its pixels. Uncompressed pictures of one size differ in their pixels alone,
which may be anywhere in the file; likewise, all bytes are hashed if the end is monotonous, as margins are. Earlier
versions took the ends of uncompressed files too, so each image also has the fingerprint that they recorded.

A run records the first 8 bytes of the fingerprints of its training images, as numbers, for comparison.
"""

import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
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
_COMPRESSED = re.compile(  # how files of formats that compress begin
    rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|\0\0\0\x0cjP|\xff\x4f\xff\x51|....ftyp", re.DOTALL
)


class Identity(NamedTuple):
    """A hash that covers `covered` of the `images` images of a split. Equal images in equal order have equal hashes.

    `earlier` is the hash that earlier versions recorded; it is the same if no file is uncompressed.
    """

    sha256: str
    images: int
    covered: int
    earlier: str


class Fingerprints(NamedTuple):
    """Of an image, 32 bytes each: the present one, and that of earlier versions. Zeros if it cannot be read."""

    present: bytes
    earlier: bytes


def data_identity(images: Images) -> Identity:
    """The identity of a split's images. Files take about 0.1 ms each; entries of containers are decoded.

    All images that cannot be read have the same fingerprint.
    """
    fingerprints = list(_fingerprints(images))
    present, earlier = (
        hashlib.sha256(b"%d\n%b" % (len(images), b"".join(column))).hexdigest()
        for column in zip(*fingerprints, strict=True)
    )
    return Identity(present, len(images), len(fingerprints), earlier)


def image_numbers(images: Images) -> NDArray[np.uint64]:
    """Numbers (N, 2) of the images that the identity covers and that can be read, equal for equal images."""
    return as_numbers(fingerprints for fingerprints in _fingerprints(images) if any(fingerprints.present))


def as_numbers(fingerprints: Iterable[Fingerprints]) -> NDArray[np.uint64]:
    """The first 8 bytes of each present fingerprint, and of each earlier one, as numbers (N, 2)."""
    begins = b"".join(fingerprint[:8] for of_image in fingerprints for fingerprint in of_image)
    return np.frombuffer(begins, "<u8").astype(np.uint64).reshape(-1, 2)


def _fingerprints(images: Images) -> Iterator[Fingerprints]:
    files, count = are_files(images), len(images)
    covered = min(count, FILES_AT_MOST if files else ENTRIES_AT_MOST)
    for index in np.linspace(0, count - 1, covered).astype(int).tolist():
        yield (
            file_fingerprints(images.files[index]) if files else Fingerprints(*[_entry_fingerprint(images, index)] * 2)
        )


def are_files(images: Images) -> bool:
    """Whether each image is a file of its own, rather than an entry of a container."""
    return images.files[0].is_file()


def file_fingerprints(file: Path) -> Fingerprints:
    """Equal for equal files; the present one is almost never equal for others."""
    try:
        with open(file, "rb") as content:
            status = os.fstat(content.fileno())
            size = status.st_size
            begin = content.read(_END)
            content.seek(max(size - _END, 0))
            end = content.read(_END)
            of_ends = hashlib.sha256(b"%d\n%b%b" % (size, begin, end)).digest()
            is_monotonous = len(zlib.compress(end, 1)) < _END / 2
            if size <= 2 * _END or (_COMPRESSED.match(begin) and not is_monotonous):
                return Fingerprints(of_ends, of_ends)
            of_content = _hash_content(file, status.st_ino, size, status.st_mtime_ns)
            return Fingerprints(of_content, of_content if is_monotonous else of_ends)
    except OSError:
        return Fingerprints(bytes(32), bytes(32))


def same_files(first: Sequence[Path], second: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pairs of a file of `first` and one of `second` with the same content. Each of `second` occurs at most once.

    Only files with equal fingerprints are read completely.
    """
    of_second = [(file_fingerprints(file).present, file) for file in second]
    wanted = {fingerprint for fingerprint, _ in of_second}
    alike = [(fingerprint, file) for file in first if (fingerprint := file_fingerprints(file).present) in wanted]
    known = {_content_hash(file): file for _, file in alike}
    wanted = {fingerprint for fingerprint, _ in alike}
    pairs = ((known.get(_content_hash(file)), file) for fingerprint, file in of_second if fingerprint in wanted)
    return [(one, other) for one, other in pairs if one is not None]


def _content_hash(file: Path) -> bytes | Path:
    """SHA-256 of a file's content. If the file cannot be read, its path, which equals no other value."""
    try:
        status = file.stat()
        return _hash_content(file, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError:
        return file


@lru_cache(2 * FILES_AT_MOST)
def _hash_content(file: Path, *status: int) -> bytes:
    """SHA-256 of a file's content, which is read once as long as the file's `status` is the same."""
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _entry_fingerprint(images: Images, index: int) -> bytes:
    try:
        image = images.read(index, copy=False)
    except DataError:
        return bytes(32)
    return hashlib.sha256(pixel_bytes(image)).digest()


def pixel_bytes(image: Pixels) -> bytes:
    r"""The bytes of an image that are hashed: "C H W\n", and its values, the lower byte first above 8 bits."""
    return "{} {} {}\n".format(*image.shape).encode() + image.astype(image.dtype.newbyteorder("<")).tobytes()
