"""Archives: the manifest says what there is, however often and however roughly the command is run."""

import bz2
import gzip
import hashlib
import lzma
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from command_line import COMMAND, ENVIRONMENT, ROOT, at_most, json_of, output_of, refusal, status
from pictures import contents, files, pixels, save
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.archive import examining
from pixelpyramids.archive.archiving import Archiver
from pixelpyramids.archive.containers import ContainerSource
from pixelpyramids.archive.manifest import Manifest
from pixelpyramids.archive.pending import Pending
from pixelpyramids.archive.stores import FolderStore
from pixelpyramids.errors import DataError, FullDiskError


def rows(archive, columns="state"):
    """The columns of the manifest's images by their names below their sources."""
    with closing(sqlite3.connect(archive / "manifest.sqlite")) as database:
        return {
            name: values
            for name, *values in database.execute(f"SELECT name, {columns} FROM images ORDER BY state = 'done'")
        }


def save_many(folder, count, first=0):
    for number in range(first, first + count):
        save(folder / f"{number % 3}" / f"{number}.png", number)
    return folder


def assert_sound(archive, source, names=None):
    """Every image is in the archive once, with its pixels, and everything in the archive is an image's."""
    done = rows(archive, "state, result, sha256, result_size, result_sha256")
    expected = {path.relative_to(source).as_posix() for path in source.rglob("*.png")} if names is None else set(names)
    assert {name for name, row in done.items() if row[0] == "done"} == expected
    results = [row[1] for row in done.values() if row[0] == "done"]
    assert sorted(results) == [name for name in files(archive) if not name.endswith(".part")] and len(
        set(results)
    ) == len(results)
    for name, (state, result, sha256, size, result_sha256) in done.items():
        if state != "done":
            continue
        data = (archive / result).read_bytes()
        assert len(data) == size and hashlib.sha256(data).hexdigest() == result_sha256
        if (source / name).exists():
            assert hashlib.sha256((source / name).read_bytes()).hexdigest() == sha256
            with Image.open(source / name) as image:
                assert np.array_equal(pp.decode(data), np.asarray(image))


def test_the_manifest_says_what_is_known_of_each_image(tmp_path):
    source, archive = save(tmp_path / "in" / "sub" / "a.png"), tmp_path / "out"
    assert status("compress", tmp_path / "in", "--out", archive) == 0
    (row,) = rows(archive, "size, time, sha256, pixels_sha256, state, result, result_size, model, pixels").values()
    array = pixels()
    data = (archive / "sub" / "a.ppyr").read_bytes()
    assert row == [
        source.stat().st_size,
        source.stat().st_mtime_ns,
        hashlib.sha256(source.read_bytes()).hexdigest(),
        hashlib.sha256(b"20 30 3 8\n" + array.tobytes()).hexdigest(),
        "done",
        "sub/a.ppyr",
        len(data),
        row[7],
        600,
    ]
    assert row[7] in ("bdbedcaa743547da", "WEBP", "PNG")
    assert_sound(archive, tmp_path / "in")


def test_deep_pixels_are_hashed_as_little_endian(tmp_path):
    array = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    Image.fromarray(array).save(tmp_path / "a.png")
    assert status("compress", tmp_path / "a.png", "--out", tmp_path / "out") == 0
    ((found,),) = rows(tmp_path / "out", "pixels_sha256").values()
    assert found == hashlib.sha256(b"20 30 16\n" + array.astype("<u2").tobytes()).hexdigest()


def test_a_changed_source_is_noticed_and_done_again_with_update(tmp_path, capsys):
    source, archive = save(tmp_path / "in" / "a.png"), tmp_path / "out"
    command = ("compress", tmp_path / "in", "--out", archive)
    assert status(*command) == 0
    before = contents(archive)
    os.utime(source, ns=(10**17, 10**17))
    assert "pass --update" in output_of(capsys, *command, expected=1).err
    assert json_of(capsys, *command, "--check-hash")["already_there"] == 1  # only its time has changed
    assert json_of(capsys, *command)["already_there"] == 1
    save(source, 1)
    os.utime(source, ns=(10**17, 10**17))
    with open(source, "ab") as file:  # the same size, too
        file.truncate()
    same_size = pixels(2)
    Image.fromarray(same_size).save(source)
    os.utime(source, ns=(10**17, 10**17))
    assert "pass --update" in output_of(capsys, *command, "--check-hash", expected=1).err
    assert contents(archive) == before
    assert json_of(capsys, *command, "--check-hash", "--update")["compressed"] == 1
    assert_sound(archive, tmp_path / "in")
    assert json_of(capsys, *command)["already_there"] == 1


def test_results_that_vanish_or_are_damaged_are_written_again(tmp_path, capsys):
    save_many(tmp_path / "in", 3)
    archive = tmp_path / "out"
    command = ("compress", tmp_path / "in", "--out", archive)
    assert status(*command) == 0
    before = contents(archive)
    (archive / "0" / "0.ppyr").unlink()
    (archive / "1" / "1.ppyr").write_bytes(before["1/1.ppyr"][:-1])
    assert json_of(capsys, *command)["compressed"] == 2 and contents(archive) == before
    damaged = bytearray(before["2/2.ppyr"])
    damaged[-1] ^= 1
    (archive / "2" / "2.ppyr").write_bytes(damaged)
    assert json_of(capsys, *command)["already_there"] == 3  # the same size: only `verify` reads it
    assert (
        "2/2.ppyr: is not the file that was written" in output_of(capsys, "archive", "verify", archive, expected=1).err
    )
    assert json_of(capsys, "archive", "status", archive)["images"]["failed"] == 1
    assert json_of(capsys, *command)["compressed"] == 1 and contents(archive) == before
    assert status("archive", "verify", archive) == 0


def test_an_archive_may_be_read_only(tmp_path):
    archive = tmp_path / "out"
    assert status("compress", save_many(tmp_path / "in", 2), "--out", archive) == 0
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", archive, archive], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        assert status("archive", "status", archive) == status("archive", "list", archive) == 0
        assert status("archive", "restore", archive, "--out", tmp_path / "back") == 0
    finally:
        subprocess.run(["umount", archive], check=True)
    assert files(tmp_path / "back") == ["0/0.png", "1/1.png"]


def test_a_new_manifest_finds_the_results_that_exist(tmp_path, capsys):
    save_many(tmp_path / "in", 4)
    archive = tmp_path / "out"
    command = ("compress", tmp_path / "in", "--out", archive)
    assert status(*command) == 0
    before = contents(archive)
    for damage in (b"", b"no database at all" * 1000):
        for path in archive.glob("manifest.sqlite*"):
            path.unlink()
        if damage:
            (archive / "manifest.sqlite").write_bytes(damage)
            assert "move it to another folder" in refusal(capsys, *command)
            (archive / "manifest.sqlite").unlink()
        result = json_of(capsys, *command)
        assert (result["compressed"], result["already_there"]) == (0, 4) and contents(archive) == before
        assert_sound(archive, tmp_path / "in")


