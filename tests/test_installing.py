"""`make` installs the versions of the lock file and a suitable build of PyTorch; the wheel holds all that is needed."""

import ctypes
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pixelpyramids as pp

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
EXTRAS = re.search(r"^ALL_EXTRAS := (.*)", MAKEFILE, re.MULTILINE)[1].split(",")

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# Without the variables of a `make` that runs the tests
ENVIRONMENT = {key: value for key, value in os.environ.items() if not re.match("MAKE|MFLAGS|TORCH_INDEX", key)}


def read_lock():
    lines = (ROOT / "requirements-lock.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    return {pin.name: next(iter(pin.specifier)) for pin in pins}


def test_the_lock_satisfies_the_ranges_of_the_project():
    needed = PROJECT["dependencies"] + [line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]]
    pins = read_lock()
    for requirement in map(Requirement, needed):
        name = canonicalize_name(requirement.name)
        if name != "torch":
            assert name in pins, f"{name} is not in the lock; run `make lock`"
            assert requirement.specifier.contains(pins[name].version), f"{requirement}; run `make lock`"


def test_the_lock_has_exact_versions_without_torch_and_its_own_dependencies():
    pins = read_lock()
    assert {pin.operator for pin in pins.values()} == {"=="}
    assert not [name for name in pins if re.match("torch|nvidia|cuda|triton|sympy|mpmath|setuptools", name)]


def test_the_lock_is_made_with_the_oldest_python():
    assert PROJECT["requires-python"] == ">=" + re.search("LOCK_PYTHON .*python(.*)", MAKEFILE)[1]


