"""Opening what a command is given: the images that parameters are for, a model."""

from pathlib import Path

from accelerate import PartialState

from pixelpyramids.checkpoint import load
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import ImageFolder
from pixelpyramids.data.hub import is_hub, is_stream, open_hub, open_shards
from pixelpyramids.data.images import Images
from pixelpyramids.data.stream import Stream
from pixelpyramids.device import choose_device
from pixelpyramids.errors import DataError
from pixelpyramids.model import PixelPyramid
from pixelpyramids.parameters import DATA_SETS, Parameters


def open_images(config: Parameters, root: str | Path | None, split: str, hold_out: bool = True) -> Images:
    """One split of the images at `root`, or at the parameters' data_root: a folder, or what `data.hub` names.

    For the six data sets every image must have the size that L says. Raises DataError where it has not, or no images
    were named.
    """
    root, channels, n_bits, size = named(config, root), config.image_channels, config.n_bits, _size(config)
    if is_hub(root):
        return open_hub(root, split, channels=channels, n_bits=n_bits, size=size, hold_out=hold_out)
    return ImageFolder(root, split, channels=channels, n_bits=n_bits, size=size, hold_out=hold_out)


def open_training(
    config: Parameters, root: str | Path | None, seed: int = 0, hold_out: bool = True, flip: bool = True
) -> Crops | Stream:
    """Training batches of the parameters' size from the train split of what `open_images` opens, or from a stream."""
    root = named(config, root)
    if is_stream(root):
        return Stream(
            open_shards(root, hold_out=hold_out),
            config.image_size,
            config.batch_size,
            seed,
            flip,
            channels=config.image_channels,
            n_bits=config.n_bits,
            image_size=_size(config),
        )
    return Crops(open_images(config, root, "train", hold_out), config.image_size, config.batch_size, seed, flip)


def named(config: Parameters, root: str | Path | None) -> str:
    """What was named as the images: `root`, else the parameters' data_root. Raises DataError where neither was."""
    if root is None and not config.data_root:
        raise DataError(
            "no images were named: say --data DIR (main.py: --data_root DIR), or give the parameters a data_root"
        )
    return config.data_root if root is None else str(root)


def _size(config: Parameters) -> tuple[int, int] | None:
    return config.image_size if config.dataset_name in DATA_SETS else None


def open_model(
    path: Path, params: str | None = None, likelihood: str | None = None, device: str | None = None
) -> PixelPyramid:
    """A run directory or an authors' file, on the device of that name (by default a GPU where there is one).

    Of several processes that a launcher started, each has a device of its own.
    """
    processes = PartialState(cpu=choose_device(device).type == "cpu")
    return load(path, params, likelihood).to(processes.device)