def test_a_foreign_file_is_never_replaced_unasked(tmp_path, capsys):
    save(tmp_path / "in" / "a.png")
    archive = tmp_path / "out"
    archive.mkdir()
    for mine in (b"mine", pp.encode(pixels(5))):
        (archive / "a.ppyr").write_bytes(mine)
        command = ("compress", tmp_path / "in", "--out", archive)
        assert "a.ppyr" in output_of(capsys, *command, expected=1).err
        assert (archive / "a.ppyr").read_bytes() == mine
    assert status(*command, "--overwrite") == 0
    assert_sound(archive, tmp_path / "in")


def test_sources_are_deleted_only_after_their_results_were_read_back(tmp_path, monkeypatch, capsys, jobs):
    save_many(tmp_path / "in", 4)
    archive = tmp_path / "out"
    command = ("compress", tmp_path / "in", "--out", archive, "--jobs", jobs)
    names = files(tmp_path / "in")
    assert status(*command, "--exclude", "3.png") == 0
    (archive / "0" / "0.ppyr").write_bytes((archive / "1" / "1.ppyr").read_bytes())
    with sqlite3.connect(archive / "manifest.sqlite") as database:  # as if it had been written so
        size = (archive / "1" / "1.ppyr").stat().st_size
        database.execute("UPDATE images SET result_size = ? WHERE name = '0/0.png'", (size,))
    assert "0.png" in output_of(capsys, *command, "--delete-source", expected=1).err
    assert files(tmp_path / "in") == ["0/0.png"]
    assert status(*command, "--overwrite") == 0
    assert_sound(archive, tmp_path / "in", names)
    assert status(*command, "--delete-source") == 0 and files(tmp_path / "in") == []
    assert_sound(archive, tmp_path / "in", names)
    assert status(*command) == 0  # an empty source is no mistake then


def pack(folder, path):
    """A tar or zip file of a folder's files."""
    names = [name for name in files(folder)]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as container:
            for name in names:
                container.write(folder / name, name)
    else:
        with tarfile.open(path, "w:" + path.suffix[1:].replace("tar", "")) as container:
            for name in names:
                container.add(folder / name, name)
    return path


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_containers_are_read_without_unpacking_them(suffix, tmp_path, capsys, jobs):
    folder = save_many(tmp_path / "in", 5)
    (folder / "note.txt").write_text("mine")
    save(folder / "photo.jpg")
    container, archive = pack(folder, tmp_path / f"all{suffix}"), tmp_path / "out"
    command = ("compress", container, "--out", archive, "--jobs", jobs)
    result = json_of(capsys, *command)
    assert result["compressed"] == 5 and result["not_taken"]["kinds"] == {".txt": 1} and len(result["skipped"]) == 1
    assert_sound(archive, folder)
    assert json_of(capsys, *command)["already_there"] == 5
    container.write_bytes(container.read_bytes()[: container.stat().st_size // 2])
    assert f"{container.name}: " in output_of(capsys, *command, expected=1).err
    assert_sound(archive, folder)
    assert "--delete-source" in refusal(capsys, *command, "--delete-source")


def test_paths_in_containers_that_lead_out_are_refused(tmp_path, capsys):
    source = save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "evil.tar", "w") as container:
        for name in ("../../evil.png", "/abs/olute.png", "twice.png", "twice.png", "link.png"):
            member = container.gettarinfo(source, name)
            if name == "link.png":
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                container.addfile(member)
            else:
                with open(source, "rb") as file:
                    container.addfile(member, file)
    err = output_of(capsys, "compress", tmp_path / "evil.tar", "--out", tmp_path / "x" / "y" / "out", expected=1).err
    assert "leads out" in err and "twice in the file" in err and "a link" in err
    assert files(tmp_path / "x") == ["y/out/abs/olute.ppyr"] and not (tmp_path / "evil.ppyr").exists()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
def test_a_list_of_paths(end, tmp_path, monkeypatch, capsys):
    save_many(tmp_path / "in", 3)
    monkeypatch.chdir(tmp_path)
    paths = ["in/0/0.png", str(tmp_path / "in/1/1.png"), "./in/2/2.png", "in/0/0.png", "in/none.png", "../out.png"]
    (tmp_path / "list").write_bytes(end.join([*paths, ""]).encode())
    command = ("compress", "--from-list", tmp_path / "list", "--out", "out")
    captured = output_of(capsys, *command, expected=1)
    assert "in/none.png: No such file" in captured.err and "'..'" in captured.err
    root = str(tmp_path).lstrip("/")
    assert files(tmp_path / "out") == sorted(["in/0/0.ppyr", "in/2/2.ppyr", f"{root}/in/1/1.ppyr"])
    assert json_of(capsys, *command, expected=1)["already_there"] == 3
    assert "neither" in refusal(capsys, "compress", "--out", "out")
    assert "--out" in refusal(capsys, "compress", "--from-list", "list")


def test_include_and_exclude(tmp_path, capsys):
    save_many(tmp_path / "in", 6)
    command = ("compress", tmp_path / "in", "--out", tmp_path / "out")
    assert json_of(capsys, *command, "--include", "[0-3].png", "--exclude", "0/*")["compressed"] == 2
    assert files(tmp_path / "out") == ["1/1.ppyr", "2/2.ppyr"]
    named = [tmp_path / "in" / name for name in ("0/0.png", "1/1.png")]
    assert json_of(capsys, "compress", *named, "--exclude", "0.png", "--out", tmp_path / "named")["compressed"] == 1
    (tmp_path / "in" / "5.png").write_bytes(b"none")
    assert status(*command) == 1
    assert json_of(capsys, *command, "--include", "1/")["already_there"] == 2
    assert rows(tmp_path / "out")["5.png"] == ["failed"]
    assert "expected images, got none" in refusal(capsys, *command[:3], tmp_path / "other", "--include", "*.bmp")


def test_an_old_result_that_comes_back_is_not_replaced_by_a_changed_source(tmp_path, capsys):
    source, archive = save(tmp_path / "in" / "a.png"), tmp_path / "out"
    command = ("compress", tmp_path / "in", "--out", archive)
    assert status(*command) == 0
    before = (archive / "a.ppyr").read_bytes()
    (archive / "a.ppyr").rename(tmp_path / "away")
    assert status("archive", "verify", archive) == 1
    source.write_bytes(b"broken")
    assert status(*command) == 1  # neither is in the archive now
    (tmp_path / "away").rename(archive / "a.ppyr")
    save(source, 1)
    assert "pass --update" in output_of(capsys, *command, expected=1).err
    assert (archive / "a.ppyr").read_bytes() == before
    assert status("archive", "verify", archive) == 0
    assert rows(archive)["a.png"] == ["done"]
    assert "pass --update" in output_of(capsys, *command, expected=1).err
    assert (archive / "a.ppyr").read_bytes() == before
    assert status(*command, "--update") == 0
    assert np.array_equal(pp.decode((archive / "a.ppyr").read_bytes()), pixels(1))
    assert_sound(archive, tmp_path / "in")


def test_a_result_that_cannot_be_looked_for_is_not_missing(tmp_path, capsys, monkeypatch):
    source, archive = save(tmp_path / "in" / "a.png"), tmp_path / "out"
    command = ("compress", tmp_path / "in", "--out", archive)
    assert status(*command) == 0
    before = contents(archive)
    save(source, 1)

    stat = os.stat

    def refuse(path, **options):
        if path == str(archive / "a.ppyr"):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, **options)

    with monkeypatch.context() as context:
        context.setattr(os, "stat", refuse)
        assert "Permission denied" in output_of(capsys, *command, expected=1).err
    assert "pass --update" in output_of(capsys, *command, expected=1).err
    assert contents(archive)["a.ppyr"] == before["a.ppyr"]


