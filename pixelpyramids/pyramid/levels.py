"""The paper's walk from coarse to fine: the levels of an image of any size, and the slices in which each is coded.

Scoring, sampling and completing all follow what `walk` returns.

    stage L-1   the coarsest image, pixel by pixel in raster order
    stage L-2   the fine half of the last split, in 4**n_squeeze slices of its lattice
    …
    stage 0     the fine half of the first split (the finest level)

Level 0 splits rows, level 1 columns, and so on in turn; a side of 1 is not split, so that level has no sites.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pixelpyramids.pyramid.splitting import Array, split


@dataclass(frozen=True)
class Slice:
    """Sites [y::step_y, x::step_x] of a stage's array, which are coded at once, given all earlier slices."""

    y: int
    x: int
    step_y: int
    step_x: int

    @property
    def sites(self) -> tuple[slice, slice]:
        """The index of the sites in the last two axes of the stage's array."""
        return slice(self.y, None, self.step_y), slice(self.x, None, self.step_x)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """The number of sites along each side of a stage of that height and width; 0 if there are none."""
        return max(-(-(height - self.y) // self.step_y), 0), max(-(-(width - self.x) // self.step_x), 0)


@dataclass(frozen=True)
class Stage:
    """One stage of the walk: an array of height x width pixels, coded slice by slice.

    `index` is the level (0 = finest), or L-1 for the coarsest image. `axis` is the axis that the split halves (-2 rows,
    -1 columns), and `coarse` the height and width of the known half; both are None for the coarsest image.
    """

    index: int
    axis: int | None
    height: int
    width: int
    coarse: tuple[int, int] | None
    slices: tuple[Slice, ...]

    @property
    def is_split(self) -> bool:
        """False if the image's side is 1: the level has no sites, and its coarse half is the image itself."""
        return self.height > 0 and self.width > 0


def walk(height: int, width: int, n_squeeze: Sequence[int]) -> tuple[Stage, ...]:
    """The stages of a height x width image, coarsest first; level i has 4**n_squeeze[i] slices, len(n_squeeze) levels.

    Raises ValueError if a side is below 1.
    """
    if height < 1 or width < 1:
        raise ValueError(f"expected an image of at least 1 x 1 pixels, got {height} x {width}")
    stages = []
    for index, squeeze in enumerate(n_squeeze):
        axis = -2 if index % 2 == 0 else -1
        coarse = (height // 2, width) if axis == -2 else (height, width // 2)
        lattice = tuple(Slice(y, x, 2**squeeze, 2**squeeze) for y in range(2**squeeze) for x in range(2**squeeze))
        if 0 in coarse:
            stages.append(Stage(index, axis, 0, 0, (height, width), ()))
            continue
        fine = (height - coarse[0], width) if axis == -2 else (height, width - coarse[1])
        stages.append(Stage(index, axis, *fine, coarse, lattice))
        height, width = coarse
    pixels = tuple(Slice(y, x, height, width) for y in range(height) for x in range(width))
    stages.append(Stage(len(n_squeeze), None, height, width, None, pixels))
    return tuple(reversed(stages))


def decompose(images: Array, stages: Sequence[Stage]) -> dict[int, tuple[Array, Array]]:
    """(fine, coarse) of each stage that has sites, by its index, finest first; (coarsest image, None) last."""
    pairs: dict[int, tuple[Array, Array]] = {}
    for stage in reversed(stages):
        if stage.axis is None:
            pairs[stage.index] = (images, None)
        elif stage.is_split:
            fine, images = split(images, stage.axis)
            pairs[stage.index] = (fine, images)
    return pairs


def coarsest_size(height: int, width: int, n_levels: int) -> tuple[int, int]:
    """Height and width of the coarsest image of a height x width image."""
    for index in range(n_levels):
        height, width = (max(height // 2, 1), width) if index % 2 == 0 else (height, max(width // 2, 1))
    return height, width


def halving_size(n_levels: int, coarsest: int = 4) -> tuple[int, int]:
    """Height and width of the image that n_levels splits reduce to coarsest x coarsest pixels."""
    return coarsest << (n_levels + 1) // 2, coarsest << n_levels // 2
