"""Options that exclude, delete and print; warnings of many files; and names that do not control the terminal."""

import inspect
import json
import sys
import warnings

import numpy as np
import pytest
from command_line import json_of, output_of, refusal, status
from pictures import files, pixels, same, save
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import pixelpyramids as pp
from pixelpyramids.archive import file_tasks
from pixelpyramids.image_files import opening
from pixelpyramids.image_files.listing import is_excluded, walk_files


def save_with_chunk(path):
    """Write a PNG with a private chunk, which is not kept."""
    chunks = PngInfo()
    chunks.add(b"prVt", b"ours alone")
    return save(path, pnginfo=chunks)


@pytest.mark.parametrize(
    ("pattern", "excluded"),
    [
        ("*.jpg", ["a.jpg", "sub/a.jpg"]),
        ("sub", ["sub/a.jpg", "one/sub/a.png", "sub/.a"]),
        ("one/*", ["one/sub/a.png"]),
        ("o*e/sub", ["one/sub/a.png"]),
        (".*", ["sub/.a"]),
    ],
)
def test_patterns_match_names_and_paths(pattern, excluded):
    names = ("a.jpg", "sub/a.jpg", "one/sub/a.png", "a.png", "sub/.a", "subway/a.png")
    assert [name for name in names if is_excluded(name, [pattern])] == excluded


