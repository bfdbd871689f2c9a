"""Whether a model's probabilities are right: the probability integral transform of the values of images.

If a value x is drawn from a distribution with the cumulative probabilities F, and v is uniform in [0, 1), then

    u = F(x - 1) + v (F(x) - F(x - 1))

is uniform in [0, 1) (Dawid 1984, "Statistical theory: the prequential approach"; for counts, Czado, Gneiting & Held
2009, "Predictive model assessment for count data"). So if a model is right, the u of held-out images are uniform, level
by level. If its distributions are too narrow, too many u are near 0 and 1; if they are too wide, in the middle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.images import Images
from pixelpyramids.model.models import AnyModel
from pixelpyramids.training.evaluation import list_tiles, same_size_batches

CELLS = 1000  # in which the transformed values are counted


@dataclass(frozen=True)
class Calibration:
    """How often transformed values fell into each of 1,000 equal cells of [0, 1): `counts` (levels, 1000)."""

    counts: NDArray[np.int64]

    def density(self, bins: int) -> NDArray[np.float64]:
        """Histograms (levels, bins), 1 if the values are uniform; NaN for a level without values.

        1,000 must be a multiple of `bins`.
        """
        grouped = self.counts.reshape(len(self.counts), bins, -1).sum(axis=2)
        with np.errstate(invalid="ignore"):
            density: NDArray[np.float64] = grouped * bins / grouped.sum(axis=1, keepdims=True)
        return density

    @property
    def distances(self) -> NDArray[np.float64]:
        """The largest difference between the distribution of each level's values and the uniform one, at the cells.

        0 is perfect, and 1 the most; NaN for a level without values. (This is the Kolmogorov-Smirnov statistic.)
        """
        with np.errstate(invalid="ignore"):
            cumulative = self.counts.cumsum(axis=1) / self.counts.sum(axis=1, keepdims=True)
        distances: NDArray[np.float64] = np.abs(cumulative - np.arange(1, CELLS + 1) / CELLS).max(axis=1)
        return distances


def calibrate(
    model: AnyModel,
    images: Images,
    *,
    tile: int,
    batch_size: int = 16,
    chosen: Sequence[int] | None = None,
    seed: int = 0,
    report: Callable[[int], None] = lambda done: None,
) -> Calibration:
    """Transform all values of images, or of those with the indices `chosen`.

    Images larger than tile x tile are predicted in tiles, as `evaluate` does it. The random numbers of an image are
    keyed by (seed, index). `report` receives the number of images done. Images that cannot be read are left out.
    """
    counts, done = np.zeros((model.config.n_stages, CELLS), np.int64), 0
    for indices, batch, _ in same_size_batches(images, batch_size, [], chosen):
        generators = [np.random.default_rng([seed, index]) for index in indices]
        for window in list_tiles(batch.shape[-2], batch.shape[-1], tile):
            for level, (below, up_to) in model.cumulative(batch[..., *window]).items():
                shape = below.shape[1:]
                uniform = np.stack([generator.random(shape) for generator in generators])
                cells = (CELLS * (below.numpy() + uniform * (up_to - below).numpy())).astype(np.int64)
                counts[level] += np.bincount(cells.clip(0, CELLS - 1).ravel(), minlength=CELLS)
        done += len(indices)
        report(done)
    return Calibration(counts)
