"""One image as it grows: the coarsest image, then what it is after each level."""

from typing import NamedTuple

from pixelpyramids.cli.report.page import Html, grid, picture
from pixelpyramids.cli.report.pictures import encode_png
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.model.parameters import AnyParameters, Parameters
from pixelpyramids.pyramid import octaves

MOST_SIDE = 512  # of a picture, in pixels


class Growth(NamedTuple):
    """An image (C, H, W) after a stage, and the name of that stage."""

    stage: str
    image: Pixels


def grow(config: AnyParameters, image: Pixels) -> list[Growth]:
    """The image (C, H, W) after each stage of its model's walk, coarsest first; the last one is the image itself.

    A compact model has one network for all octaves, which are counted like levels, 0 the finest.
    """
    coarser = [image]
    if isinstance(config, Parameters):
        names = [f"level {index}" for index, (_, coarse) in config.decompose(image).items() if coarse is not None]
        coarser += [coarse for _, coarse in config.decompose(image).values() if coarse is not None]
    else:
        sizes = octaves.octave_sizes(*image.shape[-2:])[1:]
        names = [f"octave {index}" for index in range(len(sizes))]
        for _ in sizes:
            coarser.append(octaves.bands(coarser[-1]).oo)
    return [Growth(name, each) for name, each in zip([*names, "coarsest image"], coarser, strict=True)][::-1]


def growth_pictures(config: AnyParameters, image: Pixels) -> Html:
    """Each stage of an image as a picture, stretched to the proportions of the whole image."""
    shape, shown = (image.shape[-2], image.shape[-1]), []
    for number, (stage, grown) in enumerate(grow(config, image)):
        size = f"{grown.shape[-2]} x {grown.shape[-1]}"
        alt = f"The sample after {stage}: {size} pixels"
        png = encode_png(grown, config.n_bits, MOST_SIDE)
        shown.append(picture(png, alt, f"{'+ ' * (number > 0)}{stage}: {size}", shape))
    return grid(shown, narrowest=8)
