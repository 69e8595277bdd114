"""The page of one cycle, and its charts."""

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from negalign_train.evaluation.bootstrap import Comparison, Interval, Means
from negalign_train.evaluation.gate import criteria_digest, decide
from negalign_train.evaluation.gate_records import keep_the_best, seal
from negalign_train.evaluation.gate_terms import GateEvidence, Rise
from negalign_train.evaluation.metrics import Divergence, ReportMetrics
from negalign_train.report.charts import category_bars, interval_chart
from negalign_train.report.page import (
    CyclePage,
    LineageRow,
    ReaderRow,
    render_cycle_page,
)
from negalign_train.report.result import Check, RetentionMatrix
from negalign_train.vocabulary.records import CATEGORIES
from tests.gates import SETTINGS

SEVERITIES = dict(
    zip(CATEGORIES, (0.12, 0.2, 0.03, 0.05, 0.11, 0.07, 0.04, 0.06, 0.01), strict=True)
)


def metrics(scale: float) -> ReportMetrics:
    return ReportMetrics(
        num_cases=400,
        num_scored=400,
        mean_S=0.69 * scale,
        mean_Q=0.42 * scale,
        per_category={name: value * scale for name, value in SEVERITIES.items()},
        severe_rate=0.31 * scale,
        length_ratio=1.02,
        template_share=0.04,
        distinct_ratio=0.93,
        placeholder_rate=0.0,
        unscored_rate=0.0,
    )


def means(scale: float) -> Means:
    values = {name: value * scale for name, value in SEVERITIES.items()}
    return Means(0.69 * scale, 0.42 * scale, values, 0.31 * scale)


def sealed(kl_to_parent=0.08) -> tuple[dict[str, Any], ...]:
    records = []
    for name, scale in (("dpo", 0.7), ("kto", 0.8), ("grpo", 1.02)):
        change = 0.69 * (scale - 1)
        per_category = {
            category: Interval(value * (scale - 1), value * (scale - 1) - 0.02, 0.01)
            for category, value in SEVERITIES.items()
        }
        comparison = Comparison(
            400,
            371,
            Interval(change, change - 0.05, change + 0.05),
            per_category,
            Interval(-0.05, -0.09, -0.01),
            means(1.0),
            means(scale),
        )
        evidence = GateEvidence(
            cycle=2,
            candidate=name,
            parent_adapter="c0001-dpo-1f9a2b3c",
            candidate_adapter=f"c0002-{name}-77aa01fe",
            num_candidates=3,
            parent=metrics(1.0),
            metrics=metrics(scale),
            comparison=comparison,
            overall=comparison,
            placeholder_rate=Interval(0.0, 0.0, 0.005),
            divergence=None if name == "grpo" else Divergence(kl_to_parent, 0.15, 9000),
            parent_reference_logps=-0.52,
            reference_logps=-0.5,
            retention={1: Rise(Interval(-0.1, -0.15, -0.04), 40, 36)},
            retention_pooled=Rise(Interval(-0.1, -0.15, -0.04), 40, 36),
            judge="rules 0123abcd",
            second=None,
        )
        records.append(decide(evidence, SETTINGS, criteria_digest(SETTINGS)))
    return tuple(seal(keep_the_best(records), previous=None))


