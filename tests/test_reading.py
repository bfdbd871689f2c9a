"""Image files are read as exact integers in [0, 2**n_bits), or an error names the file and the reason."""

import importlib
import warnings

import numpy as np
import pytest
from data_layouts import encode, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.data.reading import read_decoded, read_header
from pixelpyramids.errors import DataError


def greys(*shape, most=65535, seed=0):
    return np.random.default_rng(seed).integers(most + 1, size=shape).astype(np.uint16 if most > 255 else np.uint8)


def palette(colours, **options):
    image = Image.new("P", (len(colours), 1))
    image.putpalette([value for colour in colours for value in colour])
    image.putdata(range(len(colours)))
    return encode(image, **options)


@given(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)), st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=40)
def test_eight_bit_pixels_are_read_exactly(shape, n_bits, seed):
    stored, channels = greys(*shape, most=255, seed=seed), shape[2]
    content = encode(stored)
    image = read_decoded(content, channels, n_bits).pixels
    assert image.shape == (channels, *shape[:2]) and image.dtype == np.uint8
    assert image.flags.writeable and image.flags.c_contiguous
    assert (image == stored.transpose(2, 0, 1) // 2 ** (8 - n_bits)).all()
    assert read_header(content, channels, n_bits)[:3] == (*shape[:2], "PNG")


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bit_grey_is_read_exactly_at_every_depth(tmp_path, suffix):
    stored = greys(7, 5)
    stored[0, :2] = 0, 65535
    Image.fromarray(stored).save(tmp_path / f"deep.{suffix}")
    for n_bits in range(1, 17):
        image = read_decoded(tmp_path / f"deep.{suffix}", channels=1, n_bits=n_bits).pixels
        assert image.dtype == (np.uint8 if n_bits <= 8 else np.uint16)
        assert (image[0] == stored // 2 ** (16 - n_bits)).all()
    colour = read_decoded(tmp_path / f"deep.{suffix}", channels=4, n_bits=8).pixels
    assert (colour[:3] == stored // 256).all() and (colour[3] == 255).all()


ALPHA = greys(1, 2, 4, most=255)
DARK = [[0, 0, 0], [50, 50, 50]]


@pytest.mark.parametrize(
    ("content", "channels", "expected"),
    [
        (palette([(255, 0, 0), (0, 128, 255)]), 3, [[255, 0, 0], [0, 128, 255]]),
        (encode(np.array([[False, True]])), 1, [[0], [255]]),
        (encode(np.array([[7, 200]], np.uint8)), 3, [[7, 7, 7], [200, 200, 200]]),
        (encode(ALPHA), 3, ALPHA[0, :, :3].tolist()),
        (encode(ALPHA[..., :3]), 4, [[*colour, 255] for colour in ALPHA[0, :, :3].tolist()]),
        (encode(np.array([[0, 50]], np.uint8), transparency=0), 2, [[0, 0], [50, 255]]),
        (encode(np.array([[0, 50]], np.uint8), transparency=0), 4, [[0, 0, 0, 0], [50, 50, 50, 255]]),
        (encode(np.array([DARK], np.uint8), transparency=(0, 0, 0)), 2, [[0, 0], [50, 255]]),
        (encode(np.array([DARK], np.uint8), transparency=(0, 0, 0)), 4, [[0, 0, 0, 0], [50, 50, 50, 255]]),
        (palette(DARK, transparency=bytes([0, 90])), 2, [[0, 0], [50, 90]]),
        (palette(DARK, transparency=bytes([0, 90])), 4, [[0, 0, 0, 0], [50, 50, 50, 90]]),
        (palette(DARK, transparency=bytes([0, 90])), 3, DARK),
    ],
)
def test_palettes_bitmaps_greys_and_transparent_colours_are_converted(content, channels, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_decoded(content, channels).pixels[:, 0].T.tolist() == expected


@pytest.mark.parametrize(("mode", "suffix"), [("F", ".tif"), ("CMYK", ".jpg"), ("LAB", ".tif")])
def test_modes_without_exact_integers_are_refused_by_name(tmp_path, mode, suffix):
    path = tmp_path / f"a{suffix}"
    Image.new(mode, (4, 4)).save(path)
    for read in (read_decoded, read_header):
        with pytest.raises(DataError, match=rf"a\{suffix}: expected grey or RGB pixels, got mode {mode}"):
            read(path)


@pytest.mark.parametrize(
    ("channels", "n_bits", "message"),
    [
        (1, 12, r"a\.png: expected 16-bit grey for n_bits 12, got an 8-bit source"),
        (3, 12, "expected 1 channel for 12 bits, got 3"),
        (1, 17, "expected 1 to 16 bits a value, got n_bits 17"),
        (5, 8, "got 5"),
    ],
)
def test_unsupported_depths_and_channels_are_refused(tmp_path, channels, n_bits, message):
    (tmp_path / "a.png").write_bytes(encode(greys(4, 4, most=255)))
    for read in (read_decoded, read_header):
        with pytest.raises(DataError, match=message):
            read(tmp_path / "a.png", channels, n_bits)


def test_the_error_of_a_cut_file_says_that_it_is_cut():
    content = encode(greys(40, 50, 3, most=255))[:3000]
    with pytest.raises(DataError, match="got image file is truncated; convert, replace or remove the file"):
        read_decoded(content)


def test_values_beyond_16_bits_are_refused(tmp_path):
    Image.fromarray(np.array([[-1, 70000]], np.int32)).save(tmp_path / "b.tif")
    with pytest.raises(DataError, match=r"expected values in 0 … 65535, got -1 … 70000"):
        read_decoded(tmp_path / "b.tif", 1)


@pytest.mark.parametrize("limit", [399, 150])  # Pillow itself warns above the first, and refuses above the second
def test_a_decompression_bomb_is_refused(tmp_path, limit, monkeypatch):
    Image.fromarray(noise(0, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for read in (read_decoded, read_header):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with pytest.raises(DataError, match=rf"a\.png: expected an image of at most {limit} pixels"):
                read(tmp_path / "a.png")


def test_a_ppyr_file_is_to_be_decompressed_first(tmp_path):
    importlib.import_module("pixelpyramids.image_files.pillow_plugin")  # which must make no difference
    pp.save(tmp_path / "a.ppyr", greys(3, 4, 3, most=255).astype(np.uint8))
    with pytest.raises(DataError, match=r"a\.ppyr: .*got a \.ppyr file, which must be decompressed first; convert,"):
        read_decoded(tmp_path / "a.ppyr")
