"""The images of a container, each of a size of its own."""

from collections.abc import Sequence

from pixelpyramids.data.images import Entries, chosen_names
from pixelpyramids.data.kept import KeptImages, Opened
from pixelpyramids.data.reading import decode, decode_header
from pixelpyramids.image_files.bit_depth import Pixels


class VariedImages(KeptImages):
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
        names = entries.names
        opened = Opened(
            names,
            range(len(names)) if chosen is None else chosen,
            lambda index: decode_header(_content(entries, index), names[index], channels, n_bits),
            size,
        )
        readable = chosen_names(names, opened.indices)
        super().__init__(readable, opened.sizes, opened.formats, opened.conversions, channels, n_bits)
        self.entries, self.chosen, self.skipped = entries, opened.indices, opened.skipped

    def _decoded(self, index: int) -> Pixels:
        return decode(_content(self.entries, self.chosen[index]), self.files[index], self.channels, self.n_bits).pixels


def _content(entries: Entries, index: int) -> bytes:
    stored = entries.read(index)
    assert isinstance(stored, bytes)
    return stored
