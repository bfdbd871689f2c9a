"""Missing permissions, pipes, full disks, killed processes: the messages, and the files that remain."""

import importlib
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import COMMAND, ENVIRONMENT, ROOT, another_user, output_of, refusal, status
from pictures import files, pixels, save, write_images
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.archive import file_tasks, jobs
from pixelpyramids.cli import archive_run  # noqa: F401 # another user may not read the interpreter's own files
from pixelpyramids.image_files import listing


def spawn(*arguments, **options):
    """A process of the command line."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, **options
    )


def test_no_image_gets_the_number_of_a_closed_stream(tmp_path):
    """Libraries print to standard error, and what they print is caught by its number."""
    write_images(tmp_path, count=2, size=(100, 100))
    script = shlex.join([*COMMAND, "compress", str(tmp_path)])
    assert subprocess.run(f"exec 2>&-; {script}", shell=True, env=ENVIRONMENT).returncode == 0


def test_a_process_that_dies_fails_only_its_file(tmp_path, monkeypatch):
    (tmp_path / "killing.py").write_text(
        "import os, signal\n\n"
        "def work(task):\n"
        "    if task.source.name == '1':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return task.source.name\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("killing").work
    todo = [listing.Task(Path(str(i)), Path("x"), True) for i in range(4)]
    results = {task.source.name: result for task, result in jobs.run_tasks(work, todo, 2)}
    assert "died" in str(results.pop("1")) and results == {name: name for name in "023"}


def test_a_bug_is_raised_after_the_other_files(tmp_path, monkeypatch, capsys):
    save(tmp_path / "a.png"), save(tmp_path / "b.png")
    read = file_tasks.open_regular
    monkeypatch.setattr(file_tasks, "open_regular", lambda path: read(path) if path.name == "b.png" else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        status("compress", tmp_path)
    assert "1 file compressed" in capsys.readouterr().out and (tmp_path / "b.ppyr").exists()


def test_missing_permissions_fail_only_their_files(small, capsys):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        save(root / "in" / "secret.png").chmod(0)
        save(root / "in" / "a.png")
        for name, mode, done in (("out", 0o777, ["a.ppyr"]), ("closed", 0o555, [])):
            (root / name).mkdir()
            (root / name).chmod(mode)
            with another_user():
                assert status("compress", root / "in", "--out", root / name, "--jobs", 1) == (1 if done else 2)
            assert files(root / name) == done
            err = capsys.readouterr().err
            expected = "secret.png: Permission denied" if done else "manifest.sqlite: the manifest cannot be used"
            assert expected in err and "check its permissions" in err
        (root / "in").chmod(0)
        with another_user():
            assert "in" in refusal(capsys, "compress", root / "in")
        (root / "in").chmod(0o755)


def test_a_result_has_the_permissions_of_its_source(small, tmp_path):
    small.with_suffix(".png").chmod(0o600)
    assert status("compress", small.with_suffix(".png"), "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "small.ppyr").stat().st_mode & 0o777 == 0o600


def test_named_pipes_among_images_do_not_block(tmp_path, capsys):
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "a.ppyr")
    (tmp_path / "b.png").symlink_to("nowhere")
    out = ("--out", tmp_path / "out")
    for command in (("compress", *out), ("decompress", *out), ("verify",), ("info",)):
        err = output_of(capsys, *command, tmp_path, expected=1).err
        assert "expected a regular file" in err and ("No such file" in err) == ("compress" in command)
    assert files(tmp_path / "out") == []


def test_a_full_disk_leaves_nothing_behind(small, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for limit, out, returned, words in (
        (300, (), 1, b"File too large"),
        (200_000, ("--out", tmp_path / "out"), 1, b"File too large"),
        (300, ("--out", tmp_path / "other"), 2, b"the manifest cannot be used"),
    ):
        process = spawn(
            *("compress", tmp_path / "noise.png", *out),
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        _, err = process.communicate()
        assert process.returncode == returned and words in err and b"Traceback" not in err
        assert files(tmp_path) == ["noise.png", "s/small.png", "s/small.ppyr"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_process_leaves_only_whole_files(number, jobs, tmp_path):
    for i in range(200):
        save(tmp_path / "in" / f"{i}.png", i)
    out = tmp_path / "out"
    process = spawn(
        *("compress", tmp_path / "in", "--out", out, "--jobs", jobs),
        start_new_session=True,
    )
    while not (out.exists() and any(out.glob("*.ppyr"))) and process.poll() is None:
        time.sleep(0.01)
    killed = number == signal.SIGKILL
    if killed:
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)  # as a terminal and a batch system do
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if killed else 130), err
    if not killed:  # if killed, Python's resource tracker may also print
        assert err.decode().splitlines() == ["interrupted; run the same command again to finish"]
    for _ in range(200):  # processes of the pool end with their parent
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("processes are left")
    written = list(out.glob("*.ppyr"))
    assert 0 < len(written) < 200
    manifest = set(out.glob("manifest.sqlite*"))
    left = set(out.iterdir()) - set(written) - manifest
    assert len(left) <= (0 if not killed and jobs == 1 else jobs)
    (find,) = re.findall(r"`(find archive .+? -delete)`", (ROOT / "docs" / "howto" / "compress.md").read_text())
    (out / ".mine").touch()
    subprocess.run(shlex.split(find.replace("archive", shlex.quote(str(out)))), check=True)
    assert set(out.iterdir()) == {*written, *manifest, out / ".mine"}
    for path in written:
        assert np.array_equal(pp.decode(path.read_bytes()), pixels(int(path.stem)))


@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_source_that_changes_during_the_command_fails(how, tmp_path, monkeypatch, capsys):
    source = save(tmp_path / "a.png")
    encode_to = file_tasks.encode_to

    def changing(*arguments, **options):
        if how == "written":
            source.write_bytes(b"something else")
        else:  # by a file of the same size and time
            shutil.copy2(source, tmp_path / "b.png").rename(source)
        encode_to(*arguments, **options)

    monkeypatch.setattr(file_tasks, "encode_to", changing)
    assert "changed while it was being read" in output_of(capsys, "compress", source, expected=1).err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_limit_of_pixels_can_be_set(tmp_path, capsys):
    source, target = save(tmp_path / "a.png"), tmp_path / "a.ppyr"
    Image.new("L", (2, 3)).save(tmp_path / "small.png")
    for command in ("compress", "bench"):
        said = output_of(capsys, command, tmp_path, "--max-pixels", 20 * 30 - 1, expected=1).err
        assert "20 x 30 pixels, more than the limit of 599" in said
        assert status(command, tmp_path, "--max-pixels", 20 * 30) == 0
    assert status("verify", target, source, "--max-pixels", 20 * 30) == 0
    assert "more than the limit of 599" in refusal(capsys, "verify", target, source, "--max-pixels", 20 * 30 - 1)


@pytest.mark.parametrize("name", ["a.jpg", "a.mpo"])
def test_a_camera_file_of_several_pictures_is_skipped_as_a_jpeg(name, tmp_path, capsys):
    first, second = (Image.fromarray(np.full((12, 15, 3), value, np.uint8)) for value in (50, 200))
    (tmp_path / "a").mkdir()
    first.save(tmp_path / "a" / name, "MPO", save_all=True, append_images=[second])
    assert "skipped because it is lossy already (MPO)" in output_of(capsys, "compress", tmp_path / "a").err
    said = output_of(capsys, "compress", tmp_path / "a", "--force").err
    assert "not kept: the JPEG's other pictures (previews, gain maps)" in said
    assert status("verify", tmp_path / "a" / "a.ppyr", tmp_path / "a" / name) == 0
    with Image.open(tmp_path / "a" / name) as image:
        assert np.array_equal(pp.decode((tmp_path / "a" / "a.ppyr").read_bytes()), np.asarray(image))
