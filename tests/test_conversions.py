"""Conversions of images are reported by every reader and every command."""

import struct

import imagecodecs
import numpy as np
import pytest
from command_line import json_of, output_of, status
from data_layouts import encode, write_files, write_tar
from image_samples import tiff
from PIL import Image
from test_run_directory import save_run

from pixelpyramids.cli.likelihoods import LIKELIHOODS
from pixelpyramids.data.containers.spool import SpooledEntries
from pixelpyramids.data.containers.tar import TarEntries
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.images import Images
from pixelpyramids.data.reading import center_crop, quantise, read_decoded, read_header
from pixelpyramids.errors import DataError
from pixelpyramids.model.parameters import Parameters

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)
GREY, ALPHA, DEEP = COLOUR[..., 0], np.dstack([COLOUR, COLOUR[..., :1]]), COLOUR[..., 0].astype(np.uint16) * 257
"""Images of 9 x 12."""
DEEP_COLOUR = COLOUR.astype(np.uint16) * 257
NEGATIVE = Image.fromarray(255 - COLOUR)


CASES = [
    (encode(COLOUR), 3, 8, ()),
    (encode(COLOUR, "JPEG"), 3, 8, ()),
    (encode(Image.fromarray(COLOUR).convert("P")), 3, 8, ()),
    (encode(COLOUR), 1, 8, ("colour to grey",)),
    (encode(GREY), 1, 8, ()),
    (encode(GREY), 3, 8, ("grey repeated as red, green and blue",)),
    (encode(Image.fromarray(GREY).convert("1")), 1, 5, ()),
    (encode(ALPHA), 4, 8, ()),
    (encode(ALPHA), 3, 8, ("alpha dropped",)),
    (encode(ALPHA), 1, 8, ("colour to grey", "alpha dropped")),
    (encode(COLOUR), 4, 8, ("opaque alpha added",)),
    (encode(Image.fromarray(COLOUR), transparency=(1, 2, 3)), 3, 8, ("alpha dropped",)),
    (encode(DEEP), 1, 16, ()),
    (encode(DEEP), 1, 8, ("16 bits reduced to 8",)),
    (encode(DEEP), 3, 8, ("grey repeated as red, green and blue", "16 bits reduced to 8")),
    (imagecodecs.png_encode(DEEP_COLOUR), 3, 8, ("16 bits reduced to 8",)),
    (imagecodecs.jpeg2k_encode(DEEP_COLOUR, reversible=True), 3, 8, ("16 bits reduced to 8",)),
    (imagecodecs.jpeg2k_encode(COLOUR, reversible=True), 3, 8, ()),
    (imagecodecs.avif_encode(DEEP_COLOUR >> 6, bitspersample=10), 3, 8, ("10 bits reduced to 8",)),
    (b"P6 12 9 65535\n" + DEEP_COLOUR.astype(">u2").tobytes(), 3, 8, ("16 bits reduced to 8",)),
    (tiff(GREY.astype(np.uint16) * 16, bitspersample=12), 1, 8, ("12 bits reduced to 8",)),
    (encode(COLOUR), 3, 5, ("8 bits reduced to 5",)),
    (tiff(ALPHA, photometric="rgb", extrasamples=["unspecified"]), 3, 8, ("further channels dropped",)),
    (encode(COLOUR, "GIF", save_all=True, append_images=[NEGATIVE]), 3, 8, ("first of several frames",)),
]


@pytest.mark.parametrize("stored, channels, n_bits, conversions", CASES, ids=lambda value: str(value)[:20])
def test_conversions_are_reported_by_the_header_and_with_the_pixels(stored, channels, n_bits, conversions):
    assert read_header(stored, channels, n_bits).conversions == conversions
    assert read_decoded(stored, channels, n_bits).conversions == conversions


