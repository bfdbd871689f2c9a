"""Compile the native core: with the compiler of this machine or, without one, with the one in the ziglang package.

hatchling runs `CoreBuilder` for every wheel and every editable install. For another system, set CORE_TARGET to one of
TARGETS; this always uses ziglang. `python native/build.py FOLDER FLAGS` compiles for this machine, with more flags.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path(__file__).resolve().parent
CORE = sorted(path for path in SOURCES.glob("*.c") if path.stem != "fuzz")
NAME = "ppyr_core"
PLACE = "pixelpyramids/codec"  # the library's folder in the package
COMMON = ("-std=c11", "-O3", "-Wall", "-Wextra", "-Wpedantic", "-fvisibility=hidden")
AVX512 = ("-mavx2", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni")
# By processor and source file; the last file of a processor needs the newest compiler.
FLAGS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "slices_avx2.c": ("-mavx2",),
        "slices_avx512.c": AVX512,
        "rows_avx2.c": ("-mavx2",),
        "rows_avx512.c": AVX512,
        "rows_amx.c": (*AVX512, "-mamx-tile", "-mamx-int8"),
    },
    "aarch64": {"rows_neon.c": ("-mcpu=generic+dotprod",)},
}


class Target(NamedTuple):
    """A system to build for: its name for zig, its platform tag of wheels, and its processor."""

    zig: str
    tag: str
    processor: str


TARGETS = {
    "linux-x86_64": Target("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64.manylinux2014_x86_64", "x86_64"),
    "linux-aarch64": Target("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64.manylinux2014_aarch64", "aarch64"),
    "macos-x86_64": Target("x86_64-macos.11.0", "macosx_11_0_x86_64", "x86_64"),
    "macos-arm64": Target("aarch64-macos.11.0", "macosx_11_0_arm64", "aarch64"),
    "windows-x86_64": Target("x86_64-windows-gnu", "win_amd64", "x86_64"),
}


class CoreBuilder(BuildHookInterface[Any]):
    """Adds the compiled core to a wheel, and gives the wheel its platform's tag."""

    PLUGIN_NAME = "custom"
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """What the build needs: ziglang, unless this machine has a compiler."""
        return [] if "CORE_TARGET" not in os.environ and find_compiler() else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the core: for this machine into the source tree, which can then be imported too; else elsewhere."""
        name, is_editable = os.environ.get("CORE_TARGET"), version == "editable"
        if name is not None and (name not in TARGETS or is_editable):
            raise ValueError(f"CORE_TARGET: expected one of {', '.join(TARGETS)}, to build a wheel for it; got {name}")
        target, folder = None if name is None else TARGETS[name], Path(self.root) / PLACE
        if target is not None or not (is_editable or os.access(folder, os.W_OK)):
            self._folder = tempfile.TemporaryDirectory(prefix="ppyr-")
            folder = Path(self._folder.name)
        library = compile_core(folder, target)
        if not is_editable:
            build_data["force_include"][str(library)] = f"{PLACE}/{library.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform_tag(target)}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete what was compiled elsewhere than in the source tree."""
        if self._folder is not None:
            self._folder.cleanup()


def compile_core(folder: Path, target: Target | None = None, extra: tuple[str, ...] = ()) -> Path:
    """Compile the library into a folder; return its path. `extra` are flags of the compiler and the linker.

    Raises RuntimeError with the compiler's messages if it fails.
    """
    processor, system = _processor(), platform.system().lower()
    command = find_compiler() if target is None else None
    if target is not None:
        processor, system = target.processor, target.zig.split("-")[1].split(".")[0].replace("macos", "darwin")
    if command is None:
        command = _zig(target)
    elif system == "darwin":
        command = [*command, "-mmacosx-version-min=11.0"]  # as the wheel's tag says
    suffix = {"darwin": ".dylib", "windows": ".dll"}.get(system, ".so")
    portable = () if system == "windows" else ("-fPIC",)
    strip = () if system == "darwin" or extra else ("-s",)
    with tempfile.TemporaryDirectory(prefix="ppyr-") as built, ThreadPoolExecutor(os.cpu_count()) as pool:

        def compile_file(source: Path) -> str:
            flags = FLAGS.get(processor, {}).get(source.name, ())
            place = f"{built}/{source.stem}.o"
            _run([*command, *COMMON, *portable, *flags, *extra, "-c", str(source), "-o", place], built)
            return place

        objects = list(pool.map(compile_file, CORE))
        library = Path(built) / f"{NAME}{suffix}"
        _run([*command, "-shared", *portable, *strip, *extra, *objects, "-o", str(library)], built)
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f"{library.name}.{os.getpid()}"
        try:
            shutil.copy(library, beside)
            return beside.replace(folder / library.name)  # a process that has the old one loaded keeps it
        finally:
            beside.unlink(missing_ok=True)


@cache
def find_compiler() -> list[str] | None:
    """The C compiler of this machine; None if there is none, or if it cannot compile the core's newest instructions."""
    command = os.environ.get("CC", "cc").split()
    if not command or shutil.which(command[0]) is None:
        return None
    source, flags = next(reversed(FLAGS.get(_processor(), {}).items()), ("processor.c", ()))
    portable = () if platform.system() == "Windows" else ("-fPIC",)
    with tempfile.TemporaryDirectory(prefix="ppyr-") as folder:
        try:
            _run([*command, "-std=c11", *flags, "-c", str(SOURCES / source), "-o", f"{folder}/a.o"], folder)
            _run([*command, "-shared", *portable, str(SOURCES / "processor.c"), "-o", f"{folder}/a.so"], folder)
        except RuntimeError as error:
            print(f"ziglang compiles the native core, because this compiler does not:\n{error}", file=sys.stderr)
            return None
    return command


def _zig(target: Target | None) -> list[str]:
    """The compiler in the ziglang package; without a target, for any processor like this one."""
    if find_spec("ziglang") is None:
        raise RuntimeError(
            "found neither a C compiler that knows all instructions of the core nor ziglang; install gcc 11 or newer, "
            "or `pip install ziglang`"
        )
    return [sys.executable, "-m", "ziglang", "cc", *(["-target", target.zig] if target else ["-mcpu=baseline"])]


def _processor() -> str:
    """The name in FLAGS of this machine's processor."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def _platform_tag(target: Target | None) -> str:
    """The platform tag of a wheel."""
    if target is None and sys.platform == "darwin":  # Python itself may be for two processors
        target = next(one for one in TARGETS.values() if "macos" in one.zig and one.processor == _processor())
    return sysconfig.get_platform().replace("-", "_").replace(".", "_") if target is None else target.tag


def _run(command: list[str], caches: str) -> None:
    """Run a compiler; zig keeps its caches in the folder, unless variables name others."""
    environment = {"ZIG_GLOBAL_CACHE_DIR": caches, "ZIG_LOCAL_CACHE_DIR": caches} | os.environ
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    except OSError as error:  # such as a compiler for another processor
        raise RuntimeError(f"{' '.join(command)}\n{error}") from error
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    if done.stderr:
        print(done.stderr, file=sys.stderr)


if __name__ == "__main__":
    print(compile_core(Path(sys.argv[1]), extra=tuple(sys.argv[2:])))
