"""Every engine writes the same files; if the native core cannot be used, the reference does, with a warning."""

import _ctypes
import copy
import os
import pickle
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
from command_line import json_of
from core_samples import NETWORK
from safetensors.numpy import load_file, save_file

import pixelpyramids as pp
from pixelpyramids.codec import bundled, native
from pixelpyramids.codec.integer_network import build_network, load_network
from pixelpyramids.codec.native import Instructions, NativeEngine, supported_instructions
from pixelpyramids.codec.reference import ReferenceEngine
from pixelpyramids.errors import CheckpointError

X86 = platform.machine() in ("x86_64", "AMD64")
NAMES = ["best", *(instructions.name.lower() for instructions in supported_instructions())]
DIGEST = """
import hashlib, sys, numpy as np, pixelpyramids as pp
height, width, threads = map(int, sys.argv[1:])
y, x = np.mgrid[:height, :width]
image = np.stack([(y * 3 + x) % 256, (y * x) % 251, (x * 2) % 256], -1).astype(np.uint8)
data = pp.encode(image, effort="fast", threads=threads)
assert np.array_equal(pp.decode(data, threads=threads), image)
print(hashlib.sha256(data).hexdigest())
"""
AS_USERS = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}  # NumPy's threads included
TINY, SMALL, LARGE = (11, 13), (30, 34), (70, 770)  # for an emulator; one part; two tiles of an octave, among others


