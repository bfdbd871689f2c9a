"""How much memory a training step of a level takes, told without taking it.

The step runs on fake tensors, which have shapes and no storage, and each storage that it makes counts from its birth to
its death. To the peak of the tensors comes what the library keeps for itself and what freeing leaves between them. On
the CPU benchmarks/memory.py found 3.5 % and 26 MiB, and, for what convolutions make of the weights while they run, half
of these again, or 2.1 times where they are the coarsest stage's, small ones.
"""

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pixelpyramids.model.parameters import Parameters
from pixelpyramids.model.pixel_pyramid import AnyStage, new_stage

LIBRARY_SHARE, LIBRARY_BYTES = 0.035, 26 * 2**20
OF_WEIGHTS, OF_COARSEST_WEIGHTS = 0.5, 2.1
KEPT_COPIES = 4  # of a level's weights, throughout: themselves, their average, two moments of Adam


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step: tensors that are `kept` throughout, tensors `fixed` and `of_an_image` while it runs.

    `convolutions` is what the library makes of the weights meanwhile.
    """

    kept: int
    fixed: int
    of_an_image: int
    convolutions: int = 0

    def peak(self, images: int) -> int:
        """Bytes of a process that takes steps on so many images at once, over those that it had before."""
        return with_library(self.kept + self.running(images))

    def running(self, images: int) -> int:
        """Bytes that the step adds to what is kept."""
        return self.fixed + self.convolutions + images * self.of_an_image


def with_library(tensors: int) -> int:
    """Bytes that a process holds for so many bytes of tensors."""
    return round((1 + LIBRARY_SHARE) * tensors) + LIBRARY_BYTES


def step_memory(config: Parameters, index: int, bfloat16: bool = False) -> StepMemory:
    """What a training step of stage `index` takes, on images of the parameters' size, or on patches of them.

    With `bfloat16` as for convolutions in it. Two steps are followed, of one and of two images; the rest is a line.
    """
    with FakeTensorMode():
        stage = new_stage(config, index)
        weights = sum(p.numel() * p.element_size() for p in stage.parameters())
        one, two = (_peak(stage, *pair(config, index, images), bfloat16) for images in (1, 2))
    share = OF_COARSEST_WEIGHTS if index == config.L - 1 else OF_WEIGHTS
    return StepMemory(KEPT_COPIES * weights, 2 * one - two, two - one, round(share * weights))


def pair(config: Parameters, index: int, images: int) -> tuple[Tensor, Tensor | None]:
    """Zeros as large as what stage `index` is trained on: its halves, or patches of them; coarse None for the last."""
    stage = config.walk(*config.image_size)[config.L - 1 - index]
    height, width = (min(side, config.patch_size or side) for side in (stage.height, stage.width))
    if stage.axis is None:
        height, width = stage.height, stage.width
    fine = torch.zeros(images, config.image_channels, height, width, dtype=torch.long)
    return fine, None if stage.axis is None else fine.clone()


def _peak(stage: AnyStage, fine: Tensor, coarse: Tensor | None, bfloat16: bool) -> int:
    live = LiveBytes()
    with live:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            positions = stage(fine, coarse)
        positions.sum().backward()
        stage.zero_grad(set_to_none=True)
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that are made while it is on: `now` alive, and at most `peak`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.peak: int = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._known:
            self._known.add(storage)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._release, storage.nbytes())

    def _release(self, size: int) -> None:
        self.now -= size
