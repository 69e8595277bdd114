"""Outputs are whole or not there, and never take the place of what is no regular file."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from negalign_train.storage.atomic import replacing


def write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe, "text")
    reader.join(5)
    assert read == ["text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_stays_a_device() -> None:
    write(Path("/dev/null"), "text")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write(link, "new")
    assert (link.is_symlink(), target.read_text()) == (True, "new")
    assert list((tmp_path / "elsewhere").iterdir()) == [target]


def test_a_private_file_stays_private(tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"
    path.write_text("old")
    path.chmod(0o600)
    modes = []
    with replacing(path) as temporary:
        modes.append(mode(temporary))
        temporary.write_text("new")
    assert (modes, mode(path)) == ([0o600], 0o600)


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "new", "text")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o640


def test_a_link_planted_at_the_former_temporary_name_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "out"
    victim.write_text("precious")
    (tmp_path / f".out.{os.getpid()}.tmp").symlink_to(victim)
    write(path, "text")
    assert (victim.read_text(), path.read_text()) == ("precious", "text")


def test_two_temporary_names_are_never_alike(tmp_path: Path) -> None:
    with replacing(tmp_path / "out") as one, replacing(tmp_path / "out") as two:
        one.write_text("1")
        two.write_text("2")
        assert one != two


def test_a_folder_is_refused_and_what_failed_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), replacing(tmp_path):
        pass
    with pytest.raises(ValueError, match="torn"), replacing(tmp_path / "out"):
        raise ValueError("torn")
    assert list(tmp_path.iterdir()) == []
