"""What `negalign cycle` prints of a result, from a record alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from negalign_train.commands.support.cycle_summary import print_result
from negalign_train.evaluation.bootstrap import Interval
from negalign_train.evaluation.second_opinion import SecondOpinion
from negalign_train.report.result import Check, CycleResult, ScorerUsed
from tests.results import make_data, make_refused, make_result


@pytest.fixture
def printed(capsys):
    def lines(result: CycleResult) -> list[str]:
        print_result(result, Path("workspace/cycles/c0002/report.html"))
        out: str = capsys.readouterr().out
        return out.splitlines()

    return lines


def test_a_promoted_cycle(printed):
    lines = printed(make_result())
    assert lines[:10] == [
        "",
        "Cycle 2  PROMOTED  candidate dpo, 398 of 400 held-out cases scored for parent and "
        "candidate, 107 s",
        "  champion          c0001-dpo-1f9a2b3c → c0002-dpo-77aa01fe",
        "  mean S            0.690 → 0.483 (change [-0.257, -0.157], each end 97.5 % sure)",
        "  mean Q            0.420 → 0.310 (errors against what is right; reported, not decided "
        "on)",
        "  over both cycles  0.950 → 0.483 (mean S of 397 cases, change [-0.520, -0.410])",
        "  ground truth      0.710 → 0.500 (of the simulation: mean S of the same reports, "
        "400 cases, change [-0.260, -0.160])",
        "  calibration       no category is re-scaled",
        "  reason            mean S is shown to be lower and every guardrail holds",
        "  not applied       retention: 12 case groups, fewer than 20",
    ]
    rows = [line.split() for line in lines[10:]]
    assert rows[0] == ["mean", "severity", "parent", "candidate"]
    assert rows[1] == ["R1", "false_positive", "0.070", "0.050"]
    assert rows[10] == ["reports", "with", "a", "severe", "error", "0.310", "0.217"]
    assert lines[-1] == "  page              workspace/cycles/c0002/report.html"


def test_a_refused_candidate_keeps_its_own_column_and_the_champion_stays(printed):
    reasons = ("category:device_error: +0.039 [-0.006, +0.089] is not shown to be at most 0.02",)
    for decision in ("rejected", "inconclusive"):
        lines = printed(make_refused(decision, *reasons))
        assert lines[1].startswith(f"Cycle 2  {decision.upper()}  candidate dpo")
        assert "  champion          c0001-dpo-1f9a2b3c (unchanged)" in lines
        assert any(line.startswith("  mean S            0.690 → 0.483 (change") for line in lines)
        assert f"  reason            {reasons[0]}" in lines
        assert any(line.split() == ["R1", "false_positive", "0.070", "0.050"] for line in lines)


def test_four_reasons_are_printed_and_the_others_counted(printed):
    lines = printed(make_refused("inconclusive", *(f"criterion {n}" for n in range(7))))
    reasons = [line for line in lines if line.startswith("  reason ")]
    assert reasons[3:] == [
        "  reason            criterion 3",
        "  reason            and 3 more criteria; the page lists all",
    ]


def test_judges_and_their_warnings_stand_before_the_reasons(printed):
    change = Interval(0.8, 0.7, 0.9)
    second = SecondOpinion("server", "77aa", "disagrees", True, 390, 0.1, 0.9, change, {})
    scorer = ScorerUsed("nli", "1-ab", "ef" * 32, {}, "the first cycle", {"too_long_for_model": 2})
    lines = printed(make_result(second_judge=second, warnings=("they disagree",), scorer=scorer))
    at = lines.index("  WARNING           they disagree")
    assert lines[at + 1] == (
        "  reason            mean S is shown to be lower and every guardrail holds"
    )
    assert lines[at - 2 : at] == [
        "  second judge      0.100 → 0.900 (by server, which disagrees on the direction: 390 "
        "cases, change [0.700, 0.900])",
        "  calibration       nli, the first cycle",
    ]
    assert "  not scored        too_long_for_model 2 of the candidate's reports" in lines
    mute = replace(second, verdict="unknown", change=None, mean_S_before=None, mean_S_after=None)
    lines = printed(make_result(second_judge=mute))
    assert "  second judge      server scored no case for both sides" in lines


def test_the_first_cycle_of_a_log_says_only_what_was_measured(printed):
    result = make_result(
        cycle=1, parent=None, readers_check=None, mean_S_before=None, mean_S_candidate=None
    )
    lines = printed(result)
    assert "  champion          base model → c0002-dpo-77aa01fe" in lines
    assert any(line.startswith("  mean S            – → –") for line in lines)
    assert not any(line.startswith(("  ground truth", "  over ")) for line in lines)


def test_later_cycles_calibration_and_empty_drafts_have_a_line_each(printed):
    lines = printed(
        make_result(
            cycle=3,
            calibrated_check=Check(398, 0.61, 0.44, -0.21, -0.13),
            data=replace(make_data(), drafts=30, drafts_empty=4),
        )
    )
    assert (
        "  over 3 cycles     0.950 → 0.483 (mean S of 397 cases, change [-0.520, -0.410])" in lines
    )
    assert (
        "  at readers' scale 0.610 → 0.440 (the scorer re-scaled to its readers: mean S of the "
        "same reports, 398 cases, change [-0.210, -0.130])" in lines
    )
    assert any(line.startswith("  note              4 of 30 drafts were empty") for line in lines)
