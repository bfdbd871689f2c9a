"""Images to bytes and back: arrays of any shape and depth to planes, planes to parts, parts to a file.

encode: array -> planes -> parts (one thread per part) -> file
decode: file -> parts -> planes, coarse to fine (one thread per tile) -> array

`encode_to` and `decode_into` also handle images that are larger than memory, whose arrays are on disk.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike

from pixelpyramids.arguments import whole_number
from pixelpyramids.codec import bundled, part_kinds, planes
from pixelpyramids.codec.compact_model import CompactModel
from pixelpyramids.codec.container import Content, FileHeader, FileIndex, read_index, read_part
from pixelpyramids.codec.fields import ByteSource, MemorySource
from pixelpyramids.codec.memory import Inheritance
from pixelpyramids.codec.octave_pixels import OctavePixels
from pixelpyramids.codec.part_store import PartStore
from pixelpyramids.codec.parts import Part
from pixelpyramids.codec.planes import ImageArray, Region
from pixelpyramids.codec.trial import choose_mixed
from pixelpyramids.errors import BitstreamError, DataError

MAX_PIXELS = 2**28
EFFORTS = ("fast", "default", "max")
PLANES_AT_ONCE = 2  # whose memories are kept, up to 65 of each plane

Inheritances = dict[int, Inheritance]  # of planes, by their numbers


def encode(
    array: Any,
    depth: int | None = None,
    effort: str = "default",
    metadata: Mapping[str, bytes] | None = None,
    model: str = "compact",
    threads: int | None = None,
    source_format: str = "png",
) -> bytes:
    """Return the bytes of a .ppyr file. `decode` turns them back into exactly the same array.

    `array` is (H, W) or (H, W, C) with C from 1 to 64 (grey, grey and alpha, colour, colour and alpha, or any channels,
    which are coded in threes). It has at least one pixel, is uint8 or uint16 in either byte order, and holds values
    below 2**depth (default: all bits of its type). A large one of zarr or HDF5 is read chunk by chunk. `metadata` maps
    names to bytes. `effort` "max" also tries PNG and lossless WebP and returns the smallest file; "default" does so for
    small images and if a quick trial looks promising; "fast" never does. Channels are coded with context mixing, which
    takes longer, if a trial on patches of the image saves enough: with "fast" 2 % by green and blue, 10 % by all; by
    default 0.3 % and 1 %. "max" codes the image in up to three ways. `threads` defaults to the number of available
    processors. `source_format` is the format of the file that the image came from, in lower case, so that `decompress`
    can restore it. Raises DataError if an argument is invalid.
    """
    target = io.BytesIO()
    encode_to(target, array, depth, effort, metadata, model, threads, source_format)
    return target.getvalue()


def encode_to(
    target: IO[bytes],
    array: Any,
    depth: int | None = None,
    effort: str = "default",
    metadata: Mapping[str, bytes] | None = None,
    model: str = "compact",
    threads: int | None = None,
    source_format: str = "png",
) -> None:
    """Write what `encode` returns. The array may be a `DiskArray`; then only the parts at work are in memory."""
    check_effort(effort)
    array, depth = planes.check_array(array, depth)
    threads = _thread_count(threads)
    compact = bundled.load_model(model)
    metadata = {} if metadata is None else metadata
    header, octaves = planes.describe(array, depth, compact.network.name, metadata, source_format)
    with ThreadPoolExecutor(threads) as pool, ExitStack() as stores:
        mixed = choose_mixed(compact, header, octaves, pool)
        chosen = sorted(set(mixed.values())) if effort == "max" else [mixed[effort]]
        files = [_encode_parts(compact, replace(header, mixed=one), octaves, pool, stores) for one in chosen]
        best = min(files, key=lambda file: file.size)
        smaller = None
        if effort != "fast":
            from pixelpyramids.codec import fallback

            smaller = fallback.smaller_file(array, header, best.size, always=effort == "max")
        if smaller is None:
            best.write(target)
        else:
            target.write(smaller)


def decode(
    data: bytes | ByteSource,
    scale: int = 1,
    region: Region | None = None,
    max_pixels: int = MAX_PIXELS,
    salvage: bool = False,
    threads: int | None = None,
) -> ImageArray:
    """Return the array of a .ppyr file, with its original shape and type. Of a `ByteSource`, it reads what it needs.

    `scale` 2, 4, … returns the image decimated by that factor, and reads only the front of the file. `region` (x, y,
    width, height), in pixels of the full-size image, returns that part, on the scaled grid. `salvage` returns the
    largest scaled image that a damaged or truncated file still holds intact. Raises BitstreamError if the file is
    damaged, not a .ppyr file, or larger than `max_pixels` pixels of four channels; DataError if an argument is invalid
    or does not fit the image.
    """
    source = data if isinstance(data, ByteSource) else MemorySource(data)
    header, pixels = decode_into(np.zeros, source, scale, region, max_pixels, salvage, threads)
    array: ImageArray = planes.restore_axes(pixels, header)
    return array


def decode_into(
    make_array: Callable[[tuple[int, int, int], DTypeLike], Any],
    source: ByteSource,
    scale: int = 1,
    region: Region | None = None,
    max_pixels: int = MAX_PIXELS,
    salvage: bool = False,
    threads: int | None = None,
) -> tuple[FileHeader, Any]:
    """Return the header, and what `make_array` returned for a shape (h, w, C) and a type, with `decode`'s pixels in it.

    They are assigned in windows, `made[top:bottom, left:right, first:last] = pixels`, from threads and in any order. If
    an image was salvaged at another scale, the result is a plain array instead.
    """
    threads = _thread_count(threads)
    index = read_index(source, whole_number("max_pixels", max_pixels, 0), bundled.model_names())
    header = index.header
    if index.size < source.size and not salvage:
        raise BitstreamError(f"{source.size - index.size} bytes follow the file's last part; the file is damaged")
    level = requested = planes.octave_of_scale(header, scale)
    if index.size > source.size and not salvage and region is None:
        _refuse_cut(index, source.size, level)
    if header.content != Content.MODEL:
        from pixelpyramids.codec import fallback  # imports Pillow, which other files do not need

        whole: Any = fallback.decode_stream(read_part(source, index, 0), header)
        found = planes.cut_out(whole, header, level, region)
        array = make_array(found.shape, found.dtype)
        array[:, :, :] = found
        return header, array
    compact = bundled.load_model(header.model)
    codings, reach = planes.codings_of(header), compact.network.reach
    wanted = planes.windows_to_decode(header, level, region, reach)
    octaves = planes.empty_octaves(header, level, wanted, make_array)
    layout = header.layout()
    needed = [n for n, (part, _) in enumerate(layout) if part.is_base or wanted[part.finest].touches(part.tiles[0])]

    def decode_part(inheritances: Inheritances, number: int, coarser: list[Future[None]]) -> None:
        for future in coarser:  # what the part depends on was submitted before, so that it is done or running
            future.result()
        part, plane = layout[number]
        data = read_part(source, index, number)
        inheritance, of_plane = inheritances[plane], number // len(codings)
        memory = inheritance.begin(of_plane)
        here, pyramid = octaves.unknown(part, plane, reach)
        part_kinds.decode_part(compact, index.entries[number].kind, data, here, pyramid, codings[plane], memory)
        octaves.write(part, plane, here, pyramid)
        inheritance.end(of_plane, memory)

    with ThreadPoolExecutor(threads) as pool:
        for numbers in _group_planes(needed, header):
            wanted_now = [n for n in numbers if layout[n][0].is_base or layout[n][0].finest >= level]
            inheritances = _inheritances(compact, header, wanted_now)
            decode_now = partial(decode_part, inheritances)
            done = _submit_parts(partial(pool.submit, decode_now), layout, wanted_now, reach)
            try:
                for number in done:
                    done[number].result()
            except BitstreamError:
                if not salvage or layout[number][0].is_base:  # without the base, there is no image
                    raise
                level = layout[number][0].finest + 1
            finally:
                for future in done.values():
                    future.cancel()
    if requested == level:
        return header, octaves.arrays[level]
    return header, octaves.cut(level, planes.find_window(header, level, region))


def check_effort(effort: str) -> None:
    """Raise DataError if `effort` is not one of EFFORTS."""
    if not isinstance(effort, str) or effort not in EFFORTS:
        raise DataError(f"expected an effort of {', '.join(EFFORTS)}, got {effort!r}")


def _thread_count(threads: int | None) -> int:
    return bundled.available_threads() if threads is None else whole_number("threads", threads, 1, 2**10)


def _refuse_cut(index: FileIndex, size: int, level: int) -> None:
    """Raise BitstreamError if a file of only `size` bytes does not hold octave `level`; report what it holds."""
    held = index.finest_within(size)
    if held is None or level < held:
        until = "nothing of the image" if held is None else f"the image at 1/{1 << held} of its size"
        way = ""
        if held is not None:
            way = f"; read that (scale={1 << held} or --scale {1 << held}), or what is left (salvage=True or --salvage)"
        raise BitstreamError(f"expected {index.size} bytes, got {size}: the file is cut short and holds {until}{way}")


def _submit_parts(
    submit: Callable[[int, list[Future[None]]], Future[None]],
    layout: list[tuple[Part, int]],
    needed: list[int],
    reach: int,
) -> dict[int, Future[None]]:
    """Submit the needed parts in file order, each with the parts of the next coarser octave that it depends on."""
    submitted: dict[int, Future[None]] = {}
    before: list[int] = []  # the parts of the next coarser octave
    for _, numbers in groupby(needed, lambda number: layout[number][0].finest):
        of_octave = list(numbers)
        for number in of_octave:
            part, plane = layout[number]
            coarser = [at for at in before if layout[at][1] == plane and part.depends_on(layout[at][0], reach)]
            submitted[number] = submit(number, [submitted[at] for at in coarser])
        before = of_octave
    return submitted


def _encode_parts(
    compact: CompactModel, header: FileHeader, octaves: OctavePixels, pool: ThreadPoolExecutor, stores: ExitStack
) -> PartStore:
    """Return the parts of the file, coded as the header says, until `stores` closes them."""
    codings, layout, count = planes.codings_of(header), header.layout(), len(header.coded)
    store = stores.enter_context(PartStore(header))

    def encode_part(inheritance: Inheritance, number: int, teacher: Future[None] | None) -> None:
        if teacher is not None:  # submitted before, so that it is done or running
            teacher.result()
        part, plane = layout[number]
        here, pyramid = octaves.known(part, plane, compact.network.reach)
        kind, data = part_kinds.encode_part(compact, here, pyramid, codings[plane], inheritance, number // count)
        store.add(number, kind, data)

    for numbers in _group_planes(range(len(layout)), header):
        inheritances, submitted = _inheritances(compact, header, numbers), dict[int, Future[None]]()
        for number in numbers:
            inheritance = inheritances[number % count]
            teacher = inheritance.teachers[number // count]
            at = None if teacher is None else submitted[teacher * count + number % count]
            submitted[number] = pool.submit(encode_part, inheritance, number, at)
        try:
            for content in submitted.values():
                content.result()
        finally:
            for content in submitted.values():
                content.cancel()
    return store


def _group_planes(numbers: Iterable[int], header: FileHeader) -> list[list[int]]:
    """Divide numbers of the layout, which ascend, into those of the planes that are coded at the same time.

    All planes at once would keep the memories of all of them.
    """
    count = len(header.coded)
    groups: list[list[int]] = [[] for _ in range(0, count, PLANES_AT_ONCE)]
    for number in numbers:
        groups[number % count // PLANES_AT_ONCE].append(number)
    return groups


def _inheritances(compact: CompactModel, header: FileHeader, numbers: Sequence[int]) -> Inheritances:
    """Return what hands on the memory of each plane that has some of these parts, whose numbers are of the layout."""
    parts, count = header.parts(), len(header.mixed)
    of_planes: dict[int, list[int]] = {}
    for number in numbers:
        of_planes.setdefault(number % count, []).append(number // count)
    return {
        plane: Inheritance(parts, compact.components, header.mixed[plane], of_plane)
        for plane, of_plane in of_planes.items()
    }
