"""What the page does with an image, in steps. Each message names parts of the page and says what they show from now on.

progress    (text, steps done, steps in all)
picture     a picture file, and caption its text
sizes       rows (name, bytes or None) of the table of sizes
map         a picture file, and map_note its text
can_draw    whether the network can draw new detail for the image
file        the .ppyr file
drawn       picture files of completions with their captions, and drawn_note their text
"""

import math
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelpyramids.archive.file_tasks import Compression, encode_picture
from pixelpyramids.cli.complete import SCALES
from pixelpyramids.cli.report.bit_maps import map_picture
from pixelpyramids.cli.report.pictures import save_png, to_uint8
from pixelpyramids.cli.report.rivals import OURS, cost, rivals
from pixelpyramids.cli.web.jobs import PROGRESS, Message
from pixelpyramids.cli.web.markup import format_name
from pixelpyramids.codec.container import MAX_SIDE, read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.codec.image import decode
from pixelpyramids.codec.planes import decimate
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.image_files.opening import read_picture
from pixelpyramids.image_files.picture import Picture
from pixelpyramids.loading import load
from pixelpyramids.terminal import collect_warnings, count_of

MOST_SHOWN = 1024  # pixels of a side of a picture on the page
MOST_DRAWN = 512  # pixels of a side of a completion
COARSEST = 64  # scale of the first picture
STAGE_SECONDS = 0.3  # for which each scale of the image is shown, at least
N_BITS = 8  # of the images that the network takes


def compress(folder: Path, path: Path, max_pixels: int) -> Iterator[Message]:
    """Compress an image, decode it coarse to fine, map its bits, and compare its size with other formats."""
    others = rivals(strongest=False)
    progress = partial(_progress, of=4 + len(others))
    yield progress("reading the image", 0)
    with collect_warnings() as warnings:
        picture = read_picture(path, max_pixels)
    yield progress("compressing, and checking the result by decoding it", 1)
    target = folder / f"{path.stem}.ppyr"
    _write_compressed(path, picture, target)
    data = target.read_bytes()
    yield {"file": str(target)} | progress("decoding from coarse to fine", 2)
    yield from _decode(data, folder, [_facts(path, picture), *warnings])
    sizes: list[tuple[str, int | None]] = [(OURS, len(data))]
    yield {"sizes": sizes} | progress("mapping its bits", 3)
    yield _map(picture, folder)
    for number, codec in enumerate(others):
        yield {"sizes": sizes} | progress(f"compressing as {format_name(codec.name)}", 4 + number)
        measured = cost(codec, picture.array[:, :], picture.depth)
        sizes.append((codec.name, None if measured is None else measured.bytes))
    yield {"sizes": sizes} | progress("done", 4 + len(others))


def complete(folder: Path, path: Path, max_pixels: int, scale: int, count: int, seed: int) -> Iterator[Message]:
    """Reduce the middle of an image by `scale`, and draw its detail `count` times.

    Raises DataError if the image is too small, or if a drawn image is not the coarse version when it is reduced again,
    which would be a bug.
    """
    yield _progress("reading the image", 0, count)
    model = load("compact")
    image, _ = _image_for_network(read_picture(path, max_pixels))
    image = _middle(image, MOST_DRAWN)
    height, width = image.shape[1:]
    if min(height, width) < 2 * scale:
        raise DataError(
            f"expected an image of at least {2 * scale} pixels a side for a factor of {scale}, got {height} x {width}; "
            "choose a smaller factor"
        )
    coarse = _reduce(image, scale)
    small, original = folder / "coarse.png", folder / "original.png"
    save_png(small, coarse.repeat(scale, axis=1).repeat(scale, axis=2), N_BITS)
    save_png(original, image, N_BITS)
    own = float(model.rate(image[None]).bits_per_dim[0])
    first = [(str(small), f"coarse version, {coarse.shape[1]} x {coarse.shape[2]}")]
    last = [(str(original), f"original, {own:.3f} bits/dim")]
    for number in range(count):
        yield _progress(f"drawing image {number + 1}", number, count) | {"drawn": first + last}
        result = np.asarray(model.complete(coarse[None], height, width, seed=seed, first=number))
        if not np.array_equal(_reduce(result[0], scale), coarse):
            raise DataError("a drawn image does not contain the coarse version; please report this with the image")
        file = folder / f"{number:04d}.png"
        save_png(file, result[0], N_BITS)
        first.append((str(file), f"drawing {number + 1}, {float(model.rate(result).bits_per_dim[0]):.3f} bits/dim"))
    note = (
        f"Seed {seed}. Each drawing has {height} x {width} pixels. Checked: made smaller by {scale}, each gives "
        "exactly the coarse version."
    )
    yield _progress("done", count, count) | {"drawn": first + last, "drawn_note": note}


def _progress(text: str, done: int, of: int) -> dict[str, Any]:
    return {PROGRESS: (text, done, of)}


