"""`score --history`: traces of JPEGs and of enlargement. Pillow makes them; libjpeg's colours decide."""

import io

import numpy as np
import pytest
import skimage
from command_line import json_of, output_of, refusal
from PIL import Image

from pixelpyramids import history
from pixelpyramids.errors import DataError
from pixelpyramids.loading import load
from pixelpyramids.pyramid.bit_map import BitMap

SIDE = 256


@pytest.fixture(scope="module")
def photograph():
    """A photograph without a past: it was reduced by a factor that is no whole number."""
    image = Image.fromarray(skimage.data.astronaut()).resize((386, 386), Image.Resampling.LANCZOS)
    return image.crop((20, 40, 20 + SIDE, 40 + SIDE))


def as_jpeg(image, quality=85):
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return Image.open(file).convert(image.mode)


def enlarge(image, factor):
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def trace(image):
    pixels = np.asarray(image)
    pixels = history.centre(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
    return history.trace(load("compact").map_bits(pixels[None]), pixels)


def test_a_photograph_has_no_past(photograph):
    found = trace(photograph)
    assert (found.was_jpeg, found.was_enlarged, found.is_flat) == (False, False, False)
    assert found.impossible > 0.5 and found.colours > 1000


@pytest.mark.parametrize("left", range(0, 8, 3))
@pytest.mark.parametrize("top", [0, 5])
def test_a_cropped_jpeg_is_found_wherever_its_blocks_begin(photograph, left, top):
    found = trace(as_jpeg(photograph).crop((left, top, SIDE, SIDE)))
    assert found.has_blocks and found.has_jpeg_colours and not found.was_enlarged
    assert found.impossible == 0


def test_blocks_alone_tell_a_grey_jpeg(photograph):
    assert trace(photograph.convert("L")).was_jpeg is False
    found = trace(as_jpeg(photograph.convert("L")))
    assert found.was_jpeg and found.has_jpeg_colours is None and found.colours == 0


def test_colours_alone_tell_a_jpeg_of_high_quality_that_is_small(photograph):
    found = trace(as_jpeg(photograph, 100).crop((0, 0, 128, 128)))
    assert found.was_jpeg and found.has_jpeg_colours and not found.has_blocks


@pytest.mark.parametrize("factor", [1.5, 2, 3])
def test_enlarged_pictures_are_found(photograph, factor):
    found = trace(enlarge(photograph, factor))
    assert found.was_enlarged and not found.was_jpeg


def test_the_past_before_an_enlargement_is_gone(photograph):
    found = trace(enlarge(as_jpeg(photograph), 1.5))
    assert found.was_enlarged and not found.was_jpeg


@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_images_are_too_flat(value):
    found = trace(Image.new("RGB", (200, 130), (value, value, 0)))
    assert found.is_flat and found.was_jpeg is None and found.was_enlarged is None
    assert np.isfinite([found.blocks, found.log_odds]).all()


def test_all_colours_of_jpegs_are_possible_and_a_quarter_of_random_ones():
    draw = np.random.default_rng(0)
    decoded = np.asarray(as_jpeg(Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)), 95))
    assert history.impossible_share(decoded.reshape(-1, 3)) == 0
    assert 0.7 < history.impossible_share(draw.integers(0, 256, (10_000, 3))) < 0.8


def test_power_at_a_period_is_seen_and_noise_has_a_mean_of_about_1():
    draw = np.random.default_rng(0)
    levels = np.zeros((SIDE, SIDE), np.uint8)
    levels[::2, ::2] = 1
    levels[::4, ::4] = 2
    levels[::8, ::8] = 3
    noise = draw.normal(5, 1, (20, SIDE, SIDE))
    powers = [np.expm1(history.features(BitMap(each[None], levels))[3:]) for each in noise]
    assert 3 < np.mean([blocks for blocks, _, _ in powers]) < 6  # four that are about 1
    assert np.max(powers, axis=0)[0] < history.BLOCKS_FROM
    column = np.arange(SIDE)
    for period, place in ((8, 0), (4, 1), (3, 2)):
        repeated = noise[0] + 0.5 * ((column % period == 0)[:, None] + (column % period == 0))
        features = np.expm1(history.features(BitMap(repeated[None], levels))[3:])
        assert features[place] > 10 * powers[0][place]


@pytest.mark.parametrize(
    ("size", "kept"), [((3, 128, 135), 128), ((1, 700, 513), 512), ((3, 143, 1000), 136), ((3, 2000, 2000), 512)]
)
def test_the_centre(size, kept):
    image = np.zeros(size, np.uint8)
    image[:, size[1] // 2, size[2] // 2] = 9
    middle = history.centre(image)
    assert middle.shape == (size[0], kept, kept) and (middle[:, kept // 2, kept // 2] == 9).all()


def test_small_images_have_no_history():
    with pytest.raises(DataError, match="at least 128 x 128 pixels, got 127 x 400"):
        history.centre(np.zeros((3, 127, 400), np.uint8))


def test_the_command_says_it_in_words_and_figures(photograph, tmp_path, capsys):
    images = {
        "a": photograph,
        "b": as_jpeg(photograph),
        "c": enlarge(photograph, 2),
        "d": photograph.crop((0, 0, 90, 90)),
    }
    images["e"] = Image.new("RGB", (200, 200), "white")
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
    lines = output_of(capsys, "score", "compact", tmp_path, "--history").out.splitlines()
    ends = [line.split(".png  ")[1] for line in lines[:5]]
    assert ends == [
        "not a JPEG; not enlarged",
        "was a JPEG (blocks, colours); not enlarged",
        "not a JPEG; was enlarged",
        "history unknown: expected an image of at least 128 x 128 pixels, got 90 x 90",
        "a JPEG: unknown (too flat); enlarged: unknown (too flat)",
    ]
    found = json_of(capsys, "score", "compact", tmp_path, "--history")["images"]
    answers = [(each["history"] or {}).get("was_jpeg") for each in found]
    assert answers == [False, True, False, None, None] and found[3]["history"] is None
    assert found[2]["history"]["was_enlarged"] and found[2]["history"]["log_odds"] > 0
    assert "history" not in json_of(capsys, "score", "compact", tmp_path / "a.png")["images"][0]


def test_only_the_bundled_network_tells_the_history(tmp_path, capsys):
    assert "--history needs the model compact" in refusal(capsys, "score", "runs/mine", tmp_path, "--history")