def test_another_image_of_the_same_name_size_and_time_has_not_moved(tmp_path, capsys):
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        np.save(tmp_path / str(number) / "a.npy", pixels(number))
        os.utime(tmp_path / str(number) / "a.npy", ns=(10**18, 10**18))
    assert status("compress", tmp_path / "0", "--out", tmp_path / "out", "--delete-source") == 0
    before = (tmp_path / "out" / "a.ppyr").read_bytes()
    for options in ((), ("--update",), ("--update", "--delete-source")):
        err = output_of(capsys, "compress", tmp_path / "1", "--out", tmp_path / "out", *options, expected=1).err
        assert "would be written to" in err
    assert (tmp_path / "out" / "a.ppyr").read_bytes() == before and (tmp_path / "1" / "a.npy").exists()


def test_no_folder_takes_the_place_of_the_manifest(tmp_path, capsys):
    archive = tmp_path / "out"
    for suffix in ("", "-journal", "-shm", "-wal"):
        save(tmp_path / "in" / f"manifest.sqlite{suffix}" / "a.png")
    save(tmp_path / "in" / "manifest.sqlite.png")
    result = json_of(capsys, "compress", tmp_path / "in", "--out", archive, expected=1)
    assert result["compressed"] == 1 and len(result["failed"]) == 4
    assert "rename its folder" in result["failed"][0]["reason"]
    assert status("archive", "verify", archive) == 0


@pytest.mark.parametrize("loss", ["moved", "deleted", "without its manifest"])
def test_an_archive_that_goes_away_stops_the_run_and_deletes_no_source(loss, tmp_path, monkeypatch, capsys):
    source, archive = save_many(tmp_path / "in", 9), tmp_path / "out"
    before = contents(source)
    record = Archiver._record

    def lose_and_record(self):
        if loss == "moved" and archive.exists():
            archive.rename(tmp_path / "moved")
        elif loss == "deleted":
            shutil.rmtree(archive, ignore_errors=True)
        else:
            (archive / "manifest.sqlite").unlink(missing_ok=True)
        record(self)

    monkeypatch.setattr(Archiver, "_record", lose_and_record)
    command = ("compress", source, "--out", archive, "--jobs", 1)
    assert "put the archive back" in refusal(capsys, *command, "--delete-source")
    assert contents(source) == before
    monkeypatch.undo()
    if loss == "moved":
        shutil.rmtree(archive, ignore_errors=True)
        (tmp_path / "moved").rename(archive)
    assert status(*command) == 0
    assert_sound(archive, source)


def test_each_of_several_images_that_would_share_a_result_fails_once(tmp_path, capsys):
    for suffix in ("png", "tif", "bmp", "webp"):
        Image.fromarray(pixels()).save(save(tmp_path / "in" / "a.png").with_suffix(f".{suffix}"), lossless=True)
    failed = json_of(capsys, "compress", tmp_path / "in", "--out", tmp_path / "out", expected=1)["failed"]
    assert sorted(Path(each["source"]).suffix for each in failed) == [".bmp", ".png", ".tif", ".webp"]


def test_a_container_must_be_a_file(tmp_path, capsys):
    os.mkfifo(tmp_path / "a.tar")
    assert (
        "got a folder, a pipe"
        in output_of(capsys, "compress", tmp_path / "a.tar", "--out", tmp_path / "out", expected=1).err
    )


def test_verifying_makes_no_manifest(tmp_path, capsys):
    archive = tmp_path / "out"
    assert status("compress", save(tmp_path / "a.png"), "--out", archive) == 0
    (archive / "manifest.sqlite").write_bytes(b"")
    assert "expected the manifest" in refusal(capsys, "archive", "verify", archive)
    assert (archive / "manifest.sqlite").read_bytes() == b""


def test_times_of_verification_in_the_future_do_not_count(tmp_path, capsys):
    archive = tmp_path / "out"
    assert status("compress", save(tmp_path / "a.png"), "--out", archive) == 0
    with closing(sqlite3.connect(archive / "manifest.sqlite")) as database, database:
        database.execute("UPDATE images SET verified = verified + 1e8")
    assert json_of(capsys, "archive", "verify", archive)["verified"] == 1


def test_a_manifest_cannot_lead_compressing_out_of_its_folder(tmp_path, capsys):
    archive = tmp_path / "out"
    command = ("compress", save(tmp_path / "a.png"), "--out", archive)
    assert status(*command) == 0
    with closing(sqlite3.connect(archive / "manifest.sqlite")) as database, database:
        database.execute("UPDATE images SET result = '../b.ppyr', state = 'waiting'")
    assert "the manifest is damaged" in output_of(capsys, *command, expected=1).err
    assert not (tmp_path / "b.ppyr").exists()


def test_a_source_that_has_moved_is_recognised(tmp_path, capsys):
    save_many(tmp_path / "in", 3)
    archive = tmp_path / "out"
    assert status("compress", tmp_path / "in", "--out", archive) == 0
    (tmp_path / "in").rename(tmp_path / "moved")
    assert json_of(capsys, "compress", tmp_path / "moved", "--out", archive)["already_there"] == 3
    assert_sound(archive, tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "copy", copy_function=shutil.copy2)
    assert "and so would" in output_of(capsys, "compress", tmp_path / "copy", "--out", archive, expected=1).err
    assert_sound(archive, tmp_path / "moved")


