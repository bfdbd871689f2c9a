"""`CompactPyramid`: the codec's model in torch, for training; the codec itself runs its integers without torch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pixelpyramids.arguments import whole_number
from pixelpyramids.model.compact_stage import CompactStage
from pixelpyramids.model.device import full_float32
from pixelpyramids.model.image_tensors import Uniforms, check_images, check_levels, convert_like, draw_images
from pixelpyramids.model.parameters import CompactParameters
from pixelpyramids.model.pixel_pyramid import ArrayOrTensor, stage_seed
from pixelpyramids.pyramid import octaves
from pixelpyramids.pyramid.rate import Rate


class CompactPyramid(nn.Module):
    """One network for all octaves: the only entry of `stages`. Use it like a `PixelPyramid`."""

    def __init__(self, config: CompactParameters, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stage_seed(seed, 0))
            self.stages = nn.ModuleList([CompactStage(config)])
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def stage(self) -> CompactStage:
        """The only stage."""
        stage = self.stages[0]
        assert isinstance(stage, CompactStage)
        return stage

    @torch.no_grad()
    @full_float32()
    def rate(self, images: Any, levels: Sequence[int] | None = None) -> Rate:
        """The code length of each image (B, C, H, W) in nats, as one level; on the CPU."""
        tensor = check_images(images, self.config, self.device)
        check_levels(levels, 1)
        scored = levels is None or 0 in levels
        nats = torch.zeros(len(tensor), 1, dtype=torch.float64)
        if scored:
            nats[:, 0] = self.stage(tensor, None, torch.float64).sum(dim=(1, 2)).cpu()
        dimensions = torch.full((len(tensor), 1), tensor[0].numel() * scored)
        return convert_like(images, Rate(nats, dimensions))  # type: ignore[no-any-return]

    def sample(
        self, n: int, height: int | None = None, width: int | None = None, seed: int = 0, first: int = 0
    ) -> Tensor:
        """N exact samples, by default of the size of the training crops; seeds work as in `PixelPyramid`."""
        size = self.config.image_size
        height, width = size[0] if height is None else height, size[1] if width is None else width
        n, height, width = whole_number("n", n, 1), whole_number("height", height, 1), whole_number("width", width, 1)
        return self._draw(None, n, height, width, seed, first)

    def complete(self, coarse: ArrayOrTensor, height: int, width: int, seed: int = 0, first: int = 0) -> ArrayOrTensor:
        """Sample the missing octaves between `coarse` (B, C, h, w) and an image of height x width.

        Raises DataError if no octave of such an image has the size of `coarse`.
        """
        tensor = check_images(coarse, self.config, self.device)
        height, width = whole_number("height", height, 1), whole_number("width", width, 1)
        octaves.find_octave((tensor.shape[-2], tensor.shape[-1]), height, width)
        completed: ArrayOrTensor = convert_like(coarse, self._draw(tensor, len(tensor), height, width, seed, first))
        return completed

    @torch.no_grad()
    @full_float32()
    def _draw(self, coarse: Tensor | None, n: int, height: int, width: int, seed: int, first: int) -> Tensor:
        def draw(start: int, count: int) -> Tensor:
            given = None if coarse is None else coarse[start : start + count]
            uniforms = Uniforms(count, self.config.image_channels, seed, first + start)

            def code(_octave: int, _: octaves.BandSlice | None, outputs: Tensor, offset: Tensor) -> Tensor:
                return self.stage.sample(outputs, uniforms.draw(outputs, 0), offset)

            return self.stage.follow(count, height, width, code, given)

        return draw_images(self.device, n, draw)
