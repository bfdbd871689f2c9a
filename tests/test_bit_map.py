"""Maps of bits: their sums are the code lengths, every pixel has its own place, and `score --map` writes them."""

import numpy as np
import pytest
import torch
from command_line import json_of, refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_pixel_pyramid import random_images, tiny

import pixelpyramids as pp
from pixelpyramids.cli.report.bit_maps import WIDTH, map_picture
from pixelpyramids.errors import DataError
from pixelpyramids.model.models import new_model
from pixelpyramids.model.parameters import load_parameters
from pixelpyramids.pyramid.bit_map import BitMap
from pixelpyramids.training.evaluation import map_in_tiles, rate_in_tiles

SIDES = st.integers(1, 40)


@pytest.fixture(scope="module")
def compact():
    return pp.load("compact")


@settings(max_examples=30)
@given(SIDES, SIDES, st.sampled_from([1, 3]), st.integers(0, 99))
def test_the_bundled_models_map_sums_to_the_bits_of_each_level(height, width, channels, seed):
    model = pp.load("compact")
    images = np.random.default_rng(seed).integers(0, 256, (2, channels, height, width))
    rate, bit_map = model.rate(images), model.map_bits(images)
    np.testing.assert_allclose(bit_map.bits.sum(axis=(1, 2)) * np.log(2), rate.total_nats)
    for level in range(rate.nats.shape[1]):
        np.testing.assert_allclose(bit_map.of_level(level).sum(axis=(1, 2)) * np.log(2), rate.nats[:, level])
        assert channels * np.sum(bit_map.levels == level) == rate.dimensions[0, level]


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20))
def test_a_trained_models_map_sums_to_the_bits_of_each_level(height, width):
    model = tiny()
    images = random_images(model, 2, height, width)
    rate, bit_map = model.rate(images), model.map_bits(images)
    again = bit_map.to_rate(model.config.image_channels)
    torch.testing.assert_close(again.nats, rate.nats)
    assert torch.equal(again.dimensions, rate.dimensions)


def test_a_map_is_of_the_kind_of_the_images(compact):
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 9, 5))
    for model in (compact, tiny(n_bits=8), new_model(load_parameters("compact"))):
        assert isinstance(model.map_bits(images).bits, np.ndarray)
        tensors = model.map_bits(torch.from_numpy(images))
        assert isinstance(tensors.bits, torch.Tensor) and tensors.levels.dtype == torch.uint8
        torch.testing.assert_close(tensors.bits, torch.from_numpy(model.map_bits(images).bits))
        with pytest.raises(DataError):
            model.map_bits(images[0])


def test_only_pixels_that_are_coded_later_see_a_change(compact):
    """The last pixel changes nothing but its own bits; a coarse pixel changes none of a coarser level."""
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 70, 66))
    before = compact.map_bits(image)
    last, coarse = image.copy(), image.copy()
    last[0, 1, 68, 64] ^= 9  # even row and column: in the last slice, whose last site it is
    assert np.argwhere(compact.map_bits(last).bits != before.bits).tolist() == [[0, 68, 64]]
    y, x = np.argwhere(before.levels == 2)[7]
    coarse[0, :, y, x] ^= 9
    changed = compact.map_bits(coarse).bits != before.bits
    assert changed[0, y, x] and not changed[0][before.levels > 2].any()
    assert changed[0][before.levels < 2].any()


def test_the_bits_of_the_last_pixel_are_those_of_a_distribution(compact):
    """Two to the power of minus the bits of each value that it can have sum to 1."""
    images = np.random.default_rng(2).integers(100, 120, (1, 1, 6, 6)).repeat(256, axis=0)
    images[:, 0, 4, 4] = np.arange(256)
    bits = compact.map_bits(images).bits
    assert np.argwhere((bits != bits[0]).any(axis=0)).tolist() == [[4, 4]]
    assert np.exp2(-bits[:, 4, 4]).sum() == pytest.approx(1)


