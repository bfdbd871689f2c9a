"""Files of version 1 are decoded for ever, and encoding gives the same bytes.

They are in the folder golden: every depth, every number of channels, values in a list, every choice of mixed channels,
several tiles, which inherit across parts of any kind, and the streams of libraries, whose bytes depend on the library's
version and are only decoded. `python tests/test_golden.py` writes them; do so only if the format's version changes.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT
from core_samples import convert_ycbcr
from ppyr_files import decode_as_specified, encode_mixed, interleave

import pixelpyramids as pp
from pixelpyramids.codec import bundled
from pixelpyramids.codec.container import Kind, read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.codec.memory import YCBCR
from pixelpyramids.errors import CheckpointError

FOLDER = Path(__file__).parent / "golden"
RELEASED = {
    "bdbedcaa743547da": ("compact.safetensors", "188b9c0b102e1195529e076078fb31d29fd761997478a809b0bbbcb3752bb236"),
}


def picture(height, width, channels, depth=8):
    """Waves with a little noise, by integers alone."""
    y, x, c = np.indices((height, width, channels))
    wave = (6 * y + 9 * x + 40 * c) % 512
    noise = ((y + 3) * 7368787 ^ (x + 5) * 1934963 ^ (c + 1) * 834927) // 128 % 7
    values = (np.minimum(wave, 511 - wave) << depth >> 8) + (noise << depth >> 8)
    return values.clip(0, 2**depth - 1).astype(np.uint8 if depth <= 8 else np.uint16)


def list_cases():
    """Names of files, with their images and the encoder's options; `mixed` has a bit for each channel to mix."""
    cases = {}
    for depth in range(1, 17):
        cases[f"grey-{depth}-bits"] = picture(13, 17, 1, depth)[..., 0], {"depth": depth}
        cases[f"colours-{depth}-bits"] = picture(7, 8, 3, depth), {"depth": depth}
    for channels in (1, 2, 3, 4):
        cases[f"channels-{channels}"] = picture(21, 30, channels), {}
    cases["channels-5"] = picture(21, 30, 5, 12), {"depth": 12}
    cases["channels-64"] = picture(9, 12, 64), {}
    equal = picture(12, 9, 1).repeat(3, axis=2)
    cases["equal-colours"] = equal, {}
    cases["equal-colours-alpha"] = np.concatenate([equal, picture(12, 9, 1)[::-1]], axis=2), {}
    cases["list-of-values"] = picture(40, 30, 1, 12) // 400 * 400, {"depth": 12}
    cases["wide-5-bits"] = picture(9, 8, 3, 5).astype(np.uint16), {"depth": 5}
    cases["one-pixel"] = picture(1, 1, 3), {}
    cases["tiles-grey"] = picture(2, 1300, 1)[..., 0], {}
    cases["tiles-colours"] = picture(70, 20, 3), {}
    corner = picture(8, 240, 1)
    corner[:, 60:] = 99
    cases["constant-parts"] = corner.repeat(5, axis=1), {}
    for mixed in (*range(8), *range(9, 16)):
        cases[f"mixed-{mixed}"] = picture(24, 26, 3), {"mixed": mixed}
    from_ycbcr = np.moveaxis(convert_ycbcr(*np.moveaxis(picture(24, 26, 3).astype(int), -1, 0)), 0, -1).astype(np.uint8)
    for mixed in (4, 6, 7, 12, 15):
        cases[f"ycbcr-{mixed}"] = from_ycbcr, {"mixed": mixed | YCBCR}
    cases["mixed-alpha"] = picture(14, 15, 4), {"mixed": 5}
    cases["mixed-16-bits"] = picture(14, 15, 3, 16), {"mixed": 7}
    cases["mixed-list"] = picture(40, 30, 1, 12) // 400 * 400, {"depth": 12, "mixed": 1}
    cases["mixed-tiles"] = picture(2, 1300, 3), {"mixed": 7}
    cases["mixed-parts-constant"] = between_waves(picture(66, 8, 3) * 0 + 99), {"mixed": 7}
    cases["mixed-parts-stored"] = between_waves(noise(66, 8, 3)), {"mixed": 7}
    drawing = np.kron(picture(6, 7, 3) // 64 * 64, np.ones((9, 9, 1), np.uint8))
    cases["stream-default"] = drawing, {"effort": "default"}
    cases["stream-max"] = drawing[..., 0], {"effort": "max"}
    return cases


def noise(*shape):
    """Bytes of a sequence without a pattern, by integers alone."""
    numbers = np.arange(1, 1 + np.prod(shape), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((numbers ^ numbers >> np.uint64(29)) * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(56)).reshape(shape) % 256


def between_waves(second):
    """Waves whose second octave is another image, but not the third."""
    height, width, channels = second.shape
    inner = interleave(second.astype(np.uint8), picture(height // 2, width // 2, channels))
    return interleave(picture(2 * height, 2 * width, channels), inner)


CASES = list_cases()


def encode(image, options):
    """The file of an image: at effort fast, unless the options name another one."""
    if "mixed" in options:
        return encode_mixed(image, **options)
    return pp.encode(image, **{"effort": "fast", **options})


@pytest.mark.parametrize("name", CASES)
def test_a_golden_file_is_decoded_and_written_again(name):
    image, options = CASES[name]
    data = (FOLDER / f"{name}.ppyr").read_bytes()
    found = pp.decode(data)
    assert found.dtype == image.dtype and np.array_equal(found, image)
    assert np.array_equal(decode_as_specified(data), image)
    if "effort" not in options:
        assert encode(image, options) == data


@pytest.mark.parametrize("engine", ["reference", "portable", "avx2", "avx512", "amx", "neon"])
def test_every_engine_decodes_and_writes_a_golden_file(engine, monkeypatch):
    monkeypatch.setenv("PIXELPYRAMIDS_ENGINE", engine)
    for name in ("channels-4", "mixed-alpha"):
        image, options = CASES[name]
        data = (FOLDER / f"{name}.ppyr").read_bytes()
        try:
            assert encode(image, options) == data
        except CheckpointError as error:
            pytest.skip(str(error))
        assert np.array_equal(pp.decode(data), image)


def test_released_models_never_change():
    """Nor are they removed; docs/reference/format.md names each of them."""
    text = (ROOT / "docs" / "reference" / "format.md").read_text(encoding="utf-8")
    for name, (file, digest) in RELEASED.items():
        assert bytes.fromhex(name) in bundled.model_names()
        assert hashlib.sha256((bundled.ASSETS / file).read_bytes()).hexdigest() == digest
        assert f"| `{name}` | `pixelpyramids/assets/{file}` | `{digest}` |" in text
    assert len(RELEASED) == len(bundled.MODELS)


def test_the_folder_holds_these_files():
    assert {path.stem for path in FOLDER.iterdir()} == set(CASES)


def test_they_hold_every_kind_of_part_and_choice_of_channels():
    indices = {name: read_index(MemorySource((FOLDER / f"{name}.ppyr").read_bytes()), 2**20) for name in CASES}
    for name, kind in (("constant", Kind.CONSTANT), ("stored", Kind.STORED)):
        kinds = [entry.kind for entry in indices[f"mixed-parts-{name}"].entries]
        assert kinds == [Kind.MODEL, kind, Kind.MODEL]
    chosen = {index.header.mixed for name, index in indices.items() if "mixed" not in CASES[name][1]}
    found = {index.header.mixed for index in indices.values()}
    assert found >= {(mixed,) for mixed in [*range(8), *range(9, 16), 20, 22, 23, 28, 31]}
    assert len(chosen) > 3


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for name, (image, options) in CASES.items():
        (FOLDER / f"{name}.ppyr").write_bytes(encode(image, options))
