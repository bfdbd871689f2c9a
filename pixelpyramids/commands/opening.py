"""Opening what a command is given: the images that parameters are for, a model."""

from pathlib import Path

from accelerate import PartialState

from pixelpyramids.checkpoint import load
from pixelpyramids.data.folder import ImageFolder
from pixelpyramids.device import choose_device
from pixelpyramids.errors import DataError
from pixelpyramids.model import PixelPyramid
from pixelpyramids.parameters import DATA_SETS, Parameters


def open_images(config: Parameters, root: Path | None, split: str, hold_out: bool = True) -> ImageFolder:
    """One split of the folder `root`, or of the parameters' data_root.

    For the six data sets every image must have the size that L says. Raises DataError where it has not, or no folder
    was named.
    """
    if root is None and not config.data_root:
        raise DataError(
            "no images were named: say --data DIR (main.py: --data_root DIR), or give the parameters a data_root"
        )
    return ImageFolder(
        Path(config.data_root) if root is None else root,
        split,
        channels=config.image_channels,
        n_bits=config.n_bits,
        size=config.image_size if config.dataset_name in DATA_SETS else None,
        hold_out=hold_out,
    )


def open_model(
    path: Path, params: str | None = None, likelihood: str | None = None, device: str | None = None
) -> PixelPyramid:
    """A run directory or an authors' file, on the device of that name (by default a GPU where there is one).

    Of several processes that a launcher started, each has a device of its own.
    """
    processes = PartialState(cpu=choose_device(device).type == "cpu")
    return load(path, params, likelihood).to(processes.device)
