"""compress from and to remote storage: a real S3-compatible server, web servers, and what a network does to them."""

import io
import os
import shlex
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from command_line import COMMAND, ENVIRONMENT, json_of, output_of, refusal, status, wait_for
from network import FaultyProxy, serve_files
from pictures import contents, encode, files, pixels, save
from test_docs import shell_lines

import pixelpyramids as pp
from pixelpyramids.archive import network, remote_manifest
from pixelpyramids.archive.manifest import Manifest, ManifestError
from pixelpyramids.archive.rows import State
from pixelpyramids.errors import FullDiskError

s3fs = pytest.importorskip("s3fs")
threaded = pytest.importorskip("moto.server")

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
CREDENTIALS |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}


@pytest.fixture(scope="session")
def server():
    """A proxy in front of an S3-compatible server."""
    moto = threaded.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    yield FaultyProxy(moto.get_host_and_port())
    moto.stop()


class Bucket:
    """An empty bucket, and its address."""

    def __init__(self, system, name):
        self.system, self.name, self.address = system, name, f"s3://{name}"
        system.mkdir(name)

    def put(self, name, data):
        self.system.pipe_file(f"{self.name}/{name}", data)

    def names(self, folder=""):
        """The objects below a folder, without the manifest."""
        root = f"{self.name}/{folder}".rstrip("/") + "/"
        self.system.invalidate_cache()
        found = (name.removeprefix(root) for name in self.system.find(root))
        return sorted(name for name in found if name != "manifest.sqlite")

    def picture(self, name):
        """The pixels of a result."""
        return pp.decode(self.system.cat_file(f"{self.name}/{name}"))

    def rows(self, folder, tmp_path):
        """The rows of the manifest that was sent."""
        path = tmp_path / "looked-at.sqlite"
        path.write_bytes(self.system.cat_file(f"{self.name}/{folder}/manifest.sqlite"))
        with Manifest(path, read_only=True) as manifest:
            return {row.name: row for row in manifest.iterate("1")}


@pytest.fixture
def bucket(server, tmp_path, monkeypatch, request):
    """A bucket on the server; the command finds the server, its credentials, and a cache of its own."""
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": server.address}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(network, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(network, "READ_TIMEOUT", 0.5)
    host, port = server.server
    system = s3fs.S3FileSystem(endpoint_url=f"http://{host}:{port}", use_listings_cache=False)
    server.seen.clear()
    number = abs(hash(request.node.name)) % 10**9
    return Bucket(system, f"bucket-{number}")


def fill(bucket, folder, count=3):
    for number in range(count):
        bucket.put(f"{folder}/sub/{number}.png", encode(pixels(number)))


def tar_of(names):
    """A tar file of pictures by their names and seeds."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, seed in names.items():
            data = encode(pixels(seed))
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def zip_of(names):
    """A zip file of pictures by their names and seeds."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as container:
        for name, seed in names.items():
            container.writestr(name, encode(pixels(seed)))
    return file.getvalue()


def counts_of(capsys, *arguments, expected=0):
    """The JSON summary of `compress`, in this process."""
    return json_of(capsys, "compress", *arguments, "--jobs", 1, expected=expected)


def compress(*arguments):
    return status("compress", *arguments, "--jobs", 1, "--quiet")