def test_the_last_pixels_of_a_trained_model_have_distributions():
    model = tiny(image_channels=1)
    images = random_images(model, 1, 6, 6).repeat(model.config.n_values, 1, 1, 1)
    images[:, 0, 4, 5] = torch.arange(model.config.n_values)  # of level 0, in the last slice of its lattice
    bits = model.map_bits(images).bits
    assert float(torch.exp2(-bits[:, 4, 5]).sum()) == pytest.approx(1)


def test_maps_of_tiles_sum_to_rates_of_tiles():
    model = tiny(torch.float32, n_bits=8)
    images = random_images(model, 2, 11, 7)
    bit_map, rate = map_in_tiles(model, images, 4), rate_in_tiles(model, images, 4)
    torch.testing.assert_close(bit_map.to_rate(3).nats, rate.nats, rtol=1e-6, atol=0)
    assert torch.equal(bit_map.bits[:, :4, :4], model.map_bits(images[..., :4, :4]).bits)
    with pytest.raises(DataError, match="tiles of at least 1"):
        map_in_tiles(model, images, 0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (33, 57), (700, 1500)])
@pytest.mark.parametrize("levels", [1, 5])
def test_every_map_has_a_picture(height, width, levels):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    numbers = rng.integers(0, levels, (height, width), dtype=np.uint8)
    picture = map_picture(image, 8, BitMap(rng.exponential(9, (1, height, width)), numbers))
    assert picture.width == WIDTH and picture.height < 4000


def test_a_picture_is_bright_where_the_bits_are(compact):
    image = np.full((3, 64, 64), 90, np.uint8)
    image[:, :, 32:] = np.random.default_rng(0).integers(0, 256, (3, 64, 32))
    picture = np.asarray(map_picture(image, 8, compact.map_bits(image[None])).convert("L")).astype(float)
    over = picture[24:632, 648:1256]  # the second panel, beside the image
    assert over[:, 320:].mean() > over[:, :280].mean() + 60


@pytest.mark.parametrize("kind", ["compact", "trained"])
def test_score_writes_maps(kind, trained, images, tmp_path, capsys):
    model = "compact" if kind == "compact" else trained
    (scored, *others) = json_of(capsys, "score", model, images, "--map", tmp_path / "maps")["images"]
    assert len(others) == 19 and len(list((tmp_path / "maps").iterdir())) == 40
    with np.load(scored["bits"]) as arrays:
        bits, levels = arrays["bits"], arrays["levels"]
    assert bits.shape == levels.shape == (24, 16)
    assert (
        bits.sum() == pytest.approx(scored["nats"] / np.log(2)) == pytest.approx(scored["bits_per_dim"] * 3 * 16 * 24)
    )
    nats = [level["nats"] / np.log(2) for level in scored["levels"]]
    assert nats == pytest.approx([bits[levels == level].sum() for level in range(len(nats))])
    with Image.open(scored["map"]) as picture:
        assert picture.format == "PNG" and picture.width == WIDTH
    alone = json_of(capsys, "score", model, images / "00.png")["images"][0]
    assert alone["nats"] == pytest.approx(scored["nats"], rel=1e-6)


def test_maps_overwrite_nothing_unasked(images, tmp_path, capsys):
    maps, one = tmp_path / "maps", images / "00.png"
    json_of(capsys, "score", "compact", one, "--map", maps)
    (maps / "00.png.map.png").write_bytes(b"mine")
    assert "00.png.map.png: exists already" in refusal(capsys, "score", "compact", images, "--map", maps)
    assert (maps / "00.png.map.png").read_bytes() == b"mine" and len(list(maps.iterdir())) == 2
    json_of(capsys, "score", "compact", one, "--map", maps, "--overwrite")
    assert (maps / "00.png.map.png").read_bytes() != b"mine"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "00.png").write_bytes(one.read_bytes())
    message = refusal(capsys, "score", "compact", one, tmp_path / "b" / "00.png", "--map", tmp_path / "new")
    assert "different names" in message and not (tmp_path / "new").exists()
