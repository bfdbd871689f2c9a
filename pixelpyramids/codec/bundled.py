"""The models that come with the package, by their name and by what files call them. Released ones stay for ever."""

import os
from functools import lru_cache
from pathlib import Path
from threading import RLock

from pixelpyramids.codec.compact_model import CompactModel
from pixelpyramids.codec.engines import FastEngine, ReferenceEngine
from pixelpyramids.codec.integer_network import load_network
from pixelpyramids.errors import CheckpointError

ASSETS = Path(__file__).parent.parent / "assets"
MODELS = {"compact": "compact.safetensors"}
ENGINE = "PIXELPYRAMIDS_ENGINE"  # in the environment: "reference" has no other engine used
_LOADING = RLock()  # lest threads that are first at the same time each load a model


def load_model(name: str | bytes, threads: int | None = None) -> CompactModel:
    """The model of that name, or that files call so, for so many threads. Raises CheckpointError where none is."""
    engine = os.environ.get(ENGINE, "fast")
    if engine not in ("fast", "reference"):
        raise CheckpointError(f"{ENGINE}: expected fast or reference, got {engine}")
    with _LOADING:
        return _model(model_names()[name] if isinstance(name, bytes) else name, engine, threads or available_threads())


@lru_cache
def model_names() -> dict[bytes, str]:
    """The models' names by what files call them."""
    return {_model(name, "reference", 1).network.name: name for name in MODELS}


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache
def _model(name: str, engine: str, threads: int) -> CompactModel:
    if not isinstance(name, str) or name not in MODELS:
        raise CheckpointError(f"expected a model among {', '.join(MODELS)}, got {name}")
    network = load_network(ASSETS / MODELS[name])
    reference = ReferenceEngine(network)
    return CompactModel(network, reference if engine == "reference" else FastEngine(network, reference, threads))
