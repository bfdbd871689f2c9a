"""Open an image file of any supported format. Its pixels are decoded only when they are needed.

    with pixelpyramids.open("photograph.tif") as image:
        image.shape, image.dtype, image.depth, image.metadata, image.format, image.is_lossy
        whole = image.read()
        part = image.read(scale=4, region=(0, 0, 640, 480))

Pixels are read as they are stored: without rotation, scaling or colour management, and no bit is lost silently. Pixels
that Pillow would cut to 8 bits are read by tifffile, or by imagecodecs (the `images` extra), or refused. If a second
library can read a PNG or TIFF too, both must agree.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from os import PathLike
from typing import Any, BinaryIO, Self, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from pixelpyramids.arguments import whole_number
from pixelpyramids.codec.container import MAGIC, Content, FileHeader, read_index
from pixelpyramids.codec.disk_array import LARGE
from pixelpyramids.codec.image import MAX_PIXELS, decode
from pixelpyramids.codec.planes import Region, cut_out, octave_of_scale, restore_axes
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.image_files import metadata as blobs
from pixelpyramids.image_files import tiff_reader
from pixelpyramids.image_files.bit_depth import Pixels, pixel_type
from pixelpyramids.image_files.file_source import DAMAGE, FileSource, as_path, open_regular, read_head
from pixelpyramids.image_files.left_out import find_left_out
from pixelpyramids.image_files.library_messages import catch_messages
from pixelpyramids.image_files.picture import Facts, Inspected, Picture, check_limit, facts_of
from pixelpyramids.image_files.pillow_reading import (
    MODES,
    SIXTEEN_BITS,
    open_with_pillow,
    pixels_of,
    refuse_cut_images,
)
from pixelpyramids.image_files.pixel_coding import is_lossy, stored_depth
from pixelpyramids.image_files.png_reader import inspect_png
from pixelpyramids.image_files.png_rows import SIGNATURE
from pixelpyramids.image_files.uncompressed import NPY, inspect_netpbm, inspect_npy, is_netpbm
from pixelpyramids.terminal import explain

READ = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "MPO", "JPEG2000", "AVIF", "QOI", "PCX", "TGA")
"""Pillow's names of the formats that can be read, besides PPYR, PPM (also PBM and PGM) and npy."""

_JPEG = b"\xff\xd8"
_MARKS = {MAGIC: "PPYR", NPY: "npy", SIGNATURE: "PNG"}