def test_only_one_process_writes(tmp_path, capsys):
    save(tmp_path / "in" / "a.png")
    from pixelpyramids.archive.archive_folder import open_for_writing

    with open_for_writing(tmp_path / "out"):
        assert "another process" in refusal(capsys, "compress", tmp_path / "in", "--out", tmp_path / "out")
    assert status("compress", tmp_path / "in", "--out", tmp_path / "out") == 0


def test_the_archive_may_lie_within_its_source(tmp_path, capsys):
    save_many(tmp_path / "in", 3)
    command = ("compress", tmp_path / "in", "--out", tmp_path / "in" / "archive")
    assert json_of(capsys, *command)["compressed"] == 3
    result = json_of(capsys, *command)
    assert result["already_there"] == 3 and not result["not_taken"]["files"]


def test_status_list_and_restore(tmp_path, capsys):
    folder, archive = save_many(tmp_path / "in", 3), tmp_path / "out"
    save(folder / "b.tif", 7), save(folder / "c.gif", 8), save(folder / "d.jpg", 9)
    (folder / "e.png").write_bytes(b"none")
    (folder / "f.txt").touch()
    assert status("compress", folder, "--out", archive) == 1
    result = json_of(capsys, "archive", "status", archive)
    assert result["images"] == {"waiting": 0, "done": 5, "skipped": 1, "failed": 1, "other": 1}
    assert result["bytes_after"] == sum(len(data) for data in contents(archive).values()) and result["left"] == 0
    assert list(result["failures"].values()) == [1]
    text = output_of(capsys, "archive", "status", archive).out
    assert "5 images compressed" in text and "1 failed" in text and "failed: 1 x " in text

    listed = json_of(capsys, "archive", "list", archive)["images"]
    assert len(listed) == 8 and {row["state"] for row in listed} == {"done", "skipped", "failed", "other"}
    assert len(json_of(capsys, "archive", "list", archive, "0/*", "--state", "done")["images"]) == 1
    assert "-> b.ppyr" in output_of(capsys, "archive", "list", archive, "b.*").out

    back = tmp_path / "back"
    assert status("archive", "restore", archive, "--out", back) == 0
    assert files(back) == ["0/0.png", "1/1.png", "2/2.png", "b.tif", "c.png"]
    for number, name in ((0, "0/0.png"), (1, "1/1.png"), (2, "2/2.png"), (7, "b.tif")):
        with Image.open(back / name) as image:
            assert np.array_equal(np.asarray(image), pixels(number))
        assert (back / name).stat().st_mtime_ns == (folder / name).stat().st_mtime_ns
    assert json_of(capsys, "archive", "restore", archive, "--out", back)["already_there"] == 5
    save(back / "b.tif", 99)
    assert (
        "holds another image"
        in output_of(capsys, "archive", "restore", archive, "b.tif", "--out", back, expected=1).err
    )
    assert status("archive", "restore", archive, "b.*", "--out", back, "--overwrite", "--format", "npy") == 0
    assert np.array_equal(np.load(back / "b.npy"), pixels(7))
    assert "got none" in refusal(capsys, "archive", "restore", archive, "z*", "--out", back)
    for command in ("status", "list", "verify"):
        assert "expected an archive" in refusal(capsys, "archive", command, tmp_path / "in")


def test_verify_can_sample_and_goes_on(tmp_path, capsys, monkeypatch):
    from pixelpyramids.archive import examining

    save_many(tmp_path / "in", 40)
    archive = tmp_path / "out"
    assert status("compress", tmp_path / "in", "--out", archive) == 0
    with sqlite3.connect(archive / "manifest.sqlite") as database:
        database.execute("UPDATE images SET verified = NULL")
    some = json_of(capsys, "archive", "verify", archive, "--sample", "25%", "--jobs", 1)
    assert 2 <= some["verified"] < 25
    assert sum(value is not None for (value,) in rows(archive, "verified").values()) == some["verified"]
    verify_image, calls = examining.verify_image, []

    def interrupt(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 11:
            raise KeyboardInterrupt
        return verify_image(*arguments, **options)

    monkeypatch.setattr(examining, "verify_image", interrupt)
    assert status("archive", "verify", archive, "--jobs", 1) == 130
    monkeypatch.undo()
    captured = output_of(capsys, "archive", "verify", archive, "--jobs", 1)
    assert "30 images left" in captured.err and "30 images verified" in captured.out
    assert json_of(capsys, "archive", "verify", archive, "--jobs", 2)["verified"] == 40
    captured = output_of(capsys, "archive", "verify", archive, "--sample", "0.0001%")
    assert "pass a larger --sample" in captured.err and "0 images verified" in captured.out
    for wrong in ("0%", "101%", "1", "x%"):
        assert "--sample" in refusal(capsys, "archive", "verify", archive, "--sample", wrong)


def spawn(*arguments, **options):
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, **options
    )


@pytest.mark.parametrize("times", [8, pytest.param(50, marks=pytest.mark.long)])
def test_killed_at_random_moments_nothing_is_lost_or_doubled(times, tmp_path, capsys):
    source, archive = save_many(tmp_path / "in", 10 * times), tmp_path / "out"
    moments = random.Random(0)
    kills = 0

    def results(archive):
        return list(archive.rglob("*.ppyr"))

    for attempt in range(times):
        process = spawn("compress", source, "--out", archive, "--jobs", 1 + attempt % 2)
        time.sleep(moments.uniform(0, 0.6))
        goal = min(len(results(archive)) + moments.randint(0, 5), 8 * times)
        while process.poll() is None and len(results(archive)) < goal:
            time.sleep(0.01)
        kills += process.poll() is None
        process.kill()
        process.communicate()
        if (archive / "manifest.sqlite").exists():
            for name, (state, result, size) in rows(archive, "state, result, result_size").items():
                assert state != "done" or (archive / result).stat().st_size == size, name
    assert kills > times / 4
    assert status("compress", source, "--out", archive) == 0
    assert not list(archive.rglob(".*.part"))
    assert_sound(archive, source)
    assert json_of(capsys, "compress", source, "--out", archive)["already_there"] == 10 * times
    assert status("archive", "verify", archive) == 0


