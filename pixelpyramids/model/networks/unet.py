"""The U-Net that turns a level's coarse image into conditioning features of the same size (Mahajan & Roth, ICCV 2021).

    coarse ── stem ─────────────────────────────── skip 0 ──────────────┐
               └─ block, pool, block ───────────── skip 1 ──────┐       │
                   └─ block, pool, block ── … ── block, x2, join ── … ── block, x2, join ── head ── conditioning

A block is twice (3x3 convolution, normalisation, ReLU). x2 is bilinear with aligned corners, cropped to the skip. join
is a block on the skip and the upsampled map. Each downsampling doubles the width, except the last one.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pixelpyramids.errors import DataError


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position, which does not depend on the patch, image or batch."""

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation. Raises DataError for the batch statistics of a single position."""

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        if self.training and x.numel() == x.shape[1]:
            raise DataError("batch statistics need more than one image or position; use larger batches or images")
        return super().forward(x)


def normalisation(kind: str, channels: int) -> nn.Module:
    """`channel`, `group` (at least 8 channels per group, over the whole image) or `batch` (the authors')."""
    if kind == "channel":
        return ChannelNorm(channels)
    if kind == "group":
        return nn.GroupNorm(math.gcd(channels, max(channels // 8, 1)), channels)
    return BatchNorm(channels)


class Block(nn.Module):
    """Twice a 3x3 convolution, normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm1 = normalisation(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm2 = normalisation(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(x)), inplace=True)


class Down(nn.Module):
    """A block, 2x2 max pooling (an odd line is pooled by itself), a block."""

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.before = Block(inputs, outputs, norm)
        self.after = Block(outputs, outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.after(F.max_pool2d(self.before(x), 2, ceil_mode=True))
        return pooled


class Up(nn.Module):
    """A block on the deeper map, bilinear upsampling cropped to the skip, a block on both, the skip first."""

    def __init__(self, deeper: int, skip: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.before = Block(deeper, deeper, norm)
        self.join = Block(deeper + skip, outputs, norm)

    def forward(self, deeper: Tensor, skip: Tensor) -> Tensor:
        deeper = F.interpolate(self.before(deeper), scale_factor=2, mode="bilinear", align_corners=True)
        joined: Tensor = self.join(torch.cat([skip, deeper[..., : skip.shape[-2], : skip.shape[-1]]], dim=1))
        return joined


class UNet(nn.Module):
    """From `inputs` image channels to `outputs` features; the resolution is halved n_layers times."""

    def __init__(self, inputs: int, width: int, n_layers: int, outputs: int, norm: str) -> None:
        super().__init__()
        widths = [width * 2 ** min(i, n_layers - 1) for i in range(n_layers + 1)]
        self.stem = Block(inputs, width, norm)
        self.downs = nn.ModuleList(Down(widths[i], widths[i + 1], norm) for i in range(n_layers))
        self.ups = nn.ModuleList()
        deeper = widths[-1]
        for k in range(n_layers):
            outgoing = width * 2 ** max(n_layers - 2 - k, 0)
            self.ups.append(Up(deeper, widths[n_layers - 1 - k], outgoing, norm))
            deeper = outgoing
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs height width"]:
        with torch.autocast(x.device.type, enabled=False):
            maps = [self.stem(x)]
        for down in self.downs:
            maps.append(down(maps[-1]))
        x = maps.pop()
        for up in self.ups:
            x = up(x, maps.pop())
        with torch.autocast(x.device.type, enabled=False):
            conditioning: Tensor = self.head(x.float() if x.dtype == torch.bfloat16 else x)
        return conditioning
