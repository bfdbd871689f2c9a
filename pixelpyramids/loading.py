"""`load`: any model by where it is, the bundled one by its name."""

from pathlib import Path
from typing import Any

from pixelpyramids.codec.bundled import MODELS, load_model
from pixelpyramids.extras import import_extra


def load(path: str | Path, params: str | Path | None = None, likelihood: str | None = None) -> Any:
    """A model: "compact" (NumPy arrays), a run directory, or the authors' `.pt` with the parameter file `params`.

    The last two are `PixelPyramid`s and need torch; `pixelpyramids.training.run_directory.load` describes them. Raises
    CheckpointError if there is no such model, or it is damaged.
    """
    if isinstance(path, str) and path in MODELS and params is None and likelihood is None and not Path(path).exists():
        return load_model(path)
    return import_extra("pixelpyramids.training.run_directory", "train").load(path, params, likelihood)
