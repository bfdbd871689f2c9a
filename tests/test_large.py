"""Images on disk: they are coded like those in memory, to the same bytes."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ppyr_files import pixels

import pixelpyramids as pp
from pixelpyramids.codec import disk_array, part_store
from pixelpyramids.codec.disk_array import DiskArray, allocate, bands_of
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.codec.image import decode_into, encode_to


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch):
    """Even a few pixels are kept on disk, and bands are a few rows."""
    monkeypatch.setattr(disk_array, "LARGE", 16)
    monkeypatch.setattr(part_store, "LARGE", 16)
    monkeypatch.setattr(disk_array, "AT_ONCE", 2000)


def on_disk(array):
    copy = DiskArray(array.shape, array.dtype)
    copy[:, :] = array
    return copy


def assert_same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5)), wide=st.booleans())
def test_windows_are_those_of_an_array(data, shape, wide):
    array, copy = np.zeros(shape, np.uint16 if wide else np.uint8), DiskArray(shape, np.uint16 if wide else np.uint8)
    for _ in range(4):
        window = tuple(slice(*sorted(data.draw(st.tuples(*[st.integers(0, side)] * 2)))) for side in shape)
        window = window[: data.draw(st.integers(2, 3))]
        values = data.draw(st.integers(0, 255)) + np.arange(array[window].size).reshape(array[window].shape)
        array[window] = copy[window] = values.astype(np.uint8)
        assert_same(copy[window], array[window])
        assert_same(copy[:, :], array)
    assert_same(copy.reshape(shape[0], -1)[:, :], array.reshape(shape[0], -1))
    assert_same(np.concatenate([band for _, band in bands_of(copy)]), array)
    with pytest.raises(ValueError, match="expected a shape"):
        copy.reshape(7, 8, 9)


KINDS = st.sampled_from(["noise", "constant", "smooth", "grey", "comb"])
SHAPES = st.tuples(st.integers(1, 300), st.integers(1, 300)).filter(lambda shape: shape[0] * shape[1] < 20_000)


@settings(max_examples=40, deadline=None)
@given(
    kind=KINDS,
    shape=st.one_of(SHAPES, st.sampled_from([(1, 900), (900, 1), (3, 2000), (70, 150)])),
    channels=st.sampled_from([None, 1, 2, 3, 4, 5]),
    of_type=st.sampled_from([(False, 1), (False, 8), (True, 9), (True, 12), (True, 16)]),
    effort=st.sampled_from(["fast", "default"]),
    data=st.data(),
)
def test_files_and_pixels_are_those_of_the_array(kind, shape, channels, of_type, effort, data):
    is_wide, depth = of_type
    array = pixels(kind, shape if channels is None else (*shape, channels), depth, is_wide)
    target = io.BytesIO()
    encode_to(target, on_disk(array), depth, effort, {"XMP": b"x"})
    assert target.getvalue() == pp.encode(array, depth, effort, {"XMP": b"x"})
    source = MemorySource(target.getvalue())
    header, found = decode_into(DiskArray, source)
    assert_same(found[:, :], array.reshape(*shape, -1))
    level = data.draw(st.integers(0, min(header.octaves, 3)))
    x, y = (data.draw(st.integers(0, side - 1)) for side in shape[::-1])
    region = x, y, data.draw(st.integers(1, shape[1] - x)), data.draw(st.integers(1, shape[0] - y))
    try:
        expected = pp.decode(target.getvalue(), 1 << level, region)
    except pp.PixelPyramidsError:
        return
    _, found = decode_into(DiskArray, source, 1 << level, region)
    assert_same(found[:, :].reshape(expected.shape), expected)


def test_an_image_of_many_tiles_and_planes_comes_back():
    array = pixels("smooth", (1100, 1300, 5), 8, False)
    target = io.BytesIO()
    encode_to(target, on_disk(array), effort="fast")
    assert target.getvalue() == pp.encode(array, effort="fast")
    _, found = decode_into(allocate, MemorySource(target.getvalue()))
    assert isinstance(found, DiskArray)
    assert_same(found[:, :], array)
