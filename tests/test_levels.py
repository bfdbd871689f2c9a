"""The walk visits every pixel once, coarse to fine, for every size, and does not need torch."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pixelpyramids as pp
from pixelpyramids.pyramid.levels import Slice, coarsest_size, decompose, halving_size, walk
from pixelpyramids.pyramid.splitting import merge

sides = st.integers(1, 40)
squeezes = st.lists(st.integers(0, 3), max_size=12)


def modules_after(statement):
    """The top-level modules that a new interpreter has loaded after the statement."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@given(sides, sides, squeezes)
def test_every_pixel_is_visited_once(height, width, n_squeeze):
    stages = walk(height, width, n_squeeze)
    pairs = decompose(np.arange(height * width).reshape(height, width), stages)
    assert list(pairs) == sorted(stage.index for stage in stages if stage.is_split)
    coded = []
    for stage in stages:
        if stage.is_split:
            array, coarse = pairs[stage.index]
            assert array.shape == (stage.height, stage.width)
            assert (coarse is None) == (stage.coarse is None) and (coarse is None or coarse.shape == stage.coarse)
            for slice_ in stage.slices:
                assert array[slice_.sites].shape == slice_.shape(stage.height, stage.width)
                coded.append(array[slice_.sites].ravel())
    assert np.array_equal(np.sort(np.concatenate(coded)), np.arange(height * width))


@given(sides, sides, squeezes)
def test_the_stages_run_from_the_coarsest_to_the_finest_and_their_sizes_chain(height, width, n_squeeze):
    coarsest, *levels = walk(height, width, n_squeeze)
    assert coarsest.index == len(n_squeeze) and coarsest.axis is None and coarsest.coarse is None
    assert [level.index for level in levels] == list(reversed(range(len(n_squeeze))))
    known = (coarsest.height, coarsest.width)
    assert known == coarsest_size(height, width, len(n_squeeze))
    raster = [slice_.y * coarsest.width + slice_.x for slice_ in coarsest.slices]
    assert raster == list(range(coarsest.height * coarsest.width))
    for level in levels:
        factor = 2 ** n_squeeze[level.index]
        assert level.axis == (-2 if level.index % 2 == 0 else -1) and level.coarse == known
        if level.is_split:
            known = merge(np.zeros((level.height, level.width)), np.zeros(known), level.axis).shape
            assert [(s.y, s.x) for s in level.slices] == [(y, x) for y in range(factor) for x in range(factor)]
            assert all((s.step_y, s.step_x) == (factor, factor) for s in level.slices)
        else:  # a side of 1 is not split
            assert known[level.axis] == 1 and (level.height, level.width, level.slices) == (0, 0, ())
    assert known == (height, width)


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
def test_halving_size_is_reduced_to_the_coarsest_size(n_levels, coarsest):
    stage = walk(*halving_size(n_levels, coarsest), [0] * n_levels)[0]
    assert (stage.height, stage.width) == (coarsest, coarsest)


def test_importing_the_package_imports_nothing_slow():
    assert not modules_after("import pixelpyramids") & {"torch", "accelerate", "ctypes", "pydantic", "PIL"}


def test_decoding_imports_no_more_than_it_needs(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8) // 32
    (tmp_path / "a.ppyr").write_bytes(pp.encode(image, effort="fast"))
    modules = modules_after(f"import pixelpyramids as pp; pp.decode(open({str(tmp_path / 'a.ppyr')!r}, 'rb').read())")
    slow = {"PIL", "pydantic", "rich", "secrets", "tifffile", "torch", "typer"}  # NumPy's random imports secrets
    assert "numpy" in modules and not modules & slow


def test_names_of_the_package_resolve_on_first_use():
    names = "pp.pyramid.split, pp.walk.walk, pp.Parameters, pp.Rate, pp.load_parameters, pp.load, pp.Model"
    assert "torch" not in modules_after(f"import pixelpyramids as pp; {names}")
    assert "torch" in modules_after("import pixelpyramids as pp; pp.PixelPyramid")