class ImageFile:
    """An image file. Use it in a `with` block, or close it.

    Attributes and methods raise DataError if the file is damaged or animated, has too many pixels, or has pixels that
    cannot be read exactly (float, signed, CMYK, …). For such a .ppyr file, they raise BitstreamError. If a package is
    missing, they raise PixelPyramidsError, which names the extra to install.
    """

    _facts: Facts | None
    format: str
    """What the file is: "PPYR", "PPM", "npy", or Pillow's name of the format ("PNG", "JPEG", "TIFF", …)."""

    def __init__(self, file: BinaryIO, name: str, max_pixels: int, is_ours: bool) -> None:
        self._name, self._max_pixels = name, max_pixels
        self._owned = file if is_ours else None
        self._file, self._facts, self.format = file, None, ""
        with self._report_errors():
            self._file = file if file.seekable() else io.BytesIO(file.read())
            self._source = FileSource(self._file)
            self.format = self._recognise()

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, C)."""
        return self._read_facts().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or uint16."""
        return self._read_facts().dtype

    @property
    def depth(self) -> int:
        """Bits of each value, 1 to 16."""
        return self._read_facts().depth

    @property
    def metadata(self) -> dict[str, bytes]:
        """The ICC profile, EXIF, XMP, texts and more, by the names of image_files/metadata.py."""
        return dict(self._read_facts().metadata)

    @cached_property
    def is_lossy(self) -> bool:
        """Whether the pixels were compressed with loss (JPEG, some WebP, …). This decodes no pixels.

        False for animations, which cannot be read.
        """
        with self._report_errors():
            return self._find_loss()

    def read(self, scale: int = 1, region: Region | None = None) -> Pixels:
        """Return the pixels as a new array.

        `scale` 2, 4, … gives every second, fourth, … pixel. `region` (x, y, width, height) gives a part of the image;
        it counts pixels of the whole image. The result is what `pixelpyramids.decode` returns for a .ppyr file of the
        same image. Only the needed parts of a .ppyr file are read. UserWarnings name the parts of the file that are
        not kept. Raises DataError if scale or region does not fit the image.
        """
        if self.format == "PPYR":
            self._read_facts()  # so that shape and depth stay available after the file is closed
            with self._report_errors():
                return decode(self._source, scale, region, self._max_pixels)
        picture = self.load(f"{self._name}: ")
        array = picture.array
        height, width, channels = (*array.shape, 1)[:3]
        header = FileHeader(height, width, channels, array.ndim == 3, array.itemsize == 2, picture.depth, Content.PNG)
        whole = cut_out(array.reshape(height, width, channels), header, octave_of_scale(header, scale), region)
        found: Pixels = restore_axes(whole, header)
        return found

    def load(self, about: str = "") -> Picture:
        """Read everything: pixels, depth, metadata, and the names of the parts that are not kept.

        Warnings start with `about`: Python shows warnings with the same text only once.
        """
        with self._report_errors(about):
            picture = self._inspect().load()
        if picture.not_kept:
            warnings.warn(f"{about}not kept: {', '.join(picture.not_kept)}", stacklevel=3)
        self._facts, self.is_lossy = facts_of(picture), picture.is_lossy
        return picture

    def close(self) -> None:
        """Close the file, if it was opened by its path."""
        if self._owned is not None:
            self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_facts(self) -> Facts:
        if self._facts is None:
            with self._report_errors(f"{self._name}: "):
                inspected = self._inspect()
                self._facts = inspected.facts or facts_of(inspected.load())
        return self._facts

    def _content(self) -> bytes:
        """The content of the whole file, which is read only once."""
        if not isinstance(self._file, io.BytesIO):
            self._file.seek(0)
            self._file = io.BytesIO(self._file.read())
        return self._file.getvalue()

    def _content_source(self) -> FileSource:
        """The content of the whole file: in memory, where it is read only once, or left in the file if it is large."""
        if self._source.size <= LARGE:
            self._content()
        return FileSource(self._file)

    def _recognise(self) -> str:
        head = read_head(self._file, 16)
        for mark, format in _MARKS.items():
            if head.startswith(mark):
                return format
        if is_netpbm(head):
            return "PPM"
        if tiff_reader.is_tiff(head):
            return "TIFF"
        with self._open_with_pillow() as image:
            return image.format or "unknown"

    def _open_with_pillow(self) -> Image.Image:
        """Open the image with Pillow. For a JPEG, this reads only the start of the file."""
        if read_head(self._file, 2) != _JPEG:
            self._content()
        try:
            return open_with_pillow(self._file, READ)
        except UnidentifiedImageError as error:
            raise DataError(
                f"expected an image ({', '.join(READ)}, PPM or npy), got {error}; convert or replace it"
            ) from error

    def _find_loss(self) -> bool:
        if self.format == "TIFF":
            return tiff_reader.is_lossy_tiff(self._content_source())
        if self.format in _MARKS.values() or self.format == "PPM":
            return False
        with self._open_with_pillow() as image:
            is_one = image.format == "MPO" or getattr(image, "n_frames", 1) == 1
            return is_one and is_lossy(image.format, self._content)

    def _inspect(self) -> Inspected:
        if self.format == "PPYR":
            return self._inspect_ppyr()
        of_source: dict[str, Callable[[FileSource, int], Inspected]] = {
            "npy": inspect_npy,
            "TIFF": tiff_reader.inspect_tiff,
            "PNG": inspect_png,
        }
        if self.format in of_source:
            return of_source[self.format](self._content_source(), self._max_pixels)
        inspect = inspect_netpbm if self.format == "PPM" else self._inspect_with_pillow
        return inspect(self._content(), self._max_pixels)

    def _inspect_ppyr(self) -> Inspected:
        header = read_index(self._source, self._max_pixels).header
        shape = (header.height, header.width, header.channels)[: 2 + header.has_axis]
        dtype, metadata = np.dtype(np.uint16 if header.is_wide else np.uint8), dict(header.metadata)

        def load() -> Picture:
            return Picture(decode(self._source, max_pixels=self._max_pixels), header.depth, metadata, "PPYR")

        return Inspected(Facts(shape, dtype, header.depth, metadata), load)

    def _inspect_with_pillow(self, data: bytes, max_pixels: int) -> Inspected:
        image = self._open_with_pillow()
        check_limit(image.height, image.width, max_pixels)
        not_kept = find_left_out(image, data)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format == "MPO":  # a JPEG from a camera, whose first frame is the picture
            not_kept = ("the JPEG's other pictures (previews, gain maps)",)
        elif frames != 1:
            raise DataError(f"expected one picture, got {frames} (an animation, or pages); save one of them as a file")
        depth = stored_depth(image, data)
        is_narrow = depth < 8 and (image.mode == "P" or image.format == "TGA")
        if is_narrow or (depth > 8 and (depth < 16 or image.mode not in SIXTEEN_BITS)):
            raise DataError(
                f"expected 8 bits, got {depth} bits in the {image.format}, which cannot be read exactly; convert it to "
                "a PNG of 8 or 16 bits"
            )
        metadata, facts = blobs.read_metadata(image), None
        if image.mode in MODES.values() and "transparency" not in image.info:
            channels = len(image.getbands())
            shape = (image.height, image.width, channels)[: 2 + (channels > 1)]
            facts = Facts(shape, pixel_type(depth), depth, metadata)

        def load() -> Picture:
            with refuse_cut_images():
                pixels, bits = pixels_of(image)
            if depth < 8:  # only in JPEG 2000; Pillow appends zero bits
                pixels, bits = pixels >> (8 - depth), depth
            return Picture(pixels, bits, metadata, self.format, is_lossy(self.format, self._content), not_kept)

        return Inspected(facts, load)

    @contextmanager
    def _report_errors(self, about: str = "") -> Iterator[None]:
        """Put the file's name before errors, and turn what libraries print into warnings."""
        printed: list[str] = []
        is_quiet = self.format in ("", "PPYR")  # nothing is decoded yet, or no library decodes it
        try:
            with nullcontext(printed) if is_quiet else catch_messages() as printed:
                yield
        except PixelPyramidsError as error:
            raise type(error)(f"{self._name}: {error}") from error
        except Image.DecompressionBombError as error:
            raise DataError(
                f"{self._name}: {error}; raise max_pixels (--max-pixels) and PIL.Image.MAX_IMAGE_PIXELS"
            ) from error
        except DAMAGE as error:
            if getattr(self._file, "closed", False):
                raise DataError(f"{self._name}: expected an open file, got a closed one; open it again") from error
            reason = "; ".join([str(error).strip() or type(error).__name__, *printed])
            raise DataError(
                f"{self._name}: expected an image that can be read, got: {reason}; replace or remove it"
            ) from error
        for line in printed:
            warnings.warn(f"{about}an image library says: {line}", stacklevel=5)


def open(path_or_file: str | PathLike[str] | BinaryIO, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """Open an image file of any supported format, by its path or as an open binary file.

    Raises DataError if the file is missing, is not a regular file, or is not an image.
    """
    whole_number("max_pixels", max_pixels, 0)
    path = as_path(path_or_file)
    if path is None:
        name = getattr(path_or_file, "name", None)
        file = cast(BinaryIO, path_or_file)
        return ImageFile(file, name if isinstance(name, str) else "the image", max_pixels, is_ours=False)
    try:
        file = open_regular(path)
    except OSError as error:
        raise DataError(explain(error, str(path))) from error
    try:
        return ImageFile(file, str(path), max_pixels, is_ours=True)
    except BaseException:
        file.close()
        raise


def read_picture(path_or_file: str | PathLike[str] | BinaryIO, max_pixels: int = MAX_PIXELS) -> Picture:
    """Open and `load` an image file. Raises the errors of `open` and `ImageFile`."""
    with open(path_or_file, max_pixels) as image:
        return image.load()
