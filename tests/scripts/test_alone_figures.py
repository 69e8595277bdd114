"""What the benchmark of a report alone counts: new flags only, by kind of error."""

from __future__ import annotations

from benchmarks.alone_figures import DAMAGES, false_flags, recall_rows

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.simulate.injection.reports import OPERATIONS


def test_errors_that_a_report_shows_are_flagged_and_right_reports_are_not() -> None:
    cases = synthetic_cases(0, 25, seed=2)
    assert false_flags(cases, with_prompt=False)["any"] == 0
    rows = {row.name: row for row in recall_rows(cases, 15, seed=1)}
    assert rows.keys() == DAMAGES.keys() > OPERATIONS.keys()
    for name in ("repetition", "contradiction", "truncation", "mask", "loop", "chatter"):
        assert rows[name].made >= 10
        assert rows[name].without_prompt >= 0.9 * rows[name].made, name
    # What only the study can tell is not flagged without the prompt.
    assert rows["add_device"].without_prompt == 0
