"""`ImageModel`: what the paper's model and the compact one share. It scores images in parallel, and draws new ones.

log p(image) = sum over stages of log p(fine | coarse)
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pixelpyramids.arguments import plain_array, whole_number
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.model.compact_stage import CompactStage
from pixelpyramids.model.device import full_float32
from pixelpyramids.model.paper_stage import PaperStage
from pixelpyramids.model.parameters import AnyParameters, CompactParameters
from pixelpyramids.pyramid.bit_map import BitMap
from pixelpyramids.pyramid.rate import Rate

ArrayOrTensor = TypeVar("ArrayOrTensor")


class ImageModel(nn.Module, ABC):
    """A network for each stage of `config`: `stages[i]` is that of level i, and the last one of the coarsest image.

    Images are integers (B, C, H, W) in [0, 2**n_bits), of any height and width, in tensors or NumPy arrays. A new model
    is in evaluation mode. The initial weights of stage i are keyed by (seed, i).
    """

    config: AnyParameters

    def __init__(self, config: AnyParameters, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList()
        for index in range(config.n_stages):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(np.random.SeedSequence([seed, index]).generate_state(1)[0]))
                self.stages.append(new_stage(config, index))
        self.eval()

    @abstractmethod
    def _draw(self, coarse: Tensor | None, height: int, width: int, uniforms: "Uniforms") -> Tensor:
        """Images that contain `coarse` exactly, if it is given. Raises DataError if that is impossible."""

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
        tensor, stages = check_images(images, self.config, self.device), range(self.config.n_stages)
        if levels is not None and not (np.iterable(levels) and set(levels) <= set(stages)):
            raise DataError(f"expected levels from 0 to {len(stages) - 1}, got {levels!r}")
        nats = torch.zeros(len(tensor), len(stages), dtype=torch.float64)
        dimensions = torch.zeros(len(tensor), len(stages), dtype=torch.int64)
        for index, (fine, coarse) in self.config.decompose(tensor).items():
            if levels is None or index in levels:
                nats[:, index] = self._pixel_nats(index, fine, coarse).sum(dim=(1, 2))
                dimensions[:, index] = fine[0].numel()
        return Rate(nats, dimensions) if isinstance(images, Tensor) else Rate(nats.numpy(), dimensions.numpy())

    @torch.no_grad()
    @full_float32()
    def map_bits(self, images: Any) -> BitMap:
        """The bits of each pixel of images as `rate` takes them, on the CPU; a level's sum is what `rate` gives."""
        tensor = check_images(images, self.config, self.device)
        bits = torch.zeros(len(tensor), 1, *tensor.shape[-2:], dtype=torch.float64)
        levels = torch.zeros(1, 1, *tensor.shape[-2:], dtype=torch.uint8)
        places, numbers = self.config.decompose(bits), self.config.decompose(levels)
        for index, (fine, coarse) in self.config.decompose(tensor).items():
            places[index][0][:, 0] = self._pixel_nats(index, fine, coarse) / math.log(2)
            numbers[index][0].fill_(index)
        bit_map = BitMap(bits[:, 0], levels[0, 0])
        return bit_map if isinstance(images, Tensor) else BitMap(bit_map.bits.numpy(), bit_map.levels.numpy())

    @torch.no_grad()
    @full_float32()
    def cumulative(self, images: Any) -> dict[int, tuple[Tensor, Tensor]]:
        """By level, the probabilities of a lower value, and of one that is not higher, of each value of images.

        Both have the shape (B, C, h, w) of the level's fine half, float64, on the CPU. They are given the coarse half
        and what the network draws before the value, and are always of the exact likelihood. Images are as `rate` takes
        them.
        """
        tensor, found = check_images(images, self.config, self.device), {}
        for index, (fine, coarse) in self.config.decompose(tensor).items():
            stage: Any = self.stages[index]
            below, up_to = stage.cumulative(fine, coarse)
            found[index] = below.cpu(), up_to.cpu()
        return found

    def _pixel_nats(self, index: int, fine: Tensor, coarse: Tensor | None) -> Tensor:
        """The nats of each pixel (B, h, w) of a stage's fine half, float64, on the CPU."""
        nats: Tensor = self.stages[index](fine, coarse, torch.float64).double().cpu()
        return nats

    def sample(
        self, n: int, height: int | None = None, width: int | None = None, seed: int = 0, first: int = 0
    ) -> Tensor:
        """N exact samples (n, C, height, width), by default of the size of the training images.

        The random numbers of sample i are keyed by (seed, first + i), so a large n can be drawn in parts. On a CPU, the
        parts give the same samples, bit for bit, with the same number of threads. On a GPU, the rounding of
        convolutions depends on the batch: now and then it changes a value of a sample, and all that follow it.
        Raises DataError if n or a side is below 1.
        """
        size = self.config.image_size
        height, width = size[0] if height is None else height, size[1] if width is None else width
        return self._draw_in_batches(None, whole_number("n", n, 1), height, width, seed, first)

    def complete(self, coarse: ArrayOrTensor, height: int, width: int, seed: int = 0, first: int = 0) -> ArrayOrTensor:
        """Sample the missing levels between `coarse` (B, C, h, w) and an image of height x width.

        The pyramid of the result contains `coarse` exactly. Tensors are int64, arrays uint8, or uint16 above 8 bits.
        Seeds and batches work as for `sample`. Raises DataError if no level of such an image has a coarse half of that
        size.
        """
        tensor = check_images(coarse, self.config, self.device)
        drawn: Any = self._draw_in_batches(tensor, len(tensor), height, width, seed, first)
        if not isinstance(coarse, Tensor):
            drawn = drawn.cpu().numpy().astype(np.uint8 if self.config.n_bits <= 8 else np.uint16)
        completed: ArrayOrTensor = drawn
        return completed

    @torch.no_grad()
    @full_float32()
    def _draw_in_batches(self, coarse: Tensor | None, n: int, height: int, width: int, seed: int, first: int) -> Tensor:
        """All images at once on a GPU, one at a time on a CPU.

        On a CPU, torch convolves one image and several with different routines, whose sums differ in the last bits.
        """
        height, width = whole_number("height", height, 1), whole_number("width", width, 1)
        seed, first = whole_number("seed", seed, 0), whole_number("first", first, 0)
        at_once = 1 if self.device.type == "cpu" else n
        drawn = []
        for start in range(0, n, at_once):
            given = None if coarse is None else coarse[start : start + at_once]
            uniforms = Uniforms(at_once, self.config.image_channels, seed, first + start)
            drawn.append(self._draw(given, height, width, uniforms))
        return torch.cat(drawn)


