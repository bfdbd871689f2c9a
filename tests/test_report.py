"""Pictures, curves, tables and comparisons, checked with Pillow, the standard library and figures by hand."""

import io
import json
import math
import statistics
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import files
from PIL import Image
from rich.console import Console

from pixelpyramids.cli.console import print_json
from pixelpyramids.cli.demo import lag1_correlation
from pixelpyramids.cli.report.curves import read_curve, save_curve
from pixelpyramids.cli.report.pictures import pyramid_picture, save_grid, save_png, save_pyramid, to_uint8
from pixelpyramids.cli.report.tables import evaluation_json, images_table, levels_table
from pixelpyramids.data.photographs import photographs
from pixelpyramids.data.reading import read_decoded
from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.training.evaluation import Evaluation

CHELSEA = photographs() / "train" / "chelsea.png"


def integers(*shape, n_bits=8, seed=0):
    return np.random.default_rng(seed).integers(2**n_bits, size=shape)


@pytest.mark.parametrize("n_bits", range(1, 17))
def test_values_scale_to_the_whole_range_of_a_screen(n_bits):
    n = 2**n_bits
    values = np.arange(n).reshape(1, 1, n)
    pixels = to_uint8(values, n_bits)
    assert pixels.shape == (1, n) and pixels.dtype == np.uint8
    if n_bits <= 8:
        assert pixels[0].tolist() == [math.floor(v * 255 / (n - 1) + 0.5) for v in range(n)]
    else:
        assert pixels[0].tolist() == [v // 2 ** (n_bits - 8) for v in range(n)]


@given(st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)), st.integers(1, 16), st.integers(0, 99))
@settings(max_examples=60)
def test_a_png_holds_the_integers_or_their_upper_bits(tmp_path_factory, shape, n_bits, seed):
    path, channels = tmp_path_factory.getbasetemp() / "picture.png", shape[0]
    values = integers(*shape, n_bits=n_bits, seed=seed)
    save_png(path, values, n_bits)
    is_deep = n_bits > 8 and channels == 1
    with Image.open(path) as picture:
        assert picture.mode == ("I;16" if is_deep else {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels])
        stored = np.asarray(picture).reshape(*shape[1:], channels).transpose(2, 0, 1)
    if n_bits >= 8:
        assert (stored == (values << 16 - n_bits if is_deep else values >> n_bits - 8)).all()
    if n_bits <= 8 or is_deep:
        assert (read_decoded(path, channels, n_bits).pixels == values).all()


@pytest.mark.parametrize(
    ("values", "n_bits"),
    [(np.full((3, 2, 2), 32), 5), (np.full((1, 2, 2), -1), 8), (np.zeros((1, 2, 2)), 8), (integers(5, 2, 2), 8),
     (integers(2, 2), 8)],
)  # fmt: skip
def test_other_values_are_refused_and_leave_no_file(tmp_path, values, n_bits):
    with pytest.raises(ValueError, match="expected"):
        save_png(tmp_path / "picture.png", values, n_bits)
    assert files(tmp_path) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"as it was")

    def fail(self, file, **options):
        Path(file).write_bytes(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    for write, *arguments in ((save_png, integers(3, 4, 4)), (save_grid, integers(1, 3, 4, 4))):
        with pytest.raises(OSError, match="disk full"):
            write(path, *arguments, 8)
    assert path.read_bytes() == b"as it was" and files(tmp_path) == ["picture.png"]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("count", "columns", "scale"), [(1, None, 1), (5, 3, 1), (6, 2, 3), (3, 9, 2)])
