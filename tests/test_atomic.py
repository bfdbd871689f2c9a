"""Files are written completely or not at all, with the requested permissions, and leave nothing else behind."""

import os
import stat

import pytest

from pixelpyramids.atomic import replace_file, write_bytes


@pytest.fixture
def umask():
    """Set the umask for one test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def rights(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_target_that_appears_in_the_meantime_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"first")
    with pytest.raises(FileExistsError) as caught:
        write_bytes(tmp_path / "a", b"second", new=True)
    assert caught.value.filename == str(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077])
@pytest.mark.parametrize("mode", [0o666, 0o644, 0o600, 0o444, 0o777, stat.S_IFREG | 0o640])
def test_the_umask_is_applied_but_never_set(mode, mask, umask, tmp_path, monkeypatch):
    umask(mask)
    with monkeypatch.context() as patched, replace_file(tmp_path / "a", mode=mode) as temporary:
        patched.setattr(os, "umask", None)
        assert rights(temporary) == (mode & 0o666 | 0o600) & ~mask
        temporary.write_bytes(b"x")
    assert rights(tmp_path / "a") == mode & 0o666 & ~mask and (tmp_path / "a").read_bytes() == b"x"


def test_a_replaced_file_gets_new_permissions(umask, tmp_path):
    write_bytes(tmp_path / "a", b"first")
    (tmp_path / "a").chmod(0o400)
    write_bytes(tmp_path / "a", b"second")
    assert rights(tmp_path / "a") == 0o644 and (tmp_path / "a").read_bytes() == b"second"


@pytest.mark.parametrize("name", ["a", "x" * 255, "\N{SNOWMAN}" * 85, os.fsdecode(b"\xff")])
def test_a_failure_leaves_nothing_behind(name, tmp_path):
    with pytest.raises(ZeroDivisionError), replace_file(tmp_path / name) as temporary:
        assert temporary.name.startswith(".") and temporary.suffix == ".part"
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_errors_name_the_target_file(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as caught:
        write_bytes(tmp_path / "a", b"first")
    assert caught.value.filename == str(tmp_path / "a")
