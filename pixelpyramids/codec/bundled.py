"""The models that come with the package, by name and by their identifier in files. Released models stay for ever."""

import os
from functools import lru_cache
from pathlib import Path
from threading import RLock

from pixelpyramids.codec.compact_model import CompactModel
from pixelpyramids.codec.engines import FastEngine
from pixelpyramids.codec.integer_network import load_network
from pixelpyramids.errors import CheckpointError

ASSETS = Path(__file__).parent.parent / "assets"
MODELS = {"compact": "compact.safetensors"}
ENGINE = "PIXELPYRAMIDS_ENGINE"  # environment variable; "reference" switches the fast engine off
_LOADING = RLock()  # so that concurrent first calls load the model once


def load_model(name: str | bytes, threads: int | None = None) -> CompactModel:
    """Load a model by its name or its identifier in files. Raises CheckpointError if there is no such model."""
    engine = os.environ.get(ENGINE, "fast")
    if engine not in ("fast", "reference"):
        raise CheckpointError(f"{ENGINE}: expected fast or reference, got {engine}")
    with _LOADING:
        return _model(model_names()[name] if isinstance(name, bytes) else name, engine, threads or available_threads())


@lru_cache
def model_names() -> dict[bytes, str]:
    """Map the models' identifiers in files to their names."""
    return {_model(name, "reference", 1).network.name: name for name in MODELS}


def available_threads() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache
def _model(name: str, engine: str, threads: int) -> CompactModel:
    if not isinstance(name, str) or name not in MODELS:
        raise CheckpointError(f"expected a model among {', '.join(MODELS)}, got {name}")
    network = load_network(ASSETS / MODELS[name])
    return CompactModel(network, FastEngine(network, threads) if engine == "fast" else network.run)