def test_a_grid_holds_every_image_between_white_margins(tmp_path, channels, count, columns, scale):
    images = integers(count, channels, 4, 5, seed=count)
    save_grid(tmp_path / "grid.png", images, 8, columns, scale)
    sheet = np.asarray(Image.open(tmp_path / "grid.png"))
    sheet = sheet.reshape(*sheet.shape[:2], channels)
    across = min(columns or 1, count)
    down = -(-count // across)
    assert sheet.shape == (down * (4 * scale + 2) + 2, across * (5 * scale + 2) + 2, channels)
    rest = np.ones(sheet.shape, bool)
    for index, image in enumerate(images):
        y, x = 2 + index // across * (4 * scale + 2), 2 + index % across * (5 * scale + 2)
        place = slice(y, y + 4 * scale), slice(x, x + 5 * scale)
        assert (sheet[place] == np.kron(image, np.ones((1, scale, scale), int)).transpose(1, 2, 0)).all()
        rest[place] = False
    assert (sheet[rest] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_captions_stand_under_images_that_are_enlarged_to_hold_them(tmp_path, channels):
    images = integers(2, channels, 6, 8)
    save_grid(tmp_path / "grid.png", images, 8, columns=2, captions=["0000  3.21 bits/dim", "b"])
    sheet = np.asarray(Image.open(tmp_path / "grid.png"))
    scale = (sheet.shape[1] - 3 * 2) // 16
    assert scale > 8
    place = sheet[2 : 2 + 6 * scale, 2 : 2 + 8 * scale]
    assert (place == np.kron(images[0], np.ones((1, scale, scale), int)).transpose(1, 2, 0)).all()
    below = (sheet[2 + 6 * scale :] < 128).any(axis=(0, 2))
    assert below[: 8 * scale].sum() > below[8 * scale :].sum() > 0 and not below[:2].any()


@pytest.mark.parametrize(("count", "shape"), {16: (4, 4), 8: (2, 4), 12: (3, 4), 2: (1, 2), 7: (3, 3)}.items())
def test_a_grid_is_about_square_by_default(count, shape, tmp_path):
    save_grid(tmp_path / "grid.png", integers(count, 1, 8, 8), 8)
    with Image.open(tmp_path / "grid.png") as sheet:
        assert ((sheet.height - 2) // 10, (sheet.width - 2) // 10) == shape


def test_the_pyramid_of_chelsea(tmp_path):
    chelsea = read_decoded(CHELSEA).pixels
    picture = pyramid_picture(chelsea, 8, 8)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert 1500 <= picture.shape[1] <= 1700
    assert (picture[:20] == 255).all() and (picture[:, :20] == 255).all() and (picture[:, -20:] == 255).all()
    ink = (picture < 250).any(axis=(0, 2))
    columns = np.flatnonzero(np.diff(ink.astype(int)) == 1)
    assert len(columns) == 9  # the photograph and 8 coarse images, white between them
    save_pyramid(tmp_path / "pyramid.png", chelsea, 8, 8)
    assert (np.asarray(Image.open(tmp_path / "pyramid.png")) == picture).all()


def test_the_pyramid_shows_coarse_images_and_residuals():
    """A fine half of 10 over a coarse half of 30: the coarse image is 30, the residual 10 - 30 + 128 = 108."""
    image = np.full((1, 8, 8), 10)
    image[:, 1::2] = 30
    picture = pyramid_picture(image, 1, 8)
    shown = {tuple(colour) for colour in picture[:, -60:-30].reshape(-1, 3)}
    assert {(30,) * 3, (108,) * 3} <= shown
    assert (10,) * 3 not in shown


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 9), (2, 7, 1), (4, 5, 6), (3, 200, 3)])
def test_any_image_has_a_picture(shape):
    for n_levels in (0, 1, 5):
        assert pyramid_picture(integers(*shape, n_bits=5), n_levels, 5).shape[2] == 3


@given(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)), st.integers(0, 999))
@settings(max_examples=60)
def test_correlation_is_that_of_the_listed_pairs(shape, seed):
    images = integers(*shape, n_bits=4, seed=seed)
    lines = (line for image in images for channel in image for way in (channel, channel.T) for line in way)
    pairs = [(int(a), int(b)) for line in lines for a, b in pairwise(line)]
    firsts, seconds = [a for a, _ in pairs], [b for _, b in pairs]
    if len(set(firsts)) < 2 or len(set(seconds)) < 2:
        assert math.isnan(lag1_correlation(images))
    else:
        assert lag1_correlation(images) == pytest.approx(statistics.correlation(firsts, seconds), abs=1e-9)


