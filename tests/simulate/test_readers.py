"""Simulated readers: what they see, how they grade, and what their edits leave standing."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from negalign_train.cases.compose import compose, join_report
from negalign_train.cases.synthetic import prompt_text, synthetic_cases
from negalign_train.recipe.cycle import ReaderPanel
from negalign_train.simulate.edit import mend
from negalign_train.simulate.habits import Habits, careless_report
from negalign_train.simulate.readers import (
    Draft,
    GrammarTruth,
    PanelSession,
    read_drafts,
    true_score,
)
from negalign_train.simulate.truth import grammar_faults
from negalign_train.vocabulary.records import CATEGORIES, Case, Finding, Generator
from negalign_train.vocabulary.taxonomy import grade_of

EFFUSION = Finding("pleural_effusion", side="left", degree="mild")
TRUTH = GrammarTruth()


def make_case(*findings: Finding, has_prior: bool = False) -> Case:
    prompt = prompt_text("cough", "portable AP view", has_prior, findings)
    reference = join_report(compose(findings, random.Random(0)))
    return Case("case-1", "group-1", prompt, reference, findings, has_prior, "synthetic")


def faults_of(case: Case, text: str) -> list[tuple[str, str | None, float]]:
    return [(f.category, f.finding, f.severity) for f in grammar_faults(case, text)]


@pytest.mark.parametrize(
    ("case", "text", "expected"),
    [
        (  # invented: the finding's own weight
            make_case(EFFUSION),
            "Findings: Small left pleural effusion. Mild pulmonary edema. "
            "Impression: Small left pleural effusion.",
            [("false_positive", "pulmonary_edema", 0.5)],
        ),
        (  # missed
            make_case(EFFUSION),
            "Findings: The heart size is normal. Impression: Small nodule in the left upper lobe.",
            [("false_positive", "nodule", 0.5), ("false_negative", "pleural_effusion", 0.5)],
        ),
        (  # the impression denies the findings
            make_case(EFFUSION),
            "Findings: Small left pleural effusion. Impression: No acute disease.",
            [("contradictory_diagnosis", "pleural_effusion", 0.25)],
        ),
        (  # a skin fold over-read
            make_case(Finding("skin_fold", side="left")),
            "Findings: Small left pneumothorax. Impression: Small left pneumothorax.",
            [("artifact_overinterpretation", "pneumothorax", 1.0)],
        ),
        (  # wrong side costs half the finding
            make_case(EFFUSION),
            "Findings: Small right pleural effusion. Impression: Small right pleural effusion.",
            [("wrong_location", "pleural_effusion", 0.25)],
        ),
        (  # two steps of degree cost half, one step a quarter
            make_case(EFFUSION),
            "Findings: Large left pleural effusion. Impression: Large left pleural effusion.",
            [("wrong_severity", "pleural_effusion", 0.25)],
        ),
        (
            make_case(Finding("endotracheal_tube", location="right main bronchus")),
            "Findings: An ET tube ends above the carina. Impression: No acute disease.",
            [("device_error", "endotracheal_tube", 0.125)],
        ),
        (  # no prior study, so nothing can be new
            make_case(EFFUSION),
            "Findings: New small left pleural effusion. Impression: Small left pleural effusion.",
            [("temporal_error", "pleural_effusion", 0.25)],
        ),
        (
            make_case(EFFUSION),
            "Findings: Small left pleural effusion. Small left pleural effusion. "
            "Impression: Small left pleural effusion.",
            [("report_integrity", None, 0.25)],
        ),
        (make_case(EFFUSION), make_case(EFFUSION).reference, []),
    ],
)
def test_each_category_is_seen_with_its_severity(case, text, expected):
    assert faults_of(case, text) == expected


def test_one_missed_finding_of_many_is_partial_and_the_only_one_is_a_reject():
    others = [Finding(name) for name in ("cardiomegaly", "pulmonary_edema", "osteopenia")]
    alone, among = make_case(EFFUSION), make_case(EFFUSION, *others)
    nothing = "Findings: The lungs are clear. Impression: No acute disease."
    said = join_report(compose(tuple(others), random.Random(0)))
    worst, mild = (true_score(TRUTH, c, t) for c, t in ((alone, nothing), (among, said)))
    assert worst.total == mild.total == 0.5
    assert worst.quality is not None
    assert mild.quality is not None
    assert worst.quality == pytest.approx(0.5 / 0.75)
    assert mild.quality == pytest.approx(0.5 / (0.5 + 0.5 + 0.5 + 0.25 + 0.25))
    assert (grade_of(worst.quality), grade_of(mild.quality)) == ("reject", "partial")


def test_no_reference_has_a_fault():
    assert all(not grammar_faults(case, case.reference) for case in synthetic_cases(0, 500, 3))


def test_the_careless_writer_makes_errors_of_all_nine_categories():
    habits = Habits().scaled(1.5)
    seen: Counter[str] = Counter()
    for case in synthetic_cases(0, 600, 3):
        text = careless_report(case, habits, random.Random(case.case_id))
        seen.update(fault.category for fault in grammar_faults(case, text))
    assert set(seen) == set(CATEGORIES)
    assert min(seen.values()) >= 20


def test_without_habits_the_writer_is_right():
    habits = Habits().scaled(0.0)
    for case in synthetic_cases(0, 100, 3):
        assert not grammar_faults(case, careless_report(case, habits, random.Random(case.case_id)))


def test_a_missing_finding_is_put_in_the_order_of_the_report():
    case = make_case(EFFUSION, Finding("cardiomegaly", degree="severe"))
    text = "Findings: The lungs are clear. Severe cardiomegaly. Impression: Severe cardiomegaly."
    edited = mend(case, text, grammar_faults(case, text))
    order = [edited.index(words) for words in ("lungs are clear", "pleural", "cardiomegaly")]
    assert order == sorted(order)
    assert edited.index("Impression") > order[-1]


def test_a_wrong_side_is_corrected_in_its_own_words():
    case = make_case(EFFUSION)
    text = (
        "Findings: There is a tiny right pleural effusion. Impression: Tiny right pleural effusion."
    )
    assert mend(case, text, grammar_faults(case, text)) == text.replace("right", "left")


def test_an_edit_keeps_every_right_sentence_and_removes_every_fault():
    habits = Habits().scaled(1.5)
    left = 0
    for case in synthetic_cases(0, 300, 4):
        text = careless_report(case, habits, random.Random(case.case_id))
        faults = grammar_faults(case, text)
        edited = mend(case, text, faults)
        left += bool(grammar_faults(case, edited))
        touched = {f.span for f in faults if f.span}
        for sentence in text.removeprefix("Findings: ").split(" Impression: ")[0].split(". ")[:1]:
            at = text.index(sentence)
            if not any(a < at + len(sentence) and b > at for a, b in touched):
                # The first sentence of the findings is right: it still stands.
                dropped = any((f.drop and 0 in f.drop) or 0 in f.restate for f in faults)
                assert dropped or sentence in edited
    assert left <= 3  # one repair can bring a repeated sentence to light; readers look again


def make_session(**panel: float) -> PanelSession:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return PanelSession(
        panel=ReaderPanel.model_validate(panel),
        truth=TRUTH,
        cycle=1,
        seed=1,
        clock=lambda n: (start + timedelta(seconds=n)).isoformat(),
    )


def make_drafts(count: int = 300) -> list[Draft]:
    habits = Habits().scaled(1.5)
    return [
        Draft(case, careless_report(case, habits, random.Random(case.case_id)), Generator("base"))
        for case in synthetic_cases(0, count, 4)
    ]


def test_grades_follow_Q_and_edits_mend_everything():
    session = make_session(thread_rate=0.0, reject_edits=1.0)
    drafts = make_drafts()
    events = read_drafts(drafts, session)
    assert len(events) == len(drafts)
    cases = {draft.case.case_id: draft.case for draft in drafts}
    for event in events:
        seen = true_score(TRUTH, cases[event.case_id], event.completion)  # no noise, none missed
        assert event.severities == pytest.approx(dict(seen.severities), abs=0.03)
        assert seen.quality is not None
        assert event.grade == grade_of(seen.quality)
        if event.grade == "accept":
            assert event.edited is None
        else:
            assert event.edited is not None
            assert not grammar_faults(cases[event.case_id], event.edited)
    assert Counter(event.grade for event in events)["partial"] > 30


def test_reading_twice_gives_the_same_events():
    drafts = make_drafts(60)
    assert read_drafts(drafts, make_session()) == read_drafts(drafts, make_session())


def test_threads_end_in_an_accepted_turn_and_get_better():
    events = read_drafts(make_drafts(), make_session(thread_rate=1.0))
    threads: dict[str, list[float]] = {}
    for event in events:
        if event.thread_id:
            threads.setdefault(event.thread_id, []).append(event.total_severity or 0.0)
    assert {len(turns) for turns in threads.values()} == {2, 3}
    assert all(turns[-1] == 0 and turns[0] > 0 for turns in threads.values())


def test_a_careless_panel_overlooks_mild_errors_before_severe_ones():
    drafts = make_drafts()
    careful = read_drafts(drafts, make_session(thread_rate=0.0))
    careless = read_drafts(drafts, make_session(thread_rate=0.0, miss_rate=1.0))

    def count(events, low, high):
        return sum(
            low <= (mark.severity or 0.0) < high for event in events for mark in event.errors
        )

    assert count(careless, 0.0, 0.26) == 0
    assert count(careless, 0.99, 1.01) == count(careful, 0.99, 1.01) > 20


def test_bias_moves_the_severities_of_every_mark():
    plain = read_drafts(make_drafts(50), make_session(thread_rate=0.0))
    strict = read_drafts(make_drafts(50), make_session(thread_rate=0.0, severity_bias=0.2))
    for before, after in zip(plain, strict, strict=True):
        for mark, other in zip(before.errors, after.errors, strict=True):
            assert other.severity == pytest.approx(
                min(1.0, (mark.severity or 0.0) + 0.2), abs=0.002
            )


def test_the_true_score_of_a_reference_is_zero():
    case = synthetic_cases(0, 1, 4)[0]
    assert true_score(TRUTH, case, case.reference).total == 0
