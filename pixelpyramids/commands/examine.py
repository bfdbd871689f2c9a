"""`info` and `verify`: what .ppyr files say of themselves, and whether they are whole and hold an original."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pixelpyramids.codec import bundled
from pixelpyramids.codec.container import VERSION, Content, Index, read_index
from pixelpyramids.codec.fields import Bytes, Source
from pixelpyramids.codec.file_source import opened, require_regular
from pixelpyramids.codec.image import decode_source
from pixelpyramids.codec.image_file import Picture, read_picture
from pixelpyramids.commands.codec import (
    AN_IMAGE,
    IMAGES,
    SUFFIX,
    compressed_name,
    image_suffixes,
    is_skipped,
    threads_of,
)
from pixelpyramids.commands.console import err, out, warnings_named
from pixelpyramids.commands.outcomes import Done, Outcomes
from pixelpyramids.commands.standard import NAME, is_standard, read_standard_input
from pixelpyramids.errors import BitstreamError, DataError, ParameterError
from pixelpyramids.listing import Listing, Task, group_by_target, list_tasks
from pixelpyramids.octave import octave_sizes
from pixelpyramids.terminal import explain

# What decoding can take of one processor: 3.0 s were measured for noisy colours and 2.5 s for noisy grey of 16 bits on
# one with AVX-512; those without it take longer.
MODEL_SECONDS, LIBRARY_SECONDS = 6.0, 0.1  # a megapixel of a plane


def info(paths: Sequence[Path], *, max_pixels: int, as_json: bool) -> int:
    """Print what each file says of itself. Returns the exit status: 1 if one is damaged, cut short or foreign."""
    listing = _listing(paths)
    told: list[dict[str, Any]] = []
    failed = [{"file": str(folder), "reason": explain(error, str(folder))} for folder, error in listing.unlisted]
    for failure in failed:
        err.print(failure["reason"], soft_wrap=True)
    for task in listing.tasks:
        name = _name(task)
        try:
            with _source(task) as source:
                facts = {"file": name} | _facts(read_index(source, max_pixels), source.size)
        except (BitstreamError, DataError, OSError) as error:
            failed.append({"file": name, "reason": explain(error, name)})
            err.print(failed[-1]["reason"], soft_wrap=True)
            continue
        told.append(facts)
        if facts["fault"]:
            failed.append({"file": name, "reason": f"{name}: {facts['fault']}"})
        if not as_json:
            for line in _lines(facts):
                out.print(line, soft_wrap=True)
    if as_json:
        print(json.dumps({"files": told, "failed": failed}))
    return 1 if failed else 0


def verify(
    paths: Sequence[Path],
    *,
    against: Sequence[Path],
    ignore: Sequence[str],
    jobs: int,
    max_pixels: int,
    quiet: bool,
    as_json: bool,
) -> int:
    """Decode each file whole, and compare it with its original if one is given.

    If there are several paths, the last one is an original if its name does not end in .ppyr and it is no folder.
    `against` are the folders that `paths` were compressed from: each .ppyr file is compared with its source there, and
    every file there needs a .ppyr file that holds it, unless `ignore` matches it. Returns the exit status: 1 if a file
    fails or differs.
    """
    original = None
    if against:
        outcomes = Outcomes("whole", "decoded, and the same as the originals", quiet)
        todo = _pair_folders(paths, against, ignore, outcomes)
    else:
        paths, original = _split_original(paths, max_pixels)
        outcomes = Outcomes("whole", "decoded" if original is None else "decoded, and the same as the original", quiet)
        listing = _listing(paths, ignore)
        outcomes.take_listing(listing, ".ppyr files")
        todo = listing.tasks
    check = _verify_pair if against else partial(_verify, original=original)
    check = partial(check, max_pixels=max_pixels, threads=threads_of(min(jobs, len(todo))))
    outcomes.take_all(check, todo, jobs, "verifying")
    return outcomes.print_summary(as_json)


def _split_original(paths: Sequence[Path], max_pixels: int) -> tuple[Sequence[Path], Picture | None]:
    """The files to verify, and the original that comes behind them, if one does."""
    *files, last = paths
    if not files or last.suffix.lower() == SUFFIX or last.is_dir():
        return paths, None
    if len(files) > 1 or files[0].is_dir():
        raise ParameterError(
            f"{last}: expected one .ppyr file to compare with this original, got several paths or a folder; "
            "verify one file at a time, or a folder with --against DIR"
        )
    require_regular(last)
    with warnings_named(str(last)):
        return files, _read_original(last, max_pixels)


def _pair_folders(
    paths: Sequence[Path], against: Sequence[Path], ignore: Sequence[str], outcomes: Outcomes
) -> list[Task]:
    """The files of folders, each with its source as the target; what is no such pair is noted."""
    for path in (*paths, *against):
        if not path.is_dir():
            raise ParameterError(
                f"{path}: expected a folder, because --against compares folders, got none; to compare one file, use "
                "`pixelpyramids verify FILE.ppyr ORIGINAL`"
            )
    # Both sides are matched by their paths below one folder, wherever they are.
    files = list_tasks(paths, against[0], str, {SUFFIX}, "a .ppyr file", ignore)
    images = list_tasks(against, against[0], compressed_name, image_suffixes(), AN_IMAGE, ignore)
    verified = {file.source.absolute() for file in files.tasks}
    outcomes.take_listing(files._replace(others=[]), "")
    outcomes.take_listing(
        images._replace(others=[path for path in images.others if path.absolute() not in verified]),
        IMAGES,
        "no .ppyr file holds them; keep them, or pass --ignore PATTERN to leave them out",
    )
    return _compared(files.tasks, images.tasks, against, outcomes)


def _compared(files: Sequence[Task], images: Sequence[Task], against: Sequence[Path], outcomes: Outcomes) -> list[Task]:
    """The files, each with its source as the target. A file or a source without the other is recorded as failed."""
    files_at, images_at = group_by_target(files), group_by_target(images)
    compared: list[Task] = []
    for place in dict.fromkeys([*files_at, *images_at]):
        packed, sources = files_at.get(place, []), images_at.get(place, [])
        if len(sources) > 1 or not packed:
            lossy = [source for source in sources if is_skipped(source)]
            for source in lossy:
                # Other files with this suffix may be lossless.
                is_jpeg = source.source.suffix.lower() in (".jpg", ".jpeg")
                pattern = f"*{source.source.suffix}" if is_jpeg else source.source.name
                outcomes.take(
                    source,
                    DataError(
                        f"{source.source}: lossy, and no .ppyr file holds it; keep it, or pass "
                        f"--ignore '{pattern}' to leave {'such files' if is_jpeg else 'it'} out"
                    ),
                )
            sources = [source for source in sources if source not in lossy]
        for file in packed:
            if len(sources) == 1:
                compared.append(file._replace(target=sources[0].source))
            else:
                found = ", ".join(str(source.source) for source in sources) or "none"
                places = ", ".join(map(str, against))
                outcomes.take(
                    file,
                    DataError(
                        f"{file.source}: expected one original in {places}, got {found}; pass the folder that it was "
                        "compressed from"
                    ),
                )
        if not packed:
            for source in sources:
                outcomes.take(
                    source, DataError(f"{source.source}: expected a .ppyr file that holds it, got none; compress it")
                )
    return compared


def _verify_pair(task: Task, max_pixels: int, threads: int) -> Done:
    require_regular(task.target)
    return _verify(task, _read_original(task.target, max_pixels), max_pixels, threads)


def _read_original(path: Path, max_pixels: int) -> Picture:
    """The picture in an original. What is not kept of it is reported only after the comparison."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "not kept: ", UserWarning)
        return read_picture(path, max_pixels)


