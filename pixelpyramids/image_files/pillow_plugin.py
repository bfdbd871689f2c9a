"""Register .ppyr files with Pillow, so that it can open and save them. Importing this module does nothing else.

    import pixelpyramids.image_files.pillow_plugin
    image = Image.open("a.ppyr")              only the header is read, until the pixels are needed
    image.draft(None, (400, 300))             a coarser octave of the file, at least that large
    image.save("b.ppyr", effort="max")

Values of 2 to 7 bits are widened to 8, as Pillow does with PNG; `info["depth"]` is their depth in the file.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile

from pixelpyramids.codec.container import MAGIC, MAX_SIDE, FileHeader, read_index, read_part
from pixelpyramids.codec.image import MAX_PIXELS, decode, encode
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.image_files import metadata as blobs
from pixelpyramids.image_files.bit_depth import Pixels, pixel_type, widen
from pixelpyramids.image_files.file_source import FileSource
from pixelpyramids.image_files.pillow_reading import MODES, SIXTEEN_BITS, pixels_of, stored_bits
from pixelpyramids.pyramid import octaves


class PyramidImageFile(ImageFile.ImageFile):
    """An opened .ppyr file. As with Pillow's own formats, damage raises OSError, and so do pixels without a mode."""

    format = "PPYR"
    format_description = "pixelpyramids lossless image"

    _is_pending = False  # an unpickled image already has its pixels

    def _open(self) -> None:
        self._scale = 1
        self._is_pending = True
        with _raise_os_error():
            self._index = read_index(FileSource(self._file()), _max_pixels())
        header = self._index.header
        self._mode = _mode(header)
        self._size = header.width, header.height
        info, self.text = blobs.to_pillow(header.metadata)
        self.info |= info | {"depth": header.depth}

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, int, int]] | None:
        """Choose the coarsest octave that is at least as large as `size`, or else the whole image; `mode` is ignored.

        As for a JPEG, returns None if nothing changes, else the mode and the box of the whole image in the new size.
        """
        if size is None or not self._is_pending:
            return None
        header = self._index.header
        sizes = octaves.octave_sizes(header.height, header.width)
        fitting = [level for level, (height, width) in enumerate(sizes) if width >= size[0] and height >= size[1]]
        level = max(fitting, default=0)
        if 1 << level == self._scale:
            return None
        self._scale = 1 << level
        height, width = sizes[level]
        self._size = width, height
        return self.mode, (0, 0, width, height)

    def load(self) -> Any:
        """Decode the pixels."""
        if self._is_pending:
            with _raise_os_error():
                pixels = decode(FileSource(self._file()), scale=self._scale, max_pixels=_max_pixels())
            self._is_pending = False
            self.im = _to_image(pixels, self._index.header.depth).im
            self._release_file()
        return super().load()

    def verify(self) -> None:
        """Compare every checksum of the file, and its length, without decoding pixels. OSError if one is wrong.

        As with Pillow's own formats, the file has to be opened again afterwards.
        """
        source = FileSource(self._file())
        if source.size != self._index.size:
            raise OSError(f"expected {self._index.size} bytes, got {source.size}; the file is damaged")
        with _raise_os_error():
            for number in range(len(self._index.entries)):
                read_part(source, self._index, number)
        self._release_file()

    def _file(self) -> BinaryIO:
        if self.fp is None:
            raise OSError("expected an open file, got one that is closed; open it again")
        return cast(BinaryIO, self.fp)

    def _release_file(self) -> None:
        if self._exclusive_fp:
            self._file().close()
        self.fp = None


@contextmanager
def _raise_os_error(about: str = "") -> Iterator[None]:
    """Raise this package's errors as OSError, as Pillow's own formats do."""
    try:
        yield
    except PixelPyramidsError as error:
        raise OSError(f"{about}{error}") from error