def test_a_folder_an_image_and_containers(bucket, tmp_path, capsys):
    fill(bucket, "in")
    bucket.put("in/skip/3.png", encode(pixels(3)))
    bucket.put("in/notes.txt", b"mine")
    bucket.put("in/", b"")  # how some programs mark a folder
    bucket.put("one two%20#?.png", encode(pixels(4)))
    bucket.put("a.tar", tar_of({"x/5.png": 5}))
    bucket.put("b.zip", zip_of({"x/6.png": 6, "x/7.png": 7}))
    names = ("in", "one two%20#?.png", "a.tar", "b.zip")
    out = tmp_path / "out"
    assert compress(*(f"{bucket.address}/{name}" for name in names), "--out", out, "--exclude", "skip") == 0
    assert "notes.txt" not in capsys.readouterr().err
    expected = ["a/x/5.ppyr", "b/x/6.ppyr", "b/x/7.ppyr", *(f"in/sub/{number}.ppyr" for number in range(3))]
    assert files(out) == sorted([*expected, "one two%20#?.ppyr"])
    for name, data in contents(out).items():
        seed = 4 if name.startswith("one") else int(name[-6])
        assert np.array_equal(pp.decode(data), pixels(seed))
    result = counts_of(capsys, f"{bucket.address}/in", "--out", tmp_path / "some", "--include", "[01].png")
    assert result["compressed"] == 2 and result["bytes_before"] == sum(len(encode(pixels(seed))) for seed in (0, 1))
    assert result["not_taken"]["files"] == []


def test_from_storage_to_storage(bucket, tmp_path, capsys):
    fill(bucket, "in")
    to = (f"{bucket.address}/in", "--out", f"{bucket.address}/in/archive/")
    assert counts_of(capsys, *to, "--dry-run")["compressed"] == 3 and len(bucket.names()) == 3
    assert counts_of(capsys, *to)["compressed"] == 3
    assert bucket.names("in/archive") == [f"sub/{number}.ppyr" for number in range(3)]
    assert all(np.array_equal(bucket.picture(f"in/archive/sub/{number}.ppyr"), pixels(number)) for number in range(3))
    again = counts_of(capsys, *to)
    assert (again["compressed"], again["already_there"], again["not_taken"]["files"]) == (0, 3, [])
    time.sleep(1)  # times have no fractions
    bucket.put("in/sub/1.png", encode(pixels(9)))
    assert "pass --update" in output_of(capsys, "compress", *to, expected=1).err
    assert compress(*to, "--update") == 0 and np.array_equal(bucket.picture("in/archive/sub/1.ppyr"), pixels(9))
    assert compress(*to, "--delete-source") == 0 and bucket.names("in/sub") == []


def test_commands_that_look_into_a_remote_archive(bucket, tmp_path, capsys):
    for number in range(2):
        save(tmp_path / "in" / f"{number}.png", number)
    archive = f"{bucket.address}/archive"
    assert compress(tmp_path / "in", "--out", archive) == 0
    for command in (("status",), ("list",), ("verify", "--jobs", 1)):
        assert status("archive", *command, archive) == 0
    assert "2 images verified" in capsys.readouterr().out
    assert status("archive", "restore", archive, "--out", tmp_path / "back", "--jobs", 1) == 0
    assert files(tmp_path / "back") == ["0.png", "1.png"]
    bucket.put("archive/0.ppyr", b"damaged")
    assert status("archive", "verify", archive, "--jobs", 1) == 1 and compress(tmp_path / "in", "--out", archive) == 0
    assert np.array_equal(bucket.picture("archive/0.ppyr"), pixels(0))
    assert "expected an archive" in refusal(capsys, "archive", "status", f"{bucket.address}/none")


def test_keys_that_lead_out_of_the_archive_are_refused(bucket, tmp_path, capsys):
    bucket.put("in/good.png", encode(pixels()))
    for name in ("in/../../outside.png", "in//empty.png", "in/./dot.png"):
        bucket.put(name, encode(pixels(1)))
    result = counts_of(capsys, f"{bucket.address}/in", "--out", tmp_path / "a" / "b" / "out", expected=1)
    assert result["compressed"] == 1 and files(tmp_path / "a") == ["b/out/good.ppyr"]


