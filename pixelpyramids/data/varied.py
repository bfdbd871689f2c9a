"""The images of a container, each of a size of its own."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixelpyramids.data.images import KEPT_BYTES, Entries, chosen_names
from pixelpyramids.data.reading import Pixels, decode, decode_header, pixel_type
from pixelpyramids.errors import DataError

_NAMED_AT_MOST = 10


class VariedImages:
    """The chosen entries of a container as `Images`; `chosen` are indices into the entries, all by default.

    The entries are contents of image files. Their headers are read once, when the container is opened (about 20,000 a
    second): entries that cannot be read are named in one UserWarning and skipped. Raises DataError where nothing is
    readable, or `size` (H, W) is given and an image has another.
    """

    def __init__(
        self,
        entries: Entries,
        chosen: Sequence[int] | None = None,
        *,
        channels: int = 3,
        n_bits: int = 8,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.entries, self.channels, self.n_bits = entries, channels, n_bits
        self.sizes: list[tuple[int, int]] = []
        self.formats: list[str] = []
        self.skipped: list[Path] = []
        readable: list[int] = []
        reasons: list[str] = []
        known: dict[tuple[int, int], tuple[int, int]] = {}  # one object for each size: images may be millions
        for entry in range(len(entries.names)) if chosen is None else chosen:
            name = entries.names[entry]
            try:
                header = decode_header(_content(entries, entry), name, channels, n_bits)
            except DataError as error:
                self.skipped.append(name)
                reasons.append(str(error))
                continue
            shape = header.height, header.width
            if size is not None and shape != size:
                raise DataError(
                    f"{name}: expected {size[0]}x{size[1]} pixels (height x width), as the parameters say, "
                    f"got {shape[0]}x{shape[1]}; resize the images, or use parameters of their size"
                )
            readable.append(int(entry))
            self.sizes.append(known.setdefault(shape, shape))
            self.formats.append(header.format)
        listed = "\n".join(reasons[:_NAMED_AT_MOST])
        if not readable:
            raise DataError(f"expected at least one readable image, got none\n{listed}".rstrip())
        if reasons:
            more = len(reasons) - _NAMED_AT_MOST
            rest = f"\n… and {more} more" if more > 0 else ""
            warnings.warn(f"skipped {len(reasons)} unreadable image(s):\n{listed}{rest}", stacklevel=2)
        self.files: Sequence[Path] = chosen_names(entries.names, readable)
        self._chosen = readable
        decoded = sum(h * w for h, w in self.sizes) * channels * pixel_type(n_bits).itemsize
        self.in_memory = decoded <= KEPT_BYTES
        self._kept: dict[int, Pixels] = {}

    def __len__(self) -> int:
        return len(self._chosen)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}

    def read(self, index: int, copy: bool = True) -> Pixels:
        """As of `Images`."""
        image = self._kept.get(index)
        if image is None:
            content = _content(self.entries, self._chosen[index])
            image, _ = decode(content, self.files[index], self.channels, self.n_bits)
            if self.in_memory:
                self._kept[index] = image
        return image.copy() if copy and self.in_memory else image


def _content(entries: Entries, index: int) -> bytes:
    stored = entries.read(index)
    assert isinstance(stored, bytes)
    return stored
