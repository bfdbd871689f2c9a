"""The compact network: one set of weights for all octaves, a trunk on the coarse image, and a head for each slice.

            coarse ── trunk ──┬─────────┬─────────┬─────────┬─────────┐
                              │         │         │         │         │
                            head 0    head 1    head 2    head 3    head 4
                              │  ↗      │   ↗     │   ↗     │   ↗     │
                             OE even   OE odd    EO even   EO odd    EE         (slices; see `pyramid/octaves.py`)

All arithmetic is on integers in floating point, so that integer arithmetic gives the same results:

    activation   a' = clamp(rne((sum of w a + b + 128 skip) / 128), 0, 255)      rne: round half to even
    weight       w  = rne(clamp(128 W, -64, 64)),   bias  b = rne(4096 B)
    output       sum of w a + b; 4096 are a unit

W and B are trained; gradients ignore the roundings (straight-through). Every sum stays below 2**24 in magnitude, so
float32 adds exactly in any order. In bfloat16, activations and weights are exact, and sums are rounded like
activations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelpyramids.codec.integer_network import LARGEST_ACTIVATION, LARGEST_WEIGHT
from pixelpyramids.model.parameters import CompactParameters, outputs_per_component

WEIGHT_SCALE = 128
ACTIVATION_SCALE = 32  # of a unit
OUTPUT_SCALE = WEIGHT_SCALE * ACTIVATION_SCALE
LARGEST_BIAS = 2**22


class IntegerConv(nn.Conv2d):
    """A convolution of integers with integers and 'same' zero padding; returns the sums / 128, unrounded."""

    def __init__(self, inputs: int, outputs: int, size: int = 3) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        assert self.bias is not None
        nn.init.zeros_(self.bias)
        self.held: tuple[Tensor, Tensor] | None = None

    def integers(self) -> tuple[Tensor, Tensor]:
        """Weights w and biases b, integers in floating point."""
        assert self.bias is not None
        weight = (WEIGHT_SCALE * self.weight.detach()).round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
        bias = (OUTPUT_SCALE * self.bias.detach()).round().clamp(-LARGEST_BIAS, LARGEST_BIAS)
        return weight, bias

    def straight(self) -> tuple[Tensor, Tensor]:
        """Weights w / 128 and biases b / 128, with the gradients of W and of 32 B."""
        weight, bias = self.integers()
        assert self.bias is not None
        straight_weight = self.weight + (weight / WEIGHT_SCALE - self.weight).detach()
        straight_bias = ACTIVATION_SCALE * self.bias + (bias / WEIGHT_SCALE - ACTIVATION_SCALE * self.bias).detach()
        return straight_weight, straight_bias

    def forward(self, activations: Tensor) -> Tensor:
        weight, bias = self.held or self.straight()
        return F.conv2d(activations, weight, bias, padding=self.padding)


class _Rescale(torch.autograd.Function):
    """clamp(rne(x), 0, 255), with the gradient of the clamp alone."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor) -> Tensor:
        ctx.save_for_backward(sums)
        return sums.round().clamp_(0, LARGEST_ACTIVATION)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (sums,) = ctx.saved_tensors
        passed: Tensor = torch.ops.aten.hardtanh_backward(gradient, sums, 0, LARGEST_ACTIVATION)
        return passed


def rescale(sums: Tensor) -> Tensor:
    """The activations (0 to 255) of sums / 128."""
    rescaled: Tensor = _Rescale.apply(sums)  # type: ignore[no-untyped-call]
    return rescaled


class ResidualBlock(nn.Module):
    """A residual block, initialised as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = IntegerConv(width, width), IntegerConv(width, width)
        nn.init.zeros_(self.second.weight)

    def forward(self, activations: Tensor) -> Tensor:
        sums = self.second(rescale(self.first(activations)))
        return rescale(sums + activations.to(sums.dtype))


class Body(nn.Sequential):
    """A convolution to `width` channels and some residual blocks: activations in, activations out."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__(IntegerConv(inputs, width), *(ResidualBlock(width) for _ in range(blocks)))

    def forward(self, activations: Tensor) -> Tensor:
        first, *blocks = self
        activations = rescale(first(activations))
        for block in blocks:
            activations = block(activations)
        return activations


class Head(nn.Module):
    """The mixture's outputs at the sites of one slice: sums in float32, of which 4096 are a unit.

    The last convolution is a product of matrices, whose result has each output in one piece of memory.
    """

    def __init__(self, inputs: int, width: int, blocks: int, outputs: int) -> None:
        super().__init__()
        self.body = Body(inputs, width, blocks)
        self.last = IntegerConv(width, outputs, 1)

    def forward(self, activations: Tensor) -> Tensor:
        activations = self.body(activations)
        batch, _, height, width = activations.shape
        with torch.autocast(activations.device.type, enabled=False):
            weight, bias = self.last.held or self.last.straight()
            sites = activations.float().permute(0, 2, 3, 1).flatten(0, 2)
            sums: Tensor = torch.addmm(WEIGHT_SCALE * bias.unsqueeze(1), WEIGHT_SCALE * weight.flatten(1), sites.t())
        return sums.view(-1, batch, height, width).transpose(0, 1)


class CompactNetwork(nn.Module):
    """Trunk and heads for images of the parameters' channels."""

    def __init__(self, parameters: CompactParameters) -> None:
        super().__init__()
        channels, width = parameters.image_channels, parameters.width
        self.trunk = Body(6 * channels, width, parameters.trunk_blocks)
        known = 2 * channels  # of one band at one site, plus and minus
        inputs = (2 * width, 2 * width + known, 2 * width + 2 * known, 2 * width + 3 * known, width + 5 * known)
        outputs = parameters.components * outputs_per_component(channels)
        self.heads = nn.ModuleList(Head(count, width, parameters.head_blocks, outputs) for count in inputs)

    @contextmanager
    def hold_weights(self) -> Iterator[None]:
        """Round the weights once for all octaves, not in each of them."""
        convolutions = [module for module in self.modules() if isinstance(module, IntegerConv)]
        try:
            for convolution in convolutions:
                convolution.held = convolution.straight()
            yield
        finally:
            for convolution in convolutions:
                convolution.held = None
