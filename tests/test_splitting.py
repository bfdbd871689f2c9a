"""The split loses nothing, for arrays and tensors alike, and residuals have an exact inverse modulo n."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixelpyramids.pyramid.splitting import between, from_residual, merge, pad_coarse, split, to_residual

AXES = (-2, -1)
KINDS = (np.asarray, torch.as_tensor)


@st.composite
def images(draw, least=1):
    """Integer images (…, C, H, W) of 1 to 4 channels and up to two leading axes, and their number of bits."""
    bits = draw(st.integers(1, 16))
    types = [name for name in ("uint8", "uint16", "int32", "int64") if 2**bits - 1 <= np.iinfo(name).max]
    leading = draw(st.lists(st.integers(1, 3), max_size=2))
    channels, height, width = draw(st.integers(1, 4)), draw(st.integers(least, 9)), draw(st.integers(least, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(0, 2**bits, (*leading, channels, height, width)).astype(draw(st.sampled_from(types))), bits


def same(values, array):
    """Whether an array or a tensor holds the same values, shape and type as an array."""
    values = values.numpy() if isinstance(values, torch.Tensor) else values
    return values.dtype == array.dtype and np.array_equal(values, array)


@pytest.mark.parametrize("kind", KINDS)
def test_the_even_lines_are_fine_and_the_odd_ones_coarse(kind):
    image = kind(np.arange(15).reshape(3, 5))
    for fine, coarse in (split(image), split(image, -2)):
        assert fine.tolist() == [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14]] and coarse.tolist() == [[5, 6, 7, 8, 9]]
    fine, coarse = split(image, -1)
    assert fine.tolist() == [[0, 2, 4], [5, 7, 9], [10, 12, 14]] and coarse.tolist() == [[1, 3], [6, 8], [11, 13]]


@given(images(), st.sampled_from(AXES), st.sampled_from(KINDS))
def test_merge_inverts_split_and_the_halves_are_views(drawn, axis, kind):
    array = drawn[0].copy()
    image = kind(array)
    if array.shape[axis] == 1:
        with pytest.raises(ValueError, match=f"at least 2 lines along axis {axis}, got 1: a side of 1 is not split"):
            split(image, axis)
        return
    fine, coarse = split(image, axis)
    assert fine.shape[axis] - coarse.shape[axis] == array.shape[axis] % 2
    merged = merge(fine, coarse, axis)
    assert same(merged, drawn[0])
    fine[...] = 0
    coarse[...] = 0
    assert not array.any() and same(merged, drawn[0])


@pytest.mark.parametrize("axis", [0, 1, 2, -3])
def test_an_axis_is_rows_or_columns(axis):
    image = np.zeros((2, 2, 2), dtype=int)
    for call in (lambda: split(image, axis), lambda: merge(image, image, axis)):
        with pytest.raises(ValueError, match=rf"axis -2 \(rows\) or -1 \(columns\), got {axis}"):
            call()


@pytest.mark.parametrize("kind", KINDS)
def test_halves_of_different_images_or_types_are_refused(kind):
    shapes = [((4, 3), (2, 3)), ((2, 3), (3, 3)), ((2, 3), (2, 4)), ((1, 2, 3), (2, 2, 3)), ((2, 3), (1, 2, 3))]
    for fine, coarse in shapes:
        expected = rf"at most by one more line of fine along axis -2, got fine \({fine[0]}, .*coarse \({coarse[0]}, "
        with pytest.raises(ValueError, match=expected):
            merge(kind(np.zeros(fine)), kind(np.zeros(coarse)), -2)
    for types in (("uint8", "int64"), ("int32", "uint8"), ("int64", "int32")):
        halves = (kind(np.zeros((2, 3), dtype)) for dtype in types)
        with pytest.raises(ValueError, match=rf"halves of one type, got fine .*{types[0]} and coarse .*{types[1]}"):
            merge(*halves)


@given(images(least=2), st.sampled_from(AXES), st.data())
def test_residuals_stay_in_range_and_have_an_inverse_in_every_type(drawn, axis, data):
    image, bits = drawn
    n = 2**bits
    shift = data.draw(st.sampled_from([0, n // 2, 128 % n, n - 1]) | st.integers(0, n - 1))
    fine, coarse = split(image, axis)
    coarse = pad_coarse(coarse, fine.shape[-2:])
    expected = (fine.astype(np.int64) - coarse + shift) % n
    for kind in KINDS:
        halves = kind(fine.copy()), kind(coarse.copy())
        residual = to_residual(*halves, n, shift)
        assert same(residual, expected) and expected.min() >= 0 and expected.max() < n
        back = from_residual(kind(expected.astype(image.dtype)), halves[1], n, shift)
        assert same(back, fine.astype(np.int64))


@settings(max_examples=50)
@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5)), st.booleans(), st.booleans())
def test_coarse_is_padded_by_repeating_its_last_lines(coarse, row, column):
    shape = (coarse.shape[-2] + row, coarse.shape[-1] + column)
    edges = [(0, 0)] * (coarse.ndim - 2) + [(0, int(row)), (0, int(column))]
    for kind in KINDS:
        assert same(pad_coarse(kind(coarse), shape), np.pad(coarse, edges, mode="edge"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axis", AXES)
def test_between_is_the_sum_of_the_coarse_lines_beside_each_fine_line(axis, kind):
    image = np.random.default_rng(0).integers(0, 256, (2, 7, 7))
    image[:, :2] = 255
    fine, coarse = split(image, axis)
    padded = pad_coarse(coarse, fine.shape[-2:])
    for dtype in ("uint8", "int32", "int64"):
        sums = np.asarray(between(kind(padded.astype(dtype)), axis))
        assert sums.max() > 255
        for line in range(fine.shape[axis]):
            beside = [padded.take(max(line - 1, 0), axis), padded.take(line, axis)]
            assert np.array_equal(sums.take(line, axis), beside[0] + beside[1])