def _write_compressed(path: Path, picture: Picture, target: Path) -> None:
    """Write the picture of a file as .ppyr; a file that is one already is kept as it is."""
    if picture.format == "PPYR":
        shutil.copyfile(path, target)
        return
    settings = Compression(
        effort="default",
        verify=True,
        force=True,
        max_pixels=MAX_SIDE**2,
        overwrite=True,
        delete_source=False,
        dry_run=False,
    )
    with open(target, "w+b") as file:
        encode_picture(file, picture, settings)


def _facts(path: Path, picture: Picture) -> str:
    height, width = picture.array.shape[:2]
    channels = count_of(math.prod(picture.array.shape[2:]), "channel")
    size = f"all {height} x {width} pixels (height x width), {channels} of {count_of(picture.depth, 'bit')}"
    lossy = ". It was compressed with loss; storing its pixels exactly takes more bytes" if picture.is_lossy else ""
    return f"{size}; the {picture.format} file has {path.stat().st_size:,} bytes{lossy}"


def _decode(data: bytes, folder: Path, facts: list[str]) -> Iterator[Message]:
    """Pictures of the image as more and more of its file is decoded, each twice as wide as the last."""
    header = read_index(MemorySource(data), MAX_SIDE**2).header
    for octave in range(min(int(math.log2(COARSEST)), header.octaves), -1, -1):
        scale = 1 << octave
        pixels = decode(data, scale, max_pixels=MAX_SIDE**2)
        file = folder / f"scale_{scale}.png"
        _picture_on_page(pixels, header.depth, (header.height, header.width)).save(file)
        height, width = pixels.shape[:2]
        text = f"{height} x {width} pixels: every {scale}{'nd' if scale in (2, 32) else 'th'} pixel in each direction"
        yield {"picture": str(file), "caption": text if octave else "; ".join(facts)}
        time.sleep(STAGE_SECONDS if octave else 0)


def _picture_on_page(pixels: Pixels, depth: int, shape: tuple[int, int]) -> Image.Image:
    """Pixels (h, w) or (h, w, C) as a picture of the size at which the page shows an image of that shape."""
    planes = _planes(pixels)
    picture = Image.fromarray(to_uint8(planes[: 3 if len(planes) > 4 else 4], depth))
    share = min(MOST_SHOWN / max(shape), 1)
    size = max(round(shape[1] * share), 1), max(round(shape[0] * share), 1)
    least = min(size[0], picture.width), min(size[1], picture.height)
    return picture.resize(least, Image.Resampling.BOX).resize(size, Image.Resampling.NEAREST)


def _map(picture: Picture, folder: Path) -> Message:
    """The map of an image's bits, or why there is none."""
    model = load("compact")
    try:
        image, conversions = _image_for_network(picture)
    except DataError as error:
        return {"map_note": f"There is no map of its bits: {error}."}
    bit_map = model.map_bits(image[None])
    file = folder / "map.png"
    map_picture(image, N_BITS, bit_map).save(file)
    bits = float(bit_map.to_rate(len(image)).bits_per_dim[0])
    converted = f" For the network, the image was converted: {', '.join(conversions)}." if conversions else ""
    note = (
        f"By the network alone, the image takes {bits:.3f} bits/dim; the file may take fewer, because the codec also "
        f"learns from the image itself. Bright pixels take many bits; level 0 is the finest.{converted}"
    )
    can_draw = min(image.shape[1:]) >= 2 * min(SCALES)
    return {"map": str(file), "map_note": note, "can_draw": can_draw}


def _image_for_network(picture: Picture) -> tuple[Pixels, list[str]]:
    """The image (1 or 3, H, W) of 8 bits that the network gets, and what was converted, in words.

    Raises DataError for more than four channels.
    """
    planes = _planes(picture.array[:, :])
    if len(planes) > 4:
        raise DataError(f"the network takes grey and colour images, and this image has {len(planes)} channels")
    has_alpha = len(planes) in (2, 4)
    values = to_uint8(planes[: len(planes) - has_alpha], picture.depth)
    conversions = {"alpha dropped": has_alpha, f"{count_of(picture.depth, 'bit')} to {N_BITS}": picture.depth != N_BITS}
    return _planes(values), [text for text, is_done in conversions.items() if is_done]


def _planes(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W) or (H, W, C) as (C, H, W)."""
    planes: NDArray[Any] = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
    return planes


def _reduce(image: NDArray[Any], scale: int) -> NDArray[Any]:
    """The coarse version (C, h, w) of an image (C, H, W)."""
    reduced: NDArray[Any] = decimate(image.transpose(1, 2, 0), int(math.log2(scale))).transpose(2, 0, 1)
    return reduced


def _middle(image: NDArray[Any], most: int) -> NDArray[Any]:
    """The middle of an image (C, H, W), at most `most` pixels a side."""
    top, left = (max(side - most, 0) // 2 for side in image.shape[1:])
    return image[:, top : top + most, left : left + most]