def page(**overrides: Any) -> CyclePage:
    found = CyclePage(
        cycle=2,
        created_at="2026-11-02T12:00:00+00:00",
        base_name="negalign-embedded",
        seed=1,
        champion_before="c0001-dpo-1f9a2b3c",
        champion_after="c0002-dpo-77aa01fe",
        candidate="dpo",
        gate_records=sealed(),
        counts={"events": 412, "events_held_out": 40, "pairs": 330, "pairs_replayed": 66},
        refusals={"delta_S_too_small": 12, "contradictory": 4},
        readers=(
            ReaderRow("r-01", 140, 60, 50, 30, 0.41, 38.5),
            ReaderRow("r-02", 272, 100, 90, 82, 0.52, None),
        ),
        lineage=(
            LineageRow("c0001-dpo-1f9a2b3c", None, 1, "dpo", "retired", 0.69),
            LineageRow("c0002-dpo-77aa01fe", "c0001-dpo-1f9a2b3c", 2, "dpo", "promoted", 0.483),
        ),
        seconds={"feedback": 11.2, "train_dpo": 74.0, "evaluate": 21.4},
        fingerprints={"recipe": "ab" * 32, "base_model": "cd" * 32},
        reader_check=Check(400, 0.71, 0.5, -0.26, -0.16),
    )
    return replace(found, **overrides)


