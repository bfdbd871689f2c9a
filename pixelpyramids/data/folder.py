"""A folder of images as a sequence of integer arrays."""

import warnings
from os import PathLike
from pathlib import Path
from typing import Any

from pixelpyramids.data.images import KEPT_BYTES
from pixelpyramids.data.reading import Pixels, pixel_type, read_header, read_image
from pixelpyramids.data.splits import split_files
from pixelpyramids.errors import DataError

_NAMED_AT_MOST = 10


class ImageFolder:
    """The images of one split of a folder; `read(i)` gives (channels, H, W), integers in [0, 2**n_bits).

    Headers are read once, when the folder is opened: files that cannot be read are named in one UserWarning and
    skipped. A split that takes at most 512 MiB decoded stays in memory as it is read. Instances can be pickled; what
    they keep in memory is not sent along.

    Attributes: `files` (paths, in order), `sizes` ((H, W) of each), `formats` (such as "JPEG", of each:
    a lossy source is worth knowing), `channels`, `n_bits`, `skipped` (what was not readable), `in_memory`
    (whether decoded images are kept).

    Raises DataError where the split is empty, nothing in it is readable, or `size` (H, W) is given and an image has
    another.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        split: str = "test",
        channels: int = 3,
        n_bits: int = 8,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        hold_out: bool = True,
    ) -> None:
        self.channels, self.n_bits = channels, n_bits
        self.files: list[Path] = []
        self.sizes: list[tuple[int, int]] = []
        self.formats: list[str] = []
        self.skipped: list[Path] = []
        reasons: list[str] = []
        for file in split_files(root, split, seed, hold_out):
            try:
                header = read_header(file, channels, n_bits)
            except DataError as error:
                self.skipped.append(file)
                reasons.append(str(error))
                continue
            if size is not None and (header.height, header.width) != tuple(size):
                raise DataError(
                    f"{file}: expected {size[0]}x{size[1]} pixels (height x width), as the parameters say, "
                    f"got {header.height}x{header.width}; resize the images, or use parameters of their size"
                )
            self.files.append(file)
            self.sizes.append((header.height, header.width))
            self.formats.append(header.format)
        if not self.files:
            raise DataError(f"expected readable images in the {split} split of {root}, got none:\n{_listed(reasons)}")
        if reasons:
            warnings.warn(f"skipped {len(reasons)} unreadable file(s):\n{_listed(reasons)}", stacklevel=2)
        decoded = sum(h * w for h, w in self.sizes) * channels * pixel_type(n_bits).itemsize
        self.in_memory = decoded <= KEPT_BYTES
        self._kept: dict[int, Pixels] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}

    def read(self, index: int, copy: bool = True) -> Pixels:
        """Image `index`, (channels, H, W), uint8 up to 8 bits, uint16 above.

        With `copy` False it may be the array that is kept in memory: not to be written to.
        Raises DataError, naming the file, where its pixels are damaged or no longer of the size that its header told.
        """
        image = self._kept.get(index)
        if image is None:
            image = read_image(self.files[index], self.channels, self.n_bits)
            (height, width), (h, w) = self.sizes[index], image.shape[1:]
            if (h, w) != (height, width):
                raise DataError(
                    f"{self.files[index]}: expected {height}x{width} pixels, as when the folder was opened, "
                    f"got {h}x{w}; leave the folder as it is while it is in use"
                )
            if self.in_memory:
                self._kept[index] = image
        return image.copy() if copy and self.in_memory else image


def _listed(reasons: list[str]) -> str:
    more = len(reasons) - _NAMED_AT_MOST
    return "\n".join(reasons[:_NAMED_AT_MOST] + ([f"… and {more} more"] if more > 0 else []))
