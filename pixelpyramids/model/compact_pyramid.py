"""`CompactPyramid`: the codec's model in torch, for training; the codec itself runs its integers without torch."""

from torch import Tensor

from pixelpyramids.model.compact_stage import CompactStage
from pixelpyramids.model.image_model import ImageModel, Uniforms
from pixelpyramids.model.parameters import CompactParameters
from pixelpyramids.pyramid import octaves


class CompactPyramid(ImageModel):
    """One network for all octaves: the only stage, which counts as one level."""

    config: CompactParameters

    @property
    def stage(self) -> CompactStage:
        """The only stage."""
        stage = self.stages[0]
        assert isinstance(stage, CompactStage)
        return stage

    def _draw(self, coarse: Tensor | None, height: int, width: int, uniforms: Uniforms) -> Tensor:
        if coarse is not None:
            octaves.find_octave((coarse.shape[-2], coarse.shape[-1]), height, width)  # raises if there is none

        def code(_octave: int, _: octaves.BandSlice | None, outputs: Tensor, offset: Tensor) -> Tensor:
            return self.stage.sample(outputs, uniforms.draw(outputs, 0), offset)

        return self.stage.follow(uniforms.batch, height, width, code, coarse)