def test_web_servers(bucket, tmp_path, capsys):
    for number, name in enumerate(["a b.png", "sub/100%25.png", "sub/ü#1.png"]):
        save(tmp_path / "site" / "folder" / name, number)
    (tmp_path / "site" / "folder" / "sub" / "notes.txt").write_text("mine")
    (tmp_path / "site" / "a.tar").write_bytes(tar_of({"x/5.png": 5}))
    (tmp_path / "site" / "b.zip").write_bytes(zip_of({"x/6.png": 6}))
    out = tmp_path / "out"
    with serve_files(tmp_path / "site") as (host, port):
        site = f"http://{host}:{port}"
        assert compress(f"{site}/folder", f"{site}/a.tar", f"{site}/b.zip", "--out", out) == 0
        assert "1 .txt" not in capsys.readouterr().out
        results = ["a/x/5.ppyr", "b/x/6.ppyr", "folder/a b.ppyr", "folder/sub/100%25.ppyr", "folder/sub/ü#1.ppyr"]
        assert files(out) == sorted(results)
        assert np.array_equal(pp.decode((out / "folder/sub/ü#1.ppyr").read_bytes()), pixels(2))
        assert compress(f"{site}/folder/a%20b.png", "--out", f"{bucket.address}/one") == 0
        assert bucket.names("one") == ["a b.ppyr"]
        proxy = FaultyProxy((host, port))
        for kind in ("half", "busy", "stall"):
            with proxy.fault(kind, "GET /folder/a%20b.png", 2):
                assert compress(f"{proxy.address}/folder/a%20b.png", "--out", tmp_path / kind) == 0
        with proxy.fault("half", "GET /folder/a%20b.png"):
            assert compress(f"{proxy.address}/folder", "--out", tmp_path / "never") == 1
        assert "a b.png" in (error := capsys.readouterr().err) and "5 times" in error
        assert counts_of(capsys, f"{proxy.address}/folder", "--out", tmp_path / "never")["compressed"] == 1
        assert "cannot be written to a web server" in refusal(capsys, "compress", tmp_path, "--out", site)
        assert "No such file" in refusal(capsys, "compress", f"{site}/none.png", "--out", out)
        assert "query" in refusal(capsys, "compress", f"{site}/a.png?token=1", "--out", out)
        assert "--delete-source" in refusal(capsys, "compress", f"{site}/folder", "--out", out, "--delete-source")


def test_errors_are_lines(bucket, tmp_path, capsys, monkeypatch):
    source, out = save(tmp_path / "a.png"), tmp_path / "out"
    for place, reason in {
        "s3://no-such-bucket/in": "bucket",
        f"{bucket.address}/none": "No such file",
        "nothing://host/in": "Protocol not known: nothing",
        "gs://bucket/in": "pip install gcsfs",
        "s3://Wrong Name/in": "check the address",
    }.items():
        assert reason in refusal(capsys, "compress", place, "--out", out)
        if place != f"{bucket.address}/none":
            assert reason in refusal(capsys, "compress", source, "--out", place)
    assert "--out" in refusal(capsys, "compress", bucket.address)
    assert "expected images, got none" in refusal(capsys, "compress", bucket.address, "--out", out)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3")
    assert 'pip install "pixelpyramids[remote]"' in refusal(capsys, "compress", f"{bucket.address}/x", "--out", out)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert 'pip install "pixelpyramids[remote]"' in refusal(capsys, "compress", f"{bucket.address}/y", "--out", out)


def test_missing_credentials(bucket, tmp_path, capsys, monkeypatch):
    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    assert "no credentials found" in refusal(capsys, "compress", f"{bucket.address}/in", "--out", tmp_path / "out")
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("kind", ["drop", "half", "busy", "stall"])
def test_what_a_network_does_is_tried_again(bucket, server, tmp_path, capsys, kind):
    fill(bucket, "in", count=2)
    archive = f"{bucket.address}/out"
    list_of_sources, image, result = (
        f"GET /{bucket.name}?list",
        "/in/sub/0.png",
        "PUT /" + bucket.name + "/out/sub/1.ppyr",
    )
    with server.fault(kind, list_of_sources, 2), server.fault(kind, image, 2), server.fault(kind, result, 2):
        assert counts_of(capsys, f"{bucket.address}/in", "--out", archive)["compressed"] == 2
    assert [
        np.array_equal(bucket.picture(f"out/{name}"), pixels(seed)) for seed, name in enumerate(bucket.names("out"))
    ]