def _verify(task: Task, original: Picture | None, max_pixels: int, threads: int) -> Done:
    with _source(task) as source:
        header = read_index(source, max_pixels).header
        array = decode_source(source, max_pixels=max_pixels, threads=threads)
        if original is not None and (fault := _difference(array, header.depth, header.metadata, original)):
            raise DataError(f"{_name(task)}: differs from the original: {fault}")
        if original is not None and original.not_kept:
            warnings.warn(f"the pixels are the same; not kept: {', '.join(original.not_kept)}", stacklevel=1)
        return Done(source.size, pixels=header.height * header.width)


def _difference(array: Any, depth: int, metadata: Any, original: Picture) -> str:
    """What differs from the original first, in words; nothing where nothing does."""
    if array.shape != original.array.shape:
        return f"expected pixels of shape {original.array.shape}, got {array.shape}"
    if depth != original.depth or array.dtype != original.array.dtype:
        return f"expected {original.depth} bits ({original.array.dtype}), got {depth} ({array.dtype})"
    if not np.array_equal(array, original.array):
        different = array != original.array
        if different.ndim == 3:
            different = different.any(axis=-1)
        y, x = (int(lines[0]) for lines in np.nonzero(different))
        return f"{int(different.sum())} pixels, the first at x {x}, y {y}"
    names = sorted(metadata.keys() | original.metadata.keys())
    others = [name for name in names if metadata.get(name) != original.metadata.get(name)]
    return f"the pixels are the same, the metadata are not ({', '.join(others)})" if others else ""


