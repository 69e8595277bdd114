"""Whole and partial checkpoints."""

from __future__ import annotations

from pathlib import Path

from negalign_train.training.running.checkpoints import is_complete, mark_complete, newest_complete


def make_checkpoint(folder: Path, whole: bool) -> Path:
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"w")
    (folder / "state").write_bytes(b"s")
    if whole:
        mark_complete(folder, [folder / "weights", folder / "state"], identity="a")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_no_folder_is_no_checkpoint(tmp_path):
    assert newest_complete(tmp_path / "nowhere", "a") is None


def test_the_whole_checkpoint_of_most_steps_is_found_by_number(tmp_path):
    make_checkpoint(tmp_path / "checkpoint-9", whole=True)
    newest = make_checkpoint(tmp_path / "checkpoint-10", whole=True)
    assert newest_complete(tmp_path, "a") == newest


def test_partial_newer_checkpoints_are_moved_aside_and_kept(tmp_path):
    whole = make_checkpoint(tmp_path / "checkpoint-4", whole=True)
    make_checkpoint(tmp_path / "checkpoint-6", whole=False)
    assert newest_complete(tmp_path, "a") == whole
    assert names(tmp_path) == ["checkpoint-4", "incomplete-checkpoint-6-1"]
    make_checkpoint(tmp_path / "checkpoint-6", whole=False)
    assert newest_complete(tmp_path, "a") == whole
    assert "incomplete-checkpoint-6-2" in names(tmp_path)


def test_a_missing_or_changed_file_makes_a_checkpoint_partial(tmp_path):
    changed = make_checkpoint(tmp_path / "checkpoint-1", whole=True)
    (changed / "weights").write_bytes(b"x")
    missing = make_checkpoint(tmp_path / "checkpoint-2", whole=True)
    (missing / "state").unlink()
    assert not is_complete(changed)
    assert not is_complete(missing)
    assert newest_complete(tmp_path, "a") is None


def test_files_that_the_marker_does_not_name_may_come_and_go(tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint-1", whole=True)
    (folder / "train.log").write_text("more")
    assert is_complete(folder)


def test_another_runs_checkpoint_is_moved_aside(tmp_path):
    make_checkpoint(tmp_path / "checkpoint-1", whole=True)
    assert newest_complete(tmp_path, "b") is None
    assert names(tmp_path) == ["incomplete-checkpoint-1-1"]
