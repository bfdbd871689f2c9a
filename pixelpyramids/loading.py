"""`load` returns a model by its name or path. `Model` is the interface that all models share."""

from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from pixelpyramids.codec.bundled import MODELS, load_model
from pixelpyramids.errors import CheckpointError
from pixelpyramids.extras import import_extra
from pixelpyramids.pyramid.bit_map import BitMap
from pixelpyramids.pyramid.rate import Rate

ArrayOrTensor = TypeVar("ArrayOrTensor")


class ModelConfig(Protocol):
    """What images a model is for."""

    @property
    def accepted_channels(self) -> tuple[int, ...]:
        """How many channels images can have: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA."""

    @property
    def n_bits(self) -> int:
        """The bits of a value."""

    @property
    def likelihood(self) -> str:
        """How it computes: "exact", or "authors", which is not a distribution."""

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the images that it was trained on; None if no size is its own."""

    def count_steps(self, height: int, width: int) -> int:
        """How many steps, one after the other, draw an image of that size."""


@runtime_checkable
class Model(Protocol):
    """A distribution over images of any height and width: integers (B, C, H, W), in [0, 256) for 8 bits.

    Images are NumPy arrays or torch tensors, and results are of the same kind. Random numbers of image i are keyed by
    (seed, first + i), so many images can be drawn in parts. Each method raises DataError if an argument is wrong.
    """

    @property
    def config(self) -> ModelConfig:
        """What images the model is for."""

    @property
    def device(self) -> Any:
        """Where the model computes: "cpu", or a device of torch."""

    def rate(self, images: Any) -> Rate:
        """The code length of each image: `rate.nats` (B, levels), finest level first, and `rate.bits_per_dim` (B,)."""

    def map_bits(self, images: Any) -> BitMap:
        """The bits of each pixel of images as `rate` takes them, and the level that each pixel is coded in."""

    def sample(self, n: int, height: int, width: int, seed: int = 0, first: int = 0) -> Any:
        """N exact samples (n, C, height, width): an array from the bundled model, tensors from others."""

    def complete(self, coarse: ArrayOrTensor, height: int, width: int, seed: int = 0, first: int = 0) -> ArrayOrTensor:
        """Samples (B, C, height, width) whose pyramid contains the images `coarse` (B, C, h, w) exactly.

        A coarse image of h x w pixels can be completed to 2h x 2w, 4h x 4w, 8h x 8w, …
        """


def load(path: str | Path, params: str | Path | None = None, likelihood: str | None = None) -> Model:
    """A model: "compact", a run directory, or a `.pt` file of the authors with its parameter file `params`.

    "compact" is the bundled model of the codec, and needs no torch. `likelihood`, "exact" or "authors", overrides the
    likelihood of the parameters. Raises CheckpointError if there is no such model, or if it is damaged.
    """
    if isinstance(path, str) and is_bundled(path):
        if params is not None or likelihood is not None:
            raise CheckpointError(
                f"{path}: the bundled network has no parameter file and one likelihood; leave out params and likelihood"
            )
        return load_model(path)
    model: Model = import_extra("pixelpyramids.training.run_directory", "train").load(path, params, likelihood)
    return model


def is_bundled(name: str) -> bool:
    """Whether a model of that name comes with the package, and no run directory of that name exists."""
    return name in MODELS and not Path(name).exists()
