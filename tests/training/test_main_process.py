"""One decides, all hear; and a folder has one launch at a time."""

from __future__ import annotations

import fcntl
import threading

import pytest

from negalign_train.training.distributed import main_process
from negalign_train.training.distributed.main_process import alone, from_main
from negalign_train.vocabulary.errors import TrainingError


def test_what_the_main_process_decides_is_returned_and_its_error_raised():
    assert from_main(lambda: 3) == 3
    assert from_main(lambda: None) is None

    def refuse() -> int:
        raise TrainingError("no")

    with pytest.raises(TrainingError, match="no"):
        from_main(refuse)


def test_a_second_launch_waits_for_the_first_and_says_so_once(tmp_path, monkeypatch):
    monkeypatch.setattr(main_process, "POLL_SECONDS", 0.02)
    said: list[str] = []
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        finished: list[str] = []

        def finish() -> None:
            finished.append("first")
            fcntl.flock(held, fcntl.LOCK_UN)

        first = threading.Timer(0.2, finish)
        first.start()
        with alone(tmp_path, said.append):
            assert finished == ["first"]
        first.join()
    assert said == [f"another run is training into {tmp_path}; waiting for it"]


def test_the_lock_is_let_go_after_an_error(tmp_path):
    with pytest.raises(TrainingError), alone(tmp_path / "out", lambda _: None):
        raise TrainingError("stopped")
    with (tmp_path / "out" / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
