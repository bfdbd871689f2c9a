"""The probability of a whole image in the compact network, with the walk and the arithmetic of the codec, for training.

    log p(image) = log p(coarsest pixels) + sum over octaves, and their slices, of log p(slice | coarse, slices before)

The few coarsest pixels have one fixed mixture. `pixelpyramids.codec.outputs` says what the outputs mean.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pixelpyramids.codec.outputs import (
    LARGEST_PAIR_WEIGHT,
    LARGEST_RANGES,
    MEAN_UNIT,
    SMALLEST_LOG_SCALE,
    UNIT,
    coarsest_outputs,
    starting_outputs,
)
from pixelpyramids.model import compact_loss
from pixelpyramids.model.mixture import Mixture, unpack
from pixelpyramids.model.networks.compact import CompactNetwork, Head
from pixelpyramids.model.parameters import CompactParameters
from pixelpyramids.pyramid import octaves
from pixelpyramids.pyramid.splitting import pad_coarse

Code = Callable[[int, octaves.BandSlice | None, Tensor, Tensor], Tensor]
"""(octave, slice or None for the coarsest pixels, outputs, offset in values) -> the values at its sites."""


class CompactStage(nn.Module):
    """The only stage of a compact model: from the coarsest pixels, octave by octave, to the image."""

    def __init__(self, parameters: CompactParameters) -> None:
        super().__init__()
        self.n_bits, self.n_values, self.channels = parameters.n_bits, parameters.n_values, parameters.image_channels
        self.components = parameters.components
        self.network = CompactNetwork(parameters)
        start = torch.from_numpy(starting_outputs(self.components, self.channels) / UNIT)
        with torch.no_grad():
            for head in self.network.heads:
                assert isinstance(head, Head)
                head.last.weight.mul_(0.1)
                assert head.last.bias is not None
                head.last.bias.copy_(start)

    def forward(
        self,
        fine: Int[Tensor, "batch channels height width"],
        coarse: None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch height width"]:
        """Nats of each pixel of the images; the mixtures in `dtype`."""
        nats = torch.zeros(fine.shape[0], *fine.shape[-2:], dtype=dtype, device=fine.device)

        def score(outputs: Tensor, values: Tensor, offset: Tensor) -> tuple[Tensor]:
            outputs = outputs.to(dtype)
            if outputs.requires_grad:
                return (compact_loss.nats(outputs, values, offset, self.n_values),)
            return (-self._mixture(outputs).log_prob(values, offset, self.n_values),)

        self._score(fine, (nats,), score)
        return nats

    def cumulative(
        self, fine: Int[Tensor, "batch channels height width"], coarse: None = None
    ) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch channels height width"]]:
        """`Mixture.cumulative` of the images, in float64."""
        below, up_to = (torch.zeros(fine.shape, dtype=torch.float64, device=fine.device) for _ in range(2))

        def score(outputs: Tensor, values: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
            return self._mixture(outputs.double()).cumulative(values, offset, self.n_values)

        self._score(fine, (below, up_to), score)
        return below, up_to

    def _score(self, fine: Tensor, places: Sequence[Tensor], score: Callable[..., Sequence[Tensor]]) -> None:
        """Fill the places (…, height, width) with what `score` gives for outputs, values and their offset."""
        octave_places = [[fine, *places]]
        for _ in octaves.octave_sizes(*fine.shape[-2:])[1:]:
            octave_places.append([octaves.bands(each).oo for each in octave_places[-1]])

        def code(index: int, part: octaves.BandSlice | None, outputs: Tensor, offset: Tensor) -> Tensor:
            here = octave_places[index]
            if part is not None:
                here = [getattr(octaves.bands(each), part.band)[..., *part.lattice.sites] for each in here]
            values, *parts = here
            for place, scores in zip(parts, score(outputs, values, offset), strict=True):
                place.copy_(scores)
            return values

        self.follow(fine.shape[0], fine.shape[-2], fine.shape[-1], code)

    def follow(self, batch: int, height: int, width: int, code: Code, coarse: Tensor | None = None) -> Tensor:
        """Go through the slices of the octaves in order; `code` gives the values of each. Return the images.

        If `coarse` (batch, channels, h, w) is given, the octaves that it determines are skipped.
        """
        sizes = octaves.octave_sizes(height, width)
        if coarse is not None and (coarse.shape[-2], coarse.shape[-1]) in sizes[1:]:
            image, start = coarse, sizes.index((coarse.shape[-2], coarse.shape[-1]))
        else:
            image, start = self._coarsest(batch, *sizes[-1], len(sizes) - 1, code), len(sizes) - 1
            if coarse is not None:  # some of the coarsest pixels, which are independent
                octaves.find_coarse(image, coarse)[...] = coarse
        with self.network.hold_weights():
            for index in reversed(range(start)):
                image = self._octave(index, image, *sizes[index], code)
        return image

    def sample(self, outputs: Tensor, uniforms: Tensor, offset: Tensor) -> Tensor:
        """Draw values from the mixture with the uniforms (batch, 1 + channels, height, width)."""
        return self._mixture(outputs.double()).sample(uniforms, offset, self.n_values)

    def _mixture(self, outputs: Tensor) -> Mixture:
        logits, means, log_scales, weights = unpack(outputs / UNIT, self.channels)
        largest = math.log2(LARGEST_RANGES) + self.n_bits
        return Mixture(
            logits * math.log(2),
            means * MEAN_UNIT,
            log_scales.clamp(SMALLEST_LOG_SCALE / UNIT, largest) * math.log(2),
            weights.clamp(-LARGEST_PAIR_WEIGHT / UNIT, LARGEST_PAIR_WEIGHT / UNIT),
        )

    def _coarsest(self, batch: int, height: int, width: int, index: int, code: Code) -> Tensor:
        device = next(self.parameters()).device
        spread = torch.from_numpy(coarsest_outputs(self.components, self.channels, self.n_bits)).to(device)
        outputs = spread.float().view(1, -1, 1, 1).expand(batch, -1, height, width)
        middle = torch.full((batch, self.channels, height, width), self.n_values / 2, device=device)
        return code(index, None, outputs, middle)

    def _octave(self, index: int, image: Tensor, height: int, width: int, code: Code) -> Tensor:
        coarse = octaves.add_border(pad_coarse(image, (-(-height // 2), -(-width // 2))))
        features = self.network.trunk(_activations(octaves.trunk_inputs(coarse, self.n_bits, 0)))
        steps = octaves.follow(coarse, features.detach(), octaves.fine_shapes(height, width), 0)
        try:
            step = next(steps)
            while True:
                outputs = self.network.heads[step.number](_join(features, step))
                outputs = outputs[..., : step.base.shape[-2], : step.base.shape[-1]]
                values = code(index, octaves.SLICES[step.number], outputs, step.base / 4)
                step = steps.send(values)
        except StopIteration as stop:
            whole: Tensor = octaves.merge_bands(octaves.Bands(image, *stop.value), height, width)
            return whole


def _join(features: Tensor, step: octaves.Step) -> Tensor:
    """The inputs of a step, joined, through which gradients reach the features that are among them."""
    joined: Tensor = _Join.apply(features, step)  # type: ignore[no-untyped-call]
    return joined


class _Join(torch.autograd.Function):
    """Both ways keep the channels last in memory. (The gradients of slices would have them first: slow to add.)"""

    @staticmethod
    def forward(ctx: Any, features: Tensor, step: octaves.Step) -> Tensor:
        ctx.save_for_backward(features)
        ctx.number = step.number
        return _activations(octaves.join_inputs(step.inputs, *step.size))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (features,) = ctx.saved_tensors
        of_features = torch.empty_like(features, memory_format=torch.channels_last)
        given_parts = gradient.split(features.shape[1], 1)  # the first ones are those of the features
        for part, given in zip(octaves.lines_of(of_features, ctx.number), given_parts, strict=False):
            part.copy_(given[..., : part.shape[-2], : part.shape[-1]])
        return of_features, None


def _activations(integers: Tensor) -> Tensor:
    if not integers.is_floating_point():
        integers = integers.float()
    return integers.contiguous(memory_format=torch.channels_last)
