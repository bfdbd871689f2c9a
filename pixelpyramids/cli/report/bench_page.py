"""The page that `bench --html` writes: sizes and speeds of codecs, and the images that ours does best and worst on."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pixelpyramids.cli.report.bit_maps import most_shown, photograph_and_map
from pixelpyramids.cli.report.figures import format_figure, names_in_common_folder
from pixelpyramids.cli.report.measurements import TOTALS_HEAD, Row, Total, cells_of, notes
from pixelpyramids.cli.report.page import Html, Section, chart, grid, notice, page, paragraph, picture, table
from pixelpyramids.cli.report.pictures import to_uint8
from pixelpyramids.cli.report.rival_chart import images_figure, totals_figure
from pixelpyramids.cli.report.rivals import OURS
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.image_files.opening import read_picture
from pixelpyramids.loading import load
from pixelpyramids.terminal import count_of

MAX_LISTED = 1000  # images in the table
SHOWN = 3  # images at either end
COLOUR_AND_ALPHA = 4  # channels
MOST_SIDE = 640  # of a picture, in pixels


def bench_page(rows: Sequence[Row], totals: Sequence[Total], effort: str, made: Section) -> Html:
    """The page about at least one image; `made` says how it was made."""
    files = [row.file for row in rows]
    names = dict(zip(files, map(str, names_in_common_folder(files)), strict=True))
    summary = f"{count_of(len(rows), 'image')}, compressed without loss by {count_of(len(totals), 'codec')}."
    sections = [
        Section("All images", _all_images(rows, totals, effort)),
        Section("Each image", _each_image(rows, names, totals)),
    ]
    ranked = sorted((row for row in rows if _against_rivals(row)), key=_against_rivals)
    if len(ranked) > 1:
        count = min(SHOWN, len(ranked) // 2)
        sections += [
            Section(f"Where {OURS} does best", _with_maps(ranked[:count], names)),
            Section(f"Where {OURS} does worst", _with_maps(ranked[: -count - 1 : -1], names)),
        ]
    return page(f"{OURS} beside other codecs", summary, [*sections, made])


def _all_images(rows: Sequence[Row], totals: Sequence[Total], effort: str) -> list[Html]:
    encoding = {t.codec: (t.encode_megapixels_per_second, t.bits_per_subpixel) for t in totals}
    decoding = {t.codec: (t.decode_megapixels_per_second, t.bits_per_subpixel) for t in totals}
    alt = "A dot for each codec; further down is smaller, further to the right is faster"
    return [
        table(
            TOTALS_HEAD, map(cells_of, totals), f"Encode and decode in megapixels per second; {OURS} at effort {effort}"
        ),
        *map(paragraph, notes(rows, totals)),
        grid(
            [
                chart(totals_figure(encoding, "encoding, MP/s"), "encoding", alt, "Size against the speed of encoding"),
                chart(totals_figure(decoding, "decoding, MP/s"), "decoding", alt, "Size against the speed of decoding"),
            ],
            narrowest=20,
        ),
    ]


def _each_image(rows: Sequence[Row], names: dict[str, str], totals: Sequence[Total]) -> list[Html]:
    codecs = [t.codec for t in totals]
    bits = {codec: [row.bits(codec) for row in rows] for codec in codecs}
    lines = (
        [
            names[row.file] + " *" * row.is_lossy,
            f"{row.height} x {row.width}",
            *(format_figure(row.bits(c), 3) for c in codecs),
        ]
        for row in rows[:MAX_LISTED]
    )
    listed = table(("file", "height x width", *codecs), lines, "bits/dim of each image")
    left_out = [paragraph(f"Only the first {MAX_LISTED} images are listed.")] if len(rows) > MAX_LISTED else []
    alt = f"A dot for each image and codec, above the line if {OURS} is smaller"
    caption = f"Each image: above the line, {OURS} is smaller"
    return [chart(images_figure(bits), "images", alt, caption), listed, *left_out]


def _with_maps(rows: Iterable[Row], names: dict[str, str]) -> list[Html]:
    compact = load("compact")
    shown = [
        paragraph(
            "Each image, and the bits that the network needs for each pixel: dark is few, bright is many. The "
            "whole file can be smaller than their sum, because it also uses what repeats in the image."
        )
    ]
    for row in rows:
        ours, best = row.costs[OURS], min((c.bytes, name) for name, c in row.costs.items() if c and name != OURS)
        assert ours is not None
        text = (
            f"{names[row.file]}: {ours.bytes:,} bytes, {_against_rivals(row):.3f} of the {best[0]:,} bytes of {best[1]}"
        )
        if row.channels > COLOUR_AND_ALPHA:
            shown += [
                paragraph(text),
                notice(f"No map: the network is for colours, and not for {row.channels} channels."),
            ]
            continue
        image, conversions = _in_eight_bits(row)
        bit_map = compact.map_bits(image[None])
        pictures = photograph_and_map(image, 8, bit_map)
        scale = ", ".join([f"brightest from {most_shown(bit_map):.1f} bits", *conversions])
        captions = (text, f"bits per pixel, {scale}")
        alts = (names[row.file], f"the bits per pixel of {names[row.file]}")
        figures = (picture(_png(p), alt, words) for p, alt, words in zip(pictures, alts, captions, strict=True))
        shown.append(grid(figures, narrowest=16))
    return shown


def _in_eight_bits(row: Row) -> tuple[Pixels, list[str]]:
    """The image (C, H, W) as the network takes it, and what was changed for that."""
    picture = read_picture(Path(row.file), row.height * row.width)
    pixels = np.asarray(picture.array[:, :]).reshape(row.height, row.width, row.channels)
    values = to_uint8(pixels.transpose(2, 0, 1), row.depth).reshape(row.height, row.width, row.channels)
    alpha = row.channels in (2, COLOUR_AND_ALPHA)
    changes = ["alpha left out"] * alpha + [f"{row.depth} bits reduced to 8"] * (row.depth > 8)
    return values[..., : row.channels - alpha].transpose(2, 0, 1), changes


def _against_rivals(row: Row) -> float:
    """The bytes of ours as a share of those of the smallest other codec; 0 if no other codec supports the image."""
    ours, others = row.costs[OURS], [cost.bytes for name, cost in row.costs.items() if cost and name != OURS]
    return ours.bytes / min(others) if ours and others else 0


def _png(image: Image.Image) -> bytes:
    image.thumbnail((MOST_SIDE, MOST_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
