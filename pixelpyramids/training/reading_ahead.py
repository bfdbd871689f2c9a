"""Read images ahead in worker processes. On Ctrl-C, a worker ends only when its parent does."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from pixelpyramids.errors import DataError
from pixelpyramids.interrupts import leave_interrupts_to_the_parent


def make_loader(source: Any, order: Sequence[int], in_memory: bool) -> DataLoader[Any]:
    """A loader of `source[i]` for each i of `order`, with worker processes unless images are kept in memory."""
    workers = 0 if in_memory else min(4, torch.multiprocessing.cpu_count())
    return DataLoader(
        source,
        batch_size=None,
        sampler=order,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=leave_interrupts_to_the_parent,
    )


def read_ahead(loader: DataLoader[Any]) -> Iterator[Any]:
    """The items of a loader. A worker's DataError is raised again without the worker's traceback."""
    try:
        yield from loader
    except DataError as error:
        raise DataError(str(error).strip().rsplit("DataError: ", 1)[-1]) from None
