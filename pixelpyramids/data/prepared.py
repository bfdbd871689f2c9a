"""The images of a container, cropped and resized to a single size."""

import numpy as np
from PIL import Image

from pixelpyramids.data.images import Entries, Indices, chosen_names
from pixelpyramids.data.kept import KeptImages
from pixelpyramids.data.reading import Prepare, decode, quantise
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels

TRIED_AT_MOST = 10  # images, when a split is opened


class PreparedImages(KeptImages):
    """The chosen entries of a container as `Images` of one size (H, W), which `prepare` crops and resizes to.

    `chosen` are indices into the entries, all by default; `accept_cmyk` is that of `decode`. An image is read at once,
    so that a wrong size is refused when the split is opened. Raises DataError where there is no entry, or none of the
    first ten can be read.
    """

    def __init__(
        self,
        entries: Entries,
        size: tuple[int, int],
        chosen: Indices | None = None,
        *,
        channels: int = 3,
        n_bits: int = 8,
        prepare: Prepare | None = None,
        accept_cmyk: bool = False,
    ) -> None:
        self.entries, self.size, self.prepare, self.accept_cmyk = entries, size, prepare, accept_cmyk
        self.chosen: Indices = range(len(entries.names)) if chosen is None else chosen
        if not len(self.chosen):
            raise DataError("expected at least one image in the split, got none")
        count = len(self.chosen)
        sizes = np.broadcast_to(np.array(size, dtype=np.int32), (count, 2))
        names = chosen_names(entries.names, self.chosen)
        super().__init__(names, sizes, [entries.format] * count, [()] * count, channels, n_bits)
        self._try_the_first()

    def _try_the_first(self) -> None:
        """Read an image, the first that can be: all are of one size, and some may be damaged."""
        failures: list[DataError] = []
        for index in range(min(len(self), TRIED_AT_MOST)):
            try:
                self.read(index)
            except _WrongSize:
                raise
            except DataError as error:
                failures.append(error)
            else:
                return
        raise failures[0]

    def _decoded(self, index: int) -> Pixels:
        name, stored = self.files[index], self.entries.read(self.chosen[index])
        if isinstance(stored, bytes):
            decoded = decode(stored, name, self.channels, self.n_bits, self.prepare, self.accept_cmyk)
            self.formats[index] = decoded.format
        else:
            decoded = quantise(stored, name, self.entries.format, self.channels, self.n_bits, self.prepare)
        image, self.conversions[index] = decoded.pixels, decoded.conversions
        if image.shape[1:] != self.size:
            (height, width), (h, w) = self.size, image.shape[1:]
            raise _WrongSize(
                f"{name}: expected {height}x{width} pixels (height x width), as the parameters say, got {h}x{w}; "
                "resize the images, or use parameters of their size"
            )
        return image


class _WrongSize(DataError):
    """An image that is not damaged, and not of the size that all are to have."""


def center_crop(image: Image.Image, side: int) -> Image.Image:
    """The middle side x side pixels of a Pillow image, offsets rounded half to even, as torchvision's CenterCrop.

    Raises DataError where a side of the image is shorter.
    """
    if min(image.size) < side:
        raise DataError(f"expected an image of at least {side}x{side} pixels to crop, got {image.height}x{image.width}")
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))
