"""``negalign draft`` from the command line, with the embedded generator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from negalign_train.review.queue import DraftQueue
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace

Negalign = Callable[..., tuple[int, str, str]]


def test_the_embedded_model_drafts_the_demo_and_goes_on(
    negalign: Negalign, tmp_path: Path, event_dict: Callable[..., dict[str, Any]]
) -> None:
    workspace, gold = tmp_path / "w", tmp_path / "gold.jsonl"
    gold.write_text(json.dumps(event_dict()) + "\n")
    command = ("draft", "--cases", "demo", "-w", workspace, "--order", "uncertain")
    code, out, err = negalign(*command, "--limit", 3, "--gold", gold, "--audit-share", 1)
    assert code == 0, err
    assert "there is no champion yet: the base model writes" in err
    assert out.splitlines() == [
        "cases 3 = queued 3 + known 0 + empty 0; beside them 3 repeats and 1 gold items",
        "the queue: 7 wait, 0 are answered",
    ]
    code, out, _ = negalign(*command, "--limit", 4, "--json")
    assert code == 0
    assert json.loads(out) | {"repeats": 0} == {
        "schema": "negalign.draft/1",
        "cases": 4, "known": 3, "empty": 0, "queued": 1, "repeats": 0, "gold": 0,
        "queue": {"waiting": 8, "locked": 0, "answered": 0},
    }  # fmt: skip
    draft = DraftQueue(open_database(Workspace(workspace).database_url)).claim("r1")
    assert draft is not None
    assert draft.priority > 1
    assert (draft.generator.base, draft.generator.adapter) in {
        ("negalign-embedded", None), ("embedded", "c0003-dpo-1f9a"),
    }  # fmt: skip


def test_wrong_input_is_named_before_a_model_is_loaded(negalign: Negalign, tmp_path: Path) -> None:
    code, _, err = negalign("draft", "--cases", "demo", "-w", tmp_path, "--order", "first")
    assert code == 2
    assert "'first' is not one of random, uncertain" in err
    code, _, err = negalign("draft", "--cases", tmp_path / "none.jsonl", "-w", tmp_path / "w")
    assert code == 1
    assert "none.jsonl" in err
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"schema": "x"}\n')
    code, _, err = negalign("draft", "--cases", "demo", "-w", tmp_path / "w", "--gold", gold)
    assert code == 1
    assert "line 1: no graded event (unknown_schema)" in err
    assert not (tmp_path / "w").exists()
