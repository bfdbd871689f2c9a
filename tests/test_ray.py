"""Archives on a Ray cluster: two raylets on this machine, one of which is killed in the middle."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import COMMAND, ENVIRONMENT, ROOT, json_of, output_of, refusal, status
from pictures import contents, pixels, save, write_images

import pixelpyramids as pp
from pixelpyramids.archive import ray_engine
from pixelpyramids.archive.file_tasks import Compression
from pixelpyramids.archive.manifest import Manifest
from pixelpyramids.archive.rows import Row, State, Todo
from pixelpyramids.archive.work import Settings, Work, compress_image
from pixelpyramids.errors import DataError

IMAGES = 60
HERE = ray_engine.Requirements.of_this_machine([])


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one raylet with one CPU."""
    pytest.importorskip("ray", reason="needs the extra `ray`")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        started = Cluster(initialize_head=True, head_node_args=node(include_dashboard=False))
        yield started
        started.shutdown()


@pytest.fixture
def second(cluster):
    """A second raylet of the cluster, with one CPU."""
    added = cluster.add_node(**node())
    yield added
    cluster.remove_node(added)


def node(**options):
    return {"num_cpus": 1, "object_store_memory": 10**8, **options}


def on(cluster):
    return ("--engine", "ray", "--address", cluster.address)


def spawn(*arguments):
    """A process of the command line that has written its first results."""
    command = [*COMMAND, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
    out = Path(arguments[arguments.index("--out") + 1])
    while len(list(out.glob("*.ppyr"))) < 5 and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    return process


def rows_of(archive):
    with Manifest(archive / "manifest.sqlite", read_only=True) as manifest:
        return list(manifest.iterate("1"))


def test_a_killed_node_loses_and_doubles_nothing(cluster, second, tmp_path, capsys):
    source, archive = write_images(tmp_path / "in", IMAGES, (150, 150)), tmp_path / "out"
    process = spawn("compress", source, "--out", archive, "--quiet", "--json", *on(cluster))
    (raylet,) = second.all_processes["raylet"]
    os.kill(raylet.process.pid, signal.SIGKILL)
    assert len(contents(archive)) < IMAGES
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, b"")
    told = json.loads(out)
    assert told["compressed"] + told["already_there"] == IMAGES
    rows = rows_of(archive)
    assert [row.state for row in rows] == [State.DONE] * IMAGES
    names = {f"{number:02d}.ppyr" for number in range(IMAGES)}
    assert {row.result for row in rows} == {path.name for path in archive.glob("*.ppyr")} == names
    for number in range(IMAGES):
        assert np.array_equal(pp.decode((archive / f"{number:02d}.ppyr").read_bytes()), pixels(number, (150, 150, 3)))
    before = contents(archive)
    again = json_of(capsys, "compress", source, "--out", archive, *on(cluster))
    assert (again["compressed"], again["already_there"]) == (0, IMAGES) and contents(archive) == before


def test_results_and_errors_are_those_of_this_machine(cluster, tmp_path, capsys):
    source = write_images(tmp_path / "in", 6)
    save(source / "sub" / "a.jpg", format="JPEG")
    (source / "damaged.png").write_bytes((source / "00.png").read_bytes()[:200])
    there = output_of(capsys, "compress", source, "--out", tmp_path / "ray", *on(cluster), expected=1)
    here = output_of(capsys, "compress", source, "--out", tmp_path / "local", expected=1)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local") and len(contents(tmp_path / "ray")) == 6
    assert sorted(there.err.splitlines()) == sorted(here.err.splitlines())

    def told(archive):
        return [row._replace(seconds=None, finished=None, verified=None) for row in rows_of(archive)]

    assert told(tmp_path / "ray") == told(tmp_path / "local")


def test_an_interrupt_leaves_only_whole_files(cluster, tmp_path):
    source = write_images(tmp_path / "in", 5 * IMAGES, (150, 150))  # more than are done before the signal
    for number in (signal.SIGINT, signal.SIGTERM):
        archive = tmp_path / number.name
        process = spawn("compress", source, "--out", archive, "--quiet", *on(cluster))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err.decode()) == (130, "interrupted; run the same command again to finish\n"), (
            number
        )
        for path in archive.glob("*.ppyr"):
            assert np.array_equal(pp.decode(path.read_bytes()), pixels(int(path.stem), (150, 150, 3)))


