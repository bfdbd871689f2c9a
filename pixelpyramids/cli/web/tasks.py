"""What the page does with an image, in steps. Each message names parts of the page and says what they show from now on.

progress    (text, steps done, steps in all)
picture     a picture file, and caption its text
sizes       rows (name, bytes or None) of the table of sizes
map         a picture file, and map_note its text
file        the .ppyr file
drawn       picture files of completions with their captions, and drawn_note their text
"""

import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelpyramids.archive.file_tasks import Compression, encode_picture
from pixelpyramids.cli.model_opening import read_for
from pixelpyramids.cli.report.bit_maps import map_picture
from pixelpyramids.cli.report.pictures import save_png, to_uint8
from pixelpyramids.cli.report.rivals import OURS, cost, rivals
from pixelpyramids.cli.web.jobs import Message
from pixelpyramids.codec.container import MAX_SIDE, read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.codec.image import decode
from pixelpyramids.codec.planes import decimate
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.opening import read_picture
from pixelpyramids.image_files.picture import Picture
from pixelpyramids.loading import load
from pixelpyramids.terminal import collect_warnings

MOST_SHOWN = 1024  # pixels of a side of a picture on the page
MOST_DRAWN = 512  # pixels of a side of a completion
COARSEST = 64
STAGE_SECONDS = 0.3  # for which each scale of the image is shown, at least


def compress(folder: Path, path: Path, max_pixels: int) -> Iterator[Message]:
    """Compress an image, decode it coarse to fine, map its bits, and compare its size with other formats."""
    others = rivals(strongest=False)
    progress = partial(_progress, of=4 + len(others))
    yield progress("reading the image", 0)
    with collect_warnings() as warnings:
        picture = read_picture(path, max_pixels)
    pixels = picture.array[:, :]
    yield progress("compressing, and checking the result by decoding it", 1)
    target = folder / f"{path.stem}.ppyr"
    with open(target, "w+b") as file:
        encode_picture(file, picture, Compression("default", True, True, max_pixels, True, False, False))
    data = target.read_bytes()
    yield {"file": str(target)} | progress("decoding from coarse to fine", 2)
    yield from _decode(data, folder, [_facts(path, picture), *warnings])
    sizes: list[tuple[str, int | None]] = [(OURS, len(data))]
    yield {"sizes": sizes} | progress("mapping its bits", 3)
    yield _map(path, folder)
    for number, codec in enumerate(others):
        yield progress(f"compressing with {codec.name}", 4 + number)
        measured = cost(codec, pixels, picture.depth)
        sizes.append((codec.name, None if measured is None else measured.bytes))
        yield {"sizes": sizes}
    yield progress("done", 4 + len(others))


def complete(folder: Path, path: Path, max_pixels: int, scale: int, count: int, seed: int) -> Iterator[Message]:
    """Reduce the middle of an image by `scale`, and draw its detail `count` times.

    Raises DataError if a completion made small again is not the reduced image, which would be a bug.
    """
    model = load("compact")
    yield _progress("reading the image", 0, count)
    read_picture(path, max_pixels)  # refuses what is too large
    image, _, conversions = read_for(model.config, path)
    image = _middle(image, MOST_DRAWN)
    height, width = image.shape[1:]
    if min(height, width) < 2 * scale:
        raise DataError(
            f"expected an image of at least {2 * scale} pixels a side to reduce by {scale}, got {height} x "
            f"{width}; choose a smaller scale"
        )
    coarse = _reduce(image, scale)
    small, original = folder / "coarse.png", folder / "original.png"
    save_png(small, coarse.repeat(scale, axis=1).repeat(scale, axis=2), model.config.n_bits)
    save_png(original, image, model.config.n_bits)
    own = float(model.rate(image[None]).bits_per_dim[0])
    ends = [
        (str(small), f"coarse version, {coarse.shape[1]} x {coarse.shape[2]}"),
        (str(original), f"original, {own:.3f} bits/dim"),
    ]
    drawn: list[tuple[str, str]] = []
    converted = f" Converted: {', '.join(conversions)}." if conversions else ""
    note = (
        f"Each drawn image has {height} x {width} pixels, and reduced by {scale} it is the coarse version again, pixel "
        f"for pixel, which was checked. Seed {seed}.{converted}"
    )
    for number in range(count):
        yield _progress(f"drawing image {number + 1}", number, count) | {"drawn": ends[:1] + drawn + ends[1:]}
        result = np.asarray(model.complete(coarse[None], height, width, seed=seed, first=number))
        if not np.array_equal(_reduce(result[0], scale), coarse):
            raise DataError("a drawn image does not contain the coarse version; please report this with the image")
        file = folder / f"{number:04d}.png"
        save_png(file, result[0], model.config.n_bits)
        drawn.append((str(file), f"number {number}, {float(model.rate(result).bits_per_dim[0]):.3f} bits/dim"))
    yield _progress("done", count, count) | {"drawn": ends[:1] + drawn + ends[1:], "drawn_note": note}


