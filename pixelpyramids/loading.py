"""`load` returns a model by its name or path. `Model` is the interface that all models share."""

from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from pixelpyramids.codec.bundled import MODELS, load_model
from pixelpyramids.extras import import_extra
from pixelpyramids.pyramid.rate import Rate

ArrayOrTensor = TypeVar("ArrayOrTensor")


@runtime_checkable
class Model(Protocol):
    """A distribution over images of any height and width: integers (B, C, H, W), in [0, 256) for 8 bits.

    Images are NumPy arrays or torch tensors, and results are of the same kind. Random numbers of image i are keyed by
    (seed, first + i), so many images can be drawn in parts. Each method raises DataError if an argument is wrong.
    """

    def rate(self, images: Any) -> Rate:
        """The code length of each image: `rate.nats` (B, levels), finest level first, and `rate.bits_per_dim` (B,)."""

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
    if isinstance(path, str) and path in MODELS and params is None and likelihood is None and not Path(path).exists():
        return load_model(path)
    model: Model = import_extra("pixelpyramids.training.run_directory", "train").load(path, params, likelihood)
    return model