@pytest.mark.parametrize(("kind", "request_"), [("drop", "PUT"), ("busy", "PUT"), ("stall", "GET"), ("half", "GET")])
def test_what_never_succeeds_is_listed_as_failed(bucket, server, tmp_path, capsys, kind, request_):
    fill(bucket, "in")
    command = (f"{bucket.address}/in", "--out", f"{bucket.address}/out")
    place = "out/sub/1.ppyr" if request_ == "PUT" else "in/sub/1.png"
    with server.fault(kind, f"{request_} /{bucket.name}/{place}"):
        result = counts_of(capsys, *command, expected=1)
    (failed,) = result["failed"]
    sent = (network.ATTEMPTS, 2 * network.ATTEMPTS)  # aiohttp itself may send once more if a connection is lost
    assert result["compressed"] == 2 and "sub/1.png" in failed["source"] and "5 times" in failed["reason"]
    assert sum(f"{request_} /{bucket.name}/{place}" in line for line in server.seen) in sent
    assert bucket.names("out") == ["sub/0.ppyr", "sub/2.ppyr"]
    assert bucket.rows("out", tmp_path)["sub/1.png"].state == State.FAILED
    assert counts_of(capsys, *command)["compressed"] == 1
    assert np.array_equal(bucket.picture("out/sub/1.ppyr"), pixels(1))


