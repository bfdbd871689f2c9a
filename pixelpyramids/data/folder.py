"""A folder of images as a sequence of integer arrays."""

from os import PathLike

from pixelpyramids.data.kept import KeptImages, Opened
from pixelpyramids.data.reading import read_header, read_image
from pixelpyramids.data.splits import split_files
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels


class ImageFolder(KeptImages):
    """The images of one split of a folder as `Images`: (channels, H, W), integers in [0, 2**n_bits).

    `split`, `seed` and `hold_out` are those of `split_files`. Headers are read once, when the folder is opened: files
    that cannot be read are named in one UserWarning and skipped.

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
        files = split_files(root, split, seed, hold_out)
        opened = Opened(files, range(len(files)), lambda index: read_header(files[index], channels, n_bits), size)
        readable = [files[index] for index in opened.indices]
        super().__init__(readable, opened.sizes, opened.formats, opened.conversions, channels, n_bits)
        self.skipped = opened.skipped

    def _decoded(self, index: int) -> Pixels:
        image = read_image(self.files[index], self.channels, self.n_bits)
        (height, width), (h, w) = self.sizes[index], image.shape[1:]
        if (h, w) != (height, width):
            raise DataError(
                f"{self.files[index]}: expected {height}x{width} pixels, as when the folder was opened, "
                f"got {h}x{w}; leave the folder as it is while it is in use"
            )
        return image