def write_log(run, level, dimensions, *entries):
    """Write the log of a level from its dimensions and (step, kind of nats, bits/dim)."""
    (run / "log").mkdir(exist_ok=True)
    lines = ({"step": s, kind: b * dimensions * math.log(2), "dimensions": dimensions} for s, kind, b in entries)
    (run / "log" / f"level_{level:02d}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_curve_of_a_run(tmp_path):
    """Two levels of 6 and 2 dimensions."""
    write_log(tmp_path, 0, 6, (10, "nats", 2), (20, "nats", 1), (30, "nats", 1), (20, "validation_nats", 1.5))
    write_log(tmp_path, 1, 2, (10, "nats", 4), (20, "nats", 3), (20, "validation_nats", 3.5))
    with (tmp_path / "log" / "level_01.jsonl").open("a") as file:
        file.write('{"step": 30, "na')
    curve = read_curve(tmp_path, 2, window=2)
    expected = {  # at step 30 level 1 has no entry
        "training": ([10, 20], [(2 * 6 + 4 * 2) / 8, (2 * 6 + 4 * 2 + 1 * 6 + 3 * 2) / 16]),
        "validation": ([20], [(1.5 * 6 + 3.5 * 2) / 8]),
        "level 0": ([10, 20, 30], [2, 1.5, 1]),
        "level 1": ([10, 20], [4, 3.5]),
    }
    assert list(curve) == list(expected)
    for name, (steps, bits) in expected.items():
        assert curve[name][0].tolist() == steps and curve[name][1] == pytest.approx(bits)
    assert read_curve(tmp_path, 2, window=1)["training"][1] == pytest.approx([20 / 8, 12 / 8])


def test_a_curve_of_levels_trained_apart(tmp_path):
    assert read_curve(tmp_path, 2) == {}
    write_log(tmp_path, 1, 2, (10, "nats", 1.0))
    with (tmp_path / "log" / "level_01.jsonl").open("a") as file:
        file.write('{"step": 20, "nats": 1.0, "dimensions": 0}\n')
    curve = read_curve(tmp_path, 2)
    assert list(curve) == ["level 1"] and curve["level 1"][0].tolist() == [10]


def synthetic(levels=9):
    steps = np.arange(10, 1001, 10)
    bits = 3.5 + 4 * np.exp(-steps / 100)
    series = {"training": (steps, bits), "validation": (steps[49::50], bits[49::50] + 0.1)}
    return series | {f"level {level}": (steps, bits + 0.3 * level) for level in range(levels)}


def test_a_curve_is_drawn_without_touching_pyplot(tmp_path):
    before = set(sys.modules)
    for name in ("curve.png", "curve", "curve.svg"):
        save_curve(tmp_path / name, synthetic(), "title", {"PNG": 4.1, "WebP lossless": math.nan})
        if not name.endswith("svg"):
            with Image.open(tmp_path / name) as picture:
                assert picture.format == "PNG" and picture.width >= 1200
                assert len(picture.convert("RGB").getcolors(2**24)) > 50
    assert "<svg" in (tmp_path / "curve.svg").read_text()
    assert files(tmp_path) == ["curve", "curve.png", "curve.svg"]
    assert "matplotlib.pyplot" not in set(sys.modules) - before


def test_curves_of_a_single_step_and_of_none(tmp_path):
    for series in ({}, {"training": (np.array([10]), np.array([math.nan]))}):
        with pytest.raises(PixelPyramidsError, match="expected logged steps"):
            save_curve(tmp_path / "curve.png", series, "title")
    assert files(tmp_path) == []
    save_curve(tmp_path / "curve.png", {"training": (np.array([10]), np.array([4.0]))}, "")
    assert files(tmp_path) == ["curve.png"]


def test_without_matplotlib_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PixelPyramidsError, match=r'pip install "pixelpyramids\[plots\]"'):
        save_curve(tmp_path / "curve.png", synthetic(), "title")


