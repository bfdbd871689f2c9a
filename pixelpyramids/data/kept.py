"""What every collection of images shares: reading each once where they fit in memory, and opening by headers."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.reading import Header
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels, pixel_type

KEPT_BYTES = 512 * 2**20
"""A split that takes at most so much decoded stays in memory as it is read."""

_NAMED_AT_MOST = 10


class KeptImages(ABC):
    """`Images` of which a split that takes at most 512 MiB decoded stays in memory as it is read.

    `sizes` are (count, 2) integers, the height and the width of each. Pickled, what is kept is not sent along.
    """

    def __init__(
        self,
        files: Sequence[Path],
        sizes: NDArray[np.int32],
        formats: list[str],
        conversions: list[tuple[str, ...]],
        channels: int,
        n_bits: int,
    ) -> None:
        self.files, self.sizes, self.channels, self.n_bits = files, sizes, channels, n_bits
        self.formats, self.conversions = formats, conversions
        self.skipped: list[Path] = []
        values = int(np.prod(sizes, axis=1, dtype=np.int64).sum()) * channels
        self.in_memory = values * pixel_type(n_bits).itemsize <= KEPT_BYTES
        self._kept: dict[int, Pixels] = {}

    def __len__(self) -> int:
        return len(self.sizes)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}

    def read(self, index: int, copy: bool = True) -> Pixels:
        """As of `Images`."""
        image = self._kept.get(index)
        if image is None:
            image = self._decoded(index)
            if self.in_memory:
                self._kept[index] = image
        return image.copy() if copy and self.in_memory else image

    @abstractmethod
    def _decoded(self, index: int) -> Pixels:
        """Image `index` as it is stored. Raises DataError as `read` does."""


class Opened:
    """What the headers of a split's images say, in order, of those that can be read: `indices` into `names`.

    `header` gives that of an index; with `size` (H, W) an image of another is refused. What cannot be read is named in
    one UserWarning and left to `skipped`. Raises DataError where nothing is readable.
    """

    def __init__(
        self,
        names: Sequence[Path],
        indices: Sequence[int],
        header: Callable[[int], Header],
        size: tuple[int, int] | None,
    ) -> None:
        self.indices: list[int] = []
        self.formats: list[str] = []
        self.conversions: list[tuple[str, ...]] = []
        self.skipped: list[Path] = []
        sizes: list[int] = []
        reasons: list[str] = []
        for index in indices:
            try:
                height, width, kind, conversions = header(index)
            except DataError as error:
                self.skipped.append(names[index])
                reasons.append(str(error))
                continue
            if size is not None and (height, width) != tuple(size):
                raise DataError(
                    f"{names[index]}: expected {size[0]}x{size[1]} pixels (height x width), as the parameters say, "
                    f"got {height}x{width}; resize the images, or use parameters of their size"
                )
            self.indices.append(int(index))
            self.formats.append(kind)
            self.conversions.append(conversions)
            sizes += height, width
        more = len(reasons) - _NAMED_AT_MOST
        listed = " | ".join(reasons[:_NAMED_AT_MOST] + ([f"… and {more} more"] if more > 0 else []))
        if not self.indices:
            raise DataError(f"expected at least one readable image in the split, got none: {listed}".removesuffix(": "))
        if reasons:
            warnings.warn(f"skipped {len(reasons)} unreadable image(s): {listed}", stacklevel=3)
        self.sizes = np.array(sizes, dtype=np.int32).reshape(-1, 2)
