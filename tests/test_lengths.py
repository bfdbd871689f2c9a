"""Files are as long as the model's code length; scaled images, regions and salvage read only what they need."""

import numpy as np
import pytest
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.data.photographs import photographs
from pixelpyramids.errors import BitstreamError

SHARE = 0.002  # of the code length, that a file of 512 x 512 pixels and more may be longer
OVERHEAD = 40  # bytes, of a small file


class Counted(MemorySource):
    """A source that counts how many bytes are read, and records the end of the last read."""

    def __init__(self, data):
        super().__init__(data)
        self.count = self.end = 0

    def read(self, offset, count):
        data = super().read(offset, count)
        self.count += len(data)
        self.end = max(self.end, offset + len(data))
        return data


@pytest.fixture(scope="module")
def large():
    """A photograph of 512 x 512 pixels, and its file."""
    with Image.open(photographs() / "train" / "astronaut.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    return pixels, pp.encode(pixels, effort="fast")


def rate_in_bits(pixels):
    rate = pp.load("compact").rate(pixels.transpose(2, 0, 1)[None])
    assert rate.dimensions.sum() == pixels.size
    return float(rate.total_nats[0]) / np.log(2)


def test_a_file_is_as_long_as_the_code_length(large):
    pixels, data = large
    assert rate_in_bits(pixels) <= 8 * len(data) <= (1 + SHARE) * rate_in_bits(pixels)


@pytest.mark.parametrize("corner", [(0, 0), (100, 200), (300, 60)])
def test_a_small_file_has_little_overhead(large, corner):
    pixels = large[0][corner[0] : corner[0] + 64, corner[1] : corner[1] + 64]
    assert len(pp.encode(pixels)) < rate_in_bits(pixels) / 8 + OVERHEAD


def test_a_scaled_image_reads_only_the_front(large):
    pixels, data = large
    front = []
    for scale in (1, 2, 4, 8, 16):
        source = Counted(data)
        pp.decode(source, scale=scale)
        front.append(source.end)
    assert front[0] == len(data) and front == sorted(front, reverse=True)
    assert front[1] < 0.45 * len(data) and front[2] < 0.15 * len(data)
    for scale, end in zip((2, 4, 8), front[1:], strict=False):
        assert np.array_equal(pp.decode(data[:end], scale=scale), pixels[scale - 1 :: scale, scale - 1 :: scale])


def test_a_region_reads_only_its_parts(large):
    pixels = np.tile(large[0], (2, 3, 1))
    data = pp.encode(pixels, effort="fast")
    source = Counted(data)
    assert np.array_equal(pp.decode(source, region=(1200, 700, 100, 90)), pixels[700:790, 1200:1300])
    assert source.count < 0.5 * len(data)


def test_a_cut_file_says_what_it_holds_and_bytes_behind_a_file_are_left_out(large):
    pixels, data = large
    with pytest.raises(BitstreamError, match=r"expected \d+ bytes, got \d+: .*1/2"):
        pp.decode(data[: len(data) - 100])
    assert np.array_equal(pp.decode(data + b"behind", salvage=True), pixels)
