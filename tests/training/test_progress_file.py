"""What a launched run says of how far it is."""

from types import SimpleNamespace
from typing import Any

from negalign_train.training.running.progress_file import (
    PROGRESS,
    RunPlace,
    RunProgress,
    StepTicks,
    read_place,
)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_file_holds_the_last_place_at_most_once_a_second(tmp_path):
    clock = Clock()
    tick = RunProgress(tmp_path, lambda _: None, clock).ticks("steps")
    assert read_place(tmp_path) is None
    for now, done in ((0.0, 1), (0.5, 2), (1.2, 3), (1.3, 4)):
        clock.now = now
        tick(done, 9)
    assert read_place(tmp_path) == RunPlace("steps", 3, 9)
    tick(9, 9)
    assert read_place(tmp_path) == RunPlace("steps", 9, 9)
    assert [path.name for path in tmp_path.iterdir()] == [PROGRESS]


def test_it_goes_with_the_run(tmp_path):
    progress = RunProgress(tmp_path, lambda _: None)
    progress.ticks("steps")(1, 2)
    progress.close()
    assert list(tmp_path.iterdir()) == []
    progress.close()


def test_optimiser_steps_tick_from_where_a_resumed_run_starts():
    ticks: list[tuple[int, int]] = []
    callback: Any = StepTicks(lambda done, total: ticks.append((done, total)))
    state = SimpleNamespace(global_step=4, max_steps=6)
    callback.on_train_begin(None, state, None)
    state.global_step = 5
    callback.on_step_end(None, state, None)
    assert ticks == [(4, 6), (5, 6)]
