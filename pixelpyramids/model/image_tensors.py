"""Check and convert the images (B, C, H, W) of the models in torch, and draw their random numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pixelpyramids.arguments import plain_array, whole_number
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.model.parameters import AnyParameters
from pixelpyramids.pyramid.rate import Rate


def check_images(images: Any, config: AnyParameters, device: torch.device) -> Tensor:
    """Images as int64 on the device. Raises DataError if they are not integers of the model's channels and range."""
    channels, n_values = config.image_channels, config.n_values
    if isinstance(images, np.ndarray):
        images = plain_array(images)
        if images.dtype.kind not in "iu":
            raise DataError(f"expected integers in [0, {n_values}), got {images.dtype}")
        images = torch.from_numpy(images.astype(np.int64))
    if not isinstance(images, Tensor):
        raise DataError(f"expected a tensor or an array of images, got {type(images).__name__}")
    if images.ndim == 4 and images.shape[1] == channels and images.numel() == 0:
        raise DataError(
            f"expected at least one image with at least one pixel, got an empty batch {tuple(images.shape)}"
        )
    if images.ndim != 4 or images.shape[1] != channels:
        raise DataError(
            f"expected images of shape (batch, {channels}, height, width), got {tuple(images.shape)}; "
            "add the batch's axis, or load a model of that many channels"
        )
    if images.is_floating_point() or images.is_complex() or images.dtype == torch.bool:
        raise DataError(f"expected integers in [0, {n_values}), got {images.dtype}")
    wide: Tensor = images.to(device).long()
    low, high = int(wide.min()), int(wide.max())
    if low < 0 or high >= n_values:
        raise DataError(
            f"expected {config.n_bits}-bit values in [0, {n_values}), got values from {low} to {high}; "
            f"8-bit images are quantised by x // 2**(8 - n_bits)"
        )
    return wide


def convert_like(given: Any, result: Any) -> Any:
    """A tensor or a rate, converted to NumPy arrays if `given` is a NumPy array."""
    if isinstance(given, Tensor):
        return result
    if isinstance(result, Rate):
        return Rate(result.nats.numpy(), result.dimensions.numpy())
    return result.cpu().numpy()


def check_levels(levels: Sequence[int] | None, n_stages: int) -> None:
    """Raise DataError unless all levels are stages of the model."""
    if levels is not None and not (np.iterable(levels) and set(levels) <= set(range(n_stages))):
        raise DataError(f"expected levels from 0 to {n_stages - 1}, got {levels!r}")


def draw_images(device: torch.device, n: int, draw: Callable[[int, int], Tensor]) -> Tensor:
    """Join what `draw` gives for (first image, count); on a CPU one image at a time.

    On a CPU, torch convolves one image and several with different routines, whose sums differ in the last bits.
    """
    at_once = 1 if device.type == "cpu" else n
    return torch.cat([draw(i, at_once) for i in range(0, n, at_once)])


class Uniforms:
    """Uniform random numbers for the samples of a batch; those of image i are keyed by (seed, first + i)."""

    def __init__(self, batch: int, channels: int, seed: int, first: int) -> None:
        seed, first = whole_number("seed", seed, 0), whole_number("first", first, 0)
        self.channels = channels
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
