"""`PixelPyramid`: the paper's model, a network for each stage of the walk.

    log p(image) = log p(coarsest) + sum over levels of log p(fine | coarse)

Scoring computes all stages in parallel from the true values. Drawing follows the same walk from coarse to fine, and
feeds the integers of each slice back to the network.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from pixelpyramids.errors import DataError
from pixelpyramids.model.image_model import ImageModel, Uniforms
from pixelpyramids.model.paper_stage import Choose, Offset, PaperStage
from pixelpyramids.model.parameters import Parameters
from pixelpyramids.pyramid.levels import Slice, Stage, coarsest_size
from pixelpyramids.pyramid.splitting import merge

MOST_COARSEST_PIXELS = 2**12  # that `sample` draws


class PixelPyramid(ImageModel):
    """The paper's model: L - 1 levels and the coarsest image, `stages[L - 1]`."""

    config: Parameters

    def __init__(self, config: Parameters, seed: int = 0) -> None:
        if not isinstance(config, Parameters):
            raise TypeError(f"expected Parameters, got {type(config).__name__}; read a file with load_parameters")
        super().__init__(config, seed)

    def _draw(self, coarse: Tensor | None, height: int, width: int, uniforms: Uniforms) -> Tensor:
        if coarse is not None:
            stages = self._levels_above(coarse, height, width)
        elif math.prod(coarsest_size(height, width, self.config.L - 1)) <= MOST_COARSEST_PIXELS:
            stages = self.config.walk(height, width)
        else:
            raise DataError(
                f"{height} x {width} leaves a coarsest image of more than {MOST_COARSEST_PIXELS} pixels, drawn one by "
                f"one; choose a smaller size, or a model of more levels than L = {self.config.L}"
            )
        return self.follow(stages, coarse, uniforms.batch, self.sampler(uniforms))

    def _levels_above(self, coarse: Tensor, height: int, width: int) -> tuple[Stage, ...]:
        levels = tuple(stage for stage in self.config.walk(height, width)[1:] if stage.is_split)
        given, halves = (coarse.shape[-2], coarse.shape[-1]), [level.coarse or (0, 0) for level in levels]
        if given not in halves:
            sizes = ", ".join(f"{h} x {w}" for h, w in halves) or "none: it is not split"
            raise DataError(
                f"expected the coarse image of a {height} x {width} image ({sizes}), got {given[0]} x {given[1]}"
            )
        return levels[halves.index(given) :]

    def follow(self, stages: Sequence[Stage], coarse: Tensor | None, batch: int, choose: Choose) -> Tensor:
        """Walk through the stages from `coarse`, or from the coarsest image if it is None; return the finest image."""
        image = coarse
        for stage in stages:
            if stage.is_split:
                fine = self._stage(stage).follow(stage, image, batch, choose)
                image = fine if image is None or stage.axis is None else merge(fine, image, stage.axis)
        assert image is not None
        return image

    def sampler(self, uniforms: Uniforms) -> Choose:
        """A function that draws each slice's values."""

        def choose(stage: Stage, _: Slice, outputs: Tensor, offset: Offset) -> Tensor:
            return self._stage(stage).sample(outputs, uniforms.draw(outputs, stage.index), offset)

        return choose

    def _stage(self, stage: Stage) -> PaperStage:
        model = self.stages[stage.index]
        assert isinstance(model, PaperStage)
        return model
