"""Print the exact versions in a pip installation report (stdin), without torch and the packages that only torch needs.

Machines need different builds of torch, which need different packages.
"""

import json
import sys
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def list_pins(report: dict[str, Any], left_out: str = "torch") -> list[str]:
    """`name==version` of each package that the requested ones need, directly or not, without passing `left_out`."""
    packages = {canonicalize_name(package["metadata"]["name"]): package for package in report["install"]}
    requested = {name: package for name, package in packages.items() if package["requested"]}
    waiting = [(name, frozenset(package.get("requested_extras", []))) for name, package in requested.items()]
    found = set()
    while waiting:
        name, extras = waiting.pop()
        if name == left_out or (name, extras) in found:
            continue
        found.add((name, extras))
        for line in packages[name]["metadata"].get("requires_dist", []):
            needed = Requirement(line)
            if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in extras or {""}):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    names = sorted({name for name, _ in found} - requested.keys())
    return [f"{name}=={packages[name]['metadata']['version']}" for name in names]


if __name__ == "__main__":
    print("# What `make demo` and `make test` install, but for torch and what only it brings. Renew it by `make lock`.")
    print("\n".join(list_pins(json.load(sys.stdin))))
