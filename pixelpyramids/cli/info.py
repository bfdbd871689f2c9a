"""`info`: show what .ppyr files contain."""

from typing import TYPE_CHECKING, Any

from pixelpyramids.cli import options, sources
from pixelpyramids.cli.console import print_json, stderr, stdout
from pixelpyramids.errors import BitstreamError, DataError
from pixelpyramids.pyramid.octaves import octave_sizes
from pixelpyramids.terminal import count_of, explain

if TYPE_CHECKING:
    from pixelpyramids.codec.container import FileIndex

LIBRARY_SECONDS = 0.1  # to decode a megapixel of a PNG or WebP


def info(files: options.CompressedFiles, max_pixels: options.MaxPixels = 2**28, json: options.Json = False) -> int:
    """Show what .ppyr files contain: size, depth, model, metadata, bytes of each part, time to decode.

    Status 1 if a file is damaged, cut short or of another format.
    """
    from pixelpyramids.codec.container import read_index

    listing = sources.list_compressed(files)
    described: list[dict[str, Any]] = []
    failed = [{"file": str(folder), "reason": explain(error, str(folder))} for folder, error in listing.unlisted]
    for failure in failed:
        stderr.print(failure["reason"])
    for task in listing.tasks:
        name = sources.name_of(task)
        try:
            with sources.open_compressed(task) as source:
                facts = {"file": name} | _describe(read_index(source, max_pixels), source.size)
        except (BitstreamError, DataError, OSError) as error:
            failed.append({"file": name, "reason": explain(error, name)})
            stderr.print(failed[-1]["reason"])
            continue
        described.append(facts)
        if facts["fault"]:
            failed.append({"file": name, "reason": f"{name}: {facts['fault']}"})
        if not json:
            for line in _format_lines(facts):
                stdout.print(line)
    if json:
        print_json({"files": described, "failed": failed})
    return 1 if failed else 0


def _describe(index: "FileIndex", size: int) -> dict[str, Any]:
    """What a file of `size` bytes contains, with the keys of the JSON output."""
    from pixelpyramids.codec import bundled
    from pixelpyramids.codec.container import VERSION, Content

    header = index.header
    sizes = octave_sizes(header.height, header.width)
    octaves: dict[int, int] = {}
    if header.content == Content.MODEL:
        for (part, _), entry in zip(header.layout(), index.entries, strict=True):
            octaves[part.finest] = octaves.get(part.finest, 0) + entry.length
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
        fault = f"the file's last part is followed by {count_of(size - index.size, 'byte')}; it is damaged"
    elif size < index.size:
        left = "nothing" if reached is None else f"the image at 1/{1 << reached} of its size"
        fault = f"cut short: only {size} of {index.size} bytes are left; --salvage recovers {left}"
    model = bundled.model_names().get(header.model, "unknown to this version")
    of_megapixel = LIBRARY_SECONDS
    if header.content == Content.MODEL:
        engine = bundled.load_model("compact").engine
        of_megapixel = len(header.coded) * engine.megapixel_seconds(bundled.available_threads())
    return {
        "bytes": size,
        "version": VERSION,
        "height": header.height,
        "width": header.width,
        "channels": header.channels,
        "shape": [header.height, header.width] + [header.channels] * header.has_axis,
        "type": "uint16" if header.is_wide else "uint8",
        "depth": header.depth,
        "bits_per_subpixel": 8 * index.size / (header.height * header.width * header.channels),
        "content": header.content.name.lower(),
        "model": model if header.content == Content.MODEL else None,
        "model_id": header.model.hex() or None,
        "metadata": {name: len(data) for name, data in header.metadata.items()},
        "parts": len(index.entries),
        "header_bytes": index.begin,
        "octaves": listed,
        "decode_seconds": header.height * header.width / 1e6 * of_megapixel,
        "fault": fault,
    }


def _format_lines(facts: dict[str, Any]) -> list[str]:
    """Lines of text with the same facts."""
    codes = {"webp": "a lossless WebP inside", "png": "a PNG inside"}
    coded = codes.get(facts["content"], f"the model {facts['model']} ({facts['model_id']})")
    metadata = ", ".join(f"{name} ({count_of(count, 'byte')})" for name, count in facts["metadata"].items()) or "none"
    octaves = "; ".join(
        f"{octave['height']} x {octave['width']}" + (" and below" if i == 0 else "") + f" {octave['bytes']:,}"
        for i, octave in enumerate(facts["octaves"])
    )
    lines = {
        "image": f"{facts['height']} x {facts['width']} pixels (height x width), "
        f"{count_of(facts['channels'], 'channel')} of {facts['depth']} bits, "
        f"{facts['type']} {tuple(facts['shape'])}",
        "coded by": f"{coded}, format version {facts['version']}",
        "metadata": metadata,
        "bytes": f"{count_of(facts['parts'], 'part')}: header and index {facts['header_bytes']:,}; {octaves}",
        "decoding": f"can take {facts['decode_seconds']:.1f} s here (estimated from the pixels)",
    }
    if facts["fault"]:
        lines["damage"] = facts["fault"]
    head = f"{facts['file']}: {facts['bytes']:,} bytes, {facts['bits_per_subpixel']:.3f} bits/dim"
    return [head, *(f"  {name:<9} {text}" for name, text in lines.items())]