def test_what_a_killed_run_left_is_removed_by_the_next_one_alone(tmp_path):
    source, archive = save_many(tmp_path / "in", 3), tmp_path / "out"
    command = ("compress", source, "--out", archive)
    assert status(*command) == 0
    left = archive / "sub" / ".a.ppyr.0123456789abcdef.part"
    others = [
        archive / name for name in (".0123456789abcdef.part", ".a.ppyr.0123456789ABCDEF.part", ".a.part", "a.part")
    ]
    elsewhere = tmp_path / "elsewhere" / left.name
    for path in (left, elsewhere, *others):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (archive / "link").symlink_to(elsewhere.parent)
    assert status(*command) == 0 and left.exists()  # the run before has ended
    with sqlite3.connect(archive / "manifest.sqlite") as database:
        database.execute("UPDATE runs SET ended = NULL WHERE id = (SELECT max(id) FROM runs)")
    database.close()
    assert status(*command, "--dry-run") == 0 and left.exists()
    assert status(*command) == 0 and not left.exists()
    assert all(path.exists() for path in (elsewhere, *others))


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs to mount a small file system")
def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, capsys):
    archive = tmp_path / "out"
    archive.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", archive], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        rng = np.random.default_rng(0)
        for number in range(30):
            noise = rng.integers(0, 256, (80, 90, 3), dtype=np.uint8)
            path = tmp_path / "in" / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(noise).save(path)
        command = ("compress", tmp_path / "in", "--out", archive, "--jobs", 1)
        for _ in range(5):
            process = spawn(*command)
            _, err = process.communicate()
            assert process.returncode in (1, 2) and b"run the same command again" in err and b"Traceback" not in err
            done = {name: row for name, row in rows(archive, "state, result").items() if row[0] == "done"}
            assert 5 < len(done) < 30 and all((archive / result).exists() for _, result in done.values())
        subprocess.run(["mount", "-o", "remount,size=4m", archive], check=True)
        assert status(*command) == 0
        assert_sound(archive, tmp_path / "in")
    finally:
        subprocess.run(["umount", archive], check=True)


def test_names_that_are_not_text(tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        save(tmp_path / "in" / name)
    except OSError:
        pytest.skip("this file system accepts only text as names")
    (tmp_path / "in" / os.fsdecode(b"\xe9.png")).write_bytes(b"none")
    command = ("compress", tmp_path / "in", "--out", tmp_path / "out")
    assert status(*command) == 1 and json_of(capsys, *command, expected=1)["already_there"] == 1
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9.ppyr")).exists()
    assert status("archive", "restore", tmp_path / "out", "--out", tmp_path / "back") == 0
    assert (tmp_path / "back" / name).exists()
    assert status("archive", "list", tmp_path / "out", "--json") == 0


def test_a_manifest_of_a_newer_version_is_refused(tmp_path, capsys):
    save(tmp_path / "in" / "a.png")
    command = ("compress", tmp_path / "in", "--out", tmp_path / "out")
    assert status(*command) == 0
    with sqlite3.connect(tmp_path / "out" / "manifest.sqlite") as database:
        database.execute("PRAGMA user_version = 2")
    assert "got version 2; use a newer pixelpyramids" in refusal(capsys, *command)


def test_the_docs_show_the_schema():
    """Every table and column of a new manifest."""
    text = (ROOT / "docs" / "howto" / "archives.md").read_text()
    with Manifest(Path("")) as manifest:
        for (table,) in manifest._query("SELECT name FROM sqlite_master WHERE type = 'table'"):
            columns = [row[1] for row in manifest._query(f"PRAGMA table_info({table})")]
            section = text.partition(f"\n`{table}`")[2] or text.partition(f" `{table}`: ")[2]
            assert columns and all(f"`{column}`" in section for column in columns)


def test_a_dry_run_deletes_nothing(tmp_path):
    folder, archive = save_many(tmp_path / "in", 2), tmp_path / "out"
    command = ("compress", folder, "--out", archive, "--delete-source", "--dry-run", "--jobs", 1)
    assert status(*command) == 0 and not archive.exists()
    assert status("compress", folder, "--out", archive) == 0
    assert status(*command) == 0
    (archive / "manifest.sqlite").unlink()  # then the results are found
    assert status(*command) == 0
    assert files(folder) == ["0/0.png", "1/1.png"]


def test_a_result_stays_known_whatever_becomes_of_its_source(tmp_path, capsys):
    """A name without the suffix of an image, a source that cannot be read, and one that is lossy."""
    folder, archive = tmp_path / "in", tmp_path / "out"
    named, photo, png = save(folder / "a.dat", format="PNG"), save(folder / "b.jpg"), save(folder / "c.png", 3)
    assert status("compress", named, photo, png, "--out", archive, "--force") == 0
    before = contents(archive)
    for options in ((), ("--delete-source",), ("--overwrite",)):
        assert status("compress", folder, "--out", archive, *options) == (1 if options == ("--delete-source",) else 0)
        states = rows(archive)
        assert {states[name][0] for name in states} == {"done"} and contents(archive) == before
    assert files(folder) == ["b.jpg"]
    save(png, 3)
    (archive / "c.ppyr").write_bytes(before["c.ppyr"][:-1])
    assert status("archive", "verify", archive) == 1
    png.unlink()
    png.symlink_to("nowhere")
    assert status("compress", folder, "--out", archive) == 1
    png.unlink()
    save(png, 3)
    assert json_of(capsys, "compress", folder, "--out", archive)["compressed"] == 1 and contents(archive) == before


def test_a_result_is_not_replaced_by_another_source_with_a_damaged_one(tmp_path, capsys):
    first, second = save(tmp_path / "p" / "b.tif", 0), save(tmp_path / "q" / "b.png", 1)
    archive = tmp_path / "out"
    assert status("compress", first.parent, "--out", archive) == 0
    (archive / "b.ppyr").unlink()
    assert status("archive", "verify", archive) == 1
    assert "and so would" in output_of(capsys, "compress", second.parent, "--out", archive, expected=1).err
    assert status("compress", first.parent, "--out", archive) == 0
    assert np.array_equal(pp.decode((archive / "b.ppyr").read_bytes()), pixels(0))


def test_a_result_that_comes_back_is_sound_again(tmp_path, capsys):
    folder, archive = save_many(tmp_path / "in", 2), tmp_path / "out"
    assert status("compress", folder, "--out", archive, "--delete-source") == 0
    before = (archive / "0" / "0.ppyr").read_bytes()
    (archive / "0" / "0.ppyr").unlink()
    assert status("archive", "verify", archive) == 1
    assert status("archive", "restore", archive, "--out", tmp_path / "back") == 1
    (archive / "0" / "0.ppyr").write_bytes(before)
    assert status("archive", "restore", archive, "--out", tmp_path / "back") == 0
    assert status("archive", "verify", archive) == 0
    assert json_of(capsys, "archive", "status", archive)["images"]["done"] == 2


def test_samples_of_one_percent_cover_everything_in_the_end(tmp_path):
    folder, archive = save_many(tmp_path / "in", 12), tmp_path / "out"
    assert status("compress", folder, "--out", archive, "--no-verify") == 0
    for _ in range(4):
        assert status("archive", "verify", archive, "--sample", "25%", "--jobs", 1) == 0
    assert all(verified for (verified,) in rows(archive, "verified").values())


def test_a_damaged_member_of_a_zip_fails_alone(tmp_path, capsys):
    folder = save_many(tmp_path / "in", 3)
    container = pack(folder, tmp_path / "all.v2.zip")
    data = bytearray(container.read_bytes())
    data[data.index(b"IDAT") + 8] ^= 255  # of the first picture
    container.write_bytes(data)
    command = ("compress", container, container.parent / "." / container.name, "--out", tmp_path / "out")
    for _ in range(2):
        assert "0/0.png: is damaged" in output_of(capsys, *command, expected=1).err
        assert files(tmp_path / "out") == ["1/1.ppyr", "2/2.ppyr"]
    assert status("compress", container, folder, "--out", tmp_path / "two") == 1
    assert "all.v2/1/1.ppyr" in files(tmp_path / "two") and "in/1/1.ppyr" in files(tmp_path / "two")


def test_times_beyond_the_numbers_of_sqlite(tmp_path, capsys):
    source = save(tmp_path / "in" / "a.png")
    os.utime(source, (2**33, 10**10))  # the year 2286
    command = ("compress", tmp_path / "in", "--out", tmp_path / "out")
    assert json_of(capsys, *command)["compressed"] == 1 and json_of(capsys, *command)["already_there"] == 1
    assert status(*command, "--delete-source") == 0 and files(tmp_path / "in") == []


@pytest.mark.parametrize("kind, module", [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_tar_files_of_several_streams(kind, module, tmp_path):
    folder = save_many(tmp_path / "in", 4)
    plain = pack(folder, tmp_path / "all.tar").read_bytes()
    pieces = [module.compress(plain[begin : begin + 3000]) for begin in range(0, len(plain), 3000)]
    container = tmp_path / f"several.tar.{kind}"
    container.write_bytes(b"".join(pieces))
    assert status("compress", container, "--out", tmp_path / "out") == 0
    assert_sound(tmp_path / "out", folder)
    container.write_bytes(b"".join(pieces[:2]))
    assert status("compress", container, "--out", tmp_path / "less") == 1


def test_a_tar_file_that_is_cut_anywhere_fails(tmp_path, capsys):
    folder = save_many(tmp_path / "in", 2)
    whole = pack(folder, tmp_path / "all.tar").read_bytes()
    with tarfile.open(tmp_path / "all.tar") as tar:
        second = tar.getmembers()[1].offset
    for length in (0, 100, 512, 700, second, second + 200, second + 512, second + 700):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        out = tmp_path / f"out-{length}"
        err = output_of(capsys, "compress", tmp_path / "cut.tar", "--out", out, "--jobs", 1, expected=1).err
        assert "got a damaged one" in err and "Traceback" not in err
        assert files(out) == (["0/0.ppyr"] if length >= second else [])
    damaged = bytearray(whole)
    damaged[second + 5] ^= 1
    (tmp_path / "cut.tar").write_bytes(damaged)
    assert status("compress", tmp_path / "cut.tar", "--out", tmp_path / "out") == 1


def test_a_tar_file_may_promise_more_than_it_holds(tmp_path, capsys):
    source = save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "all.tar", "w") as container:
        container.add(source, "a.png")
        member = container.gettarinfo(source, "b.png")
        member.size = 10**12
        container.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))
    with at_most(20):
        assert status("compress", tmp_path / "all.tar", "--out", tmp_path / "out", "--jobs", 1) == 1
    assert files(tmp_path / "out") == ["a.ppyr"] and "damaged" in capsys.readouterr().err


