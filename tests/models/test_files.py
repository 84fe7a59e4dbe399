import pytest

from mesascope.models import MesascopeError, files
from mesascope.models.files import write_atomically


def test_what_is_written_is_read_and_folders_are_made(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "text", "größer\n")
    write_atomically(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "text").read_text(encoding="utf-8") == "größer\n"
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["text"]  # no temporary file stays


def test_what_is_no_utf_8_is_escaped(tmp_path):
    """As Python hands over a file's name that is none."""
    write_atomically(tmp_path / "text", b"caf\xe9".decode(errors="surrogateescape"))
    assert (tmp_path / "text").read_text(encoding="utf-8") == r"caf\udce9"


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((files.os, "fsync") if broken == "fsync" else (files.Path, "replace")), full)
    with pytest.raises(
        MesascopeError, match="cannot write .*file: No space left on device; free space or choose another folder"
    ):
        write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_path_under_a_regular_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MesascopeError, match="cannot write .* choose another folder"):
        write_atomically(tmp_path / "file" / "inside", "x")


def test_others_may_read_what_is_written(tmp_path):
    write_atomically(tmp_path / "file", "x")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
