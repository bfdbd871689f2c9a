"""Builds of the core that Python cannot load, by their driver: with sanitizers, and for another processor."""

import importlib.util
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
from command_line import ROOT
from core_samples import (
    ACTIVATIONS,
    NETWORK,
    SITES,
    STARTS,
    WEIGHTS,
    activations,
    draw_coding,
    parts_of,
    slice_of,
    stack_of,
)

from pixelpyramids.codec.integer_network import run_stack
from pixelpyramids.codec.native import Instructions
from pixelpyramids.codec.reference import ReferenceEngine

NATIVE = ROOT / "native"
REFERENCE = ReferenceEngine(NETWORK)
STACK, MODEL, DECODE = 1, 2, 3  # functions of the driver
CUT = (-3).to_bytes(4, "little", signed=True)
SANITIZERS = ("-g", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def build_driver(folder, command, processor, *options):
    """Compile the core and its driver. Returns the program, or None if the compiler fails on a trivial one."""
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    if subprocess.run([*command, *options, folder / "empty.c", "-o", folder / "empty"]).returncode != 0:
        return None
    spec = importlib.util.spec_from_file_location("build", NATIVE / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    flags, objects, compiling = build.FLAGS.get(processor, {}), [], []
    for source in [*build.CORE, NATIVE / "tests" / "driver.c"]:
        objects.append(folder / f"{source.stem}.o")
        compile_ = [*command, *build.COMMON, *flags.get(source.name, ()), *options, "-c", source, "-o", objects[-1]]
        compiling.append(subprocess.Popen(compile_))
    assert [process.wait() for process in compiling] == [0] * len(objects)
    subprocess.run([*command, *options, *objects, "-o", folder / "driver"], check=True)
    return folder / "driver"


def int32(*numbers):
    return np.array(numbers, "<i4").tobytes()


def stack_record(rng):
    """A record for the driver, and what it should answer."""
    inputs, width = int(rng.choice([1, 3, 18, 96, 113])), int(rng.choice([1, 5, 16, 17, 48, 64]))
    blocks, outputs = int(rng.integers(3)), int(rng.choice([0, 3, 50, 64]))
    size = int(rng.integers(1, 6)), int(rng.choice([1, 2, 15, 16, 17, 33]))
    stack = stack_of(rng, inputs, width, blocks, outputs, rng.choice(WEIGHTS))
    given = activations(rng, (inputs, *size), rng.choice(ACTIVATIONS))
    convolutions = [stack.first, *(one for block in stack.blocks for one in block), *([stack.last] if outputs else [])]
    arrays = [one.weight for one in convolutions] + [one.bias for one in convolutions] + [given]
    record = int32(STACK, inputs, width, blocks, outputs, *size) + b"".join(array.tobytes() for array in arrays)
    return record, int32(0) + run_stack(stack, given).astype(np.int32 if outputs else np.uint8).tobytes()


def bytes_of(model):
    """The bytes of what a slice's model has learnt."""
    mixing = parts_of(model.memory)[-3:] if model.coding.mixed else []
    return b"".join(array.tobytes() for array in (model.corrections, *mixing))


def slice_records(rng):
    """Records that encode a slice, decode it, and decode noise and cut words; and their answers."""
    coding = draw_coding(rng)
    height, width = int(rng.integers(1, 4)), int(rng.integers(1, 6))
    model, values = slice_of(rng, height, width, coding, rng.choice(SITES), rng.random() < 0.5)
    near = model.near if coding.mixed else ()
    arrays = b"".join(array.tobytes() for array in (model.outputs, model.bases, *near)) + bytes_of(model)
    sizes = height, width, coding.coded, coding.bits, coding.gain, coding.mixed
    ending = model._replace(memory=model.memory.copy())
    intervals, words = np.zeros((2, model.capacity), np.uint32), np.zeros(2 * model.capacity + 1, np.uint16)
    intervals = intervals[:, : REFERENCE.model_slice(ending, values, intervals)]
    first, state = REFERENCE.encode_symbols(intervals, words)
    words = words[first:]
    position = np.array([state, len(words)], np.uint64).tobytes()
    yield (
        int32(MODEL, *sizes, 0) + arrays + values.tobytes(),
        int32(0) + intervals.tobytes() + position + words.tobytes() + bytes_of(ending),
    )
    noise = rng.integers(0, 2**16, 2 * model.capacity, dtype=np.uint16)
    for some, begin in ((words, state), (noise, int(rng.choice(STARTS))), (words[: len(words) // 2], state)):
        found, ending = np.zeros((coding.coded, height, width), np.int32), model._replace(memory=model.memory.copy())
        state_, taken = REFERENCE.decode_slice(ending, found, some, (begin, 0))
        answer = found.tobytes() + np.array([state_, taken], np.uint64).tobytes() + bytes_of(ending)
        # if the words run out, what follows the result is not defined
        answer = (CUT, 4 + len(answer)) if taken > len(some) else int32(0) + answer
        head = int32(DECODE, *sizes, len(some)) + arrays
        yield head + begin.to_bytes(8, "little") + some.tobytes(), answer


def check_driver(command, seeds=12):
    """Compare all that a driver answers with the reference."""
    records = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        records += [stack_record(rng) for _ in range(3)] + list(slice_records(rng))
    data = b"".join(record for record, _ in records)
    done = subprocess.run(command, input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    place = 0
    for _, answer in records:
        expected, size = answer if isinstance(answer, tuple) else (answer, len(answer))
        assert done.stdout[place : place + len(expected)] == expected
        place += size
    assert place == len(done.stdout)
    assert subprocess.run(command, input=data[:-1], capture_output=True).returncode == 1  # it ends within a record


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """The driver, in which wrong accesses and undefined behaviour end the process with an error."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("requires a C compiler")
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    driver = build_driver(tmp_path_factory.mktemp("sanitized"), [compiler], machine, *SANITIZERS)
    return driver or pytest.skip("the C compiler has no sanitizers")


@pytest.mark.parametrize("instructions", [one for one in Instructions if one >= 0])
def test_sanitizers_find_nothing_and_the_answers_are_those_of_the_reference(instructions, sanitized):
    if subprocess.run([sanitized, str(int(instructions))], input=b"").returncode == 2:
        pytest.skip(f"this processor has no {instructions.name}")
    check_driver([sanitized, str(int(instructions))])


@pytest.mark.parametrize("instructions", [Instructions.PORTABLE, Instructions.NEON])
def test_an_arm_processor_gives_the_answers_of_the_reference(instructions, arm):
    check_driver(["qemu-aarch64", "-cpu", "max", arm, str(int(instructions))])


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """The driver for aarch64."""
    pytest.importorskip("ziglang", reason="requires the package ziglang, which compiles for other processors")
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("requires Debian's qemu-user")
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-fno-sanitize=undefined"]
    return build_driver(tmp_path_factory.mktemp("arm"), zig, "aarch64")
