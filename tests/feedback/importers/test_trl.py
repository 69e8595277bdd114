"""Preference data in the layouts that people keep, ours, TRL's and others'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negalign_train.feedback.schema import parse_event
from negalign_train.feedback.store import FeedbackStore
from negalign_train.vocabulary.errors import FeedbackError
from tests.feedback.importing import import_log
from tests.feedback.test_store import counts, write_lines

GIVEN = ["generator.base=radgen-7b", "reader.id=panel", "created_at=2026-11-02T00:00:00Z"]
PROMPT, CHOSEN, REJECTED = "Indication: cough.", "Lungs are clear.", "Left effusion."
USER = [{"role": "user", "content": PROMPT}]


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


PAIRS: dict[str, dict[str, Any]] = {
    "text": {"prompt": PROMPT, "chosen": CHOSEN, "rejected": REJECTED},
    "messages": {"prompt": USER, "chosen": [said(CHOSEN)], "rejected": [said(REJECTED)]},
    "implicit prompt": {"chosen": [*USER, said(CHOSEN)], "rejected": [*USER, said(REJECTED)]},
    "sharegpt": {
        "conversations": [{"from": "human", "value": PROMPT}],
        "chosen": {"from": "gpt", "value": CHOSEN},
        "rejected": {"from": "gpt", "value": REJECTED},
    },
    "alpaca": {"instruction": PROMPT, "input": "", "chosen": CHOSEN, "rejected": REJECTED},
}


@pytest.mark.parametrize("layout", PAIRS)
def test_a_pair_is_a_rejected_report_with_what_was_wanted(
    log: FeedbackStore, tmp_path: Path, layout: str
) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", [PAIRS[layout]])
    assert counts(import_log(log, path, settings=GIVEN)) == (1, 1, 0, 0, 0)
    (event,) = (event for _, event in log.events())
    by_hand = {
        "schema": "negalign.feedback/1",
        "event_id": event.event_id,
        "revision": 1,
        "case_id": event.event_id,
        "created_at": "2026-11-02T00:00:00Z",
        "prompt": PROMPT if layout in ("text", "alpaca") else USER,
        "completion": REJECTED,
        "generator": {"base": "radgen-7b"},
        "grade": "reject",
        "edited": CHOSEN,
        "reader": {"id": "panel"},
        "source": {"system": "trl-preference"},
    }
    assert event == parse_event(by_hand)
    assert event.event_id.startswith("trl-")


LABELS: dict[str, dict[str, Any]] = {
    "text": {"prompt": PROMPT, "completion": REJECTED},
    "messages": {"messages": [*USER, said(REJECTED)]},
    "conversational": {"prompt": USER, "completion": [said(REJECTED)]},
}


@pytest.mark.parametrize("layout", LABELS)
@pytest.mark.parametrize(("label", "grade"), [(True, "accept"), (False, "reject")])
def test_a_label_is_a_grade(
    log: FeedbackStore, tmp_path: Path, layout: str, label: bool, grade: str
) -> None:
    path = write_lines(tmp_path / "labels.jsonl", [LABELS[layout] | {"label": label}])
    assert import_log(log, path, settings=GIVEN).accepted == 1
    (event,) = (event for _, event in log.events())
    assert (event.grade, event.completion, event.edited) == (grade, REJECTED, None)
    assert event.prompt == (PROMPT if layout == "text" else tuple(USER))


def test_such_data_asks_who_judged(log: FeedbackStore, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", [PAIRS["text"]])
    with pytest.raises(
        FeedbackError, match=r"no record gives created_at, generator\.base, reader\.id"
    ):
        import_log(log, path)


@pytest.mark.parametrize(
    ("row", "said_of_it"),
    [
        ({"prompt": PROMPT, "chosen": CHOSEN}, "a row lacks 'rejected'"),
        ({"prompt": PROMPT, "chosen": 1, "rejected": REJECTED}, "'chosen' must be one text"),
        ({"prompt": PROMPT, "chosen": [], "rejected": REJECTED}, "'chosen' must be one text"),
    ],
)
def test_a_malformed_pair_is_refused_with_the_field(
    log: FeedbackStore, tmp_path: Path, row: dict[str, Any], said_of_it: str
) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", [PAIRS["text"], row])
    with pytest.raises(FeedbackError, match="record 2: ") as caught:
        import_log(log, path, settings=GIVEN)
    assert said_of_it in str(caught.value)
    assert log.last_sequence() == 0


@pytest.mark.parametrize("label", [0.5, None, "true"])
def test_a_label_that_is_neither_true_nor_false_is_refused(
    log: FeedbackStore, tmp_path: Path, label: Any
) -> None:
    path = write_lines(tmp_path / "labels.jsonl", [LABELS["text"] | {"label": label}])
    with pytest.raises(FeedbackError, match="'label' must be true or false"):
        import_log(log, path, settings=GIVEN)


def test_two_equal_pairs_are_one_event(log: FeedbackStore, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", [PAIRS["text"], PAIRS["text"]])
    assert counts(import_log(log, path, settings=GIVEN)) == (2, 1, 1, 0, 0)


def test_a_json_list_is_read_like_lines(log: FeedbackStore, tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(list(PAIRS.values()), indent=1))
    assert import_log(log, path, settings=GIVEN).accepted == 2  # with a text, and with messages
