"""A labelled data set: shares, balance, seeds, severities and lines."""

from __future__ import annotations

from collections import Counter

import pytest

from negalign_train.cases.report_files import SourceReport
from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.simulate.injection.data_set import (
    InjectionSettings,
    LabelledReport,
    Labeller,
    NotLabelled,
    injected_line,
    parse_operations,
    severities_of,
)
from negalign_train.simulate.injection.reports import OPERATIONS, inject
from negalign_train.vocabulary.errors import RecipeError
from tests.simulate.test_injection import REPORT


def reports(count: int) -> list[SourceReport]:
    return [
        SourceReport(number, case.case_id, case.group, case.reference,
                     tuple(finding.name for finding in case.findings))
        for number, case in enumerate(synthetic_cases(0, count, seed=4), start=1)
    ]  # fmt: skip


def labelled(settings: InjectionSettings, count: int) -> list[LabelledReport | NotLabelled]:
    labeller = Labeller(settings)
    return [labeller.label(report) for report in reports(count)]


def test_shares_of_controls_are_those_asked_for_and_controls_have_no_error() -> None:
    made = labelled(InjectionSettings(untouched=0.3, reworded=0.2), 300)
    lines = [each for each in made if isinstance(each, LabelledReport)]
    count = Counter(line.label for line in lines)
    assert 70 <= count["untouched"] <= 110
    assert 40 <= count["reworded"] <= 80
    for line in lines:
        assert bool(line.errors) == (line.label == "injected")
        assert (line.candidate == line.source.text) == (line.label == "untouched")


def test_the_same_seed_gives_the_same_lines_and_another_seed_others() -> None:
    first, again = (labelled(InjectionSettings(seed=1), 60) for _ in range(2))
    assert first == again
    assert first != labelled(InjectionSettings(seed=2), 60)


def test_a_rare_kind_is_made_wherever_it_has_a_place() -> None:
    settings = InjectionSettings(
        ("repetition", "change_device_position"), untouched=0.0, reworded=0.0
    )
    labeller = Labeller(settings)
    for report in reports(200):
        labeller.label(report)
    possible = sum(
        inject(r.text, "change_device_position", 0, true_findings=r.findings) is not None
        for r in reports(200)
    )
    assert possible > 20
    assert labeller.made["change_device_position"] == possible
    assert labeller.made["repetition"] == 200 - possible
    # Of the first report, either kind may be tried first.
    assert labeller.no_place["change_device_position"] in (199 - possible, 200 - possible)


def test_a_report_without_a_place_says_so() -> None:
    labeller = Labeller(InjectionSettings(("change_measurement",), untouched=0.0, reworded=0.0))
    report = SourceReport(1, "a", "a", "Findings: The lungs are clear.")
    assert labeller.label(report) == NotLabelled("no_place")
    only_reworded = Labeller(InjectionSettings(untouched=0.0, reworded=1.0))
    aside = SourceReport(1, "a", "a", "Indication: cough.\n\nThe lungs are clear.")
    assert only_reworded.label(aside) == NotLabelled("not_reworded")
    numbered = SourceReport(1, "a", "a", "Impression: 1. Cardiomegaly. 2. Small left effusion.")
    assert only_reworded.label(numbered) == NotLabelled("not_reworded")


def test_a_line_rates_all_nine_categories_and_names_every_error() -> None:
    labeller = Labeller(
        InjectionSettings(("omission", "change_device_position"), 2, 0.0, 0.0, seed=5)
    )
    made = labeller.label(SourceReport(7, "s", "g", REPORT, None, {"age": 71}))
    assert isinstance(made, LabelledReport)
    line = injected_line(made, 5)
    assert (line["id"], line["case"], line["reference"]) == ("7:s", "g", REPORT)
    assert line["context"] == {"age": 71}
    (rating,) = line["ratings"]
    assert list(rating["errors"]) == [f"R{n}" for n in range(1, 10)]
    assert {key for key, value in rating["errors"].items() if value > 0} == {"R2", "R7"}
    assert rating["errors"] == severities_of(made.errors)
    assert {error["operation"] for error in line["about"]["errors"]} == {
        "omission",
        "change_device_position",
    }
    assert line["about"] | {"errors": []} == {
        "schema": "negalign.injected/1", "label": "injected", "seed": 5, "errors": []
    }  # fmt: skip


def test_operations_are_named_by_themselves_or_by_their_category() -> None:
    assert parse_operations("omission, R5") == ("change_location", "omission")
    assert parse_operations("r2") == ("false_negation", "omission")
    assert parse_operations("wrong_severity") == ("change_severity", "change_measurement")
    assert parse_operations(",".join(OPERATIONS)) == tuple(OPERATIONS)
    with pytest.raises(RecipeError, match="'R10' is no operation and no category"):
        parse_operations("R10")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"operations": ("omission",), "errors": 2}, "lower --errors"),
        ({"untouched": 0.7, "reworded": 0.7}, "sum up to no more than 1"),
    ],
)
def test_impossible_settings_are_refused(overrides: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        InjectionSettings(**overrides)  # type: ignore[arg-type]
