"""Real launchers: several processes train like one, evaluate exactly, and survive a kill."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import ENVIRONMENT, KEYS, ROOT, write_params
from test_run_directory import save_run
from test_training import assert_equal_runs, weights

from pixelpyramids.training import run_directory

PYTHON = (sys.executable, "-m")
PIPED = {"stderr": subprocess.PIPE, "text": True}
ACCELERATE = (
    *PYTHON, "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_machines", "1",
    "--num_processes", "2", "--mixed_precision", "no", "--dynamo_backend", "no", "-m",
)  # fmt: skip
TORCHRUN = (*PYTHON, "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    return write_params(tmp_path_factory.mktemp("params") / "tiny.json", KEYS | {"warmup_steps": 2, "eval_interval": 2})


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def training(images, params, run):
    """The arguments that train in `run` on a CPU."""
    return ["train", str(params), "--data", str(images), "--out", str(run), "--device", "cpu", "--float32"]


def pixelpyramids(launcher, *arguments, check=True):
    command = [*launcher, "pixelpyramids", *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)
    assert not check or done.returncode == 0, done.stderr
    return done


def finish(*processes):
    """Wait for processes, which must succeed."""
    for process in processes:
        said = process.communicate(timeout=240)[1]
        assert process.returncode == 0 and "Traceback" not in said, said


def steps_saved(run):
    path = run_directory.training_file(run, KEYS["L"] - 1)
    return run_directory.read_tensors(path)[1]["step"] if path.exists() else 0


def losses(run):
    return [
        [entry.get("nats", entry.get("validation_nats")) for entry in run_directory.read_log(run, index)]
        for index in range(KEYS["L"])
    ]


def assert_close_runs(a, b):
    first, second = weights(a), weights(b)
    for key, value in first.items():
        if not key[0].startswith("training"):
            torch.testing.assert_close(value, second[key], rtol=2e-3, atol=2e-4, msg=str(key))
    for ours, theirs in zip(losses(a), losses(b), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5)


@pytest.fixture(scope="module")
def alone(images, params, tmp_path_factory):
    """The run of one process that trains 12 steps."""
    run = tmp_path_factory.mktemp("alone") / "run"
    options = ("--device", "cpu", "--float32", "--steps", 12)
    pixelpyramids(PYTHON, "train", params, "--data", images, "--out", run, *options)
    return run


@pytest.mark.parametrize(
    ("launcher", "options"),
    [(TORCHRUN, ()), (TORCHRUN, ("--micro-batch", 1)), (ACCELERATE, ())],
    ids=["torchrun", "torchrun-micro", "accelerate"],
)
def test_two_processes_equal_one_with_the_same_batch(launcher, options, alone, training, run):
    said = pixelpyramids(launcher, *training, "--steps", 12, *options).stderr
    assert "2 processes share each batch" in said and said.count("images to train on") == 1
    assert_close_runs(alone, run)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_evaluation_is_exact_over_processes_for_any_count(alone, images, tmp_path, count):
    folder = tmp_path / "test"
    folder.mkdir()
    for file in sorted(images.iterdir())[:count]:
        shutil.copy(file, folder)
    arguments = ("evaluate", alone, "--data", folder, "--split", "all", "--json", "--device", "cpu")
    one, two = (json.loads(pixelpyramids(launcher, *arguments).stdout) for launcher in (PYTHON, TORCHRUN))
    assert one["images"] == count
    for level in (*one["levels"], *two["levels"]):
        del level["seconds"]
    assert one == two


def test_a_killed_worker_ends_the_run_with_a_message_and_the_same_command_resumes(training, run):
    training += ["--checkpoint-minutes", "0", "--steps"]
    command = [*TORCHRUN, "pixelpyramids", *training, "100000"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not steps_saved(run):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
    os.kill(int(workers.split()[-1]), signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "another process of this run has ended" in said or "SIGKILL" in said
    step = steps_saved(run)
    resumed = pixelpyramids(TORCHRUN, *training, step + 2)
    assert f"trained {step + 2} steps" in resumed.stderr and "resuming from step" in resumed.stderr


def test_a_batch_that_does_not_divide_is_refused(training):
    done = pixelpyramids([word if word != "2" else "3" for word in TORCHRUN], *training, check=False)
    assert done.returncode != 0 and "expected a batch_size that divides among 3 processes, got 4" in done.stderr


def test_statistics_of_a_part_of_the_batch_are_refused(params, training, run, images):
    keys = KEYS | {"norm": "batch"}
    training[1] = str(write_params(run.parent / "batch.json", keys))
    done = pixelpyramids(TORCHRUN, *training, check=False)
    assert done.returncode != 0 and 'expected norm "channel" or "group"' in done.stderr
    assert not run.exists()
    save_run(run, keys)
    command = ("evaluate", run, "--data", images, "--batch-statistics", 2, "--device", "cpu")
    done = pixelpyramids(TORCHRUN, *command, check=False)
    assert done.returncode != 0 and "--batch-statistics needs a single process, got 2" in done.stderr


def start_script(name, training, srun, **environment):
    """Start a SLURM script with stubs for `srun` and `scontrol`."""
    _, params, _, images, _, run, *options = training
    folder = Path(run).parent
    for program, text in (("srun", srun), ("scontrol", "echo 127.0.0.1")):
        if not (folder / program).exists():
            (folder / program).write_text(f"#!/bin/bash\n{text}\n")
            (folder / program).chmod(0o755)
    path = f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(ROOT / "docs" / "howto" / "slurm" / name), params, images, run, "--steps", "12", *options]
    return subprocess.Popen(command, env=ENVIRONMENT | {"PATH": path} | environment, **PIPED)


def test_an_array_that_trains_levels_at_once_equals_training_them_together(alone, training, run):
    jobs = [
        {"SLURM_ARRAY_TASK_ID": str(task), "SHARES": f"--levels {levels}"} for task, levels in enumerate(("0,3", "1-2"))
    ]
    finish(*(start_script("level_parallel.sbatch", training, 'exec "$@"', **job) for job in jobs))
    assert_equal_runs(alone, run)


def test_a_job_of_two_nodes_that_share_batches_equals_one_process(alone, training, run):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = str(other.getsockname()[1])
    job = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[1-2]", "PORT": port}
    finish(start_script("data_parallel.sbatch", training, '"$@" & "$@" & wait -n; wait', **job))
    assert_close_runs(alone, run)
