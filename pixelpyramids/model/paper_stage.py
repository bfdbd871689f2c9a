"""The probability of one stage of the paper's model: a network, and a mixture over values or residuals."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pixelpyramids.model.mixture import clamped_log_prob, paper_mixture, starting_bias
from pixelpyramids.model.networks.paper import CoarsestNetwork, LevelNetwork
from pixelpyramids.model.parameters import Parameters, outputs_per_component
from pixelpyramids.pyramid.levels import Slice, Stage
from pixelpyramids.pyramid.splitting import between, from_residual, pad_coarse, to_residual

Offset = Tensor | float
Choose = Callable[[Stage, Slice, Tensor, Offset], Tensor]
"""(stage, slice, the mixture's outputs at its sites, their offset) -> the coded values at its sites."""


class PaperStage(nn.Module):
    """A level or the coarsest stage.

    The coarsest stage codes values. A level codes either the value itself (`residual: "value"`), in a mixture whose
    means are relative to the mean of the two neighbouring coarse lines, or the residual to `coarse` modulo n. The
    network's differences and means are in units of n / 32 values (`residual_unit: "fine"`, since most are small), or of
    half the range (the authors').
    """

    def __init__(self, parameters: Parameters, index: int) -> None:
        super().__init__()
        self.n_values = parameters.n_values
        self.channels = parameters.image_channels
        self.likelihood = parameters.likelihood
        self.middle = (self.n_values - 1) / 2
        self.unit = self.middle
        self.shift: int | None = None
        self.axis = -2 if index % 2 == 0 else -1
        self.network: LevelNetwork | CoarsestNetwork
        if index == parameters.L - 1:
            self.network = CoarsestNetwork(parameters)
        else:
            residual = parameters.residual
            if parameters.residual_unit == "fine":
                self.unit = self.n_values / 32
            self.shift = self.n_values // 2 if residual == "centred" else None if residual == "value" else residual
            self.network = LevelNetwork(parameters, index)
        if parameters.initialisation == "mixture":
            self._initialise(spread=index == parameters.L - 1)

    def forward(
        self,
        fine: Int[Tensor, "batch channels height width"],
        coarse: Int[Tensor, "batch channels coarse_height coarse_width"] | None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch height width"]:
        """Nats of each position of `fine`, or of the coarsest image if coarse is None; the mixture in `dtype`."""
        outputs, values, offset = self._predict(fine, coarse)
        return -self.log_prob(outputs.to(dtype), values, offset)

    def cumulative(
        self,
        fine: Int[Tensor, "batch channels height width"],
        coarse: Int[Tensor, "batch channels coarse_height coarse_width"] | None,
    ) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch channels height width"]]:
        """`Mixture.cumulative` of the coded values of `fine`, in float64; of the exact likelihood, for imports too."""
        outputs, values, offset = self._predict(fine, coarse)
        mixture = paper_mixture(outputs.double(), self.channels, self.n_values, self.unit)
        return mixture.cumulative(values, offset, self.n_values)

    def _predict(self, fine: Tensor, coarse: Tensor | None) -> tuple[Tensor, Tensor, Offset]:
        """The network's outputs, and the coded values with their offset."""
        coarse = None if coarse is None else pad_coarse(coarse, (fine.shape[-2], fine.shape[-1]))
        values = self.code(fine, coarse)
        known = () if coarse is None else (self._units(coarse),)
        offset = self._offset(coarse)
        return self.network(self._feed(values, offset), *known), values, offset

    def log_prob(self, outputs: Tensor, values: Tensor, offset: Offset) -> Tensor:
        """Log-probability of coded values at each position, by the likelihood of the parameters."""
        if self.likelihood == "authors":
            return clamped_log_prob(outputs, values, self.n_values)
        return paper_mixture(outputs, self.channels, self.n_values, self.unit).log_prob(values, offset, self.n_values)

    def sample(self, outputs: Tensor, uniforms: Tensor, offset: Offset) -> Tensor:
        """Draw coded values from the mixture with the uniforms (batch, 1 + channels, height, width)."""
        mixture = paper_mixture(outputs.double(), self.channels, self.n_values, self.unit)
        return mixture.sample(uniforms, offset, self.n_values)

    @torch.no_grad()
    def follow(self, stage: Stage, coarse: Tensor | None, batch: int, choose: Choose) -> Tensor:
        """Go through the slices of the stage in order; `choose` gives the coded values of each. Return fine."""
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
            beside = offset[at] if isinstance(offset, Tensor) else offset
            values[at] = choose(stage, slice_, outputs, beside)
            if index + 1 < len(stage.slices):
                outputs = steps.send(self._feed(values[at], beside))
        steps.close()
        return self.decode(values, coarse)

    def code(self, fine: Tensor, coarse: Tensor | None) -> Tensor:
        """Values or residuals of fine, given coarse: the integers that the mixture gives probabilities."""
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

    def _offset(self, coarse: Tensor | None) -> Offset:
        """What differences are relative to: the middle of the range, or of the neighbouring coarse lines."""
        return self.middle if coarse is None or self.shift is not None else between(coarse, self.axis) / 2

    def _feed(self, values: Tensor, offset: Offset) -> Tensor:
        """The network's input for coded values: their difference to the offset."""
        return self._float(values - offset) / self.unit

    def _units(self, values: Tensor) -> Tensor:
        """Values in [-1, 1]."""
        return self._float(values - self.middle) / self.middle

    def _float(self, values: Tensor) -> Tensor:
        return values.to(self.network.head.weight.dtype)

    @torch.no_grad()
    def _initialise(self, spread: bool) -> None:
        """Initialise the last layer near zero, with a bias that gives a sensible mixture."""
        head = self.network.head
        assert head.bias is not None
        head.weight.mul_(0.1)
        components = head.bias.shape[0] // outputs_per_component(self.channels)
        head.bias.copy_(starting_bias(components, self.channels, self.n_values, spread, self.unit))
