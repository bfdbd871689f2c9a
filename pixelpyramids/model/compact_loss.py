"""The compact network's nats and their gradient in one pass, for training: faster than autograd through `Mixture`.

In a channel of a component, with the logistic distribution of `mixture.py`, s the scale, d the difference from the
offset, and a, b = (d - mean ± 1/2) / s:

    log p               = log(1 - exp(-1/s)) + log sigma(a) + log sigma(-b)
    d log p / d mean    = -(sigma(-a) - sigma(b)) / s
    d log p / d (log s) = -(sigma(-a) - sigma(b)) (d - mean) / s - ((sigma(-a) + sigma(b)) / 2 + 1 / (e^(1/s) - 1)) / s

At the highest value a is infinite, at the lowest b, and the terms of 1/s alone vanish at both. A component's gradient
counts by its share of the probability.
"""

import math
from typing import Any

import torch
from torch import Tensor

from pixelpyramids.codec.outputs import LARGEST_PAIR_WEIGHT, LARGEST_RANGES, MEAN_UNIT, SMALLEST_LOG_SCALE, UNIT
from pixelpyramids.model.mixture import unpack

NATS = math.log(2) / UNIT  # of an output that is a logit or a log-scale
_AT_ONCE = 4096  # sites, whose intermediate results fit into the second-level cache
_FAR = 1e30  # instead of an infinite a or b
_NEGLIGIBLE = -80.0  # exp of less may be a denormal number, which is slow


def nats(outputs: Tensor, values: Tensor, offset: Tensor, n_values: int) -> Tensor:
    """Nats (B, H, W) of values (B, C, H, W) in [0, n_values), from a head's outputs, of which 4096 are a unit."""
    computed: Tensor = _Nats.apply(outputs, values, offset, n_values)  # type: ignore[no-untyped-call]
    return computed


class _Nats(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, outputs: Tensor, values: Tensor, offset: Tensor, n_values: int) -> Tensor:
        batch, count, height, width = outputs.shape
        flat = outputs.transpose(0, 1).reshape(count, -1)
        values_flat = values.transpose(0, 1).flatten(1)
        differences = (values - offset).to(outputs.dtype).transpose(0, 1).flatten(1)
        sites, gradient = torch.empty_like(flat[0]), torch.empty_like(flat)
        step = _AT_ONCE if outputs.device.type == "cpu" else max(flat.shape[1], 1)
        for start in range(0, flat.shape[1], step):
            part = ..., slice(start, start + step)
            sites[part] = _score(flat[part], values_flat[part], differences[part], n_values, gradient[part])
        ctx.save_for_backward(gradient)
        return sites.view(batch, height, width)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        scaled = gradient * upstream.flatten()
        return scaled.unflatten(1, upstream.shape).transpose(0, 1), None, None, None


def _score(outputs: Tensor, values: Tensor, difference: Tensor, n_values: int, gradient: Tensor) -> Tensor:
    """Nats (n) from outputs (P, n), and values and differences (C, n); their derivatives go to `gradient` (P, n)."""
    channels = len(values)
    pairs = [(before, later) for later in range(channels) for before in range(later)]
    logits, means, log_scales, weights = (part[0] for part in unpack(outputs[None], channels))
    lowest, highest = values == 0, values == n_values - 1

    bounded = log_scales.clamp(SMALLEST_LOG_SCALE, UNIT * math.log2(LARGEST_RANGES * n_values))
    bounded_weights = weights.clamp(-LARGEST_PAIR_WEIGHT, LARGEST_PAIR_WEIGHT)
    inverse = (bounded * -NATS).exp_()
    centred = difference - means * (MEAN_UNIT / UNIT)
    for pair, (before, later) in enumerate(pairs):
        centred[:, later].addcmul_(bounded_weights[:, pair], difference[before], value=-1 / UNIT)
    centred *= inverse
    above = torch.add(centred, inverse, alpha=0.5).masked_fill_(highest, _FAR)
    below = torch.sub(centred, inverse, alpha=0.5).masked_fill_(lowest, -_FAR)
    inside = torch.expm1(-inverse).neg_().masked_fill_(lowest | highest, 1.0)
    tails = (1 + _exp_of_minus(above)) * (1 + _exp_of_minus(below))
    terms = (inside / tails).log_().add_(above.clamp(max=0)).sub_(below.clamp(min=0))
    prior = (logits * NATS).log_softmax(0)
    total = terms.sum(1) + prior
    log_prob = total.logsumexp(0)

    share = (total - log_prob).clamp_(min=_NEGLIGIBLE).exp_()
    of_logits, of_means, of_log_scales, of_weights = (part[0] for part in unpack(gradient[None], channels))
    torch.sub(prior.exp(), share, out=of_logits).mul_(NATS)
    over, under = above.neg_().sigmoid_(), below.sigmoid_()
    pull = over - under
    spread = inside.reciprocal_().sub_(1).add_(over.add_(under), alpha=0.5).mul_(inverse).addcmul_(pull, centred)
    torch.mul(spread, (share * NATS).unsqueeze(1), out=of_log_scales).masked_fill_(bounded != log_scales, 0)
    pull.mul_(inverse).mul_(share.unsqueeze(1))
    torch.mul(pull, MEAN_UNIT / UNIT, out=of_means)
    for pair, (before, later) in enumerate(pairs):
        torch.mul(pull[:, later], difference[before] / UNIT, out=of_weights[:, pair])
    of_weights.masked_fill_(bounded_weights != weights, 0)
    return -log_prob


def _exp_of_minus(distance: Tensor) -> Tensor:
    return distance.abs().neg_().clamp_(min=_NEGLIGIBLE).exp_()
