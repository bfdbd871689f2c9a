"""Create a model, or one stage of it, for either kind of parameters."""

import torch
from torch import nn

from pixelpyramids.model.compact_pyramid import CompactPyramid
from pixelpyramids.model.compact_stage import CompactStage
from pixelpyramids.model.paper_stage import PaperStage
from pixelpyramids.model.parameters import AnyParameters, CompactParameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid

AnyModel = PixelPyramid | CompactPyramid
AnyStage = PaperStage | CompactStage


def new_model(config: AnyParameters, seed: int = 0) -> AnyModel:
    """An untrained model, in evaluation mode."""
    return CompactPyramid(config, seed) if isinstance(config, CompactParameters) else PixelPyramid(config, seed)


def new_stage(config: AnyParameters, index: int) -> AnyStage:
    """An untrained stage, without the rest of the model."""
    stage = CompactStage(config) if isinstance(config, CompactParameters) else PaperStage(config, index)
    return stage.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stubs


def stage_of(model: AnyModel, index: int) -> AnyStage:
    """Stage `index` of a model."""
    stage: nn.Module = model.stages[index]
    assert isinstance(stage, AnyStage)
    return stage
