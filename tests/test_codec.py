"""The whole codec: images of every shape, depth and content come back unchanged; damaged files are refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode
from PIL import Image
from ppyr_files import pixels

import pixelpyramids as pp
from pixelpyramids.codec import fallback, image
from pixelpyramids.codec.compact_model import octave_images
from pixelpyramids.codec.container import MAX_CHANNELS, Content, read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.codec.memory import YCBCR
from pixelpyramids.data.photographs import photographs
from pixelpyramids.errors import BitstreamError, DataError

SHAPES = [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (3, 3), (2, 130), (64, 64), (65, 66), (131, 70)]
DEPTHS = [(False, 1), (False, 3), (False, 8), (True, 5), (True, 9), (True, 12), (True, 16)]


def photograph(name="chelsea.png", height=None, width=None):
    with Image.open(photographs() / "train" / name) as image:
        return np.asarray(image.convert("RGB"))[:height, :width]


def assert_same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


@pytest.mark.parametrize("kind", ["noise", "constant", "smooth", "grey", "comb"])
@pytest.mark.parametrize(("is_wide", "depth"), DEPTHS)
def test_every_image_comes_back(kind, is_wide, depth):
    for shape in SHAPES:
        for channels in (None, 1, 2, 3, 4):
            image = pixels(kind, shape if channels is None else (*shape, channels), depth, is_wide)
            for effort in ("fast", "max") if shape == (65, 66) else ("fast",):
                assert_same(pp.decode(pp.encode(image, depth=depth, effort=effort)), image)


@pytest.mark.parametrize("shape", [(1, 17000), (17000, 1, 3)])
def test_an_image_too_long_for_webp_comes_back_by_default(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert_same(pp.decode(pp.encode(image)), image)


@pytest.mark.parametrize("shape", [(1, 20_000), (200_000, 60, 3), (60, 200_000), (1100, 1100, 3), (20_000, 2000)])
def test_the_pixels_of_the_trial_fit_webp(shape):
    parts = fallback._trial_pixels(np.broadcast_to(np.uint8(0), shape))
    assert max(parts.shape) <= fallback.WEBP_SIDE and parts.size >= min(np.prod(shape), fallback.WEBP_SIDE)


def test_noisy_squares_do_not_hide_that_a_screen_repeats():
    """The squares that a trial would look at are all noise."""
    screen = np.zeros((1100, 1100, 3), dtype=np.uint8)
    screen[::50, ::2] = 255
    noise = np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)
    for square, (top, left) in zip(noise, itertools.product((147, 697), (147, 697)), strict=True):
        screen[top : top + 256, left : left + 256] = square
    assert np.array_equal(fallback._trial_pixels(screen), noise.reshape(-1, 256, 3))
    data = pp.encode(screen)
    assert read_index(MemorySource(data), 2**28).header.content == Content.WEBP
    assert_same(pp.decode(data), screen)


@pytest.mark.parametrize("error", [ValueError("encoding error 1"), MemoryError(), KeyError("WEBP")])
@pytest.mark.parametrize("side", [30, 300])  # in a large one, the trial fails
def test_if_all_libraries_fail_our_own_file_is_kept(error, side, monkeypatch):
    def fail(*_, **__):
        raise error

    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    monkeypatch.setattr(fallback, "_save", fail)
    for effort in ("default", "max"):
        data = pp.encode(image, effort=effort)
        assert read_index(MemorySource(data), 2**28).header.content == Content.MODEL
        assert_same(pp.decode(data), image)


@pytest.mark.parametrize("failing", [{"method": 6}, {"method": 4}, {"optimize": True}])
def test_if_one_library_fails_the_others_count(failing, monkeypatch):
    image = np.random.default_rng(0).choice([0, 90, 255], (40, 50, 3)).astype(np.uint8)
    save = fallback._save

    def fail_sometimes(picture, kind, **options):
        if failing.items() <= options.items():
            raise MemoryError
        return save(picture, kind, **options)

    monkeypatch.setattr(fallback, "_save", fail_sometimes)
    data = pp.encode(image, effort="max")
    assert read_index(MemorySource(data), 2**28).header.content != Content.MODEL
    assert_same(pp.decode(data), image)


@pytest.mark.parametrize("effort, tile, methods", [("default", 64, [4]), ("max", 64, [4, 6]), ("max", 200, [4])])
def test_the_slow_webp_is_made_only_where_it_may_win(effort, tile, methods, monkeypatch):
    """At effort max, of a pattern, and not of a photograph."""
    made, to_webp = [], fallback._to_webp
    image = np.tile(photograph("rocket.jpg", tile, tile), (200 // tile, 200 // tile, 1))

    def note(pixels, quality, method):
        made.append(method)
        return to_webp(pixels, quality, method)

    monkeypatch.setattr(fallback, "_to_webp", note)
    pp.encode(image, effort=effort)
    assert made == methods


@pytest.mark.parametrize("colours, is_few", [(1, True), (256, True), (257, False)])
@pytest.mark.parametrize("channels", [3, 4])
def test_few_colours_become_a_palette(colours, is_few, channels, monkeypatch):
    monkeypatch.setattr(fallback, "SORTED_PIXELS", 1000)
    numbers = np.random.default_rng(0).permutation(np.arange(60 * 70) % colours)
    values = np.random.default_rng(1).permutation(2**24)[:colours].astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    values = np.concatenate([values, values[:, :1]], axis=1)[:, :channels]
    found = fallback._find_palette(values[numbers].reshape(60, 70, channels))
    assert (found is not None) == is_few
    if found:
        palette, indices = found
        assert np.array_equal(palette[indices], values[numbers].reshape(60, 70, channels))
        assert np.array_equal(palette, np.unique(values, axis=0))


def test_the_trial_of_a_deep_image_sees_what_repeats():
    screen = np.zeros((1100, 1100), dtype=np.uint16)
    screen[::50, ::2] = 65535
    for top, left in itertools.product((147, 697), (147, 697)):
        screen[top : top + 256, left : left + 256] = np.random.default_rng(top + left).integers(0, 65536, (256, 256))
    assert read_index(MemorySource(pp.encode(screen)), 2**28).header.content == Content.PNG


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_small_image_comes_back(data):
    depth = data.draw(st.integers(1, 16))
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    channels = data.draw(st.sampled_from([(), (1,), (2,), (3,), (4,)]))
    image = draw_pixels(data, (*shape, *channels), depth)
    assert_same(pp.decode(pp.encode(image, depth=depth)), image)


def draw_pixels(data, shape, depth):
    kind = data.draw(st.sampled_from(["noise", "constant", "smooth", "grey", "comb"]))
    return pixels(kind, shape, depth, depth > 8 or data.draw(st.booleans()), data.draw(st.integers(0, 99)))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_image_of_any_number_of_channels_comes_back_whole_and_in_parts(data):
    height, width = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 150)))
    depth, channels = data.draw(st.sampled_from([1, 8, 8, 12, 16])), data.draw(st.integers(1, MAX_CHANNELS))
    image = draw_pixels(data, (height, width, channels), depth)
    file = pp.encode(image, depth=depth, effort=data.draw(st.sampled_from(["fast", "default", "max"])))
    assert_same(pp.decode(file), image)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(x + 1, width)), data.draw(st.integers(y + 1, height))
    assert_same(pp.decode(file, region=(x, y, right - x, bottom - y)), image[y:bottom, x:right])
    if read_index(MemorySource(file), 2**28).header.octaves:
        rows, columns = (slice(side > 1, None, 2) for side in (height, width))
        assert_same(pp.decode(file, scale=2), image[rows, columns])


@pytest.mark.parametrize("effort", ["fast", "max"])
def test_more_than_four_channels_are_coded_in_threes_without_grey_and_colours_of_ycbcr(effort):
    image = photograph(height=40, width=64)
    image = np.concatenate([image, image[::-1], image[..., :1].repeat(2, axis=2)], axis=2)
    header = read_index(MemorySource(pp.encode(image, effort=effort)), 2**28).header
    assert header.coded == (3, 3, 1, 1) and not any(mixed & YCBCR for mixed in header.mixed)
    equal = read_index(MemorySource(pp.encode(image[..., :1].repeat(5, axis=2), effort=effort)), 2**28).header
    assert equal.coded == (3, 1, 1) and not equal.grey


def test_the_limit_of_pixels_also_limits_the_values():
    file = pp.encode(np.zeros((3, 5, 9), np.uint8))
    assert pp.decode(file, max_pixels=34).shape == (3, 5, 9)
    with pytest.raises(
        BitstreamError, match="3 x 5 pixels of 9 channels, more than the limit of 33 pixels of 4 channels"
    ):
        pp.decode(file, max_pixels=33)


def test_grey_costs_less_than_the_same_as_colour():
    grey = photograph(height=128, width=128)[..., 0]
    colour = np.repeat(grey[..., None], 3, axis=2)
    assert abs(len(pp.encode(grey)) - len(pp.encode(colour))) < 4
    assert len(pp.encode(colour)) < 0.8 * len(pp.encode(photograph(height=128, width=128)))


def test_deep_values_in_the_upper_bits_cost_hardly_more():
    deep = photograph().astype(np.uint16)[: 300 // 4 * 4, :448].reshape(75, 4, 112, 4, 3).sum((1, 3), dtype=np.uint16)
    assert len(pp.encode(deep << np.uint16(4))) < 1.02 * len(pp.encode(deep, depth=12))
    # Values are missing only because there are few pixels.
    noise = np.random.default_rng(0).integers(0, 1 << 16, (64, 64)).astype(np.uint16)
    assert len(pp.encode(noise)) < noise.nbytes + 64


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((4, 4), np.float32), {}, "uint8 or uint16, got float32"),
        (np.zeros((4, 4), np.int16), {}, "got int16"),
        (np.zeros((4, 4, 65), np.uint8), {}, r"C from 1 to 64 .* got \(4, 4, 65\)"),
        (np.zeros((4, 4, 0), np.uint8), {}, r"got \(4, 4, 0\)"),
        (np.zeros((0, 4), np.uint8), {}, r"got \(0, 4\)"),
        (np.zeros(4, np.uint8), {}, r"got \(4,\)"),
        (np.full((2, 2), 8, np.uint8), {"depth": 3}, r"below 2\*\*3, got 8"),
        (np.zeros((2, 2), np.uint8), {"depth": 0}, "depth of uint8 in bits to be a whole number from 1 to 8"),
        (np.zeros((2, 2), np.uint8), {"depth": 9}, "depth of uint8 in bits to be a whole number from 1 to 8"),
        (np.zeros((2, 2), np.uint8), {"effort": "most"}, "effort of fast, default, max"),
    ],
    ids=str,
)
def test_other_arrays_and_arguments_are_refused(image, options, message):
    with pytest.raises(DataError, match=message):
        pp.encode(image, **options)


def test_flips_and_cuts_of_a_file_of_many_parts_are_refused_or_salvaged_as_smaller_images():
    """Damage is at random places. What is salvaged is always a coarser octave of the image, never wrong pixels."""
    image = np.concatenate([photograph(height=5)] * 3, axis=1)
    data, octaves = pp.encode(image, effort="fast"), octave_images(np.moveaxis(image, -1, 0))
    begin = read_index(MemorySource(data), 2**28).begin
    assert len(read_index(MemorySource(data), 2**28).entries) > 6
    rng, salvaged = np.random.default_rng(0), set()
    for place in rng.choice(len(data), 12, replace=False):
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.integers(8)
        for damaged in (bytes(flipped), data[:place]):
            with pytest.raises(BitstreamError):
                pp.decode(damaged)
            try:
                found = np.moveaxis(pp.decode(damaged, salvage=True), -1, 0)
            except BitstreamError:
                continue
            assert place >= begin and any(np.array_equal(found, octave) for octave in octaves[1:])
            salvaged.add(found.shape)
    assert len(salvaged) > 2


@pytest.mark.parametrize(
    "image",
    [
        *(np.random.default_rng(0).integers(0, n, (40, 50, 3), dtype=np.uint8) for n in (2, 5, 40, 255)),
        *(np.random.default_rng(0).integers(0, n, (40, 50, 4), dtype=np.uint8) for n in (2, 255)),
        *(photograph(height=64, width=90)[..., 0] // n * n for n in (1, 16, 64, 128)),
        photograph(height=64, width=90),
        np.arange(2**16, dtype=np.uint16).reshape(256, 256),
        np.zeros((1, 1), np.uint8),
    ],
    ids=lambda image: f"{image.shape}-{image.max()}",
)
def test_files_of_the_largest_effort_are_no_larger_than_those_of_libraries(image):
    rivals = [encode(image, "PNG", optimize=True)]
    if image.dtype == np.uint8:
        rivals.append(encode(image, "WEBP", lossless=True, method=4, quality=80, exact=True))
    data = pp.encode(image, effort="max")
    assert len(data) <= min(map(len, rivals)) + 64
    assert_same(pp.decode(data), image)


def test_the_format_of_the_source_is_kept_beside_the_metadata():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for metadata in ({}, {"ICC": bytes(range(256)), "text:Author": "Ä".encode()}):
        for effort in ("fast", "max"):
            data = pp.encode(image, metadata=metadata, source_format="tiff", effort=effort)
            header = read_index(MemorySource(data), 2**28).header
            assert header.source_format == "tiff" and header.metadata == metadata
            assert_same(pp.decode(data), image)
        assert pp.encode(image, metadata=metadata, source_format="png") == pp.encode(image, metadata=metadata)
    assert read_index(MemorySource(pp.encode(image)), 2**28).header.source_format == "png"
    with pytest.raises(DataError, match="no metadata named source_format"):
        pp.encode(image, metadata={"source_format": b"gif"})
    for wrong in (b"tiff", None, "ä"):
        with pytest.raises(DataError, match="the source's format as ASCII text"):
            pp.encode(image, source_format=wrong)


@pytest.mark.parametrize(
    "image",
    [
        np.add.outer(np.arange(100), np.arange(100)).astype(np.uint8),
        np.bitwise_xor.outer(np.arange(128), np.arange(128)).astype(np.uint8),
        np.tile(np.random.default_rng(0).integers(0, 2**16, (16, 16), dtype=np.uint16), (8, 8)),
    ],
    ids=["ramp", "xor", "tiles of 16 bits"],
)
def test_the_default_effort_makes_small_images_as_small_as_the_largest(image):
    assert pp.encode(image) == pp.encode(image, effort="max")
    assert len(pp.encode(image)) <= len(encode(image, "PNG", optimize=True)) + 64


@pytest.mark.parametrize("shape", [(130, 70), (131, 517), (1, 300)])
def test_scaled_images_are_the_pyramids_coarse_images(shape):
    image = pixels("smooth", (*shape, 3), 8)
    data = pp.encode(image, effort="fast")
    coarse = image
    for scale in (1, 2, 4, 8, 16):
        assert_same(pp.decode(data, scale=scale), coarse)
        for axis in (0, 1):
            if coarse.shape[axis] > 1:
                coarse = coarse.take(range(1, coarse.shape[axis], 2), axis)


def test_regions_are_cut_out():
    image = np.tile(photograph(), (3, 2, 1))
    data = pp.encode(image, effort="fast")
    assert len(read_index(MemorySource(data), 2**28).entries) > 5
    assert_same(pp.decode(data), image)
    height, width = image.shape[:2]
    for x, y, w, h in [(0, 0, 1, 1), (width - 1, height - 1, 1, 1), (300, 20, 333, 77), (500, 300, 30, 40)]:
        assert_same(pp.decode(data, region=(x, y, w, h)), image[y : y + h, x : x + w])
    assert_same(pp.decode(data, scale=4, region=(100, 40, 200, 80)), image[3::4, 3::4][10:30, 25:75])
    with pytest.raises(DataError, match="within"):
        pp.decode(data, region=(0, 0, width + 1, 1))
    with pytest.raises(DataError, match="no pixel at 1/8"):
        pp.decode(data, scale=8, region=(0, 0, 2, 2))
    with pytest.raises(DataError, match="power of two"):
        pp.decode(data, scale=3)


def test_only_some_planes_are_coded_at_the_same_time(monkeypatch):
    """So the memories of 22 planes do not add up; and what is salvaged is the same for all of them."""
    array = np.arange(3 * 1300 * 8, dtype=np.uint8).reshape(3, 1300, 8) // 3
    groups, found = [], image._inheritances
    monkeypatch.setattr(image, "_inheritances", lambda *given: groups.append(found(*given)) or groups[-1])
    data = pp.encode(array, effort="fast")
    assert np.array_equal(pp.decode(data), array)
    assert [list(group) for group in groups] == [[0, 1], [2, 3]] * 2
    assert np.array_equal(pp.decode(data[:-1], salvage=True), array[1::2, 1::2])
