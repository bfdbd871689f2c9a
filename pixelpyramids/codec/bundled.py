"""The models that come with the package, by their name and by what files call them. Released ones stay for ever."""

import os
from functools import lru_cache
from pathlib import Path

from pixelpyramids.codec.compact_model import CompactModel
from pixelpyramids.codec.engines import SMALL, FastEngine, ReferenceEngine
from pixelpyramids.codec.integer_network import IntegerNetwork, load_network
from pixelpyramids.errors import CheckpointError

ASSETS = Path(__file__).parent.parent / "assets"
MODELS = {"compact": "compact.safetensors"}
ENGINE = "PIXELPYRAMIDS_ENGINE"  # in the environment: "reference" or "fast", instead of what suits the image


def model(name: str | bytes, pixels: int, threads: int) -> CompactModel:
    """The model of that name, or that files call so, with an engine that suits an image of so many pixels.

    Raises CheckpointError where there is none.
    """
    network = _network(name if isinstance(name, str) else names()[name])
    wanted = os.environ.get(ENGINE, "reference" if pixels <= SMALL else "fast")
    if wanted not in ("reference", "fast"):
        raise CheckpointError(f"{ENGINE}: expected reference or fast, got {wanted}")
    reference = _reference(network.name)
    return CompactModel(network, reference if wanted == "reference" else _fast(network.name, threads))


@lru_cache
def names() -> dict[bytes, str]:
    """The models' names by what files call them."""
    return {_network(name).name: name for name in MODELS}


@lru_cache
def _network(name: str) -> IntegerNetwork:
    if name not in MODELS:
        raise CheckpointError(f"expected a model among {', '.join(MODELS)}, got {name}")
    return load_network(ASSETS / MODELS[name])


@lru_cache
def _reference(name: bytes) -> ReferenceEngine:
    return ReferenceEngine(_network(names()[name]))


@lru_cache
def _fast(name: bytes, threads: int) -> FastEngine:
    return FastEngine(_network(names()[name]), _reference(name), threads)


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