def _progress(text: str, done: int, of: int) -> dict[str, Any]:
    return {"progress": (text, done, of)}


def _facts(path: Path, picture: Picture) -> str:
    height, width = picture.array.shape[:2]
    channels = math.prod(picture.array.shape[2:])
    lossy = ", which was compressed with loss: without loss, its pixels take more" if picture.is_lossy else ""
    values = f"{channels} {'channel' if channels == 1 else 'channels'} of {picture.depth} bits"
    size = f"all {height} x {width} pixels (height x width), {values}"
    return f"{size}; the {picture.format} file has {path.stat().st_size:,} bytes{lossy}"


def _decode(data: bytes, folder: Path, facts: list[str]) -> Iterator[Message]:
    """Pictures of the image as more and more of its file is decoded, each twice as wide as the last."""
    index = read_index(MemorySource(data), MAX_SIDE**2)
    octaves = index.header.octaves
    shape = index.header.height, index.header.width
    for octave in range(min(int(math.log2(COARSEST)), octaves), -1, -1):
        scale = 1 << octave
        pixels = decode(data, scale)
        picture = folder / f"scale_{scale}.png"
        _shown(pixels, index.header.depth, shape).save(picture)
        height, width = pixels.shape[:2]
        text = f"{height} x {width} pixels, one of {scale} in each direction" if octave else "; ".join(facts)
        yield {"picture": str(picture), "caption": text}
        time.sleep(STAGE_SECONDS if octave else 0)


def _shown(pixels: NDArray[Any], depth: int, shape: tuple[int, int]) -> Image.Image:
    """Pixels (h, w) or (h, w, C) as a picture of the size at which the page shows an image of that shape."""
    planes = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
    planes = planes[: 3 if len(planes) > 4 else 4]
    picture = Image.fromarray(to_uint8(planes, depth))
    share = min(MOST_SHOWN / max(shape), 1)
    size = max(round(shape[1] * share), 1), max(round(shape[0] * share), 1)
    least = min(size[0], picture.width), min(size[1], picture.height)
    return picture.resize(least, Image.Resampling.BOX).resize(size, Image.Resampling.NEAREST)


def _map(path: Path, folder: Path) -> Message:
    """The map of an image's bits, or why there is none."""
    model = load("compact")
    try:
        image, _, conversions = read_for(model.config, path)
    except DataError as error:
        return {"map_note": f"There is no map of its bits: {error}"}
    bit_map = model.map_bits(image[None])
    file = folder / "map.png"
    map_picture(image, model.config.n_bits, bit_map).save(file)
    rate = bit_map.to_rate(len(image))
    converted = f" The network saw it converted: {', '.join(conversions)}." if conversions else ""
    return {
        "map": str(file),
        "map_note": "## Where its bits go\n\nBy the network alone, the image takes "
        f"{float(rate.bits_per_dim[0]):.3f} bits/dim; the file may take fewer, because the codec also learns from the "
        f"image itself. Bright pixels take many bits; level 0 is the finest.{converted}",
    }


def _reduce(image: NDArray[Any], scale: int) -> NDArray[Any]:
    """The coarse version (C, h, w) of an image (C, H, W)."""
    reduced: NDArray[Any] = decimate(image.transpose(1, 2, 0), int(math.log2(scale))).transpose(2, 0, 1)
    return reduced


def _middle(image: NDArray[Any], most: int) -> NDArray[Any]:
    """The middle of an image (C, H, W), at most `most` pixels a side."""
    top, left = (max(side - most, 0) // 2 for side in image.shape[1:])
    return image[:, top : top + most, left : left + most]
