"""The files that commands on images work on, or `-` for standard input and output, and the names of their results."""

import os
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from pixelpyramids.archive.manifest import NAME as MANIFEST
from pixelpyramids.codec.fields import ByteSource, MemorySource
from pixelpyramids.errors import DataError, ParameterError
from pixelpyramids.image_files.file_source import open_source
from pixelpyramids.image_files.listing import Listing, Task, list_tasks

SUFFIX = ".ppyr"

STANDARD = Path("-")
STANDARD_INPUT = "standard input"
IMAGES = "images"
AN_IMAGE = "an image (.png, .tif, .webp, …)"
A_PPYR_FILE = "a .ppyr file"
_SUFFIXES_WITHOUT_PILLOW = {".png", ".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".npy"}


class _ImageSuffixes(Container[str]):
    """The suffixes of the image files that can be read. To know those of Pillow, it must import all its readers."""

    def __contains__(self, suffix: object) -> bool:
        return suffix in _SUFFIXES_WITHOUT_PILLOW or suffix in self._of_pillow

    @cached_property
    def _of_pillow(self) -> set[str]:
        from pixelpyramids.image_files.opening import READ
        from pixelpyramids.image_files.pillow_reading import readable_formats

        return {".mpo"} | {suffix for suffix, format in readable_formats().items() if format in READ}  # MPO is JPEG


IMAGE_SUFFIXES = _ImageSuffixes()


def list_images(paths: Sequence[Path], out: Path | None, exclude: Sequence[str] | None) -> Listing:
    """The images among `paths` and below its folders, each with its .ppyr file as the target."""
    listing = list_tasks(paths, out, compressed_name, IMAGE_SUFFIXES, AN_IMAGE, exclude or [])
    return listing._replace(others=[path for path in listing.others if path.suffix.lower() != SUFFIX])


def list_compressed(paths: Sequence[Path], ignore: Sequence[str] = ()) -> Listing:
    """The .ppyr files among `paths` and below its folders, or standard input."""
    if is_standard(paths):
        return Listing([Task(paths[0], paths[0], True)], [], [])
    return list_results(paths, None, str, ignore)


def list_results(
    paths: Sequence[Path], out: Path | None, rename: Callable[[str], str], exclude: Sequence[str]
) -> Listing:
    """The .ppyr files among `paths` and below its folders, as `list_tasks`; manifests of archives are left out."""
    listing = list_tasks(paths, out, rename, {SUFFIX}, A_PPYR_FILE, exclude)
    return listing._replace(others=[path for path in listing.others if not path.name.startswith(MANIFEST)])


@contextmanager
def open_compressed(task: Task) -> Iterator[ByteSource]:
    """Open the .ppyr file of a task of `list_compressed`."""
    if is_standard([task.source]):
        yield MemorySource(read_standard_input())
        return
    with open_source(task.source) as source:
        yield source


def name_of(task: Task) -> str:
    """The path of a task's file, or words for standard input."""
    return STANDARD_INPUT if is_standard([task.source]) else str(task.source)


def compressed_name(name: str) -> str:
    """`a.png` becomes a.ppyr. A name without the suffix of an image gets .ppyr appended."""
    stem, suffix = os.path.splitext(name)
    return (stem if suffix.lower() in IMAGE_SUFFIXES else name) + SUFFIX


def decompressed_name(name: str, suffix: str) -> str:
    """`a.ppyr` becomes a.png, or a name with another suffix. A name without .ppyr gets the suffix appended."""
    stem, own = os.path.splitext(name)
    return (stem if own.lower() == SUFFIX else name) + suffix


def is_standard(paths: Sequence[Path], **others: object) -> bool:
    """Whether the path is `-`. Raises ParameterError if there are other paths too, or if one of `others` is set."""
    if STANDARD not in paths:
        return False
    if len(paths) > 1:
        raise ParameterError("expected - alone, for one file from standard input, got other paths too")
    for name, given in others.items():
        if given:
            raise ParameterError(f"--{name} cannot be used with -, whose result is written to standard output")
    return True


def read_standard_input() -> bytes:
    """All bytes of standard input. Raises DataError if it is empty or closed."""
    data = sys.stdin.buffer.read() if sys.stdin else b""
    if not data:
        raise DataError("expected a file on standard input, got nothing")
    return data


def write_standard_output(data: bytes | memoryview) -> None:
    """Write the bytes to standard output. Raises ParameterError if it is a terminal, or closed."""
    if not sys.stdout or sys.stdout.isatty():
        state = "a terminal" if sys.stdout else "closed"
        raise ParameterError(f"standard output is {state}; send it to a file (> FILE) or into another command")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