def test_pins_leave_out_dependencies_of_torch_alone():
    needs = {
        "App": ["torch>=2", "Shared", "Own.Part[fast]; extra == 'train'", "other; extra == 'plots'"],
        "torch": ["shared", "only-torch"],
        "shared": ["old; python_version < '3'"],
        "own-part": ["quick; extra == 'fast'", "slow; extra == 'slow'"],
        "quick": ["app[train]"],
        "only-torch": [],
    }
    report = {
        "install": [
            {"metadata": {"name": name, "version": "1.2", "requires_dist": lines}, "requested": name == "App"}
            for name, lines in needs.items()
        ]
    }
    report["install"][0]["requested_extras"] = ["train"]
    list_pins = runpy.run_path(str(ROOT / ".ci" / "lock.py"))["list_pins"]
    assert list_pins(report) == ["own-part==1.2", "quick==1.2", "shared==1.2"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the contents of the wheel."""
    wheel = pytest.importorskip("hatchling.builders.wheel")
    if not shutil.which("cc"):
        pytest.importorskip("ziglang", reason="there is no C compiler")
    folder = tmp_path_factory.mktemp("wheel")
    (path,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(folder / "built"), versions=["standard"])
    with zipfile.ZipFile(path) as file:
        file.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_holds_the_core_of_this_system(installed):
    (library,) = installed.glob("pixelpyramids/codec/ppyr_core.*")
    assert ctypes.CDLL(str(library)).ppyr_version() == 3
    (metadata,) = installed.glob("*.dist-info")
    tag = re.search("^Tag: (.+)", (metadata / "WHEEL").read_text(), re.M)[1]
    assert tag == "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
    environment = os.environ | {"PYTHONPATH": str(installed), "PIXELPYRAMIDS_ENGINE": "portable"}
    code = "import pixelpyramids as pp, numpy as np; print(pp.__file__, len(pp.encode(np.eye(9, dtype=np.uint8))))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=installed, check=True, stdout=-1, text=True
    )
    assert done.stdout.startswith(str(installed))


def test_the_files_of_the_wheel_decode_an_archive(installed, tmp_path):
    text = (ROOT / "docs" / "howto" / "compress.md").read_text()
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
    assert (package / "assets" / "format.md").read_bytes() == (ROOT / "docs" / "reference" / "format.md").read_bytes()


@pytest.fixture(scope="module")
def build():
    """The names of native/build.py."""
    pytest.importorskip("hatchling")
    return runpy.run_path(str(ROOT / "native" / "build.py"))


def make_builder(build):
    build["find_compiler"].cache_clear()
    return build["CoreBuilder"](str(ROOT), {}, None, None, "", "wheel")


@pytest.mark.parametrize("compiler", ["none at all", "an empty name", "a name without a program", "old", "foreign"])
def test_without_a_compiler_for_the_core_pip_fetches_ziglang(compiler, build, monkeypatch, tmp_path):
    monkeypatch.delenv("CORE_TARGET", raising=False)
    monkeypatch.delenv("CC", raising=False)
    if compiler == "none at all":
        monkeypatch.setenv("PATH", str(tmp_path))
    elif compiler == "an empty name":
        monkeypatch.setenv("CC", "")
    elif compiler == "a name without a program":
        monkeypatch.setenv("CC", str(tmp_path / "cc"))
    else:  # it refuses an option that it does not know, in the words of another encoding; or it is no program here
        refuses = b"#!/bin/sh\nprintf 'option inconnue \\351' >&2\nexit 1\n"
        (tmp_path / "cc").write_bytes(refuses if compiler == "old" else b"\x7fELF")
        (tmp_path / "cc").chmod(0o755)
        monkeypatch.setenv("CC", str(tmp_path / "cc"))
    assert make_builder(build).dependencies() == ["ziglang>=0.13"]


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_with_a_compiler_pip_fetches_none_except_for_another_system(build, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CORE_TARGET", raising=False)
    assert make_builder(build).dependencies() == []
    monkeypatch.setenv("CORE_TARGET", "linux-aarch64")
    assert make_builder(build).dependencies() == ["ziglang>=0.13"]


@pytest.mark.parametrize(("target", "version"), [("amiga", "standard"), ("linux-aarch64", "editable")])
def test_wheels_are_built_for_known_systems_only(target, version, build, monkeypatch):
    monkeypatch.setenv("CORE_TARGET", target)
    with pytest.raises(ValueError, match=f"linux-x86_64, .*; got {target}"):
        make_builder(build).initialize(version, {})


@pytest.mark.long
def test_a_machine_without_a_compiler_installs_the_native_core(tmp_path):
    """From the source distribution; pip fetches a compiler of 0.1 GB for the build."""
    sdist = pytest.importorskip("hatchling.builders.sdist")
    (source,) = sdist.SdistBuilder(str(ROOT)).build(directory=str(tmp_path / "built"), versions=["standard"])
    python, temporary = tmp_path / "venv" / "bin" / "python", tmp_path / "temporary"
    temporary.mkdir()
    environment = {key: value for key, value in ENVIRONMENT.items() if key not in ("CC", "CORE_TARGET", "PYTHONPATH")}
    environment |= {"PATH": str(tmp_path / "nothing"), "TMPDIR": str(temporary)}
    options = {"env": environment, "cwd": tmp_path, "check": True}
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], **options)
    subprocess.run([python, "-m", "pip", "install", "--quiet", source], **options)
    assert not list(temporary.iterdir())
    array = np.random.default_rng(0).integers(100, 110, (40, 50, 3), dtype=np.uint8)
    (tmp_path / "a.ppyr").write_bytes(pp.encode(array, effort="fast"))
    code = "import numpy, pixelpyramids as pp; numpy.save('a.npy', pp.open('a.ppyr').read())"
    subprocess.run([python, "-W", "error", "-c", code], **options)  # it would warn if it used the reference
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
class TestInstalling:
    """`make` with stubs for nvidia-smi and for the environment's python."""

    def install(self, folder, *variables, gpu, reachable=True, target=".installed-demo"):
        stubs, commands = folder / "stubs", folder / "venv" / "bin"
        for path, script in (
            (stubs / "nvidia-smi", f"exit {0 if gpu else 9}"),
            (commands / "pip", ""),
            (commands / "python", f'if [ "$1" = -c ]; then exit {0 if reachable else 1}; fi; echo "python $*"'),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        environment = ENVIRONMENT | {"PATH": f"{stubs}{os.pathsep}{ENVIRONMENT['PATH']}"}
        venv = folder / "venv"
        command = ["make", "-C", ROOT, f"VENV={venv}", *variables, venv / target]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        said, pip = done.stdout.split("python -m pip")
        return said, pip

    @pytest.mark.parametrize(
        ("variables", "gpu", "reachable", "index", "message"),
        [
            ((), False, True, CPU_INDEX, "0.7 GB on disk"),
            ((), True, True, None, "5 GB on disk"),
            ((), False, False, None, f"{CPU_INDEX} cannot be reached"),
            (("TORCH_INDEX=http://mirror",), True, True, "http://mirror", "http://mirror"),
            (("TORCH_INDEX=",), False, True, None, "5 GB on disk"),
        ],
    )
    def test_takes_torch_from_a_suitable_index(self, variables, gpu, reachable, index, message, tmp_path):
        said, pip = self.install(tmp_path, *variables, gpu=gpu, reachable=reachable)
        assert message in said
        assert f"--extra-index-url {index} " in pip if index else "index-url" not in pip

    def test_shows_progress_and_takes_the_versions_of_the_lock(self, tmp_path):
        for target, extras in ((".installed-demo", "train,plots"), (".installed-dev", ",".join(EXTRAS))):
            pip = self.install(tmp_path, gpu=True, target=target)[1]
            assert "--constraint requirements-lock.txt" in pip and "--quiet" not in pip
            assert f" -e .[{extras}]\n" in pip

    def test_takes_the_newest_versions_without_the_lock(self, tmp_path):
        assert "--constraint" not in self.install(tmp_path, "LOCK=", gpu=True)[1]

    def test_make_test_latest_uses_its_own_environment_without_the_lock(self):
        command = ["make", "-n", "-C", ROOT, "test-latest"]
        printed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
        assert "VENV=.venv-latest LOCK=" in printed
        assert ".venv-latest/bin/python -m pytest" in printed
        assert "--constraint" not in printed
