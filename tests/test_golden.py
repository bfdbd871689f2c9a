"""Files of the implementation on numba and OpenVINO (commit f16b267) decode, and encoding gives the same bytes.

They are in the folder golden: every depth, every number of channels, values in a list, several tiles, and the streams
of libraries, whose bytes depend on the library's version and are only decoded. To write them again, run
`python tests/test_golden.py` in a checkout of that commit.
"""

from pathlib import Path

import numpy as np
import pytest

import pixelpyramids as pp
from pixelpyramids.errors import CheckpointError

FOLDER = Path(__file__).parent / "golden"


def picture(height, width, channels, depth=8):
    """Waves with a little noise, by integers alone."""
    y, x, c = np.indices((height, width, channels))
    wave = (6 * y + 9 * x + 40 * c) % 512
    noise = ((y + 3) * 7368787 ^ (x + 5) * 1934963 ^ (c + 1) * 834927) // 128 % 7
    values = (np.minimum(wave, 511 - wave) << depth >> 8) + (noise << depth >> 8)
    return values.clip(0, 2**depth - 1).astype(np.uint8 if depth <= 8 else np.uint16)


def list_cases():
    """Names of files, with their images and the encoder's options."""
    cases = {}
    for depth in range(1, 17):
        cases[f"grey-{depth}-bits"] = picture(13, 17, 1, depth)[..., 0], {"depth": depth}
        cases[f"colours-{depth}-bits"] = picture(7, 8, 3, depth), {"depth": depth}
    for channels in (1, 2, 3, 4):
        cases[f"channels-{channels}"] = picture(21, 30, channels), {}
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
    drawing = np.kron(picture(6, 7, 3) // 64 * 64, np.ones((9, 9, 1), np.uint8))
    cases["stream-default"] = drawing, {"effort": "default"}
    cases["stream-max"] = drawing[..., 0], {"effort": "max"}
    return cases


CASES = list_cases()


def encode(image, options):
    """The file of an image: at effort fast, unless the options name another one."""
    return pp.encode(image, **{"effort": "fast", **options})


@pytest.mark.parametrize("name", CASES)
def test_a_golden_file_is_decoded_and_written_again(name):
    image, options = CASES[name]
    data = (FOLDER / f"{name}.ppyr").read_bytes()
    found = pp.decode(data)
    assert found.dtype == image.dtype and np.array_equal(found, image)
    if "effort" not in options:
        assert encode(image, options) == data


@pytest.mark.parametrize("engine", ["reference", "portable", "avx2", "avx512", "amx", "neon"])
def test_every_engine_decodes_and_writes_a_golden_file(engine, monkeypatch):
    monkeypatch.setenv("PIXELPYRAMIDS_ENGINE", engine)
    image, options = CASES["channels-4"]
    data = (FOLDER / "channels-4.ppyr").read_bytes()
    try:
        assert encode(image, options) == data
    except CheckpointError as error:
        pytest.skip(str(error))
    assert np.array_equal(pp.decode(data), image)


def test_the_folder_holds_these_files():
    assert {path.stem for path in FOLDER.iterdir()} == set(CASES)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, (image, options) in CASES.items():
        (FOLDER / f"{name}.ppyr").write_bytes(encode(image, options))
