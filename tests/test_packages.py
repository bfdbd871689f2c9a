"""The source distribution becomes a wheel, which works in empty environments: alone, and with each extra."""

import json
import os
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib

import numpy as np
import pytest
import yaml
from command_line import ROOT
from pictures import save

import pixelpyramids as pp

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("CORE_TARGET", "PYTHONPATH")}
LARGEST_CORE = 130e6  # bytes on the disk, Python itself not counted; docs/evidence/performance.md says so

# By extra, a command of the package that fails without it; "python" runs a program.
USES = {
    "images": ("bench", "in", "--json"),
    "plots": ("bench", "in", "--html", "page.html"),
    "remote": ("compress", "in", "--out", "memory://archive"),
    "zarr": (
        "python",
        "import numpy as np, zarr\n"
        "from pixelpyramids.image_files.zarr_codec import PyramidSerializer\n"
        "array = zarr.create_array('a.zarr', shape=(20, 30), chunks=(20, 30), dtype='uint8',"
        " serializer=PyramidSerializer(), compressors=None)\n"
        "array[:] = np.arange(600).reshape(20, 30) % 251\n"
        "assert zarr.open('a.zarr')[10, 1] == 301 % 251",
    ),
    "train": ("python", "from pixelpyramids import load_parameters, PixelPyramid; load_parameters('celeba_256')"),
    "demo": (
        "python",
        "import json, signal, subprocess, sys\n"
        "command = [sys.executable, '-m', 'pixelpyramids', 'serve', '--port', '0', '--json']\n"
        "server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "assert json.loads(server.stdout.readline())['address'].startswith('http://127.0.0.1:')\n"
        "server.send_signal(signal.SIGINT)\n"
        "assert server.wait() == 130",
    ),
    "ray": ("compress", "in", "--out", "archive", "--engine", "ray"),
}
LIGHT = ("demo", "images", "plots", "remote", "zarr")


def run(*command, **options):
    """What a command prints; it must succeed. If the package index cannot be reached, the test is skipped."""
    command = [*map(str, command)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, errors="replace", **options)
    if done.returncode and any(words in done.stderr for words in ("NewConnectionError", "NameResolutionError")):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that pip builds from the source distribution."""
    builders, folder = pytest.importorskip("hatchling.builders.sdist"), tmp_path_factory.mktemp("packages")
    (source,) = builders.SdistBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with tarfile.open(source) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"pyproject.toml", "native/build.py", "docs/reference/format.md", "params/celeba_256.json"} <= names
    assert not [name for name in names if name.endswith((".so", ".pt", ".pyc"))]
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "wheel", source)
    (path,) = (folder / "wheel").iterdir()
    return path


@pytest.fixture
def install(wheel, tmp_path):
    """A function that makes an environment of the wheel, with extras or without, beside a folder with an image.

    It returns the folder of the environment's commands.
    """

    def install(extra=""):
        save(tmp_path / "in" / "a.png")
        environment, pip = tmp_path / "venv", (sys.executable, "-m", "pip", "--python", tmp_path / "venv")
        run(sys.executable, "-m", "venv", "--without-pip", environment)
        lock = ("--constraint", ROOT / "requirements-lock.txt")
        run(*pip, "install", "--quiet", *lock, f"{wheel}[{extra}]" if extra else wheel)
        run(*pip, "check")
        return environment / "bin"

    return install


def test_the_core_alone_compresses_and_decompresses(install, tmp_path):
    commands = install()
    installed = [path for path in (tmp_path / "venv" / "lib").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in installed) < LARGEST_CORE
    run(commands / "pixelpyramids", "compress", "in", "--out", "archive", cwd=tmp_path)
    run(commands / "pixelpyramids", "decompress", "archive", "--out", "back", cwd=tmp_path)
    original = pp.open(tmp_path / "in" / "a.png").read()
    assert np.array_equal(pp.open(tmp_path / "back" / "a.png").read(), original)
    code = "import numpy, pixelpyramids as pp; numpy.save('a.npy', pp.open('archive/a.ppyr').read())"
    run(commands / "python", "-W", "error", "-c", code, cwd=tmp_path)  # it would warn without the native core
    assert np.array_equal(np.load(tmp_path / "a.npy"), original)


def mark(extra):
    return extra if extra in LIGHT else pytest.param(extra, marks=pytest.mark.long)


@pytest.mark.parametrize("extra", [mark(extra) for extra in EXTRAS if extra != "fuzz"])  # that is of some Pythons only
def test_an_extra_brings_what_it_is_for(extra, install, tmp_path):
    commands = install(extra)
    found = json.loads(run(commands / "pixelpyramids", "doctor", "--json", cwd=tmp_path))["extras"]
    assert all(found.get(extra, {}).values()), found[extra]
    program, *arguments = USES.get(extra, ("doctor",))
    if program == "python":
        run(commands / "python", "-c", *arguments, cwd=tmp_path)
    else:
        run(commands / "pixelpyramids", program, *arguments, cwd=tmp_path)


def test_the_workflow_builds_and_tests_the_wheels_of_all_systems():
    """As far as it can be checked without GitHub's machines."""
    text = (ROOT / ".github" / "workflows" / "wheels.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    targets = runpy.run_path(str(ROOT / "native" / "build.py"))["TARGETS"]
    makefile = (ROOT / "Makefile").read_text()
    assert re.search("^TARGETS := (.*)", makefile, re.M)[1].split() == list(targets)
    assert [each["target"] for each in jobs["test"]["strategy"]["matrix"]["include"]] == list(targets)
    assert {"run": "make wheels"} in jobs["build"]["steps"] and re.search("^wheels:", makefile, re.M)
    assert {"run": "pixelpyramids doctor"} in jobs["test"]["steps"]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert set(re.findall('python-version: "(.*)"', text)) == {oldest}
