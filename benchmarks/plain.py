"""PixelPyramids in plain PyTorch: the baseline for the package's speed.

An ordinary PyTorch implementation of the system of Mahajan & Roth, "PixelPyramids: Exact Inference Models from
Lossless Image Pyramids", ICCV 2021, from facts about the release visinf/pixelpyramids. It computes what the release
computes, by the direct route: float32, contiguous NCHW, batch statistics in training mode, the T = 4**n_squeeze
sub-images of a level one after the other, one joint optimiser over all levels, and a step that loops over the
parameters. The keys of `stages[i].state_dict()` are the release's.

For n = 2**n_bits, a square image is split into rows, any other into columns: coarse = odd lines, and
fine = (even - odd + shift) mod n. Networks see 2 v / (n - 1) - 1.

This file does not use the package, and the package does not use this file.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = list[tuple[Tensor, Tensor]]


class Block(nn.Module):
    """3x3 convolution, BatchNorm, ReLU, twice."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.double_conv(x)
        return y


class Down(nn.Module):
    """A block, 2x2 max pooling, a block; `conv` is in the release's files and never runs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(Block(inputs, outputs), nn.MaxPool2d(2), Block(outputs, outputs))
        self.conv = Block(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.maxpool_conv(x)
        return y


class Up(nn.Module):
    """A block on the deeper map, bilinear upsampling with aligned corners, and a block on [skip, upsampled]."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = Block(inputs, inputs)
        self.conv = Block(skip + inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(self.conv1(x), scale_factor=2, mode="bilinear", align_corners=True)
        height, width = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        y: Tensor = self.conv(torch.cat((skip, x), 1))
        return y


class ConvLSTM(nn.Module):
    """Two ConvLSTM layers: gates = w_ih * x + b_ih + w_hh * h + b_hh, in the order input, forget, cell, output.

    The weights are those of `nn.Conv2d` modules, under the names that the release gives them.
    """

    def __init__(self, channels: int, layers: int = 2) -> None:
        super().__init__()
        self.channels, self.layers = channels, layers
        for layer in range(layers):
            ih = nn.Conv2d(channels, 4 * channels, 3, padding=1)
            hh = nn.Conv2d(channels, 4 * channels, 3, padding=1)
            for name in ("weight", "bias"):
                self.register_parameter(f"{name}_ih_l{layer}", ih.get_parameter(name))
                self.register_parameter(f"{name}_hh_l{layer}", hh.get_parameter(name))

    def start(self, like: Tensor) -> State:
        """The zero state for inputs of the shape of `like`."""
        shape = (like.shape[0], self.channels, *like.shape[-2:])
        return [(like.new_zeros(shape), like.new_zeros(shape)) for _ in range(self.layers)]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        after: State = []
        for layer, (hidden, cell) in enumerate(state):
            weight_ih, bias_ih = getattr(self, f"weight_ih_l{layer}"), getattr(self, f"bias_ih_l{layer}")
            weight_hh, bias_hh = getattr(self, f"weight_hh_l{layer}"), getattr(self, f"bias_hh_l{layer}")
            gates = F.conv2d(x, weight_ih, bias_ih, padding=1) + F.conv2d(hidden, weight_hh, bias_hh, padding=1)
            i, f, g, o = gates.chunk(4, 1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            x = torch.sigmoid(o) * torch.tanh(cell)
            after.append((x, cell))
        return x, after


class SubImageLSTM(nn.Module):
    """Outputs for sub-image t from its conditioning and sub-image t - 1: conv_embed, ConvLSTM, conv_out1."""

    def __init__(self, conditioning: int, image: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.lstm = ConvLSTM(channels)
        self.conv_embed = nn.Conv2d(conditioning + image, channels, 3, padding=1)
        self.conv_out1 = nn.Conv2d(channels, outputs, 3, padding=1)

    def forward(self, conditioning: Tensor, previous: Tensor, state: State) -> tuple[Tensor, State]:
        x, state = self.lstm(self.conv_embed(torch.cat((conditioning, previous), 1)), state)
        return self.conv_out1(x), state


class Encoder(nn.Module):
    """The holder of `prior_lstm`, for the release's keys."""

    def __init__(self, conditioning: int, image: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.prior_lstm = SubImageLSTM(conditioning, image, channels, outputs)


def space_to_depth(x: Tensor, factor: int) -> tuple[Tensor, ...]:
    """The factor**2 sub-images of `x`, in raster order of their offset, dy * factor + dx."""
    batch, channels, height, width = x.shape
    sub = F.pixel_unshuffle(x, factor).view(batch, channels, factor**2, height // factor, width // factor)
    return sub.unbind(2)


def depth_to_space(sub: list[Tensor], factor: int) -> Tensor:
    """The inverse of `space_to_depth`."""
    return F.pixel_shuffle(torch.stack(sub, 2).flatten(1, 2), factor)


class Level(nn.Module):
    """The network of one level: a U-Net on the coarse half, then a ConvLSTM over the sub-images of the fine half.

    If `n_squeeze` is 0, the U-Net's output is the level's, and the ConvLSTM never runs.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        n_squeeze: int,
        outputs: int,
        lstm_channels: int,
        condition_channels: int,
        image_channels: int,
    ) -> None:
        super().__init__()
        self.factor = 2**n_squeeze
        self.inc = Block(image_channels, width)
        widths = [width * 2 ** min(i, depth - 1) for i in range(depth + 1)]
        self.downs = nn.ModuleList(Down(widths[i], widths[i + 1]) for i in range(depth))
        self.ups = nn.ModuleList()
        inputs = widths[-1]
        for k in range(depth):
            up = width * 2 ** max(depth - 2 - k, 0)
            self.ups.append(Up(inputs, widths[depth - 1 - k], up))
            inputs = up
        self.outc = nn.Sequential(OrderedDict(conv=nn.Conv2d(width, condition_channels, 1)))
        self.conv_lstm_enc = Encoder(condition_channels, image_channels, lstm_channels, outputs)

    def condition(self, coarse: Tensor) -> Tensor:
        """The U-Net: the conditioning, at the size of `coarse`."""
        maps = [self.inc(coarse)]
        for down in self.downs:
            maps.append(down(maps[-1]))
        x = maps.pop()
        for up in self.ups:
            x = up(x, maps.pop())
        conditioning: Tensor = self.outc(x)
        return conditioning

    def walk(self, coarse: Tensor, values: Callable[[int, Tensor], Tensor]) -> list[Tensor]:
        """The outputs of every sub-image in turn; `values(t, outputs)` is sub-image t, which the next one sees."""
        conditioning = self.condition(coarse)
        if self.factor == 1:
            values(0, conditioning)
            return [conditioning]
        prior = self.conv_lstm_enc.prior_lstm
        parts = space_to_depth(conditioning, self.factor)
        previous = torch.zeros_like(parts[0][:, : coarse.shape[1]])
        state = prior.lstm.start(previous)
        outputs: list[Tensor] = []
        for t, part in enumerate(parts):
            output, state = prior(part, previous, state)
            outputs.append(output)
            previous = values(t, output)
        return outputs

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        sub = space_to_depth(fine, self.factor)
        return depth_to_space(self.walk(coarse, lambda t, _: sub[t]), self.factor)


class WeightNormConv(nn.Module):
    """A convolution with weight g v / ||v||, the norm over all axes but 0.

    `padding` counts zeros: left, right, top, bottom. A transposed one has its input channels on axis 0. It starts as
    PyTorch starts the plain convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        stride: int = 1,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        plain = (nn.ConvTranspose2d if transposed else nn.Conv2d)(inputs, outputs, kernel)
        assert plain.bias is not None
        self.padding, self.stride, self.transposed = padding, stride, transposed
        self.bias = plain.bias
        self.weight_g = nn.Parameter(torch.linalg.vector_norm(plain.weight.detach(), dim=(1, 2, 3), keepdim=True))
        self.weight_v = plain.weight

    def forward(self, x: Tensor) -> Tensor:
        weight = torch._weight_norm(self.weight_v, self.weight_g, 0)
        if self.transposed:
            return F.conv_transpose2d(x, weight, self.bias, self.stride)
        if any(self.padding):
            x = F.pad(x, self.padding)
        return F.conv2d(x, weight, self.bias, self.stride)


def down_shifted(inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1) -> WeightNormConv:
    """A convolution that sees the rows above and its own, on both sides."""
    side = (kernel[1] - 1) // 2
    return WeightNormConv(inputs, outputs, kernel, (side, side, kernel[0] - 1, 0), stride)


def down_right_shifted(inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1) -> WeightNormConv:
    """A convolution that sees what is above and to the left, and its own place."""
    return WeightNormConv(inputs, outputs, kernel, (kernel[1] - 1, 0, kernel[0] - 1, 0), stride)


class Transposed(WeightNormConv):
    """A transposed convolution of stride 2 that drops the first `drop` columns of its result."""

    def __init__(self, channels: int, kernel: tuple[int, int], drop: int) -> None:
        super().__init__(channels, channels, kernel, stride=2, transposed=True)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., self.drop :]


def concat_elu(x: Tensor) -> Tensor:
    """ELU([x, -x])."""
    return F.elu(torch.cat((x, -x), 1))


class Gated(nn.Module):
    """h = c1(cELU x) + c1c(cELU aux); (a, b) = halves of c2(cELU h); the result is x + a sigmoid(b)."""

    def __init__(
        self,
        channels: int,
        conv: Callable[[int, int, tuple[int, int]], WeightNormConv],
        kernel: tuple[int, int],
        aux: int = 0,
    ) -> None:
        super().__init__()
        self.c1 = conv(2 * channels, channels, kernel)
        if aux:
            self.c1c = WeightNormConv(2 * aux, channels, (1, 1))
        self.c2 = conv(2 * channels, 2 * channels, kernel)

    def forward(self, x: Tensor, aux: Tensor | None = None) -> Tensor:
        h: Tensor = self.c1(concat_elu(x))
        if aux is not None:
            h = h + self.c1c(concat_elu(aux))
        gates: Tensor = self.c2(concat_elu(h))
        a, b = gates.chunk(2, 1)
        return x + a * torch.sigmoid(b)


class PixelCNN(nn.Module):
    """The coarsest stage: PixelCNN++ (Salimans et al. 2017) with one change of resolution, as the release wires it.

    Stream u sees the rows above, stream ul also the pixels to the left. On the way back up in resolution the gated
    layers of ul take the new u as their input, as in the release.
    """

    def __init__(self, image_channels: int, channels: int, n_res_layers: int, outputs: int) -> None:
        super().__init__()
        n, inputs = n_res_layers, image_channels + 1
        u, ul = (2, 3), (2, 2)
        self.u_input = down_shifted(inputs, channels, u)
        self.ul_input_d = down_shifted(inputs, channels, (1, 3))
        self.ul_input_dr = down_right_shifted(inputs, channels, (2, 1))

        def gated_u(count: int, aux: int) -> Iterator[nn.Module]:
            return (Gated(channels, down_shifted, u, aux) for _ in range(count))

        def gated_ul(count: int, aux: int) -> Iterator[nn.Module]:
            return (Gated(channels, down_right_shifted, ul, aux) for _ in range(count))

        self.up_u_modules = nn.ModuleList([*gated_u(n, 0), down_shifted(channels, channels, u, 2), *gated_u(n, 0)])
        self.up_ul_modules = nn.ModuleList(
            [*gated_ul(n, channels), down_right_shifted(channels, channels, ul, 2), *gated_ul(n, channels)]
        )
        self.down_u_modules = nn.ModuleList(
            [*gated_u(n, channels), Transposed(channels, u, 1), *gated_u(n + 1, channels)]
        )
        self.down_ul_modules = nn.ModuleList(
            [*gated_ul(n, 2 * channels), Transposed(channels, ul, 0), *gated_ul(n + 1, 2 * channels)]
        )
        self.output_conv = WeightNormConv(channels, outputs, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((x, torch.ones_like(x[:, :1])), 1)
        u: Tensor = F.pad(self.u_input(x), (0, 0, 1, 0))[..., :-1, :]
        ul: Tensor = F.pad(self.ul_input_d(x), (0, 0, 1, 0))[..., :-1, :]
        ul = ul + F.pad(self.ul_input_dr(x), (1, 0))[..., :-1]
        us, uls = [u], [ul]
        for u_module, ul_module in zip(self.up_u_modules, self.up_ul_modules, strict=True):
            u = u_module(u)
            ul = ul_module(ul, u) if isinstance(ul_module, Gated) else ul_module(ul)
            us.append(u)
            uls.append(ul)
        u, ul = us.pop(), uls.pop()
        for u_module, ul_module in zip(self.down_u_modules, self.down_ul_modules, strict=True):
            if isinstance(u_module, Gated):
                u = u_module(u, us.pop())
                ul = ul_module(u, torch.cat((u, uls.pop()), 1))
            else:
                u, ul = u_module(u), ul_module(ul)
        outputs: Tensor = self.output_conv(F.elu(ul))
        return outputs


def mixture(outputs: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mixture logits (B, K, H, W), and means, log-scales (B, K, C, H, W) and coefficients (B, K, C(C-1)/2, H, W)."""
    batch, _, height, width = outputs.shape
    pairs = channels * (channels - 1) // 2
    k = outputs.shape[1] // (1 + 2 * channels + pairs)
    logits, means, log_scales, coefficients = torch.split(outputs, [k, k * channels, k * channels, k * pairs], 1)
    return (
        logits,
        means.view(batch, k, channels, height, width),
        log_scales.view(batch, k, channels, height, width).clamp(min=-7),
        torch.tanh(coefficients.view(batch, k, pairs, height, width)),
    )


def log_prob(outputs: Tensor, values: Tensor, n: int) -> Tensor:
    """The release's clamped log-likelihood (B, H, W) in nats of the integers `values` (B, C, H, W) in [0, n)."""
    channels = values.shape[1]
    x = 2 * values.float() / (n - 1) - 1
    logits, means, log_scales, coefficients = mixture(outputs, channels)
    shifted = []
    for c in range(channels):
        mean = means[:, :, c]
        for j in range(c):
            mean = mean + coefficients[:, :, c * (c - 1) // 2 + j] * x[:, None, j]
        shifted.append(mean)
    centred = x[:, None] - torch.stack(shifted, 2)
    inverse = torch.exp(-log_scales)
    plus, minus = inverse * (centred + 1 / (n - 1)), inverse * (centred - 1 / (n - 1))
    inner = torch.log((torch.sigmoid(plus) - torch.sigmoid(minus)).clamp(min=1e-12))
    lowest, highest = values[:, None] == 0, values[:, None] == n - 1
    terms = torch.where(lowest, F.logsigmoid(plus), torch.where(highest, -F.softplus(minus), inner))
    return torch.logsumexp(terms.sum(2) + F.log_softmax(logits, 1), 1)


def draw(outputs: Tensor, channels: int) -> Tensor:
    """Values (B, C, H, W) in [-1, 1] as the release draws them: logistic noise times 0.1, and no rounding."""
    logits, means, log_scales, coefficients = mixture(outputs, channels)

    def uniform(like: Tensor) -> Tensor:
        u = torch.rand_like(like)
        return u.clamp(1e-5, 1 - 1e-5)

    index = (logits - torch.log(-torch.log(uniform(logits)))).argmax(1, keepdim=True)[:, :, None]

    def chosen(x: Tensor) -> Tensor:
        return x.gather(1, index.expand(-1, -1, x.shape[2], -1, -1)).squeeze(1)

    means, scales, coefficients = chosen(means), chosen(log_scales).exp(), chosen(coefficients)
    noisy = means + 0.1 * scales * torch.logit(uniform(means))
    drawn: list[Tensor] = []
    for c in range(channels):
        value = noisy[:, c]
        for j, before in enumerate(drawn):
            value = value + coefficients[:, c * (c - 1) // 2 + j] * before
        drawn.append(value.clamp(-1, 1))
    return torch.stack(drawn, 1)


def clean_up(image: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Images (B, C, H, W) whose outliers are replaced by the median of their 3x3 neighbourhood.

    An outlier is further from that median than three standard deviations of this distance over its channel. It is
    similar to the release's repair of its samples, but not equal to it.
    """
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(-2, -1))
    flat = np.ascontiguousarray(windows).reshape(*image.shape, 9)
    flat.partition(4, axis=-1)
    median = flat[..., 4]
    distance = image - median
    limit = 3 * distance.std(axis=(-2, -1), keepdims=True)
    return np.where(np.abs(distance) > limit, median, image)


class PlainPyramid(nn.Module):
    """All stages of a model: L - 1 levels, finest first, and the coarsest image, which samples take to be 4x4.

    `n_squeeze` needs at least L - 1 entries. `n_classes` has one for every level, and its last entry serves the
    coarsest stage. `n_layers`, one entry a level, overrides the release's formula for the depth of the U-Nets. `shift`
    is what is added to the differences (128 for the release's CelebA-HQ 256, nothing elsewhere). The model normalises
    with the statistics of the batch in training mode, which the release never leaves, and with running ones after
    `eval()`.
    """

    def __init__(
        self,
        L: int,
        C: int,
        n_bits: int,
        n_squeeze: list[int],
        n_classes: list[int],
        n_channels: int,
        n_res_layers: int,
        lstm_channels: int = 128,
        condition_channels: int = 100,
        image_channels: int = 3,
        n_layers: list[int] | None = None,
        shift: int = 0,
    ) -> None:
        super().__init__()
        self.L, self.n_bits, self.image_channels, self.shift = L, n_bits, image_channels, shift
        self.n = 2**n_bits
        if n_layers is None:
            n_layers = [min(max(L - i // 2 - 6 if L == 11 else L - i - 7, 1), 4) for i in range(L - 1)]
        levels = [
            Level(C, n_layers[i], n_squeeze[i], n_classes[i], lstm_channels, condition_channels, image_channels)
            for i in range(L - 1)
        ]
        self.stages = nn.ModuleList([*levels, PixelCNN(image_channels, n_channels, n_res_layers, n_classes[-1])])

    @property
    def levels(self) -> list[Level]:
        return [stage for stage in self.stages if isinstance(stage, Level)]

    @property
    def coarsest(self) -> nn.Module:
        return self.stages[-1]

    def split(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The fine and coarse halves of every level, as integers in [0, n), of images of such integers."""
        x = images.long()
        fines, coarses = [], []
        for _ in self.levels:
            if x.shape[-2] == x.shape[-1]:
                even, odd = x[..., 0::2, :], x[..., 1::2, :]
            else:
                even, odd = x[..., 0::2], x[..., 1::2]
            fines.append((even - odd + self.shift) % self.n)
            coarses.append(odd)
            x = odd
        return fines, coarses

    def merge(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """The inverse of one step of `split`."""
        even = (fine - self.shift + coarse) % self.n
        if coarse.shape[-2] == coarse.shape[-1]:
            return torch.stack((even, coarse), -1).flatten(-2)
        return torch.stack((even, coarse), -2).flatten(-3, -2)

    def to_unit(self, values: Tensor) -> Tensor:
        """2 v / (n - 1) - 1, in float32."""
        unit: Tensor = 2 * values.float() / (self.n - 1) - 1
        return unit

    def from_unit(self, x: Tensor) -> Tensor:
        """The integer below: the release truncates."""
        values: Tensor = ((x + 1) * (self.n - 1) / 2).long().clamp(0, self.n - 1)
        return values

    def logits(self, fines: list[Tensor], coarses: list[Tensor]) -> list[Tensor]:
        """The outputs of every stage for the halves that `split` gives."""
        outputs: list[Tensor] = [
            level(self.to_unit(coarse), self.to_unit(fine))
            for level, fine, coarse in zip(self.levels, fines, coarses, strict=True)
        ]
        return [*outputs, self.coarsest(self.to_unit(coarses[-1]))]

    def nats(self, images: Tensor) -> Tensor:
        """The release's loss, float32 nats (B, L) of every image and stage, of uint8 images (B, C, H, W) in [0, n)."""
        fines, coarses = self.split(images)
        outputs = self.logits(fines, coarses)
        values = [*fines, coarses[-1]]
        return torch.stack(
            [-log_prob(o, v, self.n).sum((1, 2)) for o, v in zip(outputs, values, strict=True)],
            1,
        )

    @torch.no_grad()
    def sample(self, n: int, clean: bool = False) -> Tensor:
        """Square uint8 images (n, C, H, W) in [0, 2**n_bits), drawn as the release draws them, which is not exact.

        With `clean`, each level's image is repaired by `clean_up`.
        """
        if self.L % 2 == 0:
            raise ValueError(f"sampling starts from a 4x4 image and needs an odd L; L is {self.L}")
        channels, device = self.image_channels, next(self.parameters()).device
        unit = torch.zeros(n, channels, 4, 4, device=device)
        for y in range(4):
            for x in range(4):
                outputs = self.coarsest(unit)[:, :, y : y + 1, x : x + 1]
                unit[:, :, y : y + 1, x : x + 1] = draw(outputs, channels)
        image = self.from_unit(unit)
        for level in reversed(self.levels):
            sub: list[Tensor] = []

            def values(_: int, outputs: Tensor, sub: list[Tensor] = sub) -> Tensor:
                sub.append(draw(outputs, channels))
                return sub[-1]

            level.walk(self.to_unit(image), values)
            image = self.merge(self.from_unit(depth_to_space(sub, level.factor)), image)
            if clean:
                image = torch.from_numpy(clean_up(image.cpu().numpy())).to(device)
        return image.to(torch.uint8)


class PlainAdam(torch.optim.Optimizer):
    """Adam as the release uses it: the learning rate shrinks each step, and an average of the weights is kept.

    `ema`, in a parameter's state, starts at zero: divide by 1 - polyak**step. Parameters without a gradient are
    averaged too.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 5e-4,
        betas: tuple[float, float] = (0.95, 0.9995),
        eps: float = 1e-8,
        polyak: float = 0.9995,
        lr_decay: float = 0.999995,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, polyak=polyak, lr_decay=lr_decay))

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step, one parameter after the other."""
        for group in self.param_groups:
            (beta1, beta2), polyak = group["betas"], group["polyak"]
            for p in group["params"]:
                state: dict[str, Any] = self.state[p]
                if "ema" not in state:
                    state["ema"] = torch.zeros_like(p)
                if p.grad is not None:
                    if "step" not in state:
                        state["step"] = 0
                        state["exp_avg"] = torch.zeros_like(p)
                        state["exp_avg_sq"] = torch.zeros_like(p)
                    state["step"] += 1
                    state["exp_avg"].mul_(beta1).add_(p.grad, alpha=1 - beta1)
                    state["exp_avg_sq"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                    scale = math.sqrt(1 - beta2 ** state["step"])
                    denominator = (state["exp_avg_sq"].sqrt() / scale).add_(group["eps"])
                    p.addcdiv_(state["exp_avg"], denominator, value=-group["lr"] / (1 - beta1 ** state["step"]))
                state["ema"].mul_(polyak).add_(p, alpha=1 - polyak)
            group["lr"] *= group["lr_decay"]


def train_step(model: PlainPyramid, optimiser: PlainAdam, images: Tensor) -> Tensor:
    """One joint step of all stages on uint8 images (B, C, H, W) in [0, n); the loss before it, in nats per image."""
    optimiser.zero_grad()
    loss = model.nats(images).sum(1).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.detach()
