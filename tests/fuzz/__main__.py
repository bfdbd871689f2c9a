"""Attack the codec for some minutes: `python tests/fuzz --minutes 5`. Exits with 1 if something is found.

Hypothesis builds hostile files for both decoders, one program attacks the kernels with checked indices, and atheris
attacks the parser. A finding ends its program with a traceback; libFuzzer writes its input to the current folder.
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
EXAMPLES_PER_MINUTE = 2000
HOSTILE = "test_hostile.py::test_both_decoders_accept_and_refuse_the_same_hostile_files"


def run(arguments, **environment):
    """Run Python with these arguments; return whether it succeeds."""
    print(" ".join(arguments), environment or "", flush=True)
    path = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
    return (
        subprocess.run([sys.executable, *arguments], env=os.environ | {"PYTHONPATH": path} | environment).returncode
        == 0
    )


def main():
    """Divide the minutes, and run each program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    minutes, seed = parser.parse_args().minutes, str(int(time.time()))
    with tempfile.TemporaryDirectory() as folder:
        examples = str(round(0.4 * minutes * EXAMPLES_PER_MINUTE) + 1)
        hostile = ["-m", "pytest", "-q", f"--hypothesis-seed={seed}", str(HERE.parent / HOSTILE)]
        found = [not run(hostile, FUZZ_EXAMPLES=examples)]
        kernels = [str(HERE / "kernels.py"), "--minutes", f"{0.2 * minutes:.2f}", "--seed", seed]
        found.append(not run(kernels, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(Path(folder) / "numba")))
        if importlib.util.find_spec("atheris") is not None:
            corpus, attack = str(Path(folder) / "corpus"), str(HERE / "parser.py")
            found.append(not run([attack, "--seeds", corpus], NUMBA_DISABLE_JIT="1"))
            limits = [f"-max_total_time={round(0.4 * 60 * minutes)}", f"-seed={seed}", *LIMITS]
            found.append(not run([attack, corpus, *limits], NUMBA_DISABLE_JIT="1"))
        else:
            print("atheris is not installed, so the parser is skipped; pip install 'pixelpyramids[fuzz]'")
    print("something was found: see the traceback above" if any(found) else "nothing was found")
    sys.exit(any(found))


if __name__ == "__main__":
    main()
