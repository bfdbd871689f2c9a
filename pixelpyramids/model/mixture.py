"""The discretised logistic mixture over an image's values, channel by channel, and its exact samples.

There are K components. Component k gives channel c of a position a logistic distribution, integrated over the unit cell
of the value v in {0, …, n-1}; the lowest and the highest value take the tails. With d = v - offset (in values),
h = (n - 1)/2 and a unit of u values (h, or less if differences are small),

    mean_c = u m_c + sum over channels j before c of tanh(t_cj) d_j
    p(v)   = sigma(a) - sigma(b),   a, b = (d - mean ± 1/2) / scale
    log p  = log sigma(a) + log sigma(-b) + log(-expm1(-(a - b)))

(PixelCNN++, Salimans et al. 2017). The last line is exact and stable for every a > b, so p needs no floor. The log p
of the channels are added within a component, and the mixture is over all channels jointly. A network's outputs are, in
this order, K mixture logits, K C means m, K C log-scales (log(scale / h)), and K C(C-1)/2 coefficients t; the channel
(or pair) changes fastest. With the middle of the range as the offset, u = h makes d / u the [-1, 1] units of the
paper's code.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Real
from torch import Tensor

from pixelpyramids.model.parameters import outputs_per_component

SMALLEST_SCALE = 0.1  # in values
LARGEST_SCALE = 20.0  # in ranges of n values


class Mixture(NamedTuple):
    """K components at each position, over differences from an offset; means and scales are in values.

    Log-scales are bounded, so that every log-probability is finite. `weights` multiply the differences of
    earlier channels, pair by pair: (0, 1), (0, 2), (1, 2), …
    """

    logits: Float[Tensor, "batch components height width"]
    means: Float[Tensor, "batch components channels height width"]
    log_scales: Float[Tensor, "batch components channels height width"]
    weights: Float[Tensor, "batch components pairs height width"]

    def log_prob(
        self,
        values: Int[Tensor, "batch channels height width"],
        offset: Real[Tensor, "batch channels height width"] | float,
        n_values: int,
    ) -> Float[Tensor, "batch height width"]:
        """Log-probability, in nats, of the values in [0, n_values) of each position."""
        terms = self._standardise(values, offset, n_values).log_prob()
        return torch.logsumexp(terms.sum(dim=2) + F.log_softmax(self.logits, dim=1), dim=1)

    def cumulative(
        self,
        values: Int[Tensor, "batch channels height width"],
        offset: Real[Tensor, "batch channels height width"] | float,
        n_values: int,
    ) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch channels height width"]]:
        """Probabilities of a lower value, and of one that is not higher, in each channel given the channels before it.

        Their difference is the channel's probability. Given the channels before, component k counts by its weight times
        the probability that it gave them.
        """
        cells = self._standardise(values, offset, n_values)
        terms = cells.log_prob()
        shares = torch.softmax(terms.cumsum(dim=2) - terms + self.logits.unsqueeze(2), dim=1)
        below = torch.sigmoid(cells.centred - cells.inverse_scales / 2).masked_fill(cells.lowest, 0.0)
        up_to = torch.sigmoid(cells.centred + cells.inverse_scales / 2).masked_fill(cells.highest, 1.0)
        return (shares * below).sum(dim=1), (shares * up_to).sum(dim=1)

    def _standardise(self, values: Tensor, offset: Tensor | float, n_values: int) -> "_Cells":
        difference = (values - offset).to(self.means.dtype)
        means = _condition_means(self.means, self.weights, difference)
        inverse_scales = torch.exp(-self.log_scales)
        centred = (difference.unsqueeze(1) - means) * inverse_scales
        return _Cells(centred, inverse_scales, (values == 0).unsqueeze(1), (values == n_values - 1).unsqueeze(1))

    def sample(
        self,
        uniforms: Float[Tensor, "batch channels_and_one height width"],
        offset: Real[Tensor, "batch channels height width"] | float,
        n_values: int,
    ) -> Int[Tensor, "batch channels height width"]:
        """Draw values with the probabilities of `log_prob`, from float64 uniforms in [0, 1), 1 + C per position.

        The first uniform chooses the component; each of the others gives a channel's logistic noise. A value is rounded
        and clamped to the range before the next channels use it.
        """
        cumulative = torch.softmax(self.logits, dim=1).cumsum(dim=1)
        component = (cumulative <= uniforms[:, :1]).sum(dim=1, keepdim=True).clamp(max=self.logits.shape[1] - 1)

        def of_component(parameters: Tensor) -> Tensor:
            index = component.unsqueeze(2).expand(-1, -1, parameters.shape[2], -1, -1)
            return parameters.gather(1, index).squeeze(1)

        noise = torch.logit(uniforms[:, 1:].clamp(min=torch.finfo(torch.float64).tiny))
        noise = noise * torch.exp(of_component(self.log_scales))
        mean, weight = of_component(self.means), of_component(self.weights)
        origin = torch.zeros_like(mean) + offset
        values: list[Tensor] = []
        differences: list[Tensor] = []
        for channel in range(uniforms.shape[1] - 1):
            location = mean[:, channel] + noise[:, channel]
            for before in range(channel):
                location = location + weight[:, _pair(before, channel)] * differences[before]
            value = torch.round(origin[:, channel] + location).clamp(0, n_values - 1)
            values.append(value)
            differences.append(value - origin[:, channel])
        return torch.stack(values, dim=1).long()


class _Cells(NamedTuple):
    """Values in units of the scales, from the means (B, K, C, H, W); a cell is `inverse_scales` wide.

    `lowest` and `highest` (B, 1, C, H, W) mark the values whose cells take the tails.
    """

    centred: Tensor
    inverse_scales: Tensor
    lowest: Tensor
    highest: Tensor

    def log_prob(self) -> Tensor:
        """Log-probability (B, K, C, H, W) of each channel in each component, given the channels before it."""
        return (
            F.logsigmoid(self.centred + self.inverse_scales / 2).masked_fill(self.highest, 0.0)
            + F.logsigmoid(self.inverse_scales / 2 - self.centred).masked_fill(self.lowest, 0.0)
            + torch.log(-torch.expm1(-self.inverse_scales)).masked_fill(self.lowest | self.highest, 0.0)
        )


def paper_mixture(
    outputs: Float[Tensor, "batch outputs height width"], channels: int, n_values: int, unit: float
) -> Mixture:
    """The mixture of a network's outputs, in their precision; `unit` is the value of a mean of 1.

    Scales are bounded to 0.1 values … 20 ranges, so that log-probabilities are finite at every depth.
    """
    logits, means, log_scales, coefficients = unpack(outputs, channels)
    in_values = log_scales + math.log((n_values - 1) / 2)
    bounded = in_values.clamp(math.log(SMALLEST_SCALE), math.log(LARGEST_SCALE * n_values))
    return Mixture(logits, means * unit, bounded, torch.tanh(coefficients))


def clamped_log_prob(
    outputs: Float[Tensor, "batch outputs height width"],
    values: Int[Tensor, "batch channels height width"],
    n_values: int,
) -> Float[Tensor, "batch height width"]:
    """The likelihood of the authors' release, for imported checkpoints. Its probabilities do not sum to one.

    Probabilities of inner values are clamped at 1e-12, and log-scales at -7, in [-1, 1] units. Terms are float32, and
    their sums float64 (as in visinf/pixelpyramids; Mahajan & Roth, ICCV 2021).
    """
    half = (n_values - 1) / 2
    logits, means, log_scales, coefficients = unpack(outputs.float(), values.shape[1])
    units = values.float() / half - 1
    inverse_scales = torch.exp(-log_scales.clamp(min=-7.0))
    centred = units.unsqueeze(1) - _condition_means(means, torch.tanh(coefficients), units)
    plus, minus = inverse_scales * (centred + 0.5 / half), inverse_scales * (centred - 0.5 / half)
    inner = torch.log((torch.sigmoid(plus) - torch.sigmoid(minus)).clamp(min=1e-12))
    terms = torch.where((values == n_values - 1).unsqueeze(1), -F.softplus(minus), inner)
    terms = torch.where((values == 0).unsqueeze(1), F.logsigmoid(plus), terms).double()
    return torch.logsumexp(terms.sum(dim=2) + F.log_softmax(logits.double(), dim=1), dim=1)


def starting_bias(
    components: int, channels: int, n_values: int, spread: bool, unit: float
) -> Float[Tensor, " outputs"]:
    """Outputs of an untrained network: scales from one value to the whole range, and coupled channels.

    `spread` places the means across the range, for values. Otherwise, for residuals, they are near the middle, a
    fraction of their scales apart, so that no two components are equal.
    """
    half = (n_values - 1) / 2
    place = torch.linspace(-1, 1, components) if components > 1 else torch.zeros(1)
    if spread:
        means, log_scales = 0.8 * place, torch.full((components,), math.log(0.25))
    else:
        widest = math.log10(max(n_values / 8, 1.0))
        scales = torch.logspace(0 if components > 1 else widest / 2, widest, components) / half
        means, log_scales = place * scales / 2 * half / unit, scales.log()
    coefficients = [math.atanh(0.8) if later - before == 1 else 0.0 for before, later in _pairs(channels)]
    return torch.cat(
        [
            torch.zeros(components),
            means.repeat_interleave(channels),
            log_scales.repeat_interleave(channels),
            torch.tensor(coefficients).repeat(components),
        ]
    )


def unpack(outputs: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (B, K, H, W); means and log-scales (B, K, C, H, W); coefficients (B, K, pairs, H, W)."""
    components = outputs.shape[1] // outputs_per_component(channels)
    pairs = channels * (channels - 1) // 2
    logits, means, log_scales, coefficients = outputs.split(
        [components, components * channels, components * channels, components * pairs], dim=1
    )
    return (
        logits,
        means.unflatten(1, (components, channels)),
        log_scales.unflatten(1, (components, channels)),
        coefficients.unflatten(1, (components, pairs)) if pairs else coefficients.unsqueeze(1),
    )


def _condition_means(means: Tensor, weights: Tensor, difference: Tensor) -> Tensor:
    """Means (B, K, C, H, W) with the weighted differences (B, C, H, W) of the channels before added."""
    conditioned = [means[:, :, 0]]
    for channel in range(1, means.shape[2]):
        mean = means[:, :, channel]
        for before in range(channel):
            mean = mean + weights[:, :, _pair(before, channel)] * difference[:, before].unsqueeze(1)
        conditioned.append(mean)
    return torch.stack(conditioned, dim=2)


def _pairs(channels: int) -> list[tuple[int, int]]:
    return [(before, later) for later in range(channels) for before in range(later)]


def _pair(before: int, later: int) -> int:
    """Where the coefficient of the pair stands: (0, 1), (0, 2), (1, 2), (0, 3), …"""
    return later * (later - 1) // 2 + before