def test_an_image_that_kills_its_process_fails_alone(cluster):
    def work(task, threads):
        if task == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        if task == 8:
            raise OSError(errno.ENOSPC, "full", "name")
        return threads * task

    with ray_engine.open_cluster(cluster.address, HERE, lambda task: 1) as engine:
        results = dict(engine(work, range(20)))
    killed, failed = results.pop(7), results.pop(8)
    assert isinstance(killed, DataError) and f"died {ray_engine.DEATHS} times" in str(killed)
    assert type(failed) is OSError and (failed.errno, failed.filename) == (errno.ENOSPC, "name")
    assert results == {task: task for task in range(20) if task not in (7, 8)}


@pytest.mark.parametrize(("size", "limit", "most"), [(1, 3, 3), (2**20, None, 2)])
def test_tasks_are_taken_as_they_are_needed(size, limit, most, cluster):
    taken = []
    with ray_engine.open_cluster(cluster.address, HERE, lambda task: size, limit) as engine:
        for number, _ in enumerate(
            engine(lambda task, threads: task, (taken.append(task) or task for task in range(20)))
        ):
            assert len(taken) - number <= most
    assert len(taken) == 20


def test_large_images_have_the_processors_of_a_machine(cluster):
    with ray_engine.open_cluster(cluster.address, HERE, lambda task: 2**30) as engine:
        assert list(engine(lambda task, threads: threads, "a", is_large=True)) == [("a", 1)]


@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        (ray_engine.Requirements("0.0.0", ()), "expected pixelpyramids 0.0.0"),
        (ray_engine.Requirements.of_this_machine(["/nosuch"]), "/nosuch is not there"),
    ],
)
def test_a_machine_that_lacks_something_is_refused(requirements, message, cluster):
    with pytest.raises(DataError, match=message), ray_engine.open_cluster(cluster.address, requirements, len):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "ray://127.0.0.1:10001"])
def test_an_address_without_a_cluster_is_refused(address, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "ray"))  # where Ray notes the address of the last cluster
    pytest.importorskip("ray", reason="needs the extra `ray`")
    command = ("compress", save(tmp_path / "a.png"), "--out", tmp_path / "out", "--engine", "ray", "--address", address)
    assert f"{address}: expected HOST:PORT" in refusal(capsys, *command)


def test_mistakes_are_explained(tmp_path, monkeypatch, capsys):
    command = ("compress", save(tmp_path / "a.png"), "--engine", "ray")
    assert "--engine ray needs an archive" in refusal(capsys, *command)
    assert "add --engine ray" in refusal(capsys, "compress", tmp_path, "--address", "auto")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert 'pip install "pixelpyramids[ray]"' in refusal(capsys, *command, "--out", tmp_path / "out")


@pytest.mark.parametrize("todo", [Todo.NEW, Todo.REPLACE])
def test_work_that_is_repeated_takes_the_result_that_is_there(todo, tmp_path):
    source, archive = save(tmp_path / "in" / "a.png"), tmp_path / "out"
    (archive).mkdir()
    if todo == Todo.REPLACE:
        (archive / "a.ppyr").write_bytes(b"old")
        time.sleep(0.05)
    begun = time.time_ns() - 10**7
    how = Compression("default", True, False, 2**28, False, False, False)
    row = Row._make([None] * len(Row._fields))._replace(
        id=1, address=str(source.parent), name="a.png", state=State.WAITING, result="a.ppyr", todo=todo
    )
    first, second = (compress_image(Work(row), Settings(str(archive), begun, how, False), 1) for _ in range(2))
    assert not first.done.is_there and second.done.is_there
    assert first.columns["result_sha256"] == second.columns["result_sha256"]
    assert np.array_equal(pp.decode((archive / "a.ppyr").read_bytes()), pixels())
    assert status("verify", archive / "a.ppyr", source) == 0


def test_the_cluster_of_the_docs_is_one_that_ray_accepts():
    util = pytest.importorskip("ray.autoscaler._private.util", reason="needs the extra `ray`")
    config = yaml.safe_load((ROOT / "docs" / "howto" / "ray" / "cluster.yaml").read_text(encoding="utf-8"))
    util.validate_config(util.prepare_config(config))
