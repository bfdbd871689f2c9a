"""The engines give the same integers as plain sums, for every size, number of threads and instruction set."""

import copy
import os
import pickle
import platform
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.signal import correlate2d
from threadpoolctl import threadpool_info

import pixelpyramids as pp
from pixelpyramids.codec import bundled, engines
from pixelpyramids.codec.blas import one_blas_thread
from pixelpyramids.codec.engines import PROBED, FastEngine
from pixelpyramids.codec.integer_network import Convolution, Stack, build_network, load_network, run_stack
from pixelpyramids.errors import CheckpointError

NETWORK = load_network(bundled.ASSETS / bundled.MODELS["compact"])
TRUNK = NETWORK.stacks[0]
X86 = platform.machine() in ("x86_64", "AMD64")
SETS = ("AVX512_CORE", "AVX2", "SSE41") if X86 else ()
LIMITS = [{"OV_CPU_MAX_ISA": isa, "ONEDNN_MAX_CPU_ISA": isa} for isa in SETS]
LIMITS += [{"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads} for threads in "12"]
DIGEST = """
import hashlib, numpy as np, pixelpyramids as pp
y, x = np.mgrid[:150, :170]
image = np.stack([(y * 3 + x) % 256, (y * x) % 251, (x * 2) % 256], -1).astype(np.uint8)
data = pp.encode(image, effort="fast")
assert np.array_equal(pp.decode(data), image)
print(hashlib.sha256(data).hexdigest())
"""


def inputs(channels, height, width, kind, seed=0):
    if kind == "random":
        return np.random.default_rng(seed).integers(0, 256, (channels, height, width), dtype=np.uint8)
    return np.full((channels, height, width), 255, dtype=np.uint8)


def by_hand(stack, activations):
    """Compute the formulas in int64, with a sum for each pair of channels."""

    def sums(a, convolution):
        return np.stack(
            [
                sum(correlate2d(a[i], w[i].astype(np.int64), mode="same") for i in range(len(a))) + int(b)
                for w, b in zip(convolution.weight, convolution.bias, strict=True)
            ]
        )

    def rescale(total):
        quotient, rest = np.divmod(total, 128)
        return np.clip(quotient + (rest > 64) + ((rest == 64) & (quotient % 2 == 1)), 0, 255)

    a = rescale(sums(activations.astype(np.int64), stack.first))
    for first, second in stack.blocks:
        a = rescale(sums(rescale(sums(a, first)), second) + 128 * a)
    return a if stack.last is None else sums(a, stack.last)


def random_stack(seed, inputs_, width, outputs):
    rng = np.random.default_rng(seed)

    def convolution(i, o, size):
        return Convolution(
            rng.integers(-64, 65, (o, i, size, size)).astype(np.int8), rng.integers(-9000, 9000, o).astype(np.int32)
        )

    block = convolution(width, width, 3), convolution(width, width, 3)
    return Stack(convolution(inputs_, width, 3), (block,), None if outputs is None else convolution(width, outputs, 1))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 5)])
def test_the_reference_gives_what_plain_sums_give(size):
    for seed, outputs in ((0, None), (1, 5)):
        stack = random_stack(seed, 4, 6, outputs)
        for kind in ("random", "full"):
            activations = inputs(4, *size, kind)
            found = run_stack(stack, activations).transpose(2, 0, 1)
            assert np.array_equal(found, by_hand(stack, activations))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [(20, 20), (33, 100), (130, 21), (5, 90)])
def test_the_fast_engine_gives_what_the_reference_gives(size, threads):
    fast = FastEngine(NETWORK, threads)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast(0, inputs(TRUNK.inputs, 40, 40, "full"))  # loads it
        for kind in ("random", "full"):
            for number, stack in enumerate(NETWORK.stacks):
                given = inputs(stack.inputs, *size, kind)
                assert np.array_equal(fast(number, given), NETWORK.run(number, given))
    assert fast._compiled is not None


def test_calls_from_many_threads_do_not_mix():
    fast = FastEngine(NETWORK, 2)
    given = [inputs(TRUNK.inputs, 40 + i % 3, 50, "random", i) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(partial(fast, 0), given))
    for one, activations in zip(found, given, strict=True):
        assert np.array_equal(one, NETWORK.run(0, activations))


class Broken:
    """OpenVINO on a machine that it does not support."""

    def Core(self):
        raise RuntimeError("no such device")


def differ_in_one_head(self, stack, given):
    return RUN(self, stack, given) + (stack == 3)


def differ_on_the_image(self, stack, given):
    """Be right on the artificial inputs, so that only the window of the image shows the difference."""
    is_probe = (given[:, PROBED:] == 255).all() and (given[:, :, PROBED:] == 255).all()
    return RUN(self, stack, given) + (not is_probe)


RUN = FastEngine._infer
UNUSABLE = {
    "it differs in one head": ("_infer", differ_in_one_head, "differs from the reference"),
    "it differs on the image": ("_infer", differ_on_the_image, "differs from the reference"),
    "it is not installed": (None, None, "cannot be loaded"),
    "it does not work here": ("_openvino", Broken, r"cannot be loaded \(no such device\)"),
}


@pytest.mark.parametrize("why", UNUSABLE)
def test_if_the_fast_engine_is_unusable_the_reference_writes_the_same_file(why, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (90, 100, 3), dtype=np.uint8)
    expected = pp.encode(image, effort="fast")
    name, replacement, message = UNUSABLE[why]
    if name is None:
        monkeypatch.setitem(sys.modules, "openvino", None)
    else:
        monkeypatch.setattr(FastEngine if name == "_infer" else engines, name, replacement)
    bundled._model.cache_clear()
    with pytest.warns(UserWarning, match=message):
        assert pp.encode(image, effort="fast") == expected
    bundled._model.cache_clear()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_process_decodes_and_encodes_with_the_reference():
    code = """
import os, warnings
import numpy as np
import pixelpyramids as pp
image = np.add.outer(np.arange(80), 2 * np.arange(80)).astype(np.uint8)
data = pp.encode(image, effort="fast", threads=1)
if os.fork():
    status = os.waitstatus_to_exitcode(os.wait()[1])
else:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same = np.array_equal(pp.decode(data, threads=1), image) and pp.encode(image, effort="fast", threads=2) == data
    os._exit(0 if same and "forked process" in str(caught[0].message) else 1)
assert status == 0, status
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def digest(command=(sys.executable,), script=DIGEST, **environment):
    done = subprocess.run(
        [*command, "-W", "ignore", "-c", script], env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def expected():
    """The digest of the reference's file."""
    return digest(PIXELPYRAMIDS_ENGINE="reference")


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_every_instruction_set_and_any_number_of_threads_write_the_same_file(limits, expected):
    assert digest(**limits) == expected


@pytest.mark.skipif(not X86 or shutil.which("qemu-x86_64") is None, reason="requires x86 and Debian's qemu-user")
def test_another_processor_writes_the_same_file(tmp_path):
    small = DIGEST.replace("150", "70").replace("170", "90")
    haswell = ("qemu-x86_64", "-cpu", "Haswell", sys.executable)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"}
    assert digest(haswell, small, **environment) == digest(script=small)


def test_blas_has_one_thread_while_the_codec_works_and_as_many_as_before_afterwards():
    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with one_blas_thread:
        with one_blas_thread:
            assert set(threads()) == {1}
        assert set(threads()) == {1}
    assert threads() == before


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
