"""The split loses nothing, for arrays and tensors alike, and residuals have an exact inverse modulo n."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixelpyramids.pyramid.splitting import between, from_residual, merge, pad_coarse, split, to_residual

AXES = (-2, -1)
sides = st.integers(1, 9)


@st.composite
def images(draw, least=1):
    """Integer images (…, C, H, W) of 1 to 4 channels and up to two leading axes, and their number of bits."""
    bits = draw(st.integers(1, 16))
    leading = draw(st.lists(st.integers(1, 3), max_size=2))
    channels, height, width = draw(st.integers(1, 4)), draw(st.integers(least, 9)), draw(st.integers(least, 9))
    seed = draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(seed).integers(0, 2**bits, (*leading, channels, height, width))
    return values.astype(
        draw(st.sampled_from([t for t in ("uint8", "uint16", "int32", "int64") if fits(bits, t)]))
    ), bits


def fits(bits, dtype):
    return 2**bits - 1 <= np.iinfo(dtype).max


def same(tensor, array):
    """Whether a tensor holds the very values, shape and type of an array."""
    return tensor.numpy().dtype == array.dtype and np.array_equal(tensor.numpy(), array)


def test_the_even_lines_are_fine_and_the_odd_ones_coarse():
    image = np.array([[1, 2], [3, 4]])
    for kind in (np.asarray, torch.as_tensor):
        fine, coarse = split(kind(image), -2)
        assert fine.tolist() == [[1, 2]] and coarse.tolist() == [[3, 4]]
        fine, coarse = split(kind(image), -1)
        assert fine.tolist() == [[1], [3]] and coarse.tolist() == [[2], [4]]


def test_with_an_odd_count_fine_has_one_line_more():
    image = np.arange(15).reshape(3, 5)
    for kind in (np.asarray, torch.as_tensor):
        fine, coarse = split(kind(image), -2)
        assert fine.tolist() == [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14]]
        assert coarse.tolist() == [[5, 6, 7, 8, 9]]
        fine, coarse = split(kind(image), -1)
        assert fine.tolist() == [[0, 2, 4], [5, 7, 9], [10, 12, 14]]
        assert coarse.tolist() == [[1, 3], [6, 8], [11, 13]]


def test_rows_are_split_where_no_axis_is_named():
    image = np.arange(12).reshape(4, 3)
    assert split(image)[0].tolist() == image[0::2].tolist()
    assert np.array_equal(merge(*split(image)), image)


@given(images(), st.sampled_from(AXES))
def test_merge_inverts_split(drawn, axis):
    image, _ = drawn
    if image.shape[axis] == 1:
        with pytest.raises(ValueError, match=f"at least 2 lines along axis {axis}, got 1: a side of 1 is not split"):
            split(image, axis)
        return
    fine, coarse = split(image, axis)
    assert fine.shape[axis] - coarse.shape[axis] == image.shape[axis] % 2
    merged = merge(fine, coarse, axis)
    assert merged.dtype == image.dtype
    assert np.array_equal(merged, image)


@given(images(least=2), st.sampled_from(AXES))
def test_tensors_are_split_and_merged_as_arrays_are(drawn, axis):
    image, _ = drawn
    fine, coarse = split(torch.from_numpy(image), axis)
    expected_fine, expected_coarse = split(image, axis)
    assert same(fine, expected_fine) and same(coarse, expected_coarse)
    assert same(merge(fine, coarse, axis), image)


@given(sides, sides)
def test_splitting_down_to_one_pixel_and_merging_again(height, width):
    image = np.arange(height * width).reshape(1, height, width)
    rest, halves = image, []
    while rest.shape[-2:] != (1, 1):
        axis = -2 if (len(halves) % 2 == 0 and rest.shape[-2] > 1) or rest.shape[-1] == 1 else -1
        fine, rest = split(rest, axis)
        halves.append((fine, axis))
    for fine, axis in reversed(halves):
        rest = merge(fine, rest, axis)
    assert np.array_equal(rest, image)


@given(images(least=2), st.sampled_from(AXES), st.booleans())
def test_the_halves_are_views_of_the_image(drawn, axis, tensors):
    image = drawn[0].copy()
    for half in split(torch.from_numpy(image) if tensors else image, axis):
        half[...] = 0
    assert not image.any()


def test_merging_makes_a_new_image():
    image = np.arange(12).reshape(4, 3)
    fine, coarse = split(image.copy())
    merged = merge(fine, coarse)
    fine[...] = -1
    assert np.array_equal(merged, image)


@pytest.mark.parametrize("axis", [0, 1, 2, -3])
def test_an_axis_is_rows_or_columns(axis):
    image = np.zeros((2, 2, 2), dtype=int)
    with pytest.raises(ValueError, match=rf"axis -2 \(rows\) or -1 \(columns\), got {axis}"):
        split(image, axis)
    with pytest.raises(ValueError, match=rf"axis -2 \(rows\) or -1 \(columns\), got {axis}"):
        merge(image, image, axis)


@pytest.mark.parametrize(
    "fine, coarse",
    [((4, 3), (2, 3)), ((2, 3), (3, 3)), ((2, 3), (2, 4)), ((1, 2, 3), (2, 2, 3)), ((2, 3), (1, 2, 3))],
)
def test_halves_of_different_images_are_refused(fine, coarse):
    expected = rf"at most by one more line of fine along axis -2, got fine \({fine[0]}, .*coarse \({coarse[0]}, "
    for zeros in (np.zeros, torch.zeros):
        with pytest.raises(ValueError, match=expected):
            merge(zeros(fine), zeros(coarse), -2)


@given(images(least=2), st.sampled_from(AXES), st.data())
def test_residuals_stay_in_range_and_have_an_inverse(drawn, axis, data):
    image, bits = drawn
    n = 2**bits
    shift = data.draw(st.sampled_from([0, n // 2, 128 % n, n - 1]) | st.integers(0, n - 1))
    wide = image.astype(data.draw(st.sampled_from(["uint8" if bits <= 8 else "uint16", "int32", "int64"])))
    fine, coarse = split(wide, axis)
    coarse = pad_coarse(coarse, fine.shape[-2:])
    residual = to_residual(fine, coarse, n, shift)
    assert residual.min() >= 0 and residual.max() < n
    assert np.array_equal(from_residual(residual, coarse, n, shift), fine)
    tensors = torch.from_numpy(fine.copy()), torch.from_numpy(coarse.copy())
    assert same(to_residual(*tensors, n, shift), residual)
    assert same(from_residual(torch.from_numpy(residual), tensors[1], n, shift), fine.astype(np.int64))


@pytest.mark.parametrize("bits", [1, 2, 3, 5])
def test_a_residual_is_a_permutation_of_the_values(bits):
    n = 2**bits
    fine, coarse = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    for shift in range(n):
        residual = to_residual(fine, coarse, n, shift)
        assert (np.sort(residual, axis=0) == np.arange(n)[:, None]).all()
        assert np.array_equal(from_residual(residual, coarse, n, shift), fine)


@given(st.integers(1, 16), st.data())
def test_a_centred_residual_keeps_the_order_of_small_differences(bits, data):
    n = 2**bits
    coarse = data.draw(st.integers(0, n - 1))
    difference = data.draw(st.integers(max(-coarse, -(n // 2)), min(n - 1 - coarse, n // 2 - 1)))
    assert to_residual(np.array(coarse + difference), np.array(coarse), n, n // 2) == n // 2 + difference


@settings(max_examples=50)
@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5)), st.booleans(), st.booleans())
def test_coarse_is_padded_by_repeating_its_last_lines(coarse, row, column):
    shape = (coarse.shape[-2] + row, coarse.shape[-1] + column)
    edges = [(0, 0)] * (coarse.ndim - 2) + [(0, int(row)), (0, int(column))]
    expected = np.pad(coarse, edges, mode="edge")
    assert np.array_equal(pad_coarse(coarse, shape), expected)
    assert same(pad_coarse(torch.from_numpy(coarse), shape), expected)


@pytest.mark.parametrize("axis", [-2, -1])
def test_between_is_the_sum_of_the_coarse_lines_beside_each_fine_line(axis):
    image = np.random.default_rng(0).integers(0, 256, (2, 7, 7))
    fine, coarse = split(image, axis)
    padded = pad_coarse(coarse, fine.shape[-2:])
    for line in range(fine.shape[axis]):
        beside = [padded.take(max(line - 1, 0), axis), padded.take(line, axis)]
        assert np.array_equal(between(padded, axis).take(line, axis), beside[0] + beside[1])
        assert torch.equal(between(torch.from_numpy(padded), axis), torch.from_numpy(between(padded, axis)))


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("axis", AXES)
def test_the_smallest_type_gives_what_the_widest_does(axis, kind, dtype):
    image = np.random.default_rng(0).integers(0, 256, (3, 6, 6))
    image[:, :2] = [[0, 255, 0, 255, 255, 0], [255, 0, 0, 255, 0, 255]]
    fine, coarse = split(image, axis)
    narrow = kind(fine.astype(dtype)), kind(coarse.astype(dtype))
    for shift in (0, 128, 255):
        residual = to_residual(*narrow, 256, shift)
        assert np.array_equal(residual, (fine - coarse + shift) % 256)
        back = from_residual(kind(np.asarray(residual).astype(dtype)), narrow[1], 256, shift)
        assert np.array_equal(back, fine)
    assert np.array_equal(between(narrow[1], axis), between(coarse, axis)) and between(coarse, axis).max() > 255


@pytest.mark.parametrize("others", [("uint8", "int64"), ("int32", "uint8"), ("int64", "int32")])
def test_halves_of_two_types_are_refused(others):
    image = np.arange(12).reshape(4, 3)
    fine, coarse = split(image)
    for kind in (np.asarray, torch.as_tensor):
        halves = (kind(half.astype(dtype)) for half, dtype in zip((fine, coarse), others, strict=True))
        with pytest.raises(ValueError, match=rf"halves of one type, got fine .*{others[0]} and coarse .*{others[1]}"):
            merge(*halves)
