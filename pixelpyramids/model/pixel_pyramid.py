"""`PixelPyramid`: the paper's model, a network for each stage of the walk.

    log p(image) = log p(coarsest) + sum over levels of log p(fine | coarse)

`rate` scores all stages in parallel from the true values. `sample` and `complete` follow the same walk from coarse to
fine, and feed each slice back as the integers it is.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pixelpyramids.arguments import plain_array, whole_number
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.model import mixture
from pixelpyramids.model.compact_stage import CompactStage
from pixelpyramids.model.device import full_float32
from pixelpyramids.model.networks.level import CoarsestNetwork, LevelNetwork
from pixelpyramids.model.parameters import Parameters, outputs_per_component
from pixelpyramids.pyramid.levels import Slice, Stage, coarsest_size
from pixelpyramids.pyramid.rate import Rate
from pixelpyramids.pyramid.splitting import between, from_residual, merge, pad_coarse, split, to_residual

MOST_COARSEST_PIXELS = 2**12  # that `sample` draws

Choose = Callable[[Stage, Slice, Tensor, Tensor | None], Tensor]
"""(stage, slice, the mixture's outputs at its sites, offset or None) -> the coded values at its sites."""


class StageModel(nn.Module):
    """The probability of one stage: a network, and what its mixture is over.

    A level codes the value itself (`residual: "value"`), in a mixture whose means are offset by the mean of the two
    coarse lines beside, or the residual to `coarse` modulo n; the coarsest stage codes its values. What the network
    sees of differences, and says of their means, is in units of n / 32 values (`residual_unit: "fine"`: most are
    small), or of half the range (the authors').
    """

    def __init__(self, parameters: Parameters, index: int) -> None:
        super().__init__()
        self.n_values = parameters.n_values
        self.channels = parameters.image_channels
        self.likelihood = parameters.likelihood
        outputs = parameters.outputs(index)
        self.middle = (self.n_values - 1) / 2
        self.unit = self.middle
        self.shift: int | None = None
        self.axis = -2 if index % 2 == 0 else -1
        self.network: LevelNetwork | CoarsestNetwork
        if index == parameters.L - 1:
            self.network = CoarsestNetwork(
                image_channels=self.channels,
                width=parameters.n_channels,
                n_res_layers=parameters.n_res_layers,
                outputs=outputs,
            )
        else:
            residual = parameters.residual
            if parameters.residual_unit == "fine":
                self.unit = self.n_values / 32
            self.shift = self.n_values // 2 if residual == "centred" else None if residual == "value" else residual
            self.network = LevelNetwork(
                image_channels=self.channels,
                width=parameters.C,
                n_layers=parameters.depth(index),
                condition_channels=parameters.condition_channels,
                lstm_channels=parameters.lstm_channels,
                outputs=outputs,
                n_squeeze=parameters.n_squeeze[index],
                norm=parameters.norm,
            )
        if parameters.initialisation == "mixture":
            self._start(spread=index == parameters.L - 1)

    def forward(
        self,
        fine: Int[Tensor, "batch channels height width"],
        coarse: Int[Tensor, "batch channels coarse_height coarse_width"] | None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch height width"]:
        """Nats of each position of `fine` (of the coarsest image, with coarse None); the mixture in `dtype`."""
        coarse = None if coarse is None else pad_coarse(coarse, (fine.shape[-2], fine.shape[-1]))
        values = self.code(fine, coarse)
        known = () if coarse is None else (self._units(coarse),)
        offset = self._offset(coarse)
        outputs = self.network(self._feed(values, offset), *known)
        return -self.log_prob(outputs.to(dtype), values, offset)

    def log_prob(self, outputs: Tensor, values: Tensor, offset: Tensor | None) -> Tensor:
        """Log-probability of coded values at each position, by the likelihood of the parameters."""
        if self.likelihood == "authors":
            return mixture.clamped_log_prob(outputs, values, self.n_values)
        return mixture.log_prob(outputs, values, self.n_values, offset, self.unit)

    def sample(self, outputs: Tensor, uniforms: Tensor, offset: Tensor | None) -> Tensor:
        """Coded values drawn from the mixture, by uniforms (batch, 1 + channels, height, width)."""
        return mixture.sample(outputs, uniforms, self.n_values, offset, self.unit)

    @torch.no_grad()
    def follow(self, stage: Stage, coarse: Tensor | None, batch: int, choose: Choose) -> Tensor:
        """Go through the slices of the stage in order, let `choose` say each one's coded values; return fine."""
        if coarse is not None:
            coarse = pad_coarse(coarse, (stage.height, stage.width))
        if isinstance(self.network, CoarsestNetwork):
            steps = self.network.stepwise(stage, batch)
        else:
            assert coarse is not None
            steps = self.network.stepwise(stage, self._units(coarse))
        offset = self._offset(coarse)
        outputs = next(steps)
        device = outputs.device
        values = torch.zeros(batch, self.channels, stage.height, stage.width, dtype=torch.long, device=device)
        for index, slice_ in enumerate(stage.slices):
            at = (..., *slice_.sites)
            beside = None if offset is None else offset[at]
            values[at] = choose(stage, slice_, outputs, beside)
            if index + 1 < len(stage.slices):
                outputs = steps.send(self._feed(values[at], beside))
        steps.close()
        return self.decode(values, coarse)

    def code(self, fine: Tensor, coarse: Tensor | None) -> Tensor:
        """The integers that the mixture is over, for fine given coarse."""
        if coarse is None or self.shift is None:
            return fine
        residual: Tensor = to_residual(fine, coarse, self.n_values, self.shift)
        return residual

    def decode(self, values: Tensor, coarse: Tensor | None) -> Tensor:
        """The inverse of `code`."""
        if coarse is None or self.shift is None:
            return values
        fine: Tensor = from_residual(values, coarse, self.n_values, self.shift)
        return fine

    def _offset(self, coarse: Tensor | None) -> Tensor | None:
        """What differences count from, in halves of a value; None where they count from the middle of the range."""
        return None if coarse is None or self.shift is not None else between(coarse, self.axis) / 2

    def _feed(self, values: Tensor, offset: Tensor | None) -> Tensor:
        """What the network sees of coded values: their difference to the offset, or to the middle of the range."""
        return self._float(values - (self.middle if offset is None else offset)) / self.unit

    def _units(self, values: Tensor) -> Tensor:
        """Values in [-1, 1]."""
        return self._float(values - self.middle) / self.middle

    def _float(self, values: Tensor) -> Tensor:
        return values.to(self.network.head.weight.dtype)

    @torch.no_grad()
    def _start(self, spread: bool) -> None:
        """Begin at a sensible mixture: the last layer near zero, its bias the mixture's start."""
        head = self.network.head
        assert head.bias is not None
        head.weight.mul_(0.1)
        components = head.bias.shape[0] // outputs_per_component(self.channels)
        head.bias.copy_(mixture.starting_bias(components, self.channels, self.n_values, spread, self.unit))


AnyStage = StageModel | CompactStage


def new_stage(config: Parameters, index: int) -> AnyStage:
    """An untrained stage: level `index`, the coarsest image's for the last, or the compact network's only one."""
    return CompactStage(config) if config.network == "compact" else StageModel(config, index)


class PixelPyramid(nn.Module):
    """A network for each of the L stages of `config`: `stages[i]` is level i, the last one the coarsest image.

    Images are integer tensors (B, C, H, W) in [0, 2**n_bits), of any height and width. A new model is in evaluation
    mode; the initial weights of stage i are keyed by (seed, i).
    """

    def __init__(self, config: Parameters, seed: int = 0) -> None:
        super().__init__()
        if not isinstance(config, Parameters):
            raise TypeError(f"expected Parameters, got {type(config).__name__}; read a file with load_parameters")
        self.config = config
        self.stages = nn.ModuleList()
        for index in range(config.L):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_key(seed, index))
                self.stages.append(new_stage(config, index))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @torch.no_grad()
    @full_float32()
    def rate(self, images: Tensor, levels: Sequence[int] | None = None) -> Rate:
        """The code length of each image (B, C, H, W), in nats for each level, the mixtures in float64; on the CPU.

        With `levels`, only these stages are scored and counted. Raises DataError where the images are not integers of
        the model's channels and range.
        """
        images = self._checked(images)
        if levels is not None and not (np.iterable(levels) and set(levels) <= set(range(self.config.L))):
            raise DataError(f"expected levels from 0 to {self.config.L - 1}, got {levels!r}")
        stages = self.config.walk(images.shape[-2], images.shape[-1])
        nats = torch.zeros(images.shape[0], len(stages), dtype=torch.float64)
        dimensions = torch.zeros(images.shape[0], len(stages), dtype=torch.int64)
        for index, (fine, coarse) in decompose(images, stages).items():
            if levels is not None and index not in levels:
                continue
            nats[:, index] = self.stages[index](fine, coarse, torch.float64).double().sum(dim=(1, 2)).cpu()
            dimensions[:, index] = fine[0].numel()
        return Rate(nats, dimensions)

    def sample(
        self, n: int, height: int | None = None, width: int | None = None, seed: int = 0, first: int = 0
    ) -> Int[Tensor, "n channels height width"]:
        """N exact ancestral samples, by default of the size that L says.

        The random numbers of sample i are keyed by (seed, first + i), so a large n can be drawn in parts. On a CPU the
        parts give the same samples, bit for bit, with the same number of threads. On a GPU the rounding of its
        convolutions depends on the batch, which changes a value of a sample now and then, and all that follow it.
        Raises DataError if n or a side is below 1.
        """
        size = self.config.image_size
        height, width = size[0] if height is None else height, size[1] if width is None else width
        n, height, width = whole_number("n", n, 1), whole_number("height", height, 1), whole_number("width", width, 1)
        coarsest = coarsest_size(height, width, self.config.L - 1)
        if self.config.network != "compact" and math.prod(coarsest) > MOST_COARSEST_PIXELS:
            raise DataError(
                f"{height} x {width} leaves a coarsest image of more than {MOST_COARSEST_PIXELS} pixels, drawn one by "
                f"one; choose a smaller size, or a model of more levels than L = {self.config.L}"
            )
        stages = self.config.walk(height, width)
        return self._draw(stages, None, n, seed, first)

    def complete(
        self,
        coarse: Tensor,
        height: int,
        width: int,
        seed: int = 0,
        first: int = 0,
    ) -> Int[Tensor, "batch channels height width"]:
        """Sample the levels that are missing between `coarse` (B, C, h, w) and an image of height x width.

        Splitting the result again gives `coarse` back to the integer. What `sample` says of seeds and batches holds
        here too. Raises DataError if no level of such an image has a coarse half of that size.
        """
        coarse = self._checked(coarse)
        given = (coarse.shape[-2], coarse.shape[-1])
        height, width = whole_number("height", height, 1), whole_number("width", width, 1)
        stages = self.config.walk(height, width)
        missing = [stage for stage in stages if stage.coarse is not None]
        above = next((i for i, stage in enumerate(missing) if stage.is_split and stage.coarse == given), None)
        if above is None:
            halves = dict.fromkeys(stage.coarse for stage in missing if stage.coarse and stage.is_split)
            sizes = ", ".join(f"{h} x {w}" for h, w in halves) or "none: it is not split"
            raise DataError(
                f"expected the coarse image of a {height} x {width} image ({sizes}), got {given[0]} x {given[1]}"
            )
        return self._draw(missing[above:], coarse, coarse.shape[0], seed, first)

    def _draw(self, stages: Sequence[Stage], coarse: Tensor | None, n: int, seed: int, first: int) -> Tensor:
        """Samples of the stages above `coarse`; on a CPU one at a time.

        torch convolves one image and several by different routines on a CPU, whose sums differ in the last bits.
        """
        at_once = 1 if self.device.type == "cpu" else n
        drawn = []
        for i in range(0, n, at_once):
            given = None if coarse is None else coarse[i : i + at_once]
            drawn.append(self.follow(stages, given, at_once, self.sampler(at_once, seed, first + i)))
        return torch.cat(drawn)

    @full_float32()
    def follow(self, stages: Sequence[Stage], coarse: Tensor | None, batch: int, choose: Choose) -> Tensor:
        """Walk through the stages, from `coarse` (None: from the coarsest image on), and return the finest image."""
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
        """Chooses each slice's values at random, with a generator for each item of the batch."""
        seed, first = whole_number("seed", seed, 0), whole_number("first", first, 0)
        generators = [np.random.default_rng([seed, first + item]) for item in range(batch)]
        uniforms_per_site = 1 + self.config.image_channels

        def choose(stage: Stage, slice_: Slice, outputs: Tensor, offset: Tensor | None) -> Tensor:
            if not outputs.isfinite().all():
                raise PixelPyramidsError(
                    f"level {stage.index}: the network's outputs are not finite, for its weights have diverged; "
                    "train it anew, with a lower learning_rate"
                )
            shape = (uniforms_per_site, *outputs.shape[-2:])
            uniforms = torch.from_numpy(np.stack([generator.random(shape) for generator in generators]))
            return self._stage(stage).sample(outputs, uniforms.to(outputs.device), offset)

        return choose

    def _stage(self, stage: Stage) -> AnyStage:
        model = self.stages[stage.index]
        assert isinstance(model, AnyStage)
        return model

    def _checked(self, images: Tensor) -> Tensor:
        channels, n_values = self.config.image_channels, self.config.n_values
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
        images = images.to(self.device).long()
        low, high = int(images.min()), int(images.max())
        if low < 0 or high >= n_values:
            raise DataError(
                f"expected {self.config.n_bits}-bit values in [0, {n_values}), got values from {low} to {high}; "
                f"8-bit images are quantised by x // 2**(8 - n_bits)"
            )
        return images


def decompose(images: Tensor, stages: Sequence[Stage]) -> dict[int, tuple[Tensor, Tensor | None]]:
    """(fine, coarse) of each stage that has sites, by its index, finest first; (coarsest image, None) last."""
    pairs: dict[int, tuple[Tensor, Tensor | None]] = {}
    for stage in reversed(stages):
        if stage.axis is None:
            pairs[stage.index] = (images, None)
        elif stage.is_split:
            fine, images = split(images, stage.axis)
            pairs[stage.index] = (fine, images)
    return pairs


def _key(seed: int, index: int) -> int:
    """A seed of its own for each stage."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