def evaluation(sizes=((4, 6), (4, 6)), **fields):
    """Three stages; the first image at 2, 3 and 4 bits/dim, the second at 1 more."""
    dimensions = np.array([[3 * h // 2 * w, 3 * h // 2 * (w // 2), 3 * h // 2 * (w // 2)] for h, w in sizes], np.int64)
    bits = 2 + np.arange(3) + np.arange(len(sizes))[:, None]
    names = tuple(Path(f"/data/[red]/{index}.png") for index in range(len(sizes)))
    return Evaluation(
        **{"nats": dimensions * bits * math.log(2), "dimensions": dimensions, "seconds": np.array([0.2, 0.1, 0.05]),
           "files": names, "sizes": tuple(sizes), "formats": ("PNG",) * len(sizes), "conversions": ((),) * len(sizes),
           "skipped": ()} | fields
    )  # fmt: skip


def printed(table):
    console = Console(file=io.StringIO(), width=160, no_color=True, force_terminal=False)
    console.print(table)
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    return [list(row) for row in zip(*cells, strict=True)], console.file.getvalue()


def test_the_table_of_levels():
    rows, text = printed(levels_table(evaluation(), [1000, 200, 34]))
    ln2 = math.log(2)
    assert rows[0][:4] == ["0", "2 x 6", "36", f"{36 * 2.5 * ln2:.1f}"]
    assert rows[0][4:] == ["2.5000", f"{100 * 90 / 234:.1f}", "1000", "100.0"]
    assert rows[1] == ["1", "2 x 3", "18", f"{18 * 3.5 * ln2:.1f}", "3.5000", f"{100 * 63 / 234:.1f}", "200", "50.0"]
    assert rows[2][:2] == ["coarsest", "2 x 3"]
    assert rows[3] == ["total", "", "72", f"{234 * ln2:.1f}", "3.2500", "100.0", "1234", "175.0"]
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_only_level_of_a_model_is_not_called_the_coarsest():
    one = {"nats": np.ones((1, 1)), "dimensions": np.full((1, 1), 72), "seconds": np.ones(1)}
    rows, _ = printed(levels_table(evaluation(((4, 6),), **one), [1]))
    assert rows[0][:3] == ["0", "4 x 6", "72"]


def test_the_table_of_levels_of_mixed_sizes():
    rows, _ = printed(levels_table(evaluation(((4, 6), (8, 8))), [1, 1, 1]))
    assert [row[1] for row in rows] == ["–", "–", "–", ""]


def test_the_table_of_levels_gives_only_sizes_that_tiles_keep():
    """5 x 6 pixels in tiles of 3 x 3, whose rows are halved to 2 and 1, and of 2 x 3."""
    dimensions = 3 * np.array([[2 * (2 * 3 + 1 * 3), 2 * (1 * 2 + 1 * 2), 2 * (1 * 1 + 1 * 1)]])
    rows, _ = printed(levels_table(evaluation(((5, 6),), dimensions=dimensions), [1, 1, 1]))
    assert [row[1:3] for row in rows] == [["3 x 6", "54"], ["–", "24"], ["–", "12"], ["", "90"]]


def test_the_table_of_images():
    table = images_table(evaluation(((4, 6), (8, 6))), {"PNG": [4.0, 3.0], "WebP": [math.nan, 3.5]})
    rows, text = printed(table)
    assert all(name in text for name in ("file", "height x width", "model", "PNG", "WebP"))
    assert rows == [
        ["0.png", "4 x 6", "2.750", "4.000", "–"],
        ["1.png", "8 x 6", "3.750", "3.000", "3.500"],
        ["all", "", f"{(2.75 + 2 * 3.75) / 3:.3f}", f"{(4 + 2 * 3) / 3:.3f}", "–"],
    ]
    bold = [[str(cell.style) == "bold" for cell in column._cells] for column in table.columns[2:]]
    assert bold == [[True, False, False], [False, True, True], [False, False, False]]


def test_file_names_are_not_read_as_markup():
    files = (Path("/data/a/[red]x.png"), Path("/data/b/[red]x.png"))
    rows, _ = printed(images_table(evaluation(files=files), {}))
    assert [row[0] for row in rows] == ["a/[red]x.png", "b/[red]x.png", "all"]


def test_an_evaluation_survives_json(capsys):
    scores = evaluation(((4, 6), (8, 6)))
    print_json(evaluation_json(scores, "demo", [1000, 200, 34]))
    written = json.loads(capsys.readouterr().out)
    assert written["model"] == "demo" and written["images"] == 2
    assert written["bits_per_dim"] == pytest.approx(scores.bits_per_dim)
    assert written["standard_error"] == pytest.approx(scores.standard_error)
    assert written["dimensions"] == 3 * (4 * 6 + 8 * 6)
    levels = {key: [level[key] for level in written["levels"]] for key in written["levels"][0]}
    assert levels["dimensions"] == [108, 54, 54] and levels["parameters"] == [1000, 200, 34]
    assert sum(levels["nats"]) == pytest.approx(scores.nats.sum()) and sum(levels["share"]) == pytest.approx(1)
    second = written["per_image"][1]
    assert (second["file"], second["height"], second["width"]) == ("/data/[red]/1.png", 8, 6)
    assert second["bits_per_dim"] == pytest.approx(3.75)
    assert second["nats_of_levels"] == pytest.approx(scores.nats[1].tolist())
    assert second["nats"] == pytest.approx(sum(second["nats_of_levels"]))


def test_figures_that_are_not_finite_are_null(capsys):
    scores = evaluation(((4, 6),))
    scores.nats[0, 1], scores.dimensions[0, 2], scores.nats[0, 2] = math.inf, 0, 0
    print_json(evaluation_json(scores, "demo", [1, 1, 1]))
    written = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert written["standard_error"] is None and written["bits_per_dim"] is None
    assert written["levels"][1]["nats"] is None and written["levels"][2]["bits_per_dim"] is None
    printed(levels_table(scores, [1, 1, 1]))
    printed(images_table(scores, {}))
