"""bench: the files of several codecs for the same pixels, decoded and compared."""

import platform
import shlex
import shutil
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from command_line import json_of, output_of, refusal
from pictures import encode, pixels, save
from PIL import Image
from test_report_page import read

from pixelpyramids.cli.report import rivals
from pixelpyramids.cli.report.bench_page import bench_page
from pixelpyramids.cli.report.jpeg_xl_programs import PROGRAMS
from pixelpyramids.cli.report.measurements import Row
from pixelpyramids.cli.report.measurements import total as total_of
from pixelpyramids.cli.report.page import Section
from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.image_files.bit_depth import widen

needs_programs = pytest.mark.skipif(
    any(shutil.which(name) is None for name in PROGRAMS), reason="cjxl and djxl (libjxl-tools) are not installed"
)


def test_bench_sums_what_codecs_write(tmp_path, capsys):
    save(tmp_path / "in" / "a.png", 0)
    save(tmp_path / "in" / "b.jpg", 1, format="JPEG")
    Image.fromarray(pixels(2)[..., 0]).save(tmp_path / "in" / "grey.png")
    (tmp_path / "in" / "c.png").write_bytes(b"none")
    table, plot = tmp_path / "t.csv", tmp_path / "t.svg"
    result = json_of(capsys, "bench", tmp_path / "in", "--csv", table, "--plot", plot, expected=1)
    assert [Path(image["file"]).name for image in result["images"]] == ["a.png", "b.jpg", "grey.png"]
    assert [image["is_lossy"] for image in result["images"]] == [False, True, False] and len(result["failed"]) == 1
    for rival, options in (("PNG", {"optimize": True}), ("WebP", {"lossless": True, "quality": 100, "method": 6})):
        assert result["images"][0]["costs"][rival]["bytes"] == len(encode(pixels(0), rival, **options))
    assert result["images"][2]["channels"] == 1
    ours, *others = result["totals"]
    assert [other["codec"] for other in others][:2] == ["PNG", "WebP"]
    assert len(others) == 4
    for total in result["totals"]:
        size = sum(image["costs"][total["codec"]]["bytes"] for image in result["images"])
        assert total["bytes"] == size and total["images"] == 3
        assert total["ratio"] == pytest.approx(ours["bytes"] / size)
        assert total["bits_per_subpixel"] == pytest.approx(8 * size / (600 * 7))
    assert len(table.read_text().splitlines()) == 1 + 3 * len(result["totals"]) and plot.read_text().startswith("<?xml")
    assert "--overwrite" in refusal(capsys, "bench", tmp_path / "in", "--csv", table)
    text = output_of(capsys, "bench", tmp_path / "in" / "b.jpg", tmp_path / "in" / "grey.png").out
    assert "b.jpg *" in text and "* from a lossy file" in text and "2 images; encode and decode" in text


def test_bench_writes_a_page_with_the_best_and_the_worst_images(tmp_path, capsys):
    folder = tmp_path / "in"
    for number, name in enumerate(("a", "b", "<i>odd", "deep & grey")):
        save(folder / f"{name}.png", number)
    Image.fromarray(noise(16, 1)[..., 0]).save(folder / "deep & grey.png")
    html = tmp_path / "page.html"
    result = json_of(capsys, "bench", folder, "--html", html)
    page = read(html.read_text(encoding="utf-8"))
    pictures = page.all("img")
    assert len(pictures) == 8 and len(page.all("svg")) == 3  # two best and two worst, each with its map
    assert "<i>odd.png" in page.text and "16 bits reduced to 8" in page.text
    for total in result["totals"]:
        assert f"{total['bytes']:,}" in page.text and f"{total['bits_per_subpixel']:.3f}" in page.text
    shares = {}
    for image in result["images"]:
        sizes = {codec: figures["bytes"] for codec, figures in image["costs"].items() if figures}
        shares[Path(image["file"]).name] = sizes.pop(".ppyr") / min(sizes.values())
    best, worst = min(shares, key=shares.get), max(shares, key=shares.get)
    assert pictures[0]["alt"] == best and pictures[4]["alt"] == worst
    assert f"{shares[best]:.3f} of the" in page.text
    assert shlex.join(["pixelpyramids", "bench", str(folder), "--html", str(html), "--json"]) in page.text
    assert f"numpy{np.__version__}" in page.text and platform.python_version() in page.text
    assert "page.html" in refusal(capsys, "bench", folder, "--html", html)


