"""The walk is geometry: every pixel once, coarse to fine, for every size, and nothing of it needs torch."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelpyramids.pyramid.levels import Slice, coarsest_size, halving_size, walk
from pixelpyramids.pyramid.splitting import merge, split

sides = st.integers(1, 40)
squeezes = st.lists(st.integers(0, 3), max_size=12)


def imported_by(statement):
    """The top-level modules that a fresh interpreter holds after the statement."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@given(sides, sides, squeezes)
def test_every_pixel_is_a_site_once(height, width, n_squeeze):
    remaining = np.arange(height * width).reshape(height, width)
    coded = []
    for stage in reversed(walk(height, width, n_squeeze)):
        if stage.axis is None:
            array = remaining
        elif stage.is_split:
            array, remaining = split(remaining, stage.axis)
        else:
            continue
        assert array.shape == (stage.height, stage.width)
        for slice_ in stage.slices:
            sites = array[slice_.sites]
            assert sites.shape == slice_.shape(stage.height, stage.width)
            coded.append(sites.ravel())
    assert np.array_equal(np.sort(np.concatenate(coded)), np.arange(height * width))


@given(sides, sides, squeezes)
def test_the_stages_run_from_the_coarsest_to_the_finest_and_their_sizes_chain(height, width, n_squeeze):
    coarsest, *levels = walk(height, width, n_squeeze)
    assert coarsest.index == len(n_squeeze) and coarsest.axis is None and coarsest.coarse is None
    assert coarsest.is_split
    assert [level.index for level in levels] == list(reversed(range(len(n_squeeze))))
    known = (coarsest.height, coarsest.width)
    for level in levels:
        assert level.axis == (-2 if level.index % 2 == 0 else -1)
        assert level.coarse == known
        if level.is_split:
            fine = np.zeros((level.height, level.width))
            known = merge(fine, np.zeros(known), level.axis).shape
    assert known == (height, width)


@given(sides, sides, squeezes)
def test_a_side_of_one_is_not_split(height, width, n_squeeze):
    known = (height, width)
    for stage in reversed(walk(height, width, n_squeeze)[1:]):
        if known[stage.axis] == 1:
            assert not stage.is_split
            assert (stage.height, stage.width, stage.slices) == (0, 0, ())
        else:
            assert stage.is_split
        known = stage.coarse


@given(sides, sides, squeezes)
def test_a_level_has_its_slices_in_raster_order_of_their_offset(height, width, n_squeeze):
    for stage in walk(height, width, n_squeeze)[1:]:
        factor = 2 ** n_squeeze[stage.index]
        offsets = [(slice_.y, slice_.x) for slice_ in stage.slices]
        assert all((slice_.step_y, slice_.step_x) == (factor, factor) for slice_ in stage.slices)
        assert offsets == ([(y, x) for y in range(factor) for x in range(factor)] if stage.is_split else [])


@given(sides, sides, squeezes)
def test_the_coarsest_image_is_coded_pixel_by_pixel_in_raster_order(height, width, n_squeeze):
    coarsest = walk(height, width, n_squeeze)[0]
    shape = (coarsest.height, coarsest.width)
    raster = [int(np.arange(np.prod(shape)).reshape(shape)[slice_.sites].item()) for slice_ in coarsest.slices]
    assert raster == list(range(len(raster)))


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 4), st.integers(0, 4), st.integers(1, 5), st.integers(1, 5))
def test_the_shape_of_a_slice_is_that_of_its_sites(height, width, y, x, step_y, step_x):
    slice_ = Slice(y, x, step_y, step_x)
    assert slice_.shape(height, width) == np.zeros((height, width))[slice_.sites].shape


def test_a_walk_by_hand():
    coarsest, columns, rows = walk(3, 5, (1, 0))
    assert (rows.index, rows.axis, rows.height, rows.width, rows.coarse) == (0, -2, 2, 5, (1, 5))
    assert [slice_.shape(2, 5) for slice_ in rows.slices] == [(1, 3), (1, 2), (1, 3), (1, 2)]
    assert (columns.index, columns.axis, columns.height, columns.width, columns.coarse) == (1, -1, 1, 3, (1, 2))
    assert columns.slices == (Slice(0, 0, 1, 1),)
    assert (coarsest.index, coarsest.height, coarsest.width) == (2, 1, 2)


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, 4), (4, -2)])
def test_an_image_has_at_least_one_pixel(size):
    with pytest.raises(ValueError, match=f"at least 1 x 1 pixels, got {size[0]} x {size[1]}"):
        walk(*size, (1, 1))


@given(st.integers(0, 16), st.integers(1, 6))
def test_halving_size_comes_down_to_the_coarsest_size(n_levels, coarsest):
    stage = walk(*halving_size(n_levels, coarsest), [0] * n_levels)[0]
    assert (stage.height, stage.width) == (coarsest, coarsest)


@given(sides, sides, st.integers(0, 12))
def test_the_coarsest_size_is_that_of_the_walk(height, width, n_levels):
    stage = walk(height, width, [0] * n_levels)[0]
    assert coarsest_size(height, width, n_levels) == (stage.height, stage.width)


def test_sizes_of_the_papers_levels():
    assert halving_size(12) == (256, 256)
    assert halving_size(16) == (1024, 1024)
    assert halving_size(10) == (128, 128)
    assert halving_size(1) == (8, 4)


def test_geometry_and_parameters_need_no_torch():
    modules = ("pyramid.levels", "pyramid.octaves", "pyramid.rate", "model.parameters", "loading")
    statement = "import " + ", ".join(f"pixelpyramids.{module}" for module in modules)
    assert "torch" not in imported_by(statement)


def test_importing_the_package_imports_nothing_slow():
    assert not imported_by("import pixelpyramids") & {"torch", "numba", "openvino", "accelerate", "pydantic", "PIL"}


def test_names_of_the_package_resolve_on_first_use():
    names = "pp.pyramid.split, pp.walk.walk, pp.Parameters, pp.Rate, pp.load_parameters, pp.load, pp.Model"
    statement = f"import pixelpyramids as pp; {names}"
    assert "torch" not in imported_by(statement)
    assert "torch" in imported_by("import pixelpyramids as pp; pp.PixelPyramid")