def _to_image(pixels: Pixels, depth: int) -> Image.Image:
    """An image of the mode that `_mode` chooses, of 1, 8 or 16 bits. Depths of 2 to 7 bits are widened to 8."""
    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    flat = flat.astype(pixel_type(depth), copy=False)
    if depth == 1 and flat.ndim == 2:
        return Image.fromarray(flat > 0)
    return Image.fromarray(np.ascontiguousarray(flat if depth >= 8 else widen(flat, depth, 8)))


def _max_pixels() -> int:
    """A limit that is never below Pillow's own. If Pillow's is switched off, only the format limits the size."""
    return MAX_SIDE**2 if Image.MAX_IMAGE_PIXELS is None else max(MAX_PIXELS, 2 * Image.MAX_IMAGE_PIXELS)


def _mode(header: FileHeader) -> str:
    if header.channels not in MODES:
        raise OSError(
            f"expected at most {max(MODES)} channels, because Pillow has no mode for more, got {header.channels}; use "
            "pixelpyramids.decode, which returns an array"
        )
    if header.depth <= 8:
        return "1" if header.depth == 1 and header.channels == 1 else MODES[header.channels]
    if header.channels > 1:
        raise OSError(
            f"expected at most 8 bits of colour or alpha, because Pillow has no mode for more, got {header.depth} "
            "bits; use pixelpyramids.decode, which returns an array"
        )
    return "I;16"


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    options = {name: image.encoderinfo[name] for name in ("effort", "threads") if name in image.encoderinfo}
    with _raise_os_error(f"cannot write mode {image.mode} as PPYR: "):
        pixels, depth = pixels_of(image)
        _refuse_lost_bits(image)
        file.write(encode(pixels, depth=depth, metadata=_metadata(image), **options))


def _refuse_lost_bits(image: Image.Image) -> None:
    """Raise DataError if Pillow has read only 8 bits of the deeper values in a file that it opened by its path."""
    name = getattr(image, "filename", "")
    if image.mode in SIXTEEN_BITS or not os.path.isfile(name):
        return
    bits = 8
    with suppress(OSError), Image.open(name) as file:  # it may have changed, or be the one that is written
        bits = stored_bits(file) if file.format == image.format else bits
    if bits > 8:
        raise DataError(
            f"expected a file of at most 8 bits, got {bits} bits in {os.fsdecode(name)}, of which Pillow reads 8; use "
            "pixelpyramids.open, which reads all, or save image.copy()"
        )


def _save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    frames = getattr(image, "n_frames", 1) + len(image.encoderinfo.get("append_images", []))
    if frames != 1:
        raise OSError(f"expected one picture, because a PPYR file holds no more, got {frames}; save each on its own")
    _save(image, file, filename)


def _metadata(image: Image.Image) -> dict[str, bytes]:
    """The metadata of the image. Arguments of `save` with the names that Pillow's writers use replace them."""
    given = Image.new("1", (1, 1))
    names = ("icc_profile", "exif", "xmp", "dpi")
    given.info = {name: image.encoderinfo[name] for name in names if image.encoderinfo.get(name) is not None}
    if isinstance(given.info.get("exif"), Image.Exif):
        given.info["exif"] = given.info["exif"].tobytes()
    for name, value in given.info.items():
        if name == "dpi" and not _is_resolution(value):
            raise DataError(f"expected dpi to be two positive numbers, got {value!r:.80}")
        if name != "dpi" and not isinstance(value, (bytes, str) if name == "xmp" else bytes):
            raise DataError(f"expected {name} to be bytes, got {value!r:.80}")
    return blobs.read_metadata(image) | blobs.read_metadata(given)


def _is_resolution(dpi: Any) -> bool:
    try:
        x, y = map(float, dpi)
    except (TypeError, ValueError, OverflowError):
        return False
    return 0 < x < math.inf and 0 < y < math.inf


Image.register_open(PyramidImageFile.format, PyramidImageFile, lambda head: head.startswith(MAGIC))
Image.register_save(PyramidImageFile.format, _save)
Image.register_save_all(PyramidImageFile.format, _save_all)
Image.register_extension(PyramidImageFile.format, ".ppyr")
