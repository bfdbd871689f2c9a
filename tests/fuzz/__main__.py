"""Attack the codec for some minutes: `python tests/fuzz --minutes 5`. Exits with 1 where something was found.

Files by Hypothesis with the JIT, header and parts by atheris without it, kernels with their indices checked. A finding
ends its program with a traceback, and libFuzzer writes the input that caused it to the current folder.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMITS = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=4096", "-len_control=0", "-print_final_stats=1"]


def run(name, arguments, **environment):
    """Whether the program ends well."""
    print(f"{name} {' '.join(arguments)} {environment or ''}", flush=True)
    command = [sys.executable, str(HERE / name), *arguments]
    path = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path} | environment).returncode == 0


def main():
    """Share the minutes out, and run each program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    minutes, seed = parser.parse_args().minutes, int(time.time())
    has_atheris = importlib.util.find_spec("atheris") is not None
    with tempfile.TemporaryDirectory() as folder:
        corpus, kept = str(Path(folder) / "corpus"), str(Path(folder) / "numba")
        files, kernels = (0.4, 0.2) if has_atheris else (0.7, 0.3)
        well = [run("files.py", ["--minutes", f"{files * minutes:.2f}", "--seed", str(seed)])]
        checked = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": kept}
        well.append(run("kernels.py", ["--minutes", f"{kernels * minutes:.2f}", "--seed", str(seed)], **checked))
        if has_atheris:
            well.append(run("parser.py", ["--seeds", corpus], NUMBA_DISABLE_JIT="1"))
            seconds = f"-max_total_time={round(0.4 * 60 * minutes)}"
            well.append(run("parser.py", [corpus, seconds, f"-seed={seed}", *LIMITS], NUMBA_DISABLE_JIT="1"))
        else:
            print(
                "atheris is missing, so the parser is left out: pip install 'pixelpyramids[fuzz]', on a Python it has"
            )
    print("nothing was found" if all(well) else "something was found: see the traceback above")
    sys.exit(not all(well))


if __name__ == "__main__":
    main()
