"""Bad arguments of every public function: one clear error each, of the package's own or a TypeError or ValueError."""

import io

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from test_pixel_pyramid import tiny

import pixelpyramids as pp
import pixelpyramids.image_files.pillow_plugin
from pixelpyramids.errors import CheckpointError, DataError
from pixelpyramids.image_files.zarr_codec import PyramidCompressor, PyramidSerializer
from pixelpyramids.pyramid import rate

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
MASKED = np.ma.masked_array(GREY, GREY > 3)
FILE = pp.encode(GREY, effort="fast")
IMAGES = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)


@pytest.fixture(autouse=True)
def without_checks_of_types(monkeypatch):
    """Switch off the type checks of the research API, which users do not have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


class Refuses:
    """An object that NumPy cannot turn into an array."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("on another device")


def compact():
    return pp.load("compact")


BAD = {
    "a list of numbers": (lambda: pp.encode([[1, 2]]), DataError, "expected an array of uint8 or uint16, got int64"),
    "a ragged list": (lambda: pp.encode([[1, 2], [3]]), DataError, "expected an array, got list, which NumPy refuses"),
    "None": (lambda: pp.encode(None), DataError, "expected an array of uint8 or uint16, got object"),
    "a masked array": (lambda: pp.encode(MASKED), DataError, "expected an array without a mask"),
    "a palette": (lambda: pp.encode(Image.fromarray(GREY).convert("P")), DataError, "got mode P, whose array lacks"),
    "four inks": (lambda: pp.save("x.png", Image.new("CMYK", (4, 4))), DataError, "got mode CMYK, whose array lacks"),
    "a list of masked arrays": (lambda: pp.encode([*MASKED]), DataError, "expected an array without a mask"),
    "an array that refuses": (lambda: pp.encode(Refuses()), DataError, "NumPy refuses: on another device"),
    "floats": (lambda: pp.encode(GREY / 2), DataError, "got float64; scale and round"),
    "a batch": (lambda: pp.encode(GREY[None, None]), DataError, r"got \(1, 1, 3, 4\)"),
    "no pixel": (lambda: pp.encode(GREY[:0]), DataError, r"got \(0, 4\)"),
    "a depth of 9": (lambda: pp.encode(GREY, depth=9), DataError, "the depth of uint8 in bits .* from 1 to 8, got 9"),
    "a small depth": (lambda: pp.encode(GREY, depth=2), DataError, r"expected values below 2\*\*2, got 11"),
    "an unknown effort": (lambda: pp.encode(GREY, effort="most"), DataError, "default, max, got 'most'"),
    "a list of efforts": (lambda: pp.encode(GREY, effort=["max"]), DataError, "effort of fast, default, max, got"),
    "an unknown model": (lambda: pp.encode(GREY, model="big"), CheckpointError, "among compact, got big"),
    "-1 threads": (lambda: pp.encode(GREY, threads=-1), DataError, "expected threads to be a whole number from 1"),
    "0 threads": (lambda: pp.decode(FILE, threads=0), DataError, "expected threads to be a whole number from 1"),
    "10^10 threads": (lambda: pp.decode(FILE, threads=10**10), DataError, "from 1 to 1024, got 10000000000"),
    "text as metadata": (lambda: pp.encode(GREY, metadata={"a": "str"}), DataError, "got str under 'a'; encode"),
    "a number's metadata": (lambda: pp.encode(GREY, metadata={1: b""}), DataError, "got bytes under 1"),
    "a list of metadata": (lambda: pp.encode(GREY, metadata=[b""]), DataError, "of str to bytes, got list"),
    "a name for a file": (lambda: pp.decode("a.ppyr"), DataError, "the bytes of a .ppyr file, got str; read the file"),
    "bytes with gaps": (lambda: pp.decode(memoryview(FILE)[::2]), DataError, "expected the bytes .*, got memoryview"),
    "a scale of 3": (lambda: pp.decode(FILE, scale=3), DataError, "power of two from 1 to 2 for this image, got 3"),
    "a scale of 0": (lambda: pp.decode(FILE, scale=0), DataError, "whole number of at least 1, got 0"),
    "a scale of 2.0": (lambda: pp.decode(FILE, scale=2.0), DataError, "whole number of at least 1, got 2.0"),
    "a scale of 'x'": (lambda: pp.decode(FILE, scale="x"), DataError, "whole number of at least 1, got 'x'"),
    "a region of three": (lambda: pp.decode(FILE, region=(0, 0, 1)), DataError, r"four numbers .*, got \(0, 0, 1\)"),
    "a region of one number": (lambda: pp.decode(FILE, region=4), DataError, "four numbers .*, got 4"),
    "a negative region": (lambda: pp.decode(FILE, region=(-1, 0, 1, 1)), DataError, "number of a region .*, got -1"),
    "an empty region": (lambda: pp.decode(FILE, region=(0, 0, 0, 1)), DataError, "within 4 x 3 pixels"),
    "a region beyond": (lambda: pp.decode(FILE, region=(2, 0, 3, 1)), DataError, "within 4 x 3 pixels"),
    "a limit of 1e9": (lambda: pp.decode(FILE, max_pixels=1e9), DataError, "expected max_pixels to be a whole"),
    "a number to open": (lambda: pp.open(3), DataError, "expected a path, or a file opened in binary mode, got int"),
    "text to open": (lambda: pp.open(io.StringIO("a")), DataError, "opened in binary mode, got StringIO; open it with"),
    "no limit to open": (lambda: pp.open(io.BytesIO(FILE), None), DataError, "expected max_pixels to be a whole"),
    "a scale to read": (lambda: pp.open(io.BytesIO(FILE)).read(3), DataError, "power of two from 1 to 2 for this"),
    "a number to save to": (lambda: pp.save(3, GREY), DataError, "expected a path, or a file opened in binary mode"),
    "a list to save": (lambda: pp.save("a.png", [[1]]), DataError, "expected an array of uint8 or uint16, got int64"),
    "text to save beside": (lambda: pp.save("a.png", GREY, None, {"a": "b"}), DataError, "got str under 'a'"),
    "an effort for zarr 2": (lambda: PyramidCompressor("most"), DataError, "got 'most'"),
    "an effort for zarr 3": (lambda: PyramidSerializer(3), DataError, "got 3"),
    "a masked chunk": (lambda: PyramidCompressor().encode(MASKED), DataError, "without a mask"),
    "no chunk": (lambda: PyramidCompressor().decode(None), DataError, "the bytes of a .ppyr file, got NoneType"),
    "a model nowhere": (lambda: pp.load("nowhere"), CheckpointError, "nowhere"),
    "rate of nothing": (lambda: compact().rate(None), DataError, r"expected integers \(B, C, H, W\)"),
    "rate of ragged lists": (lambda: compact().rate([[1], [1, 2]]), DataError, "NumPy refuses"),
    "rate of masked images": (lambda: compact().rate(MASKED[None, None]), DataError, "without a mask"),
    "rate of floats": (lambda: compact().rate(np.zeros((1, 3, 4, 4))), DataError, "expected integers"),
    "2.5 samples": (lambda: compact().sample(2.5, 4, 4), DataError, "expected n to be a whole number"),
    "a first of text": (lambda: compact().sample(1, 4, 4, first="a"), DataError, "expected first to be a whole number"),
    "another coarse size": (lambda: compact().complete(IMAGES, 11, 9), DataError, "the coarse image of a 11 x 9"),
    "a seed of text": (lambda: compact().sample(1, 4, 4, seed="a"), DataError, "expected seed to be a whole number"),
    "the paper's rate of a list": (lambda: tiny().rate([[1]]), DataError, "expected a tensor or an array"),
    "the paper's rate of a mask": (lambda: tiny().rate(MASKED[None, None]), DataError, "without a mask"),
    "level 1 alone": (lambda: tiny().rate(IMAGES, levels=1), DataError, "expected levels from 0 to"),
    "2.5 of the paper's samples": (lambda: tiny().sample(2.5), DataError, "expected n to be a whole number"),
    "no samples": (lambda: tiny().sample(0, 4, 4), DataError, "whole number of at least 1, got 0"),
    "a height of -3": (lambda: tiny().sample(1, -3, 4), DataError, "whole number of at least 1, got -3"),
    "a width of 0": (lambda: tiny().sample(1, 4, 0), DataError, "whole number of at least 1, got 0"),
    "a height of text": (lambda: tiny().sample(1, height="4"), DataError, "expected height to be a whole number"),
    "a seed below 0": (lambda: tiny().sample(1, 4, 4, seed=-1), DataError, "expected seed to be a whole number"),
    "a height of 0": (lambda: tiny().complete(IMAGES, 0, 4), DataError, "expected height to be a whole number"),
    "complete of nothing": (lambda: tiny().complete(None, 8, 4), DataError, "expected a tensor or an array"),
    "a model of a dictionary": (lambda: pp.PixelPyramid({}), TypeError, "expected Parameters, got dict"),
    "no rates": (lambda: rate.cat([]), ValueError, "at least one rate"),
    "a rate and a number": (lambda: compact().rate(GREY[None, None]) + 1, TypeError, "unsupported operand"),
    "split of a list": (lambda: pp.pyramid.split([[1, 2]]), TypeError, r"\(…, H, W\) without a mask, got list"),
    "split of a row": (lambda: pp.pyramid.split(GREY[0]), TypeError, r"\(…, H, W\) without a mask, got ndarray \(4,\)"),
    "split along channels": (lambda: pp.pyramid.split(GREY, axis=0), ValueError, "expected axis -2"),
    "split of one line": (lambda: pp.pyramid.split(GREY[:1]), ValueError, "at least 2 lines"),
    "split of a mask": (lambda: pp.pyramid.split(MASKED), TypeError, "without a mask, got MaskedArray"),
    "merge of masks": (lambda: pp.pyramid.merge(MASKED, MASKED), TypeError, "without a mask, got MaskedArray"),
    "merge of strangers": (lambda: pp.pyramid.merge(GREY, GREY[:, 1:]), ValueError, "expected halves that differ"),
    "merge of array and tensor": (lambda: pp.pyramid.merge(GREY, IMAGES), ValueError, "of one type"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_argument_gives_one_clear_error(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    "options", [{"effort": "most"}, {"threads": -1}, {"exif": 5}, {"icc_profile": "a"}, {"dpi": (1, "a")}]
)
def test_a_bad_option_of_pillows_save_gives_one_clear_error(tmp_path, options):
    with pytest.raises(OSError, match="cannot write mode L as PPYR: expected "):
        Image.fromarray(GREY).save(tmp_path / "a.ppyr", **options)
    assert not (tmp_path / "a.ppyr").exists()


@pytest.mark.parametrize(
    "number", [int, np.int32, np.uint8, np.int64, lambda n: np.array(n), torch.tensor], ids=["int", *"abcde"]
)
def test_whole_numbers_of_every_kind_are_accepted(number):
    data = pp.encode(GREY, depth=number(8), threads=number(1), effort="fast")
    assert data == FILE
    assert np.array_equal(pp.decode(data, scale=number(2), threads=number(2), max_pixels=number(12)), GREY[1::2, 1::2])
    region = tuple(map(number, (1, 0, 2, 3)))
    assert np.array_equal(pp.decode(data, region=region), GREY[:, 1:3])
    assert np.array_equal(pp.decode(data, region=list(region)), GREY[:, 1:3])
    assert compact().sample(number(1), number(3), number(2), seed=number(0)).shape == (1, 3, 3, 2)
    assert tiny().sample(number(1), number(3), number(2), seed=number(0)).shape == (1, 3, 3, 2)


def test_numbers_of_either_byte_order_are_accepted():
    wide = GREY.astype(np.uint16) * 257
    for order in "<>=":
        other = wide.astype(wide.dtype.newbyteorder(order))
        assert pp.encode(other) == pp.encode(wide)
        assert np.array_equal(compact().rate(other[None, None] % 256).nats, compact().rate(wide[None, None] % 256).nats)
    images = np.zeros((1, 3, 4, 4), ">i4") + 1
    assert np.array_equal(tiny().rate(images).nats, tiny().rate(images.astype(np.int32)).nats)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_bytes_of_every_kind_are_decoded(kind):
    assert np.array_equal(pp.decode(kind(FILE)), GREY)


def test_arrays_of_every_layout_are_accepted():
    wide = np.arange(600, dtype=np.uint16).reshape(10, 20, 3)
    read_only = wide.copy()
    read_only.flags.writeable = False
    for array in (np.asfortranarray(wide), wide[::-1], wide[:, ::2], wide.transpose(1, 0, 2), read_only, wide[..., 1]):
        assert np.array_equal(pp.decode(pp.encode(array)), array)