def _facts(index: Index, size: int) -> dict[str, Any]:
    header = index.header
    sizes = octave_sizes(header.height, header.width)
    octaves: dict[int, int] = {}
    if header.content == Content.MODEL:
        for (part, _), entry in zip(header.layout(), index.entries, strict=True):
            octave = part.finest(header.octaves)
            octaves[octave] = octaves.get(octave, 0) + entry.length
    else:
        octaves[0] = index.entries[0].length
    end, reached, listed = index.begin, None, []
    for octave, length in octaves.items():
        end += length
        reached = octave if end <= size else reached
        height, width = sizes[octave]
        listed.append({"scale": 1 << octave, "height": height, "width": width, "bytes": length, "prefix": end})
    fault = ""
    if size > index.size:
        fault = f"{size - index.size} bytes follow the file's last part; it is damaged"
    elif size < index.size:
        whole = "no octave of it" if reached is None else f"what --salvage gives at 1/{1 << reached} of the size"
        fault = f"cut short: {size} bytes of {index.size} are here; whole is {whole}"
    model = bundled.names().get(header.model, "none that this pixelpyramids has")
    seconds = header.height * header.width / 1e6
    seconds *= MODEL_SECONDS * len(header.coded) if header.content == Content.MODEL else LIBRARY_SECONDS
    return {
        "bytes": size,
        "version": VERSION,
        "height": header.height,
        "width": header.width,
        "channels": header.channels,
        "shape": [header.height, header.width] + [header.channels] * header.has_axis,
        "type": "uint16" if header.is_wide else "uint8",
        "depth": header.depth,
        "bits_per_subpixel": 8 * size / (header.height * header.width * header.channels),
        "content": header.content.name.lower(),
        "model": model if header.content == Content.MODEL else None,
        "model_id": header.model.hex() or None,
        "metadata": {name: len(data) for name, data in header.metadata.items()},
        "parts": len(index.entries),
        "header_bytes": index.begin,
        "octaves": listed,
        "decode_seconds": seconds / (threads_of(1) if header.content == Content.MODEL else 1),
        "fault": fault,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    codes = {"webp": "a lossless WebP inside", "png": "a PNG inside"}
    coded = codes.get(facts["content"], f"the model {facts['model']} ({facts['model_id']})")
    metadata = ", ".join(f"{name} ({count:,} bytes)" for name, count in facts["metadata"].items()) or "none"
    octaves = "; ".join(
        f"{octave['width']} x {octave['height']}" + (" and below" if i == 0 else "") + f" {octave['bytes']:,}"
        for i, octave in enumerate(facts["octaves"])
    )
    lines = {
        "image": f"{facts['width']} x {facts['height']} pixels (width x height), "
        f"{facts['channels']} channel{'s'[: facts['channels'] > 1]} of {facts['depth']} bits, "
        f"{facts['type']} {tuple(facts['shape'])}",
        "coded by": f"{coded}, format version {facts['version']}",
        "metadata": metadata,
        "bytes": f"{facts['parts']} part{'s'[: facts['parts'] > 1]}: header and index {facts['header_bytes']:,}; "
        f"{octaves}",
        "decoding": f"can take {facts['decode_seconds']:.1f} s here (estimated from the pixels)",
    }
    if facts["fault"]:
        lines["damage"] = facts["fault"]
    head = f"{facts['file']}: {facts['bytes']:,} bytes, {facts['bits_per_subpixel']:.3f} bits/subpixel"
    return [head, *(f"  {name:<9} {text}" for name, text in lines.items())]


def _listing(paths: Sequence[Path], ignore: Sequence[str] = ()) -> Listing:
    if is_standard(paths):
        return Listing([Task(paths[0], paths[0], True)], [], [])
    return list_tasks(paths, None, str, {SUFFIX}, "a .ppyr file", ignore)


def _name(task: Task) -> str:
    return NAME if is_standard([task.source]) else str(task.source)


@contextmanager
def _source(task: Task) -> Iterator[Source]:
    if is_standard([task.source]):
        yield Bytes(read_standard_input())
        return
    with opened(task.source) as source:
        yield source
