"""Export a trained compact model as the integers of the codec."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from pixelpyramids.atomic import write_bytes
from pixelpyramids.codec.integer_network import CHANNELS, IntegerNetwork, build_network
from pixelpyramids.errors import CheckpointError
from pixelpyramids.model.compact_pyramid import CompactPyramid
from pixelpyramids.model.models import AnyModel
from pixelpyramids.model.networks.compact import IntegerConv


def export_integers(model: AnyModel, path: Path) -> IntegerNetwork:
    """Check the bounds of a compact model, write its integers to `path`, and return the network.

    Files compressed with it hold the name of this network. Raises CheckpointError if the model is a paper model, is not
    for three channels, or has a filter whose sums could leave the range in which they are exact.
    """
    if not isinstance(model, CompactPyramid):
        raise CheckpointError("expected a compact model, got a paper model; only compact models can be exported")
    stage = model.stage
    if stage.channels != CHANNELS:
        raise CheckpointError(
            f"expected a model of image_channels {CHANNELS}, got {stage.channels}; it also codes grey images"
        )
    tensors = {}
    for name, module in stage.network.named_modules():
        if isinstance(module, IntegerConv):
            weight, bias = module.integers()
            tensors[f"{name}.weight"] = np.ascontiguousarray(weight.cpu().numpy(), dtype=np.int8)
            tensors[f"{name}.bias"] = bias.cpu().numpy().astype(np.int32)
    try:
        integers = build_network(tensors)
    except ValueError as error:
        raise CheckpointError(f"the weights cannot be exported: {error}; train with a lower learning_rate") from error
    write_bytes(path, save(tensors))
    return integers
