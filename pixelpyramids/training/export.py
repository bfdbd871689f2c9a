"""From a trained compact model to the integers of the codec: the one module that sees torch and the codec both."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from pixelpyramids.atomic import write_bytes
from pixelpyramids.codec.integer_network import CHANNELS, IntegerNetwork, build_network
from pixelpyramids.errors import CheckpointError
from pixelpyramids.model.compact_stage import CompactStage
from pixelpyramids.model.networks.compact import IntegerConv
from pixelpyramids.model.pixel_pyramid import PixelPyramid


def exported(model: PixelPyramid, path: Path) -> IntegerNetwork:
    """Write the integers of a compact model to `path`, once all bounds are proven; the network that files will name.

    Raises CheckpointError where the model is another, is not for three channels, or a filter could leave the range in
    which sums are exact.
    """
    stage = model.stages[0]
    if not isinstance(stage, CompactStage):
        raise CheckpointError(f"expected a compact model, got one of {model.config.network}; only that can be a codec")
    if stage.channels != CHANNELS:
        raise CheckpointError(
            f"expected a model of image_channels {CHANNELS}, got {stage.channels}; grey is coded by it too"
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
