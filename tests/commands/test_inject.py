"""``negalign inject``: right reports to a labelled data set, through the real command."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from negalign_train.cases.jsonl import write_cases
from negalign_train.cases.synthetic import synthetic_cases
from tests.judge_servers import chat_server

Run = Callable[..., tuple[int, str, str]]
COMMAND = [sys.executable, "-m", "negalign_train.commands.cli", "inject"]


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    path = tmp_path / "cases.jsonl"
    write_cases(path, synthetic_cases(0, 80, seed=3))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_case_file_becomes_a_data_set_and_a_summary(negalign: Run, cases: Path, tmp_path: Path):
    out = tmp_path / "injected.jsonl"
    code, shown, _ = negalign("inject", cases, "--out", out, "--errors", 2, "--seed", 7, "--json")
    summary = json.loads(shown)
    assert code == 0
    assert summary["read"] == 80
    unused = sum(each["count"] for each in summary["unused"].values())
    assert sum(summary["written"].values()) + unused == 80
    written = lines(out)
    injected = [line for line in written if line["about"]["label"] == "injected"]
    assert len(injected) == summary["written"]["injected"] > 40
    for line in injected:
        assert 1 <= len(line["about"]["errors"]) <= 2
        charged = {key for key, value in line["ratings"][0]["errors"].items() if value}
        assert charged == {error["id"] for error in line["about"]["errors"]}
    made = sum(each["made"] for each in summary["operations"].values())
    assert made == sum(len(line["about"]["errors"]) for line in written)


def test_the_same_command_writes_the_same_bytes(negalign: Run, cases: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    for path, seed in zip(files, (1, 1, 2), strict=True):
        assert negalign("inject", cases, "--out", path, "--seed", seed)[0] == 0
    first, again, other = (path.read_bytes() for path in files)
    assert first == again
    assert first != other


def test_score_takes_the_data_set_and_finds_what_was_put_in(
    negalign: Run, cases: Path, tmp_path: Path
) -> None:
    out, scores = tmp_path / "injected.jsonl", tmp_path / "scores.jsonl"
    negalign("inject", cases, "--out", out, "--operations", "R2,R5", "--untouched", 0.5,
             "--reworded", 0)  # fmt: skip
    assert negalign("score", "--pairs", out, "--out", scores)[0] == 0
    pairs = list(zip(lines(out), lines(scores), strict=True))
    assert [line["id"] for line, _ in pairs] == [score["id"] for _, score in pairs]
    injected = [p for p in pairs if p[0]["about"]["label"] == "injected"]
    found = [s["severities"][line["about"]["errors"][0]["id"]] > 0 for line, s in injected]
    assert sum(found) >= 0.9 * len(injected) > 10
    assert all(s["S"] == 0 for line, s in pairs if line["about"]["label"] == "untouched")


def test_a_table_is_read_by_its_column_and_bad_lines_exit_1_with_their_count(
    negalign: Run, tmp_path: Path
) -> None:
    table = tmp_path / "reports.csv"
    with table.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["uid", "final"])
        rows.writerow(["1", "Findings: Small left effusion. Impression: Small left effusion."])
        rows.writerow(["2"])
        rows.writerow(["3", ""])
    out = tmp_path / "out.jsonl"
    arguments = ("inject", table, "--out", out, "--untouched", 0, "--reworded", 0)
    code, _, err = negalign(*arguments)
    assert code == 1
    assert "no column reference or report or text" in err
    assert not out.exists()
    code, shown, err = negalign(*arguments, "--column", "final")
    assert code == 1
    assert "2 lines hold no report" in err
    assert "not used: 1 wrong columns (first in line 2)" in shown
    assert [line["id"] for line in lines(out)] == ["1:1"]


@pytest.mark.parametrize(
    ("arguments", "says", "exits"),
    [
        (["/nope.jsonl", "--out", "o.jsonl"], "cannot be read", 1),
        (["CASES", "--out", "CASES"], "is the input", 1),
        (["CASES", "--out", "."], "is a folder", 1),
        (["CASES", "--out", "o.jsonl", "--operations", "explode"], "is no operation", 1),
        (["CASES", "--out", "o.jsonl", "--operations", "R4", "--errors", 3], "lower --errors", 1),
        (["CASES", "--out", "o.jsonl", "--untouched", 0.9, "--reworded", 0.9], "sum up to", 1),
        (["CASES", "--out", "-", "--json"], "name a file", 2),
        (["CASES", "--out", "o.jsonl", "--column", "words"], "none of 80 lines gave", 1),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(
    negalign: Run, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[object], says: str, exits: int,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = cases.read_bytes()
    code, out, err = negalign("inject", *(cases if a == "CASES" else a for a in arguments))
    assert (code, out) == (exits, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.jsonl"]
    assert cases.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[{\n"text":\n"Left mass."}\n]\n', "write one JSON object a line"),
        (b"\x1f\x8b\x08\xff\n", "unpack the file and save it as UTF-8"),
        (b'{"words": "Left mass."}\n', "name the report's key with --column"),
        (b'{"text": "Nothing here"}\n', "name other operations"),
    ],
)
def test_a_file_that_gives_nothing_is_told_what_to_do(
    negalign: Run, tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_bytes(content)
    arguments = ("--operations", "R5", "--untouched", 0, "--reworded", 0)
    code, _, err = negalign("inject", path, "--out", tmp_path / "o.jsonl", *arguments)
    assert code == 1
    assert says in err


def test_standard_input_and_output_are_files_too(cases: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "-", "--out", "-"], input=cases.read_bytes(), capture_output=True, check=True
    )
    assert [json.loads(line)["case"] for line in done.stdout.splitlines()]
    assert b"80 reports read" in done.stderr


def test_an_interrupted_run_leaves_the_earlier_file(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("earlier")
    running = subprocess.Popen(
        [*COMMAND, "-", "--out", str(out)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdin is not None
    running.stdin.write(b'{"text": "Findings: Small left effusion."}\n' * 500)
    running.stdin.flush()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.jsonl.*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130
    assert b"nothing was written" in err
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert out.read_text() == "earlier"


def test_memory_stays_flat_over_a_long_file(tmp_path: Path) -> None:
    """Eight times the lines take no more than a few MiB more."""
    report = "Findings: Small left pleural effusion number {}. Impression: Small left effusion."

    def peak(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        path.write_text(
            "".join(json.dumps({"text": report.format(n)}) + "\n" for n in range(count))
        )
        code = (
            "import resource, sys; from negalign_train.commands import cli\n"
            "try:\n    cli.main()\nexcept SystemExit: pass\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
        )
        arguments = ["inject", str(path), "--out", str(tmp_path / "o"), "--operations", "R5,R2"]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        return int(done.stderr.split()[-1])

    assert resource.getpagesize() > 0
    assert peak(16_000) - peak(2_000) < 30 * 1024


def changed(body: Mapping[str, Any]) -> str:
    """A model that follows: the other side for a wrong location, nothing changed for the rest."""
    question = body["messages"][0]["content"]
    report: str = re.findall(r">\n(.*)\n</report-", question, re.DOTALL)[0]
    if "wrong location" not in question:
        return report
    return report.replace("left", "right")


def test_a_model_s_errors_are_kept_with_what_the_rules_say_of_them(
    negalign: Run, cases: Path, tmp_path: Path
) -> None:
    out = tmp_path / "elicited.jsonl"
    with chat_server(changed) as server:
        arguments = ("inject", cases, "--out", out, "--from-model", server.url, "--operations",
                     "R2,R5", "--untouched", 0.2, "--reworded", 0)  # fmt: skip
        code, shown, _ = negalign(*arguments, "--json")
        verified = tmp_path / "verified.jsonl"
        assert negalign(*arguments[:3], verified, *arguments[4:], "--verified-only")[0] == 0
        assert "left" not in str(server.headers)
    summary = json.loads(shown)
    assert code == 0
    counted = summary["categories"]
    assert abs(counted["R2"]["asked"] - counted["R5"]["asked"]) <= 1
    assert (counted["R2"]["verified"], counted["R2"]["unverified"]) == (0, 0)
    assert summary["unused"]["model_unchanged"]["count"] >= counted["R2"]["asked"]
    elicited = [line for line in lines(out) if line["about"]["label"] == "elicited"]
    assert len(elicited) == counted["R5"]["verified"] + counted["R5"]["unverified"]
    kinds = [line["about"]["verification"] for line in elicited]
    assert kinds.count("verified") == counted["R5"]["verified"] > 5
    for line in elicited:
        assert line["about"]["model"] == f"{server.url}/v1#judge-model"
        if line["about"]["verification"] == "verified":
            assert line["ratings"][0]["rater"] == "rules"
            assert line["ratings"][0]["errors"]["R5"] > 0
        else:
            assert line["expect"] == "R5 > 0"
            assert "ratings" not in line
    total = sum(summary["written"].values()) + sum(u["count"] for u in summary["unused"].values())
    assert total == summary["read"]
    assert negalign("judge", "bench", "--set", out, "--bootstrap", 100, "--json")[0] == 0
    kept = [line["about"].get("verification") for line in lines(verified)]
    assert set(kept) == {"verified", None}


def test_the_embedded_model_is_asked_offline_and_what_it_writes_instead_is_counted(
    negalign: Run, cases: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(cases.read_text().splitlines(keepends=True)[:4]))
    out = tmp_path / "out.jsonl"
    code, _, err = negalign("inject", few, "--out", out, "--from-model", "embedded", "--untouched",
                            0, "--reworded", 0, "--max-new-tokens", 24)  # fmt: skip
    # It was never taught to obey: nothing it writes is the report it was given.
    assert code == 1
    assert "none of 4 lines gave an erroneous report (model" in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "says", "exits"),
    [
        (["--from-model", "/nope"], "does not exist", 1),
        (["--from-model", "http://8.8.8.8"], "use a local one", 1),
        (["--from-model", "http://u:p@localhost"], "no place for a secret", 1),
        (["--from-model", "http://127.0.0.1:9#m"], "answered none of the first 8 questions", 1),
        (["--from-model", "embedded", "--errors", 2], "leave out --errors", 2),
        (["--verified-only"], "goes with --from-model", 2),
    ],
)
def test_a_model_that_cannot_be_asked_is_one_line_and_writes_nothing(
    negalign: Run, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[object], says: str, exits: int,
) -> None:  # fmt: skip
    monkeypatch.setattr("negalign_train.generation.askers._WAIT_SECONDS", 0.0)
    code, out, err = negalign("inject", cases, "--out", tmp_path / "o.jsonl", *arguments)
    assert (code, out) == (exits, "")
    assert says in err
    assert "u:p" not in err
    assert not (tmp_path / "o.jsonl").exists()