def new_stage(config: AnyParameters, index: int) -> PaperStage | CompactStage:
    """An untrained stage."""
    stage = CompactStage(config) if isinstance(config, CompactParameters) else PaperStage(config, index)
    return stage.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stubs


class Uniforms:
    """Uniform random numbers for the samples of a batch; those of image i are keyed by (seed, first + i)."""

    def __init__(self, batch: int, channels: int, seed: int, first: int) -> None:
        self.batch, self.channels = batch, channels
        self.generators = [np.random.default_rng([seed, first + item]) for item in range(batch)]

    def draw(self, outputs: Tensor, level: int) -> Tensor:
        """Numbers (batch, 1 + channels, height, width) for the sites of `outputs`.

        Raises PixelPyramidsError if the outputs are not finite.
        """
        if not outputs.isfinite().all():
            raise PixelPyramidsError(
                f"level {level}: the network's outputs are not finite, because its weights have diverged; train it "
                "again with a lower learning_rate"
            )
        shape = (1 + self.channels, *outputs.shape[-2:])
        uniforms = np.stack([generator.random(shape) for generator in self.generators])
        return torch.from_numpy(uniforms).to(outputs.device)


def check_images(images: Any, config: AnyParameters, device: torch.device) -> Tensor:
    """Images as int64 on the device. Raises DataError if they are not integers of the model's channels and range."""
    channels, n_values = config.image_channels, config.n_values
    expected = f"expected integers in [0, {n_values})"
    if isinstance(images, np.ndarray):
        images = plain_array(images)
        if images.dtype.kind not in "iu":
            raise DataError(f"{expected}, got {images.dtype}")
        images = torch.from_numpy(images.astype(np.int64))
    if not isinstance(images, Tensor):
        raise DataError(f"expected a tensor or an array of images, got {type(images).__name__}")
    if images.ndim != 4 or images.shape[1] != channels or not images.numel():
        raise DataError(
            f"expected at least one image, in a batch of shape (batch, {channels}, height, width), got "
            f"{tuple(images.shape)}; add the batch's axis, or load a model of that many channels"
        )
    if images.is_floating_point() or images.is_complex() or images.dtype == torch.bool:
        raise DataError(f"{expected}, got {images.dtype}")
    wide: Tensor = images.to(device).long()
    low, high = int(wide.min()), int(wide.max())
    if low < 0 or high >= n_values:
        raise DataError(
            f"{expected} ({config.n_bits} bits), got values from {low} to {high}; quantise 8-bit images by "
            "x // 2**(8 - n_bits)"
        )
    return wide
