"""The optimisation of a level: Adam, the learning rate of each step, and the average of the weights.

After s updates:

    learning rate = base * warm * schedule
    warm          = min(1, max((s + 1) / (warmup_steps + 1), progress / 0.05))
    schedule      = 0.01 + 0.99 (1 + cos(pi * progress)) / 2, or learning_rate_decay ** s

After update t = s + 1, with d = average_decay:

    average = average + share * (weights - average)
    share   = 1 - min(d, t / (9 + t))       `ramped`
            = (1 - d) / (1 - d ** t)        `unbiased`

The unbiased average is that of the authors' release (visinf/pixelpyramids): sum = d * sum + (1 - d) * weights, which
starts at zero and is divided by 1 - d ** t when it is read.
"""

import math

import torch
from torch import nn

from pixelpyramids.model.parameters import AnyParameters

FINAL_LEARNING_RATE = 0.01  # of the base rate, at the end of the cosine
WARMUP_SHARE = 0.05  # of the training, at most


def new_optimiser(config: AnyParameters, stage: nn.Module) -> torch.optim.Adam:
    """Adam for the weights of a stage, with the betas of the parameters."""
    return torch.optim.Adam(stage.parameters(), lr=config.learning_rate, betas=config.betas, fused=True)


def learning_rate(config: AnyParameters, step: int, progress: float) -> float:
    """The rate of the update after `step` updates; `progress` (0 to 1) is the share of the training that is done."""
    warm = min(1.0, max((step + 1) / (config.warmup_steps + 1), progress / WARMUP_SHARE))
    if config.learning_rate_decay is not None:
        schedule = config.learning_rate_decay**step
    else:
        schedule = FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * (1 + math.cos(math.pi * progress)) / 2
    return config.learning_rate * warm * schedule


def newest_share(config: AnyParameters, step: int) -> float:
    """The share of the newest weights in their average, after `step` updates (at least 1)."""
    decay = config.average_decay
    if config.average == "unbiased":
        return (1 - decay) / (1 - decay**step)
    return 1 - min(decay, step / (9 + step))
