"""Compile the native core: with the compiler of this machine or, without one, with the one in the ziglang package.

hatchling runs `CoreBuilder` for every wheel and every editable install. For another system, set CORE_TARGET to one of
TARGETS; this always uses ziglang. `python native/build.py FOLDER` compiles for this machine only.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path(__file__).resolve().parent
NAME = "ppyr_core"
PLACE = "pixelpyramids/codec"  # the folder of the library in the package
COMMON = ("-std=c11", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden")
AVX512 = ("-mavx2", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni")
FLAGS = {  # by processor and source file; those of another processor compile to nothing
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

    def dependencies(self) -> list[str]:
        """What the build needs: ziglang, unless this machine has a compiler."""
        return [] if "CORE_TARGET" not in os.environ and find_compiler() else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the core into the package."""
        name = os.environ.get("CORE_TARGET")
        if name is not None and name not in TARGETS:
            raise ValueError(f"CORE_TARGET: expected one of {', '.join(TARGETS)}, got {name}")
        target = None if name is None else TARGETS[name]
        folder = Path(self.root) / PLACE
        if target is not None:  # leave the library of this machine as it is
            folder = Path(tempfile.mkdtemp(prefix="ppyr-"))
        library = compile_core(folder, target)
        if version != "editable":
            build_data["force_include"][str(library)] = f"{PLACE}/{library.name}"
        build_data["pure_python"] = False
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_") if target is None else target.tag
        build_data["tag"] = f"py3-none-{tag}"


def compile_core(folder: Path, target: Target | None = None, extra: tuple[str, ...] = ()) -> Path:
    """Compile the library into a folder; return its path. `extra` are flags of the compiler and the linker.

    Raises RuntimeError with the compiler's messages if it fails.
    """
    compiler = find_compiler() if target is None else None
    zig = [sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined"]
    command = compiler or [*zig, *(["-target", target.zig] if target else [])]
    system = platform.system().lower() if target is None else target.zig.split("-")[1].split(".")[0]
    suffix = {"darwin": ".dylib", "macos": ".dylib", "windows": ".dll"}.get(system, ".so")
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    flags = FLAGS.get(machine if target is None else target.processor, {})
    portable = () if system == "windows" else ("-fPIC",)
    with tempfile.TemporaryDirectory() as built:
        objects = []
        for source in sorted(SOURCES.glob("*.c")):
            objects.append(f"{built}/{source.stem}.o")
            _run(
                [
                    *command,
                    *COMMON,
                    *portable,
                    *flags.get(source.name, ()),
                    *extra,
                    "-c",
                    str(source),
                    "-o",
                    objects[-1],
                ]
            )
        library = Path(built) / f"{NAME}{suffix}"
        strip = () if suffix == ".dylib" or extra else ("-s",)
        _run([*command, "-shared", *portable, *strip, *extra, *objects, "-o", str(library)])
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f"{library.name}.{os.getpid()}"
        shutil.copy(library, beside)
        return beside.replace(folder / library.name)  # a process that has the old one loaded keeps it


@cache
def find_compiler() -> list[str] | None:
    """The C compiler of this machine; None if there is none, or if it does not know the instructions that we use."""
    command = os.environ.get("CC", "cc").split()
    if not command or shutil.which(command[0]) is None:
        return None
    flags = FLAGS.get({"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine()), {})
    source, options = next(reversed(flags.items()), ("processor.c", ()))
    try:
        _run([*command, "-std=c11", *options, "-fsyntax-only", str(SOURCES / source)])
    except RuntimeError:
        return None
    return command


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    if done.stderr:
        print(done.stderr, file=sys.stderr)


if __name__ == "__main__":
    print(compile_core(Path(sys.argv[1])))
