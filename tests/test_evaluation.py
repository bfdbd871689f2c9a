"""Evaluation: ratio of sums, standard error, tiles, independence of batch size and order, damaged files."""

import math

import numpy as np
import pytest
import torch
from data_layouts import encode, noise, write_files
from test_pixel_pyramid import tiny

from pixelpyramids.data.folder import open_folder
from pixelpyramids.errors import DataError
from pixelpyramids.training.evaluation import evaluate, rate_in_tiles

SIZES = [(12, 9), (12, 9), (5, 20), (12, 9), (1, 1)]


@pytest.fixture(scope="module")
def model():
    return tiny(torch.float32, n_bits=8)


@pytest.fixture
def folder(tmp_path):
    return write_files(tmp_path, {f"{i}.png": encode(noise(i, *size)) for i, size in enumerate(SIZES)})


def test_bits_per_dim_is_a_ratio_of_sums_with_its_standard_error(model, folder):
    images = open_folder(folder, "all")
    result = evaluate(model, images)
    alone = [model.rate(torch.from_numpy(images.read(i).astype(np.int64))[None]) for i in range(len(images))]
    nats = np.array([float(rate.total_nats[0]) for rate in alone])
    dimensions = np.array([3 * h * w for h, w in images.sizes])
    np.testing.assert_allclose(result.bits_per_dim, nats.sum() / dimensions.sum() / math.log(2), rtol=1e-6)
    np.testing.assert_allclose(result.bits_per_dim_of_images, nats / dimensions / math.log(2), rtol=1e-6)
    assert np.array_equal(result.dimensions.sum(axis=1), dimensions)
    assert (result.seconds > 0).all()


def test_the_standard_error_of_images_of_one_size_is_sd_over_root_n(model, folder):
    result = evaluate(model, open_folder(folder, "all"), chosen=[0, 1, 3])
    bits = result.bits_per_dim_of_images
    np.testing.assert_allclose(result.standard_error, bits.std(ddof=1) / math.sqrt(3), rtol=1e-9)
    np.testing.assert_allclose(result.bits_per_dim, bits.mean(), rtol=1e-9)


def test_the_result_does_not_depend_on_the_batch_size(model, folder):
    images = open_folder(folder, "all")
    nats = [evaluate(model, images, batch_size=size).nats for size in (1, 2, 16)]
    np.testing.assert_allclose(nats, nats[:1] * 3, rtol=1e-6)


def test_tiles_are_scored_as_separate_images_and_every_pixel_counts(model):
    image = torch.randint(0, 256, (2, 3, 11, 7), generator=torch.Generator().manual_seed(0))
    tiled = rate_in_tiles(model, image, 4)
    parts = [model.rate(image[..., y : y + 4, x : x + 4]) for y in (0, 4, 8) for x in (0, 4)]
    expected = torch.stack([part.total_nats for part in parts]).sum(0)
    torch.testing.assert_close(tiled.total_nats, expected, rtol=1e-6, atol=0)
    assert tiled.dimensions.sum(-1).tolist() == [3 * 11 * 7] * 2
    assert torch.equal(rate_in_tiles(model, image, 11).nats, model.rate(image).nats)
    with pytest.raises(DataError, match="tiles of at least 1"):
        rate_in_tiles(model, image, 0)


def test_only_the_chosen_levels_are_scored(model, folder):
    images = open_folder(folder, "all")
    whole, some = evaluate(model, images), evaluate(model, images, levels=[1])
    np.testing.assert_allclose(some.nats[:, 1], whole.nats[:, 1], rtol=1e-9)
    assert not some.nats[:, [0, 2, 3]].any() and not some.dimensions[:, [0, 2, 3]].any()


def test_damaged_pixels_are_named_and_skipped(model, folder):
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    images = open_folder(folder, "all")
    with pytest.warns(UserWarning, match=r"1\.png: expected an image that Pillow can read, got .*; .*; skipped"):
        result = evaluate(model, images)
    assert [file.name for file in result.skipped] == ["1.png"]
    assert len(result.files) == len(result.sizes) == len(result.nats) == 4
    images = open_folder(folder, "all")
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:42])
    with pytest.raises(DataError, match="none of the 5 images"), pytest.warns(UserWarning, match="skipped"):
        evaluate(model, images)