def test_a_member_that_does_not_fit_in_memory_fails_alone(tmp_path, monkeypatch, capsys):
    container = pack(save_many(tmp_path / "in", 3), tmp_path / "all.zip")
    read = zipfile.ZipFile.read

    def fail(self, member):
        if member.filename == "1/1.png":
            raise MemoryError
        return read(self, member)

    monkeypatch.setattr(zipfile.ZipFile, "read", fail)
    err = output_of(capsys, "compress", container, "--out", tmp_path / "out", expected=1).err
    assert "1/1.png: does not fit in memory" in err and files(tmp_path / "out") == ["0/0.ppyr", "2/2.ppyr"]


@pytest.mark.parametrize("name", ["...zip", "....tar"])
def test_no_name_of_a_source_leads_out_of_the_archive(name, tmp_path):
    folder = save_many(tmp_path / "in", 1)
    container = pack(folder, tmp_path / name)
    assert status("compress", container, folder, "--out", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["in/0/0.ppyr", "root/0/0.ppyr"]


def test_an_empty_path_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments in (("", "--out", "out"), ("in", "--out", "")):
        assert "got an empty text" in refusal(capsys, "compress", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_list_with_null_bytes_may_hold_names_that_end_with_a_carriage_return(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png\r", 0, format="PNG"), save(tmp_path / "b.png", 1)
    (tmp_path / "list").write_bytes(b"a.png\r\0b.png")
    assert status("compress", "--from-list", "list", "--out", "out") == 0
    assert files(tmp_path / "out") == ["a.png\r.ppyr", "b.ppyr"]


def test_a_manifest_cannot_lead_restoring_out_of_its_folder(tmp_path, capsys):
    folder, archive = save_many(tmp_path / "in", 1), tmp_path / "out"
    assert status("compress", folder, "--out", archive) == 0
    (tmp_path / "evil.ppyr").write_bytes((archive / "0" / "0.ppyr").read_bytes())
    for path in ("../evil.ppyr", str(tmp_path / "evil.ppyr")):
        with closing(sqlite3.connect(archive / "manifest.sqlite")) as database, database:
            database.execute("UPDATE images SET result = ?", (path,))
        assert (
            "within the archive"
            in output_of(capsys, "archive", "restore", archive, "--out", tmp_path / "a" / "b", expected=1).err
        )
    assert not (tmp_path / "a" / "evil.png").exists() and not (tmp_path / "evil.png").exists()


@pytest.mark.parametrize(
    "change",
    [
        "state = 'done', result = NULL",
        "result_size = 'many'",
        "pixels = 'none'",
        "verified = 'never'",
        "time = 'late'",
        "name = CAST(x'80FF' AS TEXT)",
        "result = 'a' || char(0) || 'b'",
    ],
)
def test_damaged_values_in_a_manifest_are_refused(change, tmp_path, capsys):
    source, archive = save_many(tmp_path / "in", 2), tmp_path / "out"
    assert status("compress", source, "--out", archive) == 0
    with closing(sqlite3.connect(archive / "manifest.sqlite")) as database:
        database.execute(f"UPDATE images SET {change} WHERE id = 2")
        database.commit()
    before = contents(archive)
    for command in (
        ("compress", source, "--out", archive),
        ("archive", "list", archive),
        ("archive", "verify", archive),
        ("archive", "restore", archive, "--out", tmp_path / "back"),
    ):
        assert "it is damaged: move it to another folder" in refusal(capsys, *command)
    assert {name: data for name, data in contents(archive).items() if name.endswith(".ppyr")} == {
        name: data for name, data in before.items() if name.endswith(".ppyr")
    }


@pytest.mark.parametrize("seed", range(24))
def test_a_manifest_with_damaged_bytes_hides_no_image(seed, tmp_path, capsys):
    """Either it is refused and stays as it is, or all images are listed. The results decode without it."""
    source, archive = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    archive.mkdir()
    path, rng = archive / "manifest.sqlite", np.random.default_rng(seed)
    with Manifest(path) as manifest:
        entry = dict(size=1000, time=0, state="waiting", error=None, result=None, todo=None)
        names = (f"{number}/a name that is long {number}.png" for number in range(300))
        manifest.set_listed(manifest.source_number(str(source)), 1, [entry | {"name": name} for name in names])
    data = np.fromfile(path, np.uint8)
    before, at, count = data.copy(), int(rng.integers(len(data))), int(rng.choice([1, 64, 4096, 20_000]))
    if seed % 3 == 0:
        data[at : at + count] = 0
    elif seed % 3 == 1:
        data[at : at + count] = rng.integers(0, 256, len(data[at : at + count]))
    else:
        data = data[:at]
    data.tofile(path)
    listing = ("archive", "list", archive)
    if status(*listing) == 0:
        assert output_of(capsys, *listing).out.count("waiting") == 300
    else:
        assert not np.array_equal(data, before)
        for command in (listing, ("archive", "status", archive), ("compress", source, "--out", archive)):
            refusal(capsys, *command)
        assert np.array_equal(np.fromfile(path, np.uint8), data)


def test_a_row_that_damage_hides_is_noticed_and_results_decode_without_the_manifest(tmp_path, capsys):
    """The number of the rows of a page is made smaller: its last images would silently be left out."""
    source, archive = save_many(tmp_path / "in", 3), tmp_path / "out"
    assert status("compress", source, "--out", archive) == 0
    path = archive / "manifest.sqlite"
    with closing(sqlite3.connect(path)) as database:
        (page,), (size,) = (
            database.execute(query).fetchone()
            for query in ("SELECT rootpage FROM sqlite_master WHERE name = 'images'", "PRAGMA page_size")
        )
    data = bytearray(path.read_bytes())
    place = (page - 1) * size + 3  # two bytes: the number of rows
    assert int.from_bytes(data[place : place + 2]) == 3
    data[place : place + 2] = (2).to_bytes(2)
    path.write_bytes(data)
    message = refusal(capsys, "archive", "restore", archive, "--out", tmp_path / "back")
    assert "it is damaged" in message and "`decompress`" in message and not (tmp_path / "back").exists()
    assert status("decompress", archive, "--out", tmp_path / "back") == 0
    assert contents(tmp_path / "back").keys() == contents(source).keys()


def test_tables_of_another_program_are_refused(tmp_path, capsys):
    archive = tmp_path / "out"
    assert status("compress", save_many(tmp_path / "in", 1), "--out", archive) == 0
    with closing(sqlite3.connect(archive / "manifest.sqlite")) as database, database:
        database.execute("ALTER TABLE images RENAME COLUMN seconds TO minutes")
    assert "its tables are others" in refusal(capsys, "archive", "status", archive)


def test_damaged_times_of_runs_are_refused(tmp_path, capsys):
    archive = tmp_path / "out"
    assert status("compress", save_many(tmp_path / "in", 1), "--out", archive) == 0
    with closing(sqlite3.connect(archive / "manifest.sqlite")) as database, database:
        database.execute("UPDATE runs SET begun = 'x'")
        database.execute("INSERT INTO verifications (begun, share) VALUES ('y', 1)")
    for command in ("status", "verify"):
        assert "it is damaged: move it to another folder" in refusal(capsys, "archive", command, archive)


def write_log(archive, folder):
    """Copy a manifest to a folder as a process that was killed leaves it: with a log that holds a change."""
    folder.mkdir()
    with closing(sqlite3.connect(archive / "manifest.sqlite")) as database, database:
        database.execute("UPDATE images SET error = 'logged'")
        database.commit()
        for end in ("", "-wal"):
            shutil.copy(archive / f"manifest.sqlite{end}", folder)
    return folder / "manifest.sqlite"


def test_a_manifest_with_a_log_is_read_without_touching_it(tmp_path):
    assert status("compress", save_many(tmp_path / "in", 2), "--out", tmp_path / "out") == 0
    path = write_log(tmp_path / "out", tmp_path / "copy")
    before = contents(path.parent)
    with Manifest(path, read_only=True, untouched=True) as manifest:
        assert [row.error for row in manifest.iterate("1")] == ["logged"] * 2
    assert contents(path.parent) == before


def test_a_manifest_that_is_written_while_it_is_read_without_locks_is_noticed(tmp_path):
    archive = tmp_path / "out"
    assert status("compress", save_many(tmp_path / "in", 2), "--out", archive) == 0
    with Manifest(archive / "manifest.sqlite", read_only=True, untouched=True) as manifest:
        assert len(list(manifest.iterate("1"))) == 2
        assert status("compress", save_many(tmp_path / "in", 3), "--out", archive) == 0
        with pytest.raises(DataError, match="was written while it was being read; run the command again"):
            list(manifest.iterate("1"))


def test_a_lost_result_is_written_again_from_a_folder_that_has_moved(tmp_path):
    source, archive = save_many(tmp_path / "in", 3), tmp_path / "out"
    assert status("compress", source, "--out", archive) == 0
    (archive / "0" / "0.ppyr").unlink()
    (archive / "1" / "1.ppyr").write_bytes(b"damaged")
    assert status("archive", "verify", archive) == 1
    source.rename(tmp_path / "moved")
    assert status("compress", tmp_path / "moved", "--out", archive) == 0
    assert_sound(archive, tmp_path / "moved")


def test_a_verification_that_lacks_only_its_end_begins_anew(tmp_path, capsys, monkeypatch):
    source, archive = save_many(tmp_path / "in", 3), tmp_path / "out"
    assert status("compress", source, "--out", archive) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "end_verification", lambda *_: None)
        assert json_of(capsys, "archive", "verify", archive)["verified"] == 3
    assert json_of(capsys, "archive", "verify", archive)["verified"] == 3


def test_a_folder_of_results_that_cannot_be_read_does_not_stop_the_run(tmp_path, monkeypatch):
    source, archive = save_many(tmp_path / "in", 6), tmp_path / "out"
    (archive / "1").mkdir(parents=True)
    open_ = os.open

    def refuse(path, flags, *rest, **options):
        if Path(path) == archive / "1" and flags == os.O_RDONLY:
            raise PermissionError(13, "Permission denied", str(path))
        return open_(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert status("compress", source, "--out", archive, "--jobs", 1) == 0
    monkeypatch.undo()
    assert_sound(archive, source)


def test_a_folder_in_the_place_of_a_result_is_found_by_verify(tmp_path, capsys):
    source, archive = save_many(tmp_path / "in", 2), tmp_path / "out"
    assert status("compress", source, "--out", archive) == 0
    (archive / "0" / "0.ppyr").unlink()
    (archive / "0" / "0.ppyr").mkdir()
    assert status("archive", "verify", archive) == 1 and rows(archive)["0/0.png"] == ["failed"]
    assert "got a folder" in output_of(capsys, "compress", source, "--out", archive, expected=1).err
    (archive / "0" / "0.ppyr").rmdir()
    assert status("compress", source, "--out", archive) == 0
    assert_sound(archive, source)


def test_an_intact_result_of_a_changed_source_is_not_a_failed_one(tmp_path, capsys):
    source, archive = save(tmp_path / "in" / "a.png"), tmp_path / "out"
    command = ("compress", tmp_path / "in", "--out", archive)
    assert status(*command) == 0
    (archive / "a.ppyr").rename(tmp_path / "kept")
    assert status("archive", "verify", archive) == 1
    (tmp_path / "kept").rename(archive / "a.ppyr")
    save(source, 1)
    assert "pass --update" in output_of(capsys, *command, expected=1).err
    assert rows(archive)["a.png"] == ["done"]
    assert status(*command, "--update") == 0
    assert_sound(archive, tmp_path / "in")


def test_a_change_that_only_the_hash_shows_is_not_forgotten(tmp_path, capsys):
    source, archive = save(tmp_path / "in" / "a.png"), tmp_path / "out"
    command = ("compress", tmp_path / "in", "--out", archive)
    assert status(*command) == 0
    content, when = source.read_bytes(), source.stat()
    source.write_bytes(content[:-1] + b"?")
    os.utime(source, ns=(when.st_atime_ns, when.st_mtime_ns))
    assert status(*command, "--check-hash") == 1
    for _ in range(2):
        assert "pass --update" in output_of(capsys, *command, expected=1).err
    source.write_bytes(content)
    os.utime(source, ns=(when.st_atime_ns, when.st_mtime_ns))
    assert status(*command) == 0 and rows(archive, "error")["a.png"] == [None]


def test_two_slashes_at_the_beginning_of_a_path_are_one(tmp_path, capsys):
    source = save(tmp_path / "a.png")
    (tmp_path / "list").write_text(f"{source}\n/{source}\n")
    command = ("compress", "--from-list", tmp_path / "list", "--out", tmp_path / "out")
    assert json_of(capsys, *command)["compressed"] == 1
    for slash in ("", "/"):
        assert status("compress", f"{slash}{source}", "--out", tmp_path / "named") == 0
    assert len(rows(tmp_path / "named")) == 1


@pytest.mark.parametrize("kind", ["itself", "file address", "local address", "link"])
def test_delete_source_keeps_the_results_of_the_archive(kind, tmp_path, capsys):
    archive = tmp_path / "out"
    assert status("compress", save(tmp_path / "a.png"), "--out", archive) == 0
    source = str(archive / "a.ppyr")
    if kind.endswith("address"):
        source = f"{kind.split()[0]}://{source}"
    elif kind == "link":
        (archive / "a.ppyr").rename(tmp_path / "moved.ppyr")
        (archive / "a.ppyr").symlink_to(tmp_path / "moved.ppyr")
    command = ("compress", source, "--force", "--out", archive, "--delete-source")
    assert "it is a file of the archive" in output_of(capsys, *command, expected=1).err
    assert status("archive", "verify", archive) == 0


def test_a_lost_archive_is_not_the_fault_of_a_container(tmp_path, monkeypatch, capsys):
    source = save_many(tmp_path / "in", 3)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for number in range(3):
            file.write(source / f"{number}" / f"{number}.png", f"{number}.png")

    def fail(*_):
        raise OSError(5, "Input/output error", str(tmp_path / "out"))

    monkeypatch.setattr(FolderStore, "flush", fail)
    monkeypatch.setattr(Pending, "is_due", True)
    monkeypatch.setattr(ContainerSource, "contents", refuse_members)
    assert "out: Input/output error" in refusal(capsys, "compress", tmp_path / "a.zip", "--out", tmp_path / "out")


def refuse_members(self, is_wanted):
    """Every image of a container is damaged."""
    for entry in self.entries():
        if is_wanted(entry.name):
            yield entry, DataError(f"{entry.name}: is damaged")


def test_verifying_stops_if_there_is_no_room_for_temporary_files(tmp_path, monkeypatch, capsys):
    archive = tmp_path / "out"
    assert status("compress", save_many(tmp_path / "in", 3), "--out", archive) == 0

    def fail(*_, **__):
        raise FullDiskError("expected room for a temporary file; make room there")

    monkeypatch.setattr(examining, "decode_into", fail)
    output = output_of(capsys, "archive", "verify", archive, "--jobs", 1, expected=1)
    assert output.err.count("make room there") == 1 and "run the same command again" in output.err
    assert all(row == ["done"] for row in rows(archive).values())


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs to mount a small file system")
def test_a_disk_that_is_full_to_the_last_byte(tmp_path, capsys):
    source, disk = save_many(tmp_path / "in", 12), tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        archive = disk / "out"
        assert status("compress", source, "--out", archive) == 0
        with pytest.raises(OSError, match="No space left"), open(disk / "full", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        save_many(tmp_path / "in", 3, first=12)
        assert "free some space" in output_of(capsys, "compress", source, "--out", archive, expected=1).err
        assert len(json_of(capsys, "archive", "list", archive)["images"]) == 12
        assert status("archive", "restore", archive, "--out", tmp_path / "back") == 0
        command = ("archive", "restore", archive, "--out", disk / "back")
        assert output_of(capsys, *command, expected=1).err.count("free some space") == 1
        (disk / "full").unlink()
        assert status("compress", source, "--out", archive) == 0
        assert_sound(archive, source)
    finally:
        subprocess.run(["umount", disk], check=True)
