"""The models that come with the package, by name and by their identifier in files. Released models stay for ever."""

import os
import warnings
from functools import lru_cache
from pathlib import Path

from pixelpyramids.codec.compact_model import CompactModel
from pixelpyramids.codec.engine import Engine
from pixelpyramids.codec.integer_network import IntegerNetwork, load_network
from pixelpyramids.codec.native import Instructions, NativeEngine
from pixelpyramids.codec.reference import ReferenceEngine
from pixelpyramids.errors import CheckpointError

ASSETS = Path(__file__).parent.parent / "assets"
MODELS = {"compact": "compact.safetensors"}
ENGINE = "PIXELPYRAMIDS_ENGINE"  # environment variable: "reference", or an instruction set of the native core
ENGINES = ["reference", *(instructions.name.lower() for instructions in Instructions)]


def load_model(name: str | bytes) -> CompactModel:
    """Load a model by its name or its identifier in files. Raises CheckpointError if there is no such model."""
    engine = os.environ.get(ENGINE, "best")
    if engine not in ENGINES:
        raise CheckpointError(f"{ENGINE}: expected one of {', '.join(ENGINES)}, got {engine}")
    return _model(model_names()[name] if isinstance(name, bytes) else name, engine)


@lru_cache
def model_names() -> dict[bytes, str]:
    """Map the models' identifiers in files to their names."""
    return {_network(name).name: name for name in MODELS}


def available_threads() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache
def _model(name: str, engine: str) -> CompactModel:
    if not isinstance(name, str) or name not in MODELS:
        raise CheckpointError(f"expected a model among {', '.join(MODELS)}, got {name}")
    network = _network(name)
    return CompactModel(network, _load_engine(network, engine))


@lru_cache
def _network(name: str) -> IntegerNetwork:
    return load_network(ASSETS / MODELS[name])


def _load_engine(network: IntegerNetwork, name: str) -> Engine:
    """The native core or, with a warning, the reference if the core cannot be loaded."""
    if name == "reference":
        return ReferenceEngine(network)
    try:
        return NativeEngine(network, Instructions[name.upper()])
    except OSError as error:
        if name != Instructions.BEST.name.lower():
            raise CheckpointError(f"{ENGINE}: {error}") from error
        warnings.warn(
            f"the native core cannot be loaded ({error}); using the reference, which gives the same files but takes "
            "about ten minutes for each megapixel; install pixelpyramids again",
            stacklevel=5,
        )
        return ReferenceEngine(network)