@pytest.mark.parametrize("folder", ["raw", "raw/", "./raw", "in/raw", "in/raw/"])
def test_excluded_files_are_not_counted(tmp_path, capsys, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.jpg", "raw/c.png"):
        save(tmp_path / "in" / name)
    out, err = output_of(capsys, "compress", "in", "--exclude", "*.jpg", "--exclude", folder, "--out", "out")
    assert files(tmp_path / "out") == ["a.ppyr"] and not err and out.endswith("MP/s\n")


def test_excluding_a_link_does_not_exclude_its_folder(tmp_path, capsys):
    folder, packed = tmp_path / "in", tmp_path / "packed"
    for name in ("a.png", "sub/deep/b.png"):
        save(folder / name)
    (folder / "a_link").symlink_to("sub/deep")
    for option in ("a_link", "a_link/*", "*_link"):
        assert status("compress", folder, "--out", packed, "--exclude", option) == 0
        assert files(packed) == ["a.ppyr", "sub/deep/b.ppyr"]
        (packed / "sub" / "deep" / "b.ppyr").unlink()
        assert status("verify", packed, "--against", folder, "--ignore", option) == 1
    assert status("compress", folder, "--out", packed, "--exclude", "sub") == 0  # the link has a name of its own
    assert files(packed) == ["a.ppyr", "a_link/b.ppyr"]


def test_folders_can_be_nested_deeply(tmp_path):
    below = "/".join("d" * 150)
    (tmp_path / below).mkdir(parents=True)
    (tmp_path / below / "a.png").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        found = list(walk_files(tmp_path, pytest.fail))
    finally:
        sys.setrecursionlimit(limit)
    assert found == [f"{below}/a.png"]


def test_a_dry_run_prints_the_plan(jobs, tmp_path, capsys):
    save(tmp_path / "in" / "a.png"), save(tmp_path / "in" / "b.jpg")
    command = ("compress", tmp_path / "in", "--out", tmp_path / "out", "--jobs", jobs)
    out = output_of(capsys, *command, "--dry-run", "--delete-source").out
    assert f"{tmp_path}/in/a.png -> {tmp_path}/out/a.ppyr\n" in out and "1 file would be compressed: " in out
    assert files(tmp_path) == ["in/a.png", "in/b.jpg"]
    assert status(*command) == 0
    result = output_of(capsys, *command, "--dry-run").out
    assert "0 files would be compressed" in result and "1 already there" in result
    assert "a.ppyr -> " in output_of(capsys, "decompress", tmp_path / "out", "--dry-run").out
    assert files(tmp_path / "out") == ["a.ppyr"]


def test_quiet_prints_only_failures(tmp_path, capsys):
    save(tmp_path / "in" / "a.png"), save(tmp_path / "in" / "b.jpg")
    (tmp_path / "in" / "c.txt").touch()
    for command in ("compress", "verify"):
        assert output_of(capsys, command, tmp_path / "in", "-q") == ("", "")
    (tmp_path / "in" / "d.png").write_bytes(b"none")
    out, err = output_of(capsys, "compress", tmp_path / "in", "-q", expected=1)
    assert not out and err.startswith(f"{tmp_path}/in/d.png: ") and err.count("\n") == 1


def test_a_source_is_deleted_after_its_file_was_read_back(jobs, tmp_path):
    for number in range(2):
        save(tmp_path / "in" / f"{number}.png", number)
    save(tmp_path / "in" / "2.jpg")
    command = ("compress", tmp_path / "in", "--out", tmp_path / "out", "--delete-source", "--jobs", jobs)
    assert status(*command, "--exclude", "1.png") == 0
    assert files(tmp_path / "in") == ["1.png", "2.jpg"]
    assert status("compress", tmp_path / "in", "--out", tmp_path / "out") == 0
    assert status(*command) == 0  # a result of an earlier run is read back too
    assert files(tmp_path / "in") == ["2.jpg"]
    assert all(np.array_equal(pp.decode((tmp_path / "out" / f"{n}.ppyr").read_bytes()), pixels(n)) for n in (0, 1))


def test_a_source_is_not_deleted_if_its_file_is_not_complete(tmp_path, monkeypatch, capsys):
    source = save_with_chunk(tmp_path / "a.png")
    assert "the source is not deleted" in output_of(capsys, "compress", source, "--delete-source", expected=1).err
    assert source.exists()
    for name in ("photo.jpg", "photo.webp"):
        source = save(tmp_path / name)
        assert status("compress", source, "--delete-source", "--force", "--overwrite") == 1 and source.exists()
        assert "holds its pixels, not its lossy compression" in capsys.readouterr().err
    other = save(tmp_path / "b.png", 1)
    assert status("compress", other) == 0
    wrong = pp.encode(pixels(2))
    times = other.stat().st_mtime_ns
    monkeypatch.setattr(file_tasks, "encode_to", lambda file, *_, **__: file.write(wrong))
    assert status("compress", other, "--delete-source", "--no-verify", "--overwrite") == 1
    assert "holds another image" in capsys.readouterr().err and other.stat().st_mtime_ns == times
    assert status("compress", other, "--delete-source") == 1 and other.exists()
    assert "--delete-source" in refusal(capsys, "compress", "-", "--delete-source")


def test_tiny_images_in_a_folder_are_written_at_their_smallest_size(tmp_path, capsys):
    save(tmp_path / "in" / "a.png")
    Image.fromarray(pixels(1)[:3, :2]).save(tmp_path / "in" / "tiny.png")
    assert status("compress", tmp_path / "in", "--out", tmp_path / "packed") == 0
    said = output_of(capsys, "decompress", tmp_path / "packed", "--scale", 8, "--out", tmp_path / "out").err
    assert "tiny.ppyr: too small for --scale 8" in said
    assert same(tmp_path / "out" / "a.png", pixels()[7::8, 7::8]) and (tmp_path / "out" / "tiny.png").exists()
    assert status("decompress", tmp_path / "packed" / "tiny.ppyr", "--scale", 8, "--out", tmp_path / "alone") == 1


@pytest.mark.parametrize("command", ["compress", "decompress", "info", "verify", "bench"])
def test_names_and_errors_are_single_printable_lines(command, tmp_path, capsys):
    name = "\x1b]0;mine\x07\n2 files whole" + (".png" if command in ("compress", "bench") else ".ppyr")
    bad = tmp_path / "in" / name
    bad.parent.mkdir()
    bad.write_bytes(b"none")
    save(tmp_path / "in" / "\x1bgood.png").with_suffix(".ppyr").write_bytes(pp.encode(pixels()))
    out = ("--out", tmp_path / "out") if command.endswith("compress") else ()
    text = "".join(output_of(capsys, command, tmp_path / "in", *out, expected=1))
    assert not {c for c in text if c != "\n" and not c.isprintable()}
    shown = rf"{tmp_path}/in/\x1b]0;mine\x07\n2 files whole"
    assert any(line.startswith(shown) and "; " in line for line in text.splitlines())
    if command != "info":
        result = json.dumps(json_of(capsys, command, tmp_path / "in", *out, expected=1), ensure_ascii=False)
        assert str(bad) in result.encode().decode("unicode_escape")


@pytest.mark.parametrize("command", ["compress", "verify", "bench", "info"])
def test_errors_name_the_file_first(command, tmp_path, capsys):
    message = refusal(capsys, command, tmp_path / "no\x1bthing")
    assert message.startswith(rf"{tmp_path}/no\x1bthing: ") and "; " in message and message.count("\n") == 1


def test_metadata_that_is_lost_is_reported_for_every_file(jobs, tmp_path, capsys):
    names = [save_with_chunk(tmp_path / "a" / name) for name in ("a.png", "b.png", "c.png")]
    result, errors = output_of(capsys, "compress", tmp_path / "a", "--jobs", jobs, "--json")
    for name in names:
        assert f"warning: {name}: not kept: PNG chunk prVt" in errors.splitlines()
    assert all(len(file["warnings"]) == 1 for file in json.loads(result)["files"])


def test_bench_and_verify_name_the_file_of_each_warning(tmp_path, monkeypatch, capsys):
    read_picture = opening.read_picture

    def read(source, *limit):
        warnings.warn("a library says something", stacklevel=1)
        return read_picture(source, *limit)

    names = [save(tmp_path / "in" / name) for name in ("a.png", "b.png")]
    assert status("compress", names[0]) == 0
    monkeypatch.setattr(opening, "read_picture", read)
    for arguments, named in (
        (("bench", *names), names),
        (("verify", names[0].with_suffix(".ppyr"), names[0]), names[:1]),
    ):
        lines = [line for line in output_of(capsys, *arguments).err.splitlines() if "warning" in line]
        assert lines == [f"warning: {name}: a library says something" for name in named]


def test_verify_names_lost_metadata_of_originals(tmp_path, capsys):
    source = save_with_chunk(tmp_path / "in" / "a.png")
    assert status("compress", tmp_path / "in", "--out", tmp_path / "out") == 0
    target, line = tmp_path / "out" / "a.ppyr", "the pixels are the same; not kept: PNG chunk prVt"
    for arguments in ((target, source), (tmp_path / "out", "--against", tmp_path / "in")):
        assert output_of(capsys, "verify", *arguments).err.splitlines() == [f"warning: {target}: {line}"]
