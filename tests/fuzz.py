"""Attack the codec for some minutes: `python tests/fuzz.py --minutes 5`. Exits with 1 if something is found.

Hypothesis draws hostile files for both decoders, and hostile parts for the native core. If atheris is installed,
coverage of the codec guides the search for files, and libFuzzer writes the input of a finding to the current folder.
Other findings end with a traceback.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent
FILES_PER_MINUTE, PARTS_PER_MINUTE = 10_000, 30_000
LIMITS = ["-timeout=20", "-rss_limit_mb=4096", "-max_len=4096", "-len_control=0", "-print_final_stats=1"]


def run(*arguments, **environment):
    """Run Python with these arguments; return whether it succeeds."""
    print(*arguments, flush=True)
    path = os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path} | environment
    return subprocess.run([sys.executable, *map(str, arguments)], env=environment).returncode == 0


def run_test(name, examples, seed):
    """Run a test of Hypothesis with so many examples."""
    arguments = ["-m", "pytest", "-q", f"--hypothesis-seed={seed}", TESTS / name]
    return run(*arguments, FUZZ_EXAMPLES=str(round(examples) + 1))


def explore(arguments):
    """Have atheris search for hostile files; the arguments are libFuzzer's."""
    import atheris

    with atheris.instrument_imports(include=["pixelpyramids.codec"]):
        from test_hostile import test_both_decoders_accept_and_refuse_the_same_hostile_files as attack
    atheris.Setup([sys.argv[0], *arguments], attack.hypothesis.fuzz_one_input)
    atheris.Fuzz()


def main():
    """Divide the minutes among the attacks."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    minutes, seed = parser.parse_args().minutes, int(time.time())
    hostile, parts = "test_hostile.py::test_both_decoders", "test_coder.py::test_parts_are_read_as_written"
    found = [
        not run_test(f"{hostile}_accept_and_refuse_the_same_hostile_files", 0.4 * minutes * FILES_PER_MINUTE, seed),
        not run_test(f"{parts}_and_others_refused", 0.2 * minutes * PARTS_PER_MINUTE, seed),
    ]
    if importlib.util.find_spec("atheris") is not None:
        limits = [f"-max_total_time={round(0.4 * 60 * minutes)}", f"-seed={seed}", *LIMITS]
        found.append(not run(Path(__file__), "--explore", *limits))
    else:
        print("atheris is not installed, so coverage guides nothing; pip install 'pixelpyramids[fuzz]'")
    print("something was found: see the traceback above" if any(found) else "nothing was found")
    sys.exit(any(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--explore"]:
        explore(sys.argv[2:])
    main()
