"""``negalign judge bench``: judges on expert sets, through the real command."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from negalign_train.commands import cli

LINES = [
    {
        "id": "rated-1",
        "case": "a",
        "reference": "Left effusion. No pneumothorax.",
        "candidate": "Left effusion. No pneumothorax.",
        "ratings": [{"rater": "x", "errors": {"R1": 0, "R2": 0, "R5": 0}}],
    },
    {
        "id": "rated-2",
        "case": "a",
        "reference": "Left effusion. No pneumothorax.",
        "candidate": "Right effusion. Large left pneumothorax.",
        "ratings": [{"rater": "x", "errors": {"R1": 1, "R2": 0, "R5": 1}}],
    },
    {
        "id": "rated-3",
        "case": "b",
        "reference": "Right lower lobe pneumonia.",
        "candidate": "The lungs are clear.",
        "ratings": [{"rater": "x", "errors": {"R1": 0, "R2": 1, "R5": 0}}],
    },
    {
        "id": "ranked",
        "reference": "Left effusion.",
        "candidates": ["Small left effusion.", "Tension pneumothorax."],
    },
    {"id": "held", "reference": "Mass.", "candidate": "Clear lungs.", "expect": "R2 > 0"},
    {
        "id": "failing",
        "kind": "side|place",
        "reference": "Left mass.",
        "candidate": "Right mass.",
        "expect": "R5 == 0",
    },
]


@pytest.fixture
def expert_set(tmp_path: Path) -> Path:
    path = tmp_path / "expert.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["negalign", "judge", "bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


def test_the_rules_are_measured_on_every_kind_of_line(bench, expert_set, tmp_path):
    page = tmp_path / "bench.md"
    code, out, _ = bench("--set", expert_set, "--json", "--bootstrap", 100, "--markdown", page)
    value = json.loads(out)
    assert code == 0
    assert value["schema"] == "negalign.bench/1"
    assert (value["num_rated"], value["num_rankings"], value["num_expectations"]) == (3, 1, 2)
    (rules,) = value["judges"]
    assert rules["rated"]["order"]["S"]["pairwise"]["value"] == 1.0
    recalls = {id_: row["recall"]["value"] for id_, row in rules["rated"]["categories"].items()}
    assert recalls == {"R1": 1.0, "R2": 1.0, "R5": 1.0}
    assert rules["rankings"]["S"]["num_held"] == 1
    assert rules["expectations"]["failed"] == ["failing"]
    text = page.read_text()
    assert "| rules | expectations | 1 of 2 |" in text
    assert "| rules | side\\|place | 0 of 1 |" in text
    assert "effusion" not in text


def test_the_tables_name_what_was_measured(bench, expert_set):
    code, out, _ = bench("--set", expert_set)
    assert code == 0
    assert "3 rated reports, 1 rankings, 2 expectations" in out
    assert "R5 wrong location" in out
    assert "1 of 2" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "missing.jsonl"], "cannot be read"),
        (["--set", "."], "only --format rexval reads one"),
        (["--set", ".", "--format", "rexval"], "give the folder of ReXVal"),
        (["--set", "missing.jsonl", "--judges", "rulez"], "is none of: rules"),
    ],
)
def test_what_cannot_be_measured_is_refused(bench, arguments, says):
    code, _, err = bench(*arguments)
    assert code == 1
    assert says in err


SHARED = Path(
    os.environ.get("NEGALIGN_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
KINDS = SHARED / "scorer_kinds.jsonl"


@pytest.mark.skipif(not KINDS.is_file(), reason="scorer_kinds.jsonl is in NEGALIGN_SHARED_DATA")
def test_our_own_pairs_are_read_as_they_are(bench):
    code, out, _ = bench("--set", KINDS, "--json", "--bootstrap", 100)
    tests = json.loads(out)["judges"][0]["expectations"]
    assert code == 0
    assert tests["num_tests"] == len(KINDS.read_text().splitlines()) > 100
    assert tests["num_held"] > 0.6 * tests["num_tests"]
