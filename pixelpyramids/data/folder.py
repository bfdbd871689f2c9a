"""A folder of images as a sequence of integer arrays."""

from os import PathLike

from pixelpyramids.data.containers.files import FileEntries
from pixelpyramids.data.images import Images
from pixelpyramids.data.splits import split_files


def open_folder(
    root: str | PathLike[str],
    split: str = "test",
    channels: int = 3,
    n_bits: int = 8,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    hold_out: bool = True,
) -> Images:
    """Open the images of one split of a folder; `split`, `seed` and `hold_out` are those of `split_files`.

    The headers are read once, when the folder is opened. Files that cannot be read are named in one UserWarning and
    skipped. Raises DataError if the split is empty, if nothing in it is readable, or if `size` (H, W) is given and an
    image has another size.
    """
    files = FileEntries(split_files(root, split, seed, hold_out))
    return Images.of_any_size(files, channels=channels, n_bits=n_bits, size=size)
