"""Real launchers: processes that share each batch equal one, evaluation is exact over them, a kill is survived."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixelpyramids.model.parameters import parse_parameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid
from pixelpyramids.training import run_directory

KEYS = {
    "dataset_name": "tiny", "batch_size": 4, "L": 4, "C": 8, "n_bits": 8, "n_classes": [20, 20, 20, 20],
    "n_squeeze": [1, 1, 0], "n_channels": 8, "n_res_layers": 1, "condition_channels": 8, "lstm_channels": 8,
    "warmup_steps": 2, "eval_interval": 2,
}  # fmt: skip
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
SCRIPTS = Path(__file__).parent.parent / "docs" / "slurm"
ACCELERATE = (
    sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_machines", "1",
    "--num_processes", "2", "--mixed_precision", "no", "--dynamo_backend", "no", "-m",
)  # fmt: skip
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Nineteen smooth pictures of 24 x 16, of which one is for testing and one for validation."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(19):
        smooth = rng.normal(0, 8, (24, 16, 3)).cumsum(0).cumsum(1) / 3
        Image.fromarray(np.clip(smooth + 128, 0, 255).astype(np.uint8)).save(root / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    path = tmp_path_factory.mktemp("params") / "tiny.json"
    path.write_text(json.dumps({"params": KEYS}))
    return path


def pixelpyramids(launcher, *arguments, check=True):
    command = [*launcher, "pixelpyramids", *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)
    assert not check or done.returncode == 0, done.stderr
    return done


def weights(run):
    return {
        (index, key): value
        for index in range(KEYS["L"])
        for key, value in run_directory.read_tensors(run_directory.level_file(run, index))[0].items()
    }


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
        torch.testing.assert_close(value, second[key], rtol=2e-3, atol=2e-4, msg=str(key))
    for ours, theirs in zip(losses(a), losses(b), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5)


@pytest.fixture(scope="module")
def alone(images, params, tmp_path_factory):
    """What one process makes of it."""
    run = tmp_path_factory.mktemp("alone") / "run"
    pixelpyramids((sys.executable, "-m"), "train", params, "--data", images, "--out", run, "--steps", 12, *FLOAT32)
    return run


FLOAT32 = ("--device", "cpu", "--float32")


@pytest.mark.parametrize(
    ("launcher", "micro_batch"),
    [(TORCHRUN, None), (TORCHRUN, 1), (ACCELERATE, None)],
    ids=["torchrun", "torchrun-micro", "accelerate"],
)
def test_two_processes_equal_one_with_the_same_batch(launcher, alone, images, params, tmp_path, micro_batch):
    run, micro = tmp_path / "run", () if micro_batch is None else ("--micro-batch", micro_batch)
    said = pixelpyramids(launcher, "train", params, "--data", images, "--out", run, "--steps", 12, *FLOAT32, *micro)
    assert "2 processes share each batch" in said.stderr and said.stderr.count("images to train on") == 1
    assert_close_runs(alone, run)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_evaluation_is_exact_over_processes_for_any_count(alone, images, tmp_path, count):
    folder = tmp_path / "test"
    folder.mkdir()
    for file in sorted(images.iterdir())[:count]:
        (folder / file.name).write_bytes(file.read_bytes())
    arguments = ("evaluate", alone, "--data", folder, "--split", "all", "--json", "--device", "cpu")
    one = json.loads(pixelpyramids((sys.executable, "-m"), *arguments).stdout)
    two = json.loads(pixelpyramids(TORCHRUN, *arguments).stdout)
    assert one["images"] == count
    for result in (one, two):
        for level in result["levels"]:
            del level["seconds"]
    assert one == two


def test_a_killed_worker_ends_the_run_with_a_message_and_the_same_command_resumes(alone, images, params, tmp_path):
    run = tmp_path / "run"
    command = [
        *TORCHRUN, "pixelpyramids", "train", str(params), "--data", str(images), "--out", str(run), "--device", "cpu",
        "--float32", "--checkpoint-minutes", "0",
    ]  # fmt: skip
    process = subprocess.Popen(
        [*command, "--steps", "100000"], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
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
    resumed = pixelpyramids(TORCHRUN, *command[len(TORCHRUN) + 1 :], "--steps", step + 2)
    assert f"trained {step + 2} steps" in resumed.stderr and "resuming from step" in resumed.stderr


def test_a_batch_that_does_not_divide_is_refused(images, params, tmp_path):
    launcher = [word if word != "2" else "3" for word in TORCHRUN]
    done = pixelpyramids(
        launcher, "train", params, "--data", images, "--out", tmp_path / "run", "--device", "cpu", check=False
    )
    assert done.returncode != 0 and "expected a batch_size that divides among 3 processes, got 4" in done.stderr


def test_statistics_of_a_part_of_the_batch_are_refused(images, tmp_path):
    params = tmp_path / "batch.json"
    params.write_text(json.dumps({"params": KEYS | {"norm": "batch"}}))
    done = pixelpyramids(
        TORCHRUN, "train", params, "--data", images, "--out", tmp_path / "run", "--device", "cpu", check=False
    )
    assert done.returncode != 0 and 'expected norm "channel" or "group" where 2 processes' in done.stderr
    assert not (tmp_path / "run").exists()
    run_directory.save(PixelPyramid(parse_parameters(KEYS | {"norm": "batch"}, "test")), tmp_path / "run")
    command = ("evaluate", tmp_path / "run", "--data", images, "--batch-statistics", 2, "--device", "cpu")
    done = pixelpyramids(TORCHRUN, *command, check=False)
    assert done.returncode != 0 and "--batch-statistics needs a single process, got 2" in done.stderr


def test_levels_in_separate_processes_at_once_equal_training_them_together(alone, images, params, tmp_path):
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "pixelpyramids", "train", str(params), "--data", str(images), "--out", str(run),
        "--steps", "12", *FLOAT32,
    ]  # fmt: skip
    both = [
        subprocess.Popen([*command, "--levels", levels], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        for levels in ("0,3", "1-2")
    ]
    for process in both:
        assert process.communicate(timeout=240)[1].count("Traceback") == 0 and process.returncode == 0
    first, second = weights(alone), weights(run)
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_missing_levels_are_named_by_evaluate(images, params, tmp_path):
    run = tmp_path / "run"
    python = (sys.executable, "-m")
    pixelpyramids(
        python, "train", params, "--data", images, "--out", run, "--steps", 1, "--levels", "1-2", "--device", "cpu"
    )
    done = pixelpyramids(python, "evaluate", run, "--data", images, check=False)
    assert done.returncode == 2
    assert "level(s) 0,3 (L = 4) have no weights yet; train them with --levels 0,3" in done.stderr


def free_port():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        return other.getsockname()[1]


def test_two_nodes_that_meet_on_loopback_equal_one_process(alone, images, params, tmp_path):
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1",
        "--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{free_port()}", "-m", "pixelpyramids", "train",
        str(params), "--data", str(images), "--out", str(run), "--steps", "12", *FLOAT32,
    ]  # fmt: skip
    nodes = [subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for node in nodes:
        said = node.communicate(timeout=240)[1]
        assert node.returncode == 0, said
    assert_close_runs(alone, run)


def script(name, folder, srun):
    """The SLURM script, with `srun` and `scontrol` as one machine can have them on the path."""
    for program, text in (("srun", srun), ("scontrol", "echo 127.0.0.1")):
        (folder / program).write_text(f"#!/bin/bash\n{text}\n")
        (folder / program).chmod(0o755)
    path = f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return ["bash", str(SCRIPTS / name)], ENVIRONMENT | {"PATH": path}


def test_the_array_of_levels_fills_one_run(alone, images, params, tmp_path):
    run, (command, environment) = tmp_path / "run", script("level_parallel.sbatch", tmp_path, 'exec "$@"')
    for task, levels in enumerate(("0,3", "1-2")):
        subprocess.run(
            [*command, str(params), str(images), str(run), "--steps", "12", *FLOAT32],
            env=environment | {"SLURM_ARRAY_TASK_ID": str(task), "SHARES": f"--levels {levels}"},
            check=True,
        )
    assert all(torch.equal(value, weights(run)[key]) for key, value in weights(alone).items())


def test_the_job_of_two_nodes_shares_batches(alone, images, params, tmp_path):
    run = tmp_path / "run"
    command, environment = script("data_parallel.sbatch", tmp_path, '"$@" & "$@" & wait -n; wait')
    job = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[1-2]", "PORT": str(free_port())}
    subprocess.run(
        [*command, str(params), str(images), str(run), "--steps", "12", *FLOAT32],
        env=environment | job,
        check=True,
        timeout=240,
    )
    assert_close_runs(alone, run)
