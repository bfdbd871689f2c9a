"""`PixelPyramid`: the paper's model, a network for each stage of the walk.

    log p(image) = log p(coarsest) + sum over levels of log p(fine | coarse)

`rate` scores all stages in parallel from the true values. `sample` and `complete` follow the same walk from coarse to
fine, and feed the integers of each slice back to the network.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from pixelpyramids.arguments import whole_number
from pixelpyramids.errors import DataError
from pixelpyramids.model.device import full_float32
from pixelpyramids.model.image_tensors import Uniforms, check_images, check_levels, convert_like, draw_images
from pixelpyramids.model.paper_stage import Choose, PaperStage
from pixelpyramids.model.parameters import Parameters
from pixelpyramids.pyramid.levels import Slice, Stage, coarsest_size
from pixelpyramids.pyramid.rate import Rate
from pixelpyramids.pyramid.splitting import merge

MOST_COARSEST_PIXELS = 2**12  # that `sample` draws

ArrayOrTensor = TypeVar("ArrayOrTensor")


class PixelPyramid(nn.Module):
    """A network for each of the L stages of `config`: `stages[i]` is level i, and the last one the coarsest image.

    Images are integers (B, C, H, W) in [0, 2**n_bits), of any height and width, in tensors or NumPy arrays. A new model
    is in evaluation mode. The initial weights of stage i are keyed by (seed, i).
    """

    def __init__(self, config: Parameters, seed: int = 0) -> None:
        super().__init__()
        if not isinstance(config, Parameters):
            raise TypeError(f"expected Parameters, got {type(config).__name__}; read a file with load_parameters")
        self.config = config
        self.stages = nn.ModuleList()
        for index in range(config.L):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stage_seed(seed, index))
                self.stages.append(PaperStage(config, index))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @torch.no_grad()
    @full_float32()
    def rate(self, images: Any, levels: Sequence[int] | None = None) -> Rate:
        """The code length of each image (B, C, H, W), in nats for each level, computed in float64; on the CPU.

        With `levels`, only these stages are scored and counted. Raises DataError unless the images are integers of the
        model's channels and range.
        """
        tensor = check_images(images, self.config, self.device)
        check_levels(levels, self.config.L)
        nats = torch.zeros(tensor.shape[0], self.config.L, dtype=torch.float64)
        dimensions = torch.zeros(tensor.shape[0], self.config.L, dtype=torch.int64)
        for index, (fine, coarse) in self.config.decompose(tensor).items():
            if levels is not None and index not in levels:
                continue
            nats[:, index] = self.stages[index](fine, coarse, torch.float64).double().sum(dim=(1, 2)).cpu()
            dimensions[:, index] = fine[0].numel()
        return convert_like(images, Rate(nats, dimensions))  # type: ignore[no-any-return]

    def sample(
        self, n: int, height: int | None = None, width: int | None = None, seed: int = 0, first: int = 0
    ) -> Int[Tensor, "n channels height width"]:
        """N exact samples, by default of the size of the training images.

        The random numbers of sample i are keyed by (seed, first + i), so a large n can be drawn in parts. On a CPU, the
        parts give the same samples, bit for bit, with the same number of threads. On a GPU, the rounding of
        convolutions depends on the batch: now and then it changes a value of a sample, and all that follow it.
        Raises DataError if n or a side is below 1.
        """
        size = self.config.image_size
        height, width = size[0] if height is None else height, size[1] if width is None else width
        n, height, width = whole_number("n", n, 1), whole_number("height", height, 1), whole_number("width", width, 1)
        coarsest = coarsest_size(height, width, self.config.L - 1)
        if math.prod(coarsest) > MOST_COARSEST_PIXELS:
            raise DataError(
                f"{height} x {width} leaves a coarsest image of more than {MOST_COARSEST_PIXELS} pixels, drawn one by "
                f"one; choose a smaller size, or a model of more levels than L = {self.config.L}"
            )
        return self._draw(self.config.walk(height, width), None, n, seed, first)

    def complete(self, coarse: ArrayOrTensor, height: int, width: int, seed: int = 0, first: int = 0) -> ArrayOrTensor:
        """Sample the missing levels between `coarse` (B, C, h, w) and an image of height x width.

        The pyramid of the result contains `coarse` exactly. Seeds and batches work as for `sample`. Raises DataError if
        no level of such an image has a coarse half of that size.
        """
        tensor = check_images(coarse, self.config, self.device)
        given = (tensor.shape[-2], tensor.shape[-1])
        height, width = whole_number("height", height, 1), whole_number("width", width, 1)
        missing = [stage for stage in self.config.walk(height, width) if stage.coarse is not None and stage.is_split]
        above = next((i for i, stage in enumerate(missing) if stage.coarse == given), None)
        if above is None:
            halves = dict.fromkeys(stage.coarse for stage in missing if stage.coarse)
            sizes = ", ".join(f"{h} x {w}" for h, w in halves) or "none: it is not split"
            raise DataError(
                f"expected the coarse image of a {height} x {width} image ({sizes}), got {given[0]} x {given[1]}"
            )
        completed: ArrayOrTensor = convert_like(coarse, self._draw(missing[above:], tensor, len(tensor), seed, first))
        return completed

    def _draw(self, stages: Sequence[Stage], coarse: Tensor | None, n: int, seed: int, first: int) -> Tensor:
        """N samples of the stages above `coarse`."""

        def draw(start: int, count: int) -> Tensor:
            given = None if coarse is None else coarse[start : start + count]
            return self.follow(stages, given, count, self.sampler(count, seed, first + start))

        return draw_images(self.device, n, draw)

    @full_float32()
    def follow(self, stages: Sequence[Stage], coarse: Tensor | None, batch: int, choose: Choose) -> Tensor:
        """Walk through the stages from `coarse`, or from the coarsest image if it is None; return the finest image."""
        image = coarse
        for stage in stages:
            if stage.axis is None:
                image = self._stage(stage).follow(stage, None, batch, choose)
            elif stage.is_split and image is not None:
                image = merge(self._stage(stage).follow(stage, image, batch, choose), image, stage.axis)
        if image is None:
            raise ValueError("expected a coarse image, or a walk that begins with the coarsest stage")
        return image

    def sampler(self, batch: int, seed: int, first: int = 0) -> Choose:
        """A function that draws each slice's values, with a random generator for each item of the batch."""
        uniforms = Uniforms(batch, self.config.image_channels, seed, first)

        def choose(stage: Stage, _: Slice, outputs: Tensor, offset: Tensor | None) -> Tensor:
            return self._stage(stage).sample(outputs, uniforms.draw(outputs, stage.index), offset)

        return choose

    def _stage(self, stage: Stage) -> PaperStage:
        model = self.stages[stage.index]
        assert isinstance(model, PaperStage)
        return model


def stage_seed(seed: int, index: int) -> int:
    """A seed of its own for each stage."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