def test_the_page_says_which_image_has_no_map(tmp_path):
    costs = {rivals.OURS: rivals.Cost(5, 1, 1), "PNG": rivals.Cost(9, 1, 1)}
    many = tmp_path / "many.tif"
    tifffile.imwrite(many, np.zeros((20, 30, 6), np.uint8), photometric="minisblack")
    channels = {many: 6, save(tmp_path / "a.png"): 3}
    rows = [Row(str(file), "png", False, 20, 30, count, 8, costs) for file, count in channels.items()]
    markup = bench_page(rows, [total_of(rows, codec) for codec in costs], "default", Section("made here", []))
    page = read(markup)
    assert (
        "many.tif: 5 bytes" in page.text
        and "not for 6 channels" in page.text
        and len(page.all("img")) == 2
        and 'class="notice"' in markup
    )


def noise(depth, channels):
    image = np.random.default_rng(0).integers(0, 1 << depth, (20, 30, channels))
    return image.astype(np.uint8 if depth <= 8 else np.uint16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 5, 8, 12, 16])
def test_other_codecs_decode_to_the_same_pixels(depth, channels):
    image = noise(depth, channels)
    for rival in rivals.codecs("fast"):
        figures = rivals.cost(rival, image, depth)
        assert (figures is None) == (depth > 8 and rival.name == "WebP")
        if rival.name == "PNG" and depth > 8 and channels > 1:
            assert figures.bytes == len(imagecodecs.png_encode(widen(image, depth, 16), level=6))


def test_only_ours_is_measured_on_many_channels():
    image = np.zeros((20, 30, 5), np.uint8)
    assert {codec.name for codec in rivals.codecs("fast") if rivals.cost(codec, image, 8)} == {rivals.OURS}


def test_a_chart_that_cannot_be_drawn_is_refused_before_measuring(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pixelpyramids.cli.report.rivals.codecs", None)
    message = refusal(capsys, "bench", save(tmp_path / "a.png"), "--plot", tmp_path / "a.nothing")
    assert "a.nothing: expected a name that ends in .png, .svg or .pdf" in message


def test_other_codecs_have_no_limit_except_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)  # of WebP only
    for dtype in (np.uint8, np.uint16):
        array = np.random.default_rng(0).integers(0, 99, (20, 30, 3)).astype(dtype)
        costs = [rivals.cost(rival, array, 8 * array.itemsize) for rival in rivals.codecs("fast")[:3]]
        assert [figures is None for figures in costs] == [False, False, True]


@needs_programs
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 5, 8, 12, 16])
def test_cjxl_and_djxl_decode_to_the_same_pixels(depth, channels):
    assert rivals.cost(rivals.JPEG_XL_BY_CJXL, noise(depth, channels), depth).bytes > 0


@needs_programs
def test_the_strongest_settings_are_measured_in_both_directions(tmp_path, capsys):
    result = json_of(capsys, "bench", save(tmp_path / "a.png"), "--strongest")
    names = [total["codec"] for total in result["totals"]]
    assert names == [".ppyr", "PNG", "WebP", "JXL -e 7", "JXL -e 9", "JXL -e 10", "JXL -I 100"]
    for figures in result["images"][0]["costs"].values():
        assert figures["encode_seconds"] > 0 and figures["decode_seconds"] > 0
    text = output_of(capsys, "bench", tmp_path / "a.png", "--strongest").out
    assert "JXL -I 100: cjxl -e 9 -g 3 -E 3 -I 100" in text


def test_programs_that_are_missing_or_fail_are_named(tmp_path, monkeypatch, capsys):
    image = save(tmp_path / "a.png")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "got no cjxl and no djxl; install libjxl's tools" in refusal(capsys, "bench", image, "--strongest")
    for name in PROGRAMS:
        (tmp_path / name).write_text("#!/bin/sh\necho cannot read it >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(PixelPyramidsError, match="expected cjxl to process the image, got its error: cannot read it"):
        rivals.cost(rivals.JPEG_XL_BY_CJXL, noise(8, 3), 8)