@pytest.mark.parametrize("format", ["BMP", "GIF", "PNG", "TIFF"])
def test_a_palette_of_which_only_greys_are_used_is_grey(format):
    image = Image.fromarray(GREY // 16).convert("P")
    image.putpalette([*np.repeat(np.arange(16) * 17, 3), 200, 0, 0])
    stored = encode(image, format)
    grey = read_decoded(stored, (1, 3))
    assert (grey.pixels == GREY // 16 * 17).all() and len(grey.pixels) == 1 and grey.conversions == ()
    assert read_decoded(stored, 3).conversions == ("grey repeated as red, green and blue",)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("photometric", ["rgb", "minisblack", "miniswhite"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_is_read_as_it_is_stored_or_refused(compression, byteorder, photometric, planar, bits):
    pixels = COLOUR if photometric == "rgb" else ALPHA[..., ::3] if planar else GREY
    expected = 255 - pixels if photometric == "miniswhite" else pixels
    stored = np.moveaxis(pixels, 2, 0) if planar else pixels
    options = {"photometric": photometric, "compression": compression, "order": byteorder}
    options |= {"planarconfig": "separate"} if planar else {}
    options |= {"extrasamples": ["unassalpha"]} if planar and photometric != "rgb" else {}
    written = tiff(stored if bits == 8 else stored.astype(np.uint16) * 256 + 9, **options)
    try:
        read = read_decoded(written, 1 if pixels.ndim == 2 else pixels.shape[2], 8).pixels
    except DataError:
        assert photometric == "miniswhite" or planar
    else:
        assert np.array_equal(read, np.atleast_3d(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("extra", [b"", bytes(1000)])
def test_an_uncompressed_ycbcr_tiff_is_read_as_it_is_stored_or_refused(extra):
    expected = np.asarray(Image.frombytes("YCbCr", (12, 9), COLOUR.tobytes()).convert("RGB"))
    stored = tiff(COLOUR, photometric="ycbcr", subsampling=(1, 1))
    try:
        read = read_decoded(stored + extra, 3)
    except DataError as error:
        assert "YCbCr, which this Pillow misreads" in str(error)
    else:
        assert np.array_equal(read.pixels, expected.transpose(2, 0, 1)) and read.conversions == ("YCbCr to RGB",)
    factors = stored.index(struct.pack("<HHI", 530, 3, 2)) + 8  # the value of the tag YCbCrSubSampling
    subsampled = stored[:factors] + struct.pack("<HH", 2, 2) + stored[factors + 4 :]
    with pytest.raises(DataError, match="YCbCr, which this Pillow misreads"):
        read_decoded(subsampled + extra, 3)


def test_greys_of_12_bits_keep_their_values():
    deep = GREY.astype(np.uint16) * 16 + 7
    stored = tiff(deep, bitspersample=12)
    assert (read_decoded(stored, 1, 8).pixels[0] == GREY).all() and (
        read_decoded(stored, 1, 12).pixels[0] == deep
    ).all()
    with pytest.raises(DataError, match="a 12-bit source"):
        read_decoded(stored, 1, 13)


def test_every_reader_reports_conversions(tmp_path):
    stored = {"a.png": encode(ALPHA), "b.png": encode(COLOUR), "c.png": encode(DEEP)}
    expected = [("alpha dropped",), (), ("grey repeated as red, green and blue", "16 bits reduced to 8")]
    assert open_folder(write_files(tmp_path / "folder", stored), "all").conversions == expected
    tar = TarEntries([write_tar(tmp_path / "a.tar", stored)])
    names = [tar.name(index) for index in range(3)]
    for entries in (tar, SpooledEntries(zip(names, stored.values(), strict=True))):
        assert Images.of_any_size(entries).conversions == expected
    for prepare, first in ((None, ()), (lambda image: center_crop(image, 8), ("cropped or resized to 8 x 8",))):
        prepared = Images.of_one_size(tar, (8, 8) if first else (9, 12), prepare=prepare)
        for index in range(3):
            prepared.read(index)
        assert prepared.conversions == [first + of_image for of_image in expected]
    assert quantise(COLOUR, "a", "NPZ", 3, 5).conversions == ("8 bits reduced to 5",)
    assert quantise(COLOUR, "a", "NPZ", 3, 8).conversions == ()


def test_every_command_reports_conversions(params, tmp_path, capsys):
    contents = {"a.png": encode(ALPHA), "b.png": encode(ALPHA), "c.png": encode(COLOUR), "d.png": encode(DEEP)}
    run, images = save_run(tmp_path / "run"), write_files(tmp_path / "images", contents)
    counts = {"alpha dropped": 2, "grey repeated as red, green and blue": 1, "16 bits reduced to 8": 1}
    text = "alpha dropped (2 images), grey repeated as red, green and blue (1 image), 16 bits reduced to 8 (1 image)"
    common = "--data", images, "--split", "all", "--device", "cpu"
    assert f"converted: {text}" in output_of(capsys, "evaluate", run, *common).out
    assert json_of(capsys, "evaluate", run, *common)["conversions"] == counts
    said = output_of(capsys, "score", run, images).out
    assert "a.png  (converted: alpha dropped)" in said and "c.png\n" in said
    assert json_of(capsys, "score", run, images / "d.png")["images"][0]["conversions"] == list(counts)[1:]
    assert status("complete", run, images / "a.png", "--scale", 2, "-n", 1, "--out", tmp_path / "up") == 0
    assert "a.png (converted: alpha dropped)" in capsys.readouterr().out
    large = ALPHA.repeat(2, 0).repeat(2, 1)
    images = write_files(tmp_path / "large", {f"{i:02d}.png": encode(large + np.uint8(i)) for i in range(12)})
    assert "converted: alpha dropped (" in output_of(capsys, "data", "check", params, "--data", images).out
    splits = json_of(capsys, "data", "check", params, "--data", images)["splits"]
    assert splits["test"]["conversions"] == {"alpha dropped": 1}


def test_each_likelihood_has_its_own_description():
    kinds = Parameters.model_json_schema()["properties"]["likelihood"]["enum"]
    assert kinds == list(LIKELIHOODS) and len(set(LIKELIHOODS.values())) == len(kinds)