def digest(engine, size, threads=1, command=(sys.executable,)):
    """The digest of an image's file, which a new process writes and reads."""
    environment = AS_USERS | {bundled.ENGINE: engine}
    arguments = [*command, "-W", "error", "-c", DIGEST, *map(str, size), str(threads)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def expected():
    """The digests of the reference's file and, of an image that takes it too long, the portable core's."""
    return {TINY: digest("reference", TINY), SMALL: digest("reference", SMALL), LARGE: digest("portable", LARGE)}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("engine", NAMES)
def test_every_instruction_set_and_any_number_of_threads_write_the_same_file(engine, threads, expected):
    for size in SMALL, LARGE:
        assert digest(engine, size, threads) == expected[size]


@pytest.mark.skipif(not X86 or shutil.which("qemu-x86_64") is None, reason="requires x86 and Debian's qemu-user")
@pytest.mark.parametrize("processor", ["Haswell", "Nehalem"])  # with AVX2, and without
def test_another_processor_writes_the_same_file(processor, expected):
    assert digest("best", TINY, command=("qemu-x86_64", "-cpu", processor, sys.executable)) == expected[TINY]


@pytest.fixture
def image():
    """A picture of a few sites; the cached model is loaded again, before and after the test."""
    bundled._model.cache_clear()
    yield np.random.default_rng(0).integers(0, 256, (24, 22, 3), dtype=np.uint8)
    bundled._model.cache_clear()


def expect_the_reference(image, message):
    """Check the warning, and that the file is that of the core."""
    with pytest.warns(UserWarning, match=message):
        found = pp.encode(image, effort="fast")
        assert np.array_equal(pp.decode(found), image)
    return found


@pytest.mark.parametrize(
    "content",
    [None, b"", bytes(999), 500, 4096, -1, "other", "version"],
    ids=["missing", "empty", "zeros", "cut early", "cut within its code", "cut late", "another", "of another version"],
)
def test_without_a_sound_library_the_reference_writes_the_same_file(content, image, tmp_path, monkeypatch):
    image = image[:9, :8]
    expected, library = pp.encode(image, effort="fast"), next(bundled.ASSETS.parent.glob("codec/ppyr_core.*"))
    native.load_core.cache_clear()
    bundled._model.cache_clear()
    if content == "version":
        monkeypatch.setattr(native, "VERSION", 99)
    else:
        monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
        if content == "other":
            shutil.copy(_ctypes.__file__, tmp_path / library.name)
        elif content is not None:
            (tmp_path / library.name).write_bytes(
                library.read_bytes()[:content] if isinstance(content, int) else content
            )
    assert (
        expect_the_reference(image, "cannot be loaded .*takes about ten minutes.*install pixelpyramids again")
        == expected
    )
    assert isinstance(bundled.load_model("compact").engine, ReferenceEngine)
    monkeypatch.setenv(bundled.ENGINE, "portable")
    with pytest.raises(CheckpointError, match=r"PIXELPYRAMIDS_ENGINE: .*ppyr_core"):
        pp.encode(image)
    native.load_core.cache_clear()


class Wrong:
    """A stack that gives one wrong number."""

    def __init__(self, stack):
        self.stack = stack

    def run(self, inputs, height, width):
        found = self.stack.run(inputs, height, width)
        found.ravel()[np.random.default_rng().integers(found.size)] ^= 1
        return found


@pytest.mark.parametrize("stack", range(6))
def test_if_the_core_differs_in_a_stack_the_reference_writes_the_same_file(stack, image):
    expected = pp.encode(image, effort="fast")
    bundled._model.cache_clear()
    engine = bundled.load_model("compact").engine
    engine._stacks[stack] = Wrong(engine._stacks[stack])
    assert expect_the_reference(image, "differs from the reference") == expected


def test_an_instruction_set_that_the_processor_lacks_is_refused(monkeypatch):
    for lacking in set(Instructions) - set(supported_instructions()) - {Instructions.BEST}:
        with pytest.raises(OSError, match=f"cannot run the network with {lacking.name}"):
            NativeEngine(NETWORK, lacking)
        monkeypatch.setenv(bundled.ENGINE, lacking.name.lower())
        with pytest.raises(CheckpointError, match=f"{bundled.ENGINE}: .*{lacking.name}"):
            bundled.load_model("compact")
    monkeypatch.setenv(bundled.ENGINE, "fastest")
    with pytest.raises(CheckpointError, match=r"expected one of reference, best, portable, .*, got fastest"):
        bundled.load_model("compact")


def test_info_estimates_the_time_that_the_engine_takes(image, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.ppyr").write_bytes(pp.encode(image, effort="fast"))
    seconds = []
    for engine in "best", "portable", "reference":
        monkeypatch.setenv(bundled.ENGINE, engine)
        seconds.append(json_of(capsys, "info", tmp_path)["files"][0]["decode_seconds"])
    assert seconds[0] <= seconds[1] < seconds[2] / 5


FORK = """
import os, signal, sys, threading, time
import numpy as np
import pixelpyramids as pp
from pixelpyramids.codec import bundled
from pixelpyramids.codec.reference import ReferenceEngine

rng = np.random.default_rng(int(sys.argv[1]))
images = [rng.integers(0, 256, (20 + i, 26 - i, 3), dtype=np.uint8) for i in range(5)]
expected = [pp.encode(image, effort="fast", threads=1) for image in images]
stop = threading.Event()

def work(first):
    for i in range(first, 10**6):
        if stop.is_set():
            return
        if i % 3 == 0:  # as in a new process: the core is compared with the reference again
            bundled._model.cache_clear()
        assert pp.encode(images[i % 5], effort="fast", threads=2) == expected[i % 5]

workers = [threading.Thread(target=work, args=(i,)) for i in range(3)]
for worker in workers:
    worker.start()
time.sleep(rng.uniform(0, 0.2))
child = os.fork()
if child == 0:
    signal.alarm(60)
    same = all(pp.encode(image, effort="fast", threads=2) == data for image, data in zip(images, expected))
    same = same and all(np.array_equal(pp.decode(data, threads=2), image) for image, data in zip(images, expected))
    os._exit(0 if same else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
stop.set()
for worker in workers:
    worker.join()
sys.exit(status and f"the forked process ended with {status}")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_process_that_is_forked_while_threads_encode_neither_hangs_nor_differs():
    for seed in range(20):
        subprocess.run([sys.executable, "-W", "ignore", "-c", FORK, str(seed)], check=True, timeout=120, env=AS_USERS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_process_that_is_forked_while_a_thread_compares_the_engines_does_not_hang():
    code = FORK.replace("time.sleep(rng.uniform(0, 0.2))", "while not comparing.wait(60): pass").replace(
        "workers = ",
        """comparing, run = threading.Event(), ReferenceEngine.run

def slow(*arguments):
    comparing.set()
    time.sleep(0 if os.getpid() != parent else 0.5)
    return run(*arguments)

ReferenceEngine.run, parent = slow, os.getpid()
workers = """,
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, "0"], check=True, timeout=120, env=AS_USERS)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda weight: np.where(weight == weight.max(), np.int8(65), weight), "could exceed the range"),
        (lambda weight: weight[:, :6] // 2, r"expected filters of \[\(\d+, 18, 3, 3\)"),
        (None, "integer weights of a compact network"),
    ],
    ids=["too large", "of other inputs", "missing"],
)
def test_weights_of_another_network_are_refused(change, message, tmp_path):
    tensors = load_file(bundled.ASSETS / bundled.MODELS["compact"])
    assert build_network(tensors).name == NETWORK.name
    weight = tensors.pop("trunk.0.weight")
    save_file(tensors | ({} if change is None else {"trunk.0.weight": change(weight)}), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_network(tmp_path / "w.safetensors")


def test_copies_and_pickles_of_the_bundled_model_are_equal():
    model = bundled.load_model("compact")
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 24, 20))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin.rate(image).nats, model.rate(image).nats)