def test_a_container_goes_on_where_the_connection_was_lost(bucket, server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pixelpyramids.archive.remote_file.PIECE", 4096)
    bucket.put("a.tar", data := tar_of({f"{number}.png": number for number in range(9)}))
    with server.fault("half", "a.tar", 3):
        assert compress(f"{bucket.address}/a.tar", "--out", tmp_path / "out") == 0
    assert len(files(tmp_path / "out")) == 9
    assert sum("GET" in line for line in server.seen) < 3 * len(data) / 4096 + 9
    with server.fault("half", "GET"):
        (failed,) = counts_of(capsys, f"{bucket.address}/a.tar", "--out", tmp_path / "none", expected=1)["failed"]
    assert failed["source"] == f"{bucket.address}/a.tar" and "5 times" in failed["reason"]
    assert files(tmp_path / "none") == []


def test_the_later_of_a_run_that_was_not_sent_and_a_verification_elsewhere_counts(
    bucket, tmp_path, monkeypatch, capsys
):
    fill(bucket, "in")
    archive = f"{bucket.address}/out"
    command = (f"{bucket.address}/in", "--out", archive)
    assert compress(*command) == 0
    with Manifest(remote_manifest.copy_folder(archive) / "manifest.sqlite") as manifest:
        manifest.begin_run()  # and it is killed
    bucket.put("out/sub/1.ppyr", b"damaged")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
        assert status("archive", "verify", archive) == 1
    assert counts_of(capsys, *command)["compressed"] == 1
    assert np.array_equal(bucket.picture("out/sub/1.ppyr"), pixels(1))


def test_a_server_that_cannot_be_reached_is_tried_again(bucket, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setitem(__import__("fsspec").config.conf, "s3", {"endpoint_url": address})
    with pytest.raises(pp.errors.DataError, match="5 times"):
        remote_manifest.Remote("s3://elsewhere").read_bytes("a")


def test_parts_of_a_large_file_that_failed_are_removed(bucket, server, tmp_path, monkeypatch):
    remote = remote_manifest.Remote(bucket.address)
    send = remote._system.put_file
    monkeypatch.setattr(remote._system, "put_file", lambda local, path: send(local, path, chunksize=5 * 2**20))
    data = bytes(11 * 2**20)
    (tmp_path / "large").write_bytes(data)
    with server.fault("busy", "partNumber=2"), pytest.raises(pp.errors.DataError, match="5 times"):
        remote.put_file(str(tmp_path / "large"), "large")
    found = bucket.system.call_s3("list_multipart_uploads", Bucket=bucket.name)
    assert not found.get("Uploads") and bucket.names() == []
    with server.fault("busy", "partNumber=2", 2):
        remote.put_file(str(tmp_path / "large"), "large")
    assert bucket.system.cat_file(f"{bucket.name}/large") == data


def test_other_file_systems_get_results_by_a_move(tmp_path, monkeypatch):
    source = save(tmp_path / "a.png")
    out = f"file://{tmp_path}/out"
    seen = []
    system = remote_manifest.Remote(out)._system
    move = system.mv
    monkeypatch.setattr(type(system), "mv", lambda self, a, b: (seen.append(b), move(a, b)))
    assert compress(source, "--out", out) == 0 and compress(source, "--out", out) == 0
    assert f"{tmp_path}/out/a.ppyr" in seen and files(tmp_path / "out") == ["a.ppyr"]
    assert np.array_equal(pp.decode((tmp_path / "out" / "a.ppyr").read_bytes()), pixels())

    def fail(*_):
        raise OSError("the network is gone")

    monkeypatch.setattr(network, "FIRST_PAUSE", 0)
    monkeypatch.setattr(type(system), "mv", fail)
    assert compress(source, "--out", f"file://{tmp_path}/none") == 2
    assert list((tmp_path / "none").iterdir()) == []


def run_to(bucket, folder, *options):
    command = (*COMMAND, "compress", str(folder), "--out", f"{bucket.address}/out", "--quiet", *options)
    return subprocess.Popen(command, env=ENVIRONMENT | os.environ, stderr=subprocess.PIPE, text=True)


def test_a_killed_run_goes_on(bucket, server, tmp_path, capsys):
    count = 12
    for number in range(count):
        save(tmp_path / "in" / f"{number:02d}.png", number)
    process = run_to(bucket, tmp_path / "in", "--jobs", "2")
    wait_for(lambda: len(bucket.names("out")) >= 4)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(bucket.names("out"))
    assert done < count and bucket.rows("out", tmp_path) == {}  # it could not send its manifest
    result = counts_of(capsys, tmp_path / "in", "--out", f"{bucket.address}/out")
    assert result["compressed"] + result["already_there"] == count and result["already_there"] >= done
    assert bucket.names("out") == [f"{number:02d}.ppyr" for number in range(count)]
    assert all(np.array_equal(bucket.picture(f"out/{number:02d}.ppyr"), pixels(number)) for number in range(count))
    puts = [line for line in server.seen if line.startswith("PUT") and ".ppyr" in line]
    assert len(puts) <= count + 2  # the two that were on their way
    assert {row.state for row in bucket.rows("out", tmp_path).values()} == {State.DONE}


def test_an_interrupted_run_sends_its_manifest(bucket, tmp_path, capsys):
    for number in range(60):
        save(tmp_path / "in" / f"{number:02d}.png", number)
    process = run_to(bucket, tmp_path / "in", "--jobs", "1")
    wait_for(lambda: len(bucket.names("out")) >= 2)
    process.send_signal(signal.SIGSTOP)  # it must not finish meanwhile
    assert "another process" in refusal(capsys, "compress", tmp_path / "in", "--out", f"{bucket.address}/out")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.communicate()
    assert process.returncode == 130
    states = [row.state for row in bucket.rows("out", tmp_path).values()]
    assert len(states) == 60 and len(bucket.names("out")) - states.count(State.DONE) in (0, 1)


def test_the_manifest_is_sent_regularly(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_manifest, "SEND_EVERY", 0.05)
    monkeypatch.setattr(remote_manifest, "_SHARE", 1.0)
    with remote_manifest.open_for_writing(f"{bucket.address}/out") as manifest:
        number = manifest.source_number("/in")
        run = manifest.begin_run()
        entry = {"name": "a", "size": 1, "time": 1, "state": "waiting", "error": None, "result": "a.ppyr", "todo": None}
        manifest.set_listed(number, run, [entry])
        wait_for(lambda: "a" in bucket.rows("out", tmp_path))


def test_which_manifest_counts(bucket, tmp_path, capsys, monkeypatch):
    for number in range(2):
        save(tmp_path / "in" / f"{number}.png", number)
    archive = f"{bucket.address}/out"
    command = (tmp_path / "in", "--out", archive)

    def counts():
        result = counts_of(capsys, *command)
        return result["compressed"], result["already_there"]

    assert counts() == (2, 0)
    first = bucket.system.cat_file(f"{bucket.name}/out/manifest.sqlite")
    assert first[:6] == b"SQLite" and first[18] == 1  # not in WAL mode
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    save(tmp_path / "in" / "2.png", 2)
    assert counts() == (1, 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # its copy is older now
    assert counts() == (0, 3)
    bucket.put("out/manifest.sqlite", first)  # as if the last runs had been killed before they sent it
    gets = len(bucket.system.find(bucket.name))
    assert counts() == (0, 3) and gets == 4
    bucket.system.rm(f"{bucket.name}/out/manifest.sqlite")  # results are compared with their sources
    assert counts() == (0, 3)
    bucket.system.rm(f"{bucket.name}/out", recursive=True)  # the copy says that they are there
    assert counts() == (3, 0)
    (copy,) = (tmp_path / "cache").rglob("manifest.sqlite")
    copy.write_bytes(b"damaged")
    assert counts() == (0, 3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))  # knows the archive that was removed
    assert counts() == (0, 3)
    bucket.put("out/manifest.sqlite", b"of another program")
    assert "manifest" in refusal(capsys, "compress", *command)


@pytest.mark.parametrize("error", [FullDiskError("no space is left"), ManifestError("database is locked")])
def test_a_copy_that_cannot_be_read_is_not_taken_for_a_damaged_one(error, tmp_path, monkeypatch):
    paths = [tmp_path / "copy.sqlite", tmp_path / "received.sqlite"]
    for path in paths:
        with Manifest(path):
            pass
    version = Manifest.version

    def fail(self):
        if self.path == paths[0]:
            raise error
        return version(self)

    monkeypatch.setattr(Manifest, "identity", lambda _: "the same")
    monkeypatch.setattr(Manifest, "version", fail)
    with pytest.raises(type(error), match=str(error)):
        remote_manifest._is_ahead(*paths)


def test_settings_of_the_user_win(monkeypatch):
    conf = __import__("fsspec").config.conf
    monkeypatch.setitem(conf, "s3", {"max_concurrency": 7, "config_kwargs": {"read_timeout": 3}})
    options = network._options("s3")
    assert options["max_concurrency"] == 7 and options["config_kwargs"]["read_timeout"] == 3
    assert options["config_kwargs"]["connect_timeout"] == network.CONNECT_TIMEOUT
    assert options["config_kwargs"]["retries"] == {"total_max_attempts": 1}
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "4")
    assert "retries" not in network._options("s3")["config_kwargs"]
    monkeypatch.setitem(conf, "https", {"client_kwargs": {"timeout": 3}})
    assert network._options("https")["client_kwargs"] == {"timeout": 3}


def test_the_page_on_archives_does_what_it_says(bucket, tmp_path, monkeypatch, capsys):
    """All its commands except those of a cluster, which test_ray runs."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        save(tmp_path / "photos" / f"{number}.png", number)
    fill(bucket, "photos")
    with tarfile.open("more.tar", "w") as tar:
        tar.add("photos/0.png", "first.png")
    bucket.put("more.tar", Path("more.tar").read_bytes())
    with serve_files(tmp_path / "photos") as (host, port):
        lines = [line for line in shell_lines("docs/howto/archives.md") if "ray" not in line]
        assert len(lines) == 8
        for line in lines:
            line = line.replace("s3://bucket", bucket.address).replace("https://host/folder/", f"http://{host}:{port}/")
            assert status(*shlex.split(line)[1:]) == 0, line
    assert sorted(path.name for path in Path("back").rglob("*.png")) == ["0.png", "1.png", "2.png"]
