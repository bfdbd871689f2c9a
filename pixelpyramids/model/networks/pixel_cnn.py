"""PixelCNN++ for the coarsest image (Salimans et al. 2017), in the form of the authors' release.

There are two streams. Stream u sees all rows above; it halves the resolution once and doubles it again, with n gated
residual layers at each resolution, and the layers of the way up also see those of the way down. Stream ul also sees the
pixels to the left in the row:

    image, ones ─┬─ u_input ── n gated ── halve ── n gated ── n + 1 gated ── double ── n gated ─┐
                 └─ ul_input ───────────────────────────────────────────────────── one gated ───┴─ ELU ─ 1x1 ─ outputs

In the release, stream ul has as many layers as u, but on the way up each of them continues from u and drops the
previous ul. Only its input and its last layer reach the outputs, so only these exist here. Any height and width are
possible: halving rounds up, and doubling is cropped.
"""

from collections.abc import Generator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm


class ShiftedConv(nn.Module):
    """A weight-normalised convolution that sees rows above and its own (`down`), or also only columns up to its own."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], right: bool, stride: int = 1) -> None:
        super().__init__()
        height, width = kernel
        self.padding = (width - 1, 0, height - 1, 0) if right else (width // 2, width // 2, height - 1, 0)
        self.conv = weight_norm(nn.Conv2d(inputs, outputs, kernel, stride))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, self.padding))
        return y


class Doubling(nn.Module):
    """A transposed convolution of stride 2; a kernel of odd width loses its first column. Cropped to height, width."""

    def __init__(self, width: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.first_column = kernel[1] - 2
        self.conv = weight_norm(nn.ConvTranspose2d(width, width, kernel, stride=2))

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        y: Tensor = self.conv(x)
        return y[..., :height, self.first_column : self.first_column + width]


class Gated(nn.Module):
    """x + a sigmoid(b): (a, b) are two convolutions of x, and the auxiliary input (1x1) is added between them."""

    def __init__(self, width: int, auxiliary: int, kernel: tuple[int, int], right: bool) -> None:
        super().__init__()
        self.conv1 = ShiftedConv(2 * width, width, kernel, right)
        self.auxiliary = weight_norm(nn.Conv2d(2 * auxiliary, width, 1)) if auxiliary else None
        self.conv2 = ShiftedConv(2 * width, 2 * width, kernel, right)

    def forward(self, x: Tensor, auxiliary: Tensor | None = None) -> Tensor:
        hidden = self.conv1(concatenated_elu(x))
        if self.auxiliary is not None and auxiliary is not None:
            hidden = hidden + self.auxiliary(concatenated_elu(auxiliary))
        a, b = self.conv2(concatenated_elu(hidden)).chunk(2, dim=1)
        gated: Tensor = x + a * torch.sigmoid(b)
        return gated


class PixelCNN(nn.Module):
    """The mixture's outputs for every pixel, given the pixels before it in raster order."""

    def __init__(self, image_channels: int, width: int, n_res_layers: int, outputs: int) -> None:
        super().__init__()
        self._arguments = image_channels, width, n_res_layers, outputs
        n, inputs = n_res_layers, image_channels + 1
        kernel = 2, 3
        self.u_input = ShiftedConv(inputs, width, kernel, right=False)
        self.u_down = nn.ModuleList(Gated(width, 0, kernel, right=False) for _ in range(2 * n))
        self.u_halve = ShiftedConv(width, width, kernel, right=False, stride=2)
        self.u_up = nn.ModuleList(Gated(width, width, kernel, right=False) for _ in range(2 * n + 1))
        self.u_double = Doubling(width, kernel)
        self.ul_input_above = ShiftedConv(inputs, width, (1, 3), right=False)
        self.ul_input_left = ShiftedConv(inputs, width, (2, 1), right=True)
        self.ul_last = Gated(width, 2 * width, (2, 2), right=True)
        self.head = weight_norm(nn.Conv2d(width, outputs, 1))
        self.n_res_layers = n

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments and the weights, because torch does not pickle weight-normalised layers."""
        return _restore, (self._arguments, self.state_dict(), self.training)

    def forward(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch outputs height width"]:
        """Outputs at every pixel, from an image in [-1, 1]."""
        return self._from_left(image, self._from_above(image))

    def stepwise(self, batch: int, height: int, width: int) -> Generator[Tensor, Tensor, None]:
        """Yield the outputs (batch, outputs, 1, 1) of each pixel in raster order; receive its value in [-1, 1].

        Stream u sees only the rows above, so it is computed once per row.
        """
        bias = self.u_input.conv.bias
        channels = self.u_input.conv.in_channels - 1
        image = bias.new_zeros(batch, channels, height, width)
        with parametrize.cached():
            for y in range(height):
                u = self._from_above(image[..., : y + 1, :])
                rows = slice(max(y - 3, 0), y + 1)  # all that stream ul sees
                for x in range(width):
                    outputs = self._from_left(image[..., rows, :], u[..., rows, :])
                    image[..., y : y + 1, x : x + 1] = yield outputs[..., -1:, x : x + 1]

    def _from_above(self, image: Tensor) -> Tensor:
        """Stream u."""
        n, (height, width) = self.n_res_layers, image.shape[-2:]
        u = _shift_down(self.u_input(_with_ones(image)))
        maps = [u]
        for i in range(2 * n + 1):
            u = self.u_halve(u) if i == n else self.u_down[i - (i > n)](u)
            maps.append(u)
        maps.pop()
        for i in range(2 * n + 2):
            u = self.u_double(u, height, width) if i == n else self.u_up[i - (i > n)](u, maps.pop())
        return u

    def _from_left(self, image: Tensor, u: Tensor) -> Tensor:
        """Stream ul, given u, and the outputs."""
        x = _with_ones(image)
        ul = _shift_down(self.ul_input_above(x)) + _shift_right(self.ul_input_left(x))
        ul = self.ul_last(u, torch.cat([u, ul], dim=1))
        outputs: Tensor = self.head(F.elu(ul))
        return outputs


def _restore(arguments: tuple[int, int, int, int], weights: dict[str, Tensor], training: bool) -> PixelCNN:
    with torch.random.fork_rng(devices=[]):
        network = PixelCNN(*arguments)
    network.load_state_dict(weights, assign=True)
    return network.train(training)


def concatenated_elu(x: Tensor) -> Tensor:
    """ELU of x and of -x, side by side along the channels."""
    return F.elu(torch.cat([x, -x], dim=1))


def _with_ones(image: Tensor) -> Tensor:
    """The image and a channel of ones, which distinguishes the padding from the image."""
    return torch.cat([image, torch.ones_like(image[:, :1])], dim=1)


def _shift_down(x: Tensor) -> Tensor:
    return F.pad(x[..., :-1, :], (0, 0, 1, 0))


def _shift_right(x: Tensor) -> Tensor:
    return F.pad(x[..., :-1], (1, 0, 0, 0))
