"""The wheel holds all files that the package needs, and those that decode an archive without the package."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT

import pixelpyramids as pp


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the contents of the wheel."""
    wheel = pytest.importorskip("hatchling.builders.wheel")
    folder = tmp_path_factory.mktemp("wheel")
    (path,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(folder / "built"), versions=["standard"])
    with zipfile.ZipFile(path) as file:
        file.extractall(folder / "installed")
    return folder / "installed"


def test_the_files_of_the_wheel_decode_an_archive(installed, tmp_path):
    text = (ROOT / "docs" / "compress.md").read_text()
    find, decode = (shlex.split(line)[1:] for line in re.findall(r"^python .+", text, re.M))
    environment = os.environ | {"PYTHONPATH": str(installed)}
    options = {"cwd": tmp_path, "check": True, "stdout": subprocess.PIPE, "text": True}
    package = Path(subprocess.run([sys.executable, *find], env=environment, **options).stdout.rstrip("\n"))
    assert package == installed / "pixelpyramids"
    for name in decode[0], decode[2]:
        shutil.copy(package / "assets" / name, tmp_path)
    array = np.random.default_rng(0).integers(100, 110, (9, 12, 3), dtype=np.uint8)
    (tmp_path / "a.ppyr").write_bytes(pp.encode(array, effort="fast"))
    subprocess.run([sys.executable, *decode], env={}, **options)
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)


def test_the_wheel_holds_parameter_files_and_the_formats_text(installed):
    package = installed / "pixelpyramids"
    for path in (ROOT / "params").iterdir():
        assert (package / "params" / path.name).read_bytes() == path.read_bytes()
    assert (package / "assets" / "format.md").read_bytes() == (ROOT / "docs" / "format.md").read_bytes()