def text_of(html: str) -> str:
    """The text a person sees, white space joined."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_page_shows_the_readers_scale_beside_the_gates_and_who_gave_severities():
    seen = text_of(render_cycle_page(page()))
    assert "At the readers' scale" not in seen
    scaled = page(
        calibrated_check=Check(398, 0.61, 0.44, -0.21, -0.13),
        scorer="rules 0123abcd; calibration: re-scaled: wrong_location",
    )
    seen = text_of(render_cycle_page(scaled))
    assert "mean S 0.610 → 0.440, interval of the change -0.210 to -0.130" in seen
    assert "Severities by rules 0123abcd; calibration: re-scaled: wrong_location." in seen


def test_page_warns_where_the_second_judge_disagrees():
    records = sealed()
    assert "Warning:" not in text_of(render_cycle_page(page()))
    told = tuple(dict(record) | {"warnings": ["judge <b> disagrees"]} for record in records)
    seen = text_of(render_cycle_page(page(gate_records=told)))
    assert seen.count("Warning: judge <b> disagrees.") == 1


def test_page_shows_the_decision_and_what_it_rests_on():
    seen = text_of(render_cycle_page(page()))
    for expected in (
        "Promoted: dpo",
        "0.690 → 0.483",
        "-0.207 change, -0.257 to -0.157",
        "31.0 % → 21.7 %",
        "Champion before c0001-dpo-1f9a2b3c",
        "Champion now c0002-dpo-77aa01fe",
        "by the simulation's ground truth (400 cases): mean S 0.710 → 0.500",
        "false negative 0.200 → 0.140 -0.060",
        "length ratio 1.020 – 0.8 to 1.25 ✓ held",
        "mean S -0.207 -0.257 to -0.157 < 0 ✓ held",
        "retention: c0001 -0.100 -0.150 to -0.040 ≤ 0.03 ✓ held",
        "pairs replayed 66",
        "delta S too small 12",
        "r-01 140 60 50 30 0.410 38",
        "train dpo 1 min 14 s",
        "all 1 min 47 s",
    ):
        assert expected in seen


def test_rejected_cycle_says_why_and_keeps_its_champion():
    html = render_cycle_page(
        page(gate_records=sealed(kl_to_parent=0.7), champion_after="c0001-dpo-1f9a2b3c")
    )
    seen = text_of(html)
    assert "Not promoted: dpo" in seen
    assert "kl to parent: 0.7 is above 0.5 (nats per token)" in seen
    assert "c0001-dpo-1f9a2b3c (unchanged)" in seen
    assert html.count('<tr class="broken">') == 1


def test_unmeasured_candidate_shows_no_number():
    records = (sealed()[2],)
    seen = text_of(render_cycle_page(page(gate_records=records, candidate="grpo")))
    assert "kl to parent not measured – ≤ 0.5 ? open" in seen


def test_cycle_without_any_scored_report_still_renders():
    (record,) = (dict(sealed()[0]),)
    nothing = record["evidence"] | {
        "comparison": None,
        "metrics": record["evidence"]["metrics"] | {"mean_S": None, "per_category": None},
    }
    seen = text_of(
        render_cycle_page(page(gate_records=({**record, "evidence": nothing},), lineage=()))
    )
    assert "nothing to compare" in seen
    assert "no adapter yet" in seen


def test_values_are_escaped_and_nothing_is_loaded_from_outside():
    html = render_cycle_page(page(base_name="<script>alert(1)</script>"))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert not re.search(r"(?:src|href)=|url\(|https?://", html)


def test_many_reasons_are_counted_in_the_banner_and_the_cases_that_would_settle_them_are_said():
    """22 reasons of a small log: four stand in the banner, all in the table."""
    (record,) = (dict(sealed()[0]),)
    record["reasons"] = [f"category:reason_{number}: open" for number in range(22)]
    record["criteria"] = [
        criterion | {"state": "open", "cases_needed": 100 + index}
        if criterion["name"].startswith("category:")
        else criterion
        for index, criterion in enumerate(record["criteria"])
    ]
    seen = text_of(render_cycle_page(page(gate_records=(record,))))
    assert "category: reason 3: open and 18 more, in the table of criteria below" in seen
    assert "reason 4" not in seen
    needed = max(c["cases_needed"] for c in record["criteria"] if c["cases_needed"])
    assert f"about {needed} cases would settle what is open, at these estimates" in seen


def test_every_tag_is_closed():
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                open_tags.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            """Closes itself."""

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Checker().feed(render_cycle_page(page()))
    assert open_tags == []


def test_interval_chart_places_zero_and_marks_on_round_ticks():
    found = interval_chart([("dpo", "promoted", {"low": -0.2, "estimate": -0.1, "high": -0.05})])
    assert found is not None
    assert [tick.label for tick in found.ticks] == ["-0.20", "-0.15", "-0.10", "-0.05", "0"]
    (mark,) = found.marks
    assert (mark.low, mark.estimate, mark.high, found.zero) == (0.0, 260.0, 390.0, 520.0)


@pytest.mark.parametrize("value", [0.0, 1e-9])
def test_interval_of_no_width_still_has_an_axis(value):
    found = interval_chart([("dpo", "rejected", {"low": value, "estimate": value, "high": value})])
    assert found is not None
    assert len(found.ticks) >= 2


def test_longest_bar_fills_the_scale():
    before = {"false_negative": 0.1, "false_positive": 0.2}  # shown as R1, R2, whatever the order
    first, second = category_bars(before, {"false_positive": 0.1, "false_negative": 0.4})
    assert (first.name, second.name) == ("false_positive", "false_negative")
    assert (first.before_length, first.after_length) == (150.0, 75.0)
    assert (second.before_length, second.after_length) == (75.0, 300.0)


def test_an_open_category_shows_its_estimate_and_interval_and_is_not_called_a_pass():
    records = list(sealed())
    criteria = [dict(criterion) for criterion in records[0]["criteria"]]
    opened = next(c for c in criteria if c["name"] == "category:device_error")
    opened |= {"state": "open", "value": 0.039, "interval": [-0.006, 0.089], "cases_needed": 950}
    records[0] = {**records[0], "criteria": criteria}
    html = render_cycle_page(page(gate_records=tuple(records)))
    expected = (
        "category: device error +0.039 -0.006 to +0.089 ≤ 0.02 ? open, about 950 cases needed"
    )
    assert expected in text_of(html)
    assert '<tr class="open">' in html
    assert "pass" not in text_of(html)


def test_what_criteria_have_in_common_is_said_once():
    seen = text_of(render_cycle_page(page()))
    assert seen.count("rise against the parent") == 1
    assert seen.count("rise since the first cycle") == 1


def test_page_shows_what_was_kept_of_earlier_cycles():
    kept = RetentionMatrix({1: {1: 0.71, 2: 0.64}}, {1: 36}, -0.07)
    seen = text_of(render_cycle_page(page(retention=kept)))
    assert "Backward transfer -0.070; above 0 is forgotten." in seen
    assert "1 36 0.710 0.640" in seen
