"""How a page was made: the command line, the versions of the software, and the machine."""

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from pixelpyramids.cli.report.page import Section, command, facts, paragraph

CPU_INFO = Path("/proc/cpuinfo")


def describe_environment(packages: Sequence[str], threads: int) -> dict[str, str]:
    """Versions of this package, Python and those of `packages` that are installed; the processor and the system.

    `threads` is how many the work uses.
    """
    versions = {name: installed_version(name) for name in packages}
    return {
        "pixelpyramids": metadata.version("pixelpyramids"),
        "Python": platform.python_version(),
        **{name: version for name, version in versions.items() if version is not None},
        "processor": processor_name(),
        "threads": str(threads),
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
    }


def installed_version(package: str) -> str | None:
    """The version of an installed package, else None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """The processor's name as far as the system knows it, at least its architecture."""
    lines = CPU_INFO.read_text(errors="replace").splitlines() if CPU_INFO.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return (names[0] if names else platform.processor()) or platform.machine()


def command_line() -> str:
    """The command that runs now, as one would type it."""
    return shlex.join(["pixelpyramids", *sys.argv[1:]])


def environment_section(line: str, environment: Mapping[str, str]) -> Section:
    """The command line and the environment as the section of a page."""
    return Section(
        "How this page was made",
        [
            paragraph(
                "This command made the page. What it measured or drew may depend on the software and the machine:"
            ),
            command(line),
            facts(environment),
        ],
    )
