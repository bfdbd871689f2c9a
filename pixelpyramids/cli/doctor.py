"""`doctor`: show what is installed, whether it works, and what is slow and why."""

import hashlib
import os
import platform
import re
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from pixelpyramids.cli import options
from pixelpyramids.cli.console import print_json, stdout
from pixelpyramids.cli.report.environment import installed_version

# The file that every machine must make of `_test_image`; it changes if version 1 of the format or its model does.
EXPECTED = "8e2b49b19ca22f977e5c5cace35ae80f7be288c3fde19d7e17c5cf6c43bdbf46"
_SIDE = 256
_VARIABLES = ("PIXELPYRAMIDS_ENGINE", "PIXELPYRAMIDS_CORE", "OMP_NUM_THREADS", "XDG_CACHE_HOME", "TMPDIR")
_DEVELOPMENT = {"dev", "docs", "fuzz"}  # extras for those who change this package
_FAST = {"AVX512", "AMX"}  # instruction sets with which speed needs no remark


def doctor(json: options.Json = False) -> int:
    """Show what is installed, test that files are the same as on other machines, and say what is slow and why.

    Status 1 if the test fails.
    """
    codec = _examine_codec()
    facts = {
        "pixelpyramids": metadata.version("pixelpyramids"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "codec": codec,
        "extras": _find_extras(),
        "cache": _describe_cache(),
    }
    if json:
        print_json(facts)
    else:
        for line in _format_lines(facts):
            stdout.print(line)
    return 0 if codec["fault"] is None else 1


def _examine_codec() -> dict[str, Any]:
    """What the codec computes with, its speed, and whether it makes and reads the right file."""
    import pixelpyramids as pp
    from pixelpyramids.codec.bundled import available_threads, load_model
    from pixelpyramids.codec.native import supported_instructions
    from pixelpyramids.errors import PixelPyramidsError

    facts: dict[str, Any] = {"processors": available_threads(), "instructions": [], "encode": None, "decode": None}
    try:
        facts["instructions"] = [each.name for each in supported_instructions()]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_model("compact")
        image = _test_image()
        begin = time.perf_counter()
        file = pp.encode(image, effort="fast")
        encoded = time.perf_counter()
        decoded = pp.decode(file)
        megapixels = _SIDE * _SIDE / 1e6
        facts["encode"], facts["decode"] = megapixels / (encoded - begin), megapixels / (time.perf_counter() - encoded)
    except (OSError, PixelPyramidsError) as error:
        return facts | {"fault": str(error), "slow": []}
    if not (decoded == image).all():
        fault: str | None = "an image did not come back as it was"
    elif hashlib.sha256(file).hexdigest() != EXPECTED:
        fault = "the file of an image is not the one that other machines make"
    else:
        fault = None
    slow = [str(warning.message) for warning in caught]
    chosen = os.environ.get("PIXELPYRAMIDS_ENGINE", "best").upper()
    if chosen != "BEST":
        slow.append(f"PIXELPYRAMIDS_ENGINE chooses {chosen.lower()}; without it, the fastest engine runs")
    elif not _FAST & set(facts["instructions"]):
        slow.append("the processor has neither AVX-512 with VNNI nor AMX; those that do are about twice as fast")
    if facts["processors"] == 1:
        slow.append("one processor is available; a large image is coded on all that there are")
    return facts | {"fault": fault, "slow": slow}


def _test_image() -> Any:
    """A picture (256, 256, 3), uint8, of waves and integer noise."""
    import numpy as np

    row, column = np.mgrid[:_SIDE, :_SIDE].astype(np.uint32)
    noise = (row * 2654435761 + column * 2246822519) >> 28
    return np.stack([(row * row // 64 + column + noise) & 255, (row + column) // 2, column ^ (noise & 7)], 2).astype(
        np.uint8
    )


def _find_extras() -> dict[str, dict[str, str | None]]:
    """For each extra: the versions of its packages; None if one is not installed."""
    extras: dict[str, dict[str, str | None]] = {}
    for requirement in metadata.requires("pixelpyramids") or []:
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", requirement)
        if found and found[2] not in _DEVELOPMENT:
            extras.setdefault(found[2], {})[found[1]] = installed_version(found[1])
    return extras


def _describe_cache() -> dict[str, Any]:
    """The folder of caches, and its bytes."""
    from pixelpyramids.data.name_index import cache_folder

    folder = cache_folder()
    files = [path for path in (folder or Path(os.devnull)).rglob("*") if path.is_file()]
    return {"folder": None if folder is None else str(folder), "bytes": sum(path.stat().st_size for path in files)}


def _format_lines(facts: dict[str, Any]) -> list[str]:
    codec, cache = facts["codec"], facts["cache"]
    lines = [
        f"pixelpyramids {facts['pixelpyramids']}, Python {facts['python']} ({sys.executable}), {facts['system']}",
        f"codec: {codec['processors']} processors; instruction sets {', '.join(codec['instructions']) or 'unknown'}",
        *(f"environment: {name}={value}" for name, value in facts["environment"].items()),
    ]
    if codec["fault"] is None:
        lines.append(
            f"test: passed: its file is the one that every machine makes; a picture of {_SIDE} x {_SIDE} pixels "
            f"was encoded at {codec['encode']:.2f} MP/s and decoded at {codec['decode']:.2f} MP/s"
        )
    else:
        lines.append(f"test: FAILED: {codec['fault']}; install pixelpyramids again, and report this if it stays")
    lines += [f"slow: {each}" for each in codec["slow"]]
    for extra, packages in facts["extras"].items():
        missing = [name for name, version in packages.items() if version is None]
        there = ", ".join(f"{name} {version}" for name, version in packages.items() if version is not None)
        if missing:
            lines.append(f'extra {extra}: lacks {", ".join(missing)}; pip install "pixelpyramids[{extra}]"')
        else:
            lines.append(f"extra {extra}: {there}")
    size = f"{cache['bytes'] / 1e6:.1f} MB, which may be deleted" if cache["bytes"] else "empty"
    lines.append(f"cache: {cache['folder'] or 'none'}: {size}")
    return lines
