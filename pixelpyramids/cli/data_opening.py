"""Open the images that a command and its parameters name: one of the six data sets, a folder, shards, or the hub."""

import warnings
from pathlib import Path

from pixelpyramids.data.batches import Batches
from pixelpyramids.data.celeba_hq import TEST_COUNT, TRAIN_COUNT, open_celeba_hq
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.huggingface import is_hub, is_stream, open_hub, open_shards
from pixelpyramids.data.imagenet import COUNTS, open_imagenet
from pixelpyramids.data.images import Images
from pixelpyramids.data.lsun import TRAIN_COUNTS, VAL_COUNT, open_lsun
from pixelpyramids.data.splits import HOLD_OUT_MOST, HOLD_OUT_SHARE
from pixelpyramids.data.stream import Stream
from pixelpyramids.errors import DataError
from pixelpyramids.model.parameters import DATA_SETS, AnyParameters

LSUN_CATEGORIES = {"lsun_bedroom": "bedroom", "lsun_church": "church_outdoor", "lsun_tower": "tower"}

_PUBLISHED_COUNTS = {  # for training, and for test
    "celeba_256": (TRAIN_COUNT, TEST_COUNT),
    "celeba_1024": (TRAIN_COUNT, TEST_COUNT),
    "imagenet_128": (COUNTS["train"], COUNTS["val"]),
    **{name: (TRAIN_COUNTS[category], VAL_COUNT) for name, category in LSUN_CATEGORIES.items()},
}


def open_images(config: AnyParameters, root: str | Path | None, split: str, hold_out: bool = True) -> Images:
    """One split of the images at `root`, or at the parameters' data_root.

    The images are one of the six data sets, a folder, or anything that `data.huggingface` opens. Images of the six
    data sets are prepared to the size that L requires. Raises DataError if that is impossible, or if no
    images were named.
    """
    root, name, n_bits = name_images(config, root), config.dataset_name, config.n_bits
    if name not in DATA_SETS or _in_shards(config, root):
        open_split = open_hub if _in_shards(config, root) else open_folder
        channels, size = config.image_channels, _size(config)
        images = open_split(root, split, channels=channels, n_bits=n_bits, size=size, hold_out=hold_out)
        _warn_of_count(config, root, split, len(images), hold_out)
        return images
    if config.image_channels != 3:
        raise DataError(f"{name} is in colour: expected image_channels 3, got {config.image_channels}")
    side = config.image_size[0]
    if name in LSUN_CATEGORIES:
        return open_lsun(root, LSUN_CATEGORIES[name], split, side, n_bits=n_bits, hold_out=hold_out)
    open_set = open_celeba_hq if name.startswith("celeba") else open_imagenet
    return open_set(root, split, side, n_bits=n_bits, hold_out=hold_out)


def open_training(
    config: AnyParameters, root: str | Path | None, seed: int = 0, hold_out: bool = True, flip: bool = True
) -> Batches:
    """Training batches of the parameters' size, from the train split of the images at `root` or from a stream."""
    root = name_images(config, root)
    if _in_shards(config, root) and is_stream(root):
        shards, channels, size = open_shards(root, hold_out=hold_out), config.image_channels, _size(config)
        crops = config.image_size, config.batch_size, seed, flip
        _warn_of_count(config, root, "train", shards.total, hold_out)
        return Stream(shards, *crops, channels=channels, n_bits=config.n_bits, image_size=size)
    return Crops(open_images(config, root, "train", hold_out), config.image_size, config.batch_size, seed, flip)


def _warn_of_count(config: AnyParameters, root: str, split: str, count: int | None, hold_out: bool) -> None:
    """Warn if shards of one of the six data sets do not hold as many images of a split as were published."""
    if config.dataset_name not in DATA_SETS or split not in ("train", "test"):
        return
    train, expected = _PUBLISHED_COUNTS[config.dataset_name]
    if split == "train":
        expected = train - min(train // HOLD_OUT_SHARE, HOLD_OUT_MOST) * hold_out
    if count not in (None, expected):
        warnings.warn(
            f"{root}: expected {expected} images in {split}, as {config.dataset_name} has, got {count}; figures are "
            "not comparable with those of the whole set",
            stacklevel=3,
        )


def name_images(config: AnyParameters, root: str | Path | None) -> str:
    """The name of the images: `root`, or else the parameters' data_root. Raises DataError if both are missing."""
    name = config.data_root if root is None else str(root)
    if not name.strip():
        raise DataError(
            "no folder of images was named; pass --data DIR (with main.py: --data_root DIR), or set data_root in the "
            "parameters"
        )
    if "://" in name:
        raise DataError(
            f"{name}: expected a local folder or file, hub:OWNER/NAME or stream:OWNER/NAME, got an address; download "
            "the images, or name a data set of the Hugging Face hub"
        )
    return name


def is_plain_folder(config: AnyParameters, root: str | Path | None) -> bool:
    """Whether the data are a plain folder of images, and not one of the six data sets, shards, or on the hub."""
    return config.dataset_name not in DATA_SETS and not _in_shards(config, name_images(config, root))


def _in_shards(config: AnyParameters, root: str) -> bool:
    """Whether `data.huggingface` opens the images at `root`. Tars of the six data sets are not WebDataset shards."""
    if root.startswith(("hub:", "stream:")):
        return True
    return is_hub(root) and not (config.dataset_name in DATA_SETS and is_stream(root))


def _size(config: AnyParameters) -> tuple[int, int] | None:
    return config.image_size if config.dataset_name in DATA_SETS else None
