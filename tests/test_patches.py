"""Patches of a level's pair are at one place in both halves, reach every place, and depend only on the sample."""

import math

import numpy as np
import pytest
import torch
from test_training import assert_equal_runs, config, training

from pixelpyramids.pyramid.rate import bits_per_dim
from pixelpyramids.training import run_directory
from pixelpyramids.training.patches import cut_patches
from pixelpyramids.training.progress import Budget


def number_pixels(batch, height, width):
    """A pair with a number for each fine pixel, and that number plus one for the coarse pixel."""
    fine = torch.arange(batch * height * width).reshape(batch, 1, height, width) * 2
    return fine, fine + 1


def test_both_halves_are_cut_at_one_place():
    fine, coarse = cut_patches(*number_pixels(5, 8, 16), 4, seed=0, level=1, samples=range(5))
    assert fine.shape == coarse.shape == (5, 1, 4, 4)
    assert torch.equal(fine + 1, coarse)
    assert torch.equal(fine[:, 0, 1:, 0] - fine[:, 0, :-1, 0], torch.full((5, 3), 32))


def test_short_sides_and_the_coarsest_image_stay_whole():
    short, _ = cut_patches(*number_pixels(2, 3, 16), 4, seed=0, level=0, samples=range(2))
    assert short.shape == (2, 1, 3, 4)
    fine, coarse = number_pixels(2, 4, 4)
    for given in ((fine, coarse, 4), (fine, coarse, None), (fine, None, 2)):
        whole = cut_patches(*given, seed=0, level=0, samples=range(2))
        assert torch.equal(whole[0], fine) and (whole[1] is given[1] or torch.equal(whole[1], coarse))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_patches_of_narrow_integers_are_those_of_wide_ones(dtype):
    pair = number_pixels(2, 5, 9)
    for size in (4, 9):
        wide = cut_patches(*pair, size, seed=0, level=1, samples=range(2))
        narrow = cut_patches(*(half.to(dtype) for half in pair), size, seed=0, level=1, samples=range(2))
        for ours, theirs in zip(narrow, wide, strict=True):
            assert ours.dtype == torch.long and torch.equal(ours, theirs)


def test_all_places_are_equally_likely():
    fine, coarse = number_pixels(1, 5, 5)
    corners = [
        int(cut_patches(fine, coarse, 3, seed=0, level=0, samples=[sample])[0][0, 0, 0, 0]) // 2
        for sample in range(1800)
    ]
    counts = np.bincount(corners, minlength=25).reshape(5, 5)
    assert counts[:3, :3].sum() == 1800 and counts[:3, :3].min() > 140


def test_the_patch_of_a_sample_does_not_depend_on_the_batch():
    fine, coarse = number_pixels(4, 16, 16)
    whole, _ = cut_patches(fine, coarse, 4, seed=3, level=2, samples=range(8, 12))
    for index in range(4):
        alone, _ = cut_patches(fine[[index]], coarse[[index]], 4, seed=3, level=2, samples=[8 + index])
        assert torch.equal(alone[0], whole[index])


def test_separately_trained_levels_see_the_same_patches_and_validation_scores_whole_images(folder, tmp_path):
    parameters = config(patch_size=4)
    training(folder, tmp_path / "whole", parameters, validate=True).fit(Budget(steps=6))
    for levels in ([0, 3], [1, 2]):
        training(folder, tmp_path / "parts", parameters, validate=True, levels=levels).fit(Budget(steps=6))
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    log = run_directory.read_log(tmp_path / "whole", 0)
    # Nats of patches are scaled to whole images. Otherwise, coarse levels would count too much in the sum.
    assert {entry["dimensions"] for entry in log if "nats" in entry} == {math.prod(parameters.image_size) // 2 * 3}
    assert all(5 < bits_per_dim(entry["nats"], entry["dimensions"]) < 12 for entry in log if "nats" in entry)
    assert all(entry["dimensions"] == 24 * 12 * 3 for entry in log if "validation_nats" in entry)
