"""``negalign score``: two reports, files of them, and everything that can be wrong with a line."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from negalign_train.commands import cli
from negalign_train.severity.judges.rules import rules_version
from negalign_train.severity.pricing.calibration import CategoryScale, identity
from negalign_train.storage.workspace import write_json

LEFT, RIGHT = "Left pneumothorax.", "Right pneumothorax."
COMMAND = [sys.executable, "-m", "negalign_train.commands.cli", "score"]


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """``score("--reference", ...)`` gives (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["negalign", "score", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_texts_give_nine_severities_S_and_evidence(score):
    code, out, _ = score("--reference", LEFT, "--candidate", RIGHT, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["severities"] == dict.fromkeys([f"R{n}" for n in range(1, 10)], 0.0) | {"R5": 0.5}
    assert (result["S"], result["grade"], result["scorable"]) == (0.5, "reject", True)
    # E = 0.5 for the side; C = 1 * 1 / (1 + 0.5) for the pneumothorax itself.
    assert result["Q"] == pytest.approx(0.5 / (0.5 + 2 / 3 + 0.25), abs=1e-6)
    assert [item["id"] for item in result["evidence"]] == ["R5"]
    assert result["judge"] == {"name": "rules", "version": rules_version(), "calibration": None}


def test_the_table_shows_what_each_error_rests_on(score):
    code, out, _ = score("--reference", LEFT, "--candidate", "[bold]Right pneumothorax.")
    assert code == 0
    assert "S = 0.500" in out
    assert "Q = 0.353" in out
    assert "[bold]Right pneumothorax." in out.replace("\n", " ")
    assert "side or place differs" in out


def test_files_are_read_without_their_byte_order_mark(score, tmp_path):
    path = tmp_path / "r.txt"
    path.write_bytes(b"\xef\xbb\xbf" + LEFT.encode() + b"\r\n")
    for name in (path, f"@{path}"):
        code, out, _ = score("--reference", name, "--candidate", LEFT, "--json")
        assert (code, json.loads(out)["S"]) == (0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "says", "exits"),
    [
        (["--reference", "missing.txt", "--candidate", "x"], "missing.txt is not there", 1),
        (["--reference", "@x", "--candidate", "x"], "x is not there", 1),
        (["--reference", ".", "--candidate", "x"], "is a folder", 1),
        (["--reference", LEFT], "--reference and --candidate, or --pairs", 2),
        (["--pairs", "a", "--reference", "x"], "leave out --reference", 2),
        (["--pairs", "a", "--age", "3"], "the context stands in each line", 2),
        (["--pairs", "/nope.jsonl"], "cannot be read", 1),
        (["--reference", LEFT, "--candidate", LEFT, "--age", "900"], "0 to 130 years", 1),
        (["--reference", LEFT, "--candidate", LEFT, "--judge", "magic"], "is none of: rules", 1),
        (["--reference", LEFT, "--candidate", LEFT, "--calibration", "no"], "cannot be read", 1),
    ],
)
def test_a_wrong_call_is_one_line_that_says_what_to_do(score, arguments, says, exits):
    code, out, err = score(*arguments)
    assert (code, out) == (exits, "")
    assert says in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("reference", "candidate", "reason"),
    [("", LEFT, "empty_reference"), (LEFT, "", "empty_candidate"), (LEFT, "\x00?", None)],
)
def test_what_cannot_be_scored_has_a_reason_and_its_own_exit_code(
    score, reference, candidate, reason
):
    code, out, _ = score("--reference", reference, "--candidate", candidate, "--json")
    result = json.loads(out)
    assert code == (3 if result["S"] is None else 0)
    if reason is not None:
        assert (result["scorable"], result["reason"]) == (False, reason)
        assert (result["severities"], result["evidence"]) == (None, [])


def test_pairs_from_standard_input_may_replace_an_earlier_file(tmp_path):
    out = tmp_path / "scores.jsonl"
    out.write_text("earlier")
    pair = json.dumps({"id": 1, "reference": LEFT, "candidate": RIGHT}).encode()
    subprocess.run([*COMMAND, "--pairs", "-", "--out", out], input=pair, check=True)
    assert [line["S"] for line in lines(out)] == [0.5]


def test_a_pipe_is_a_file_and_what_is_not_text_is_refused(tmp_path):
    pipe = f"{' '.join(COMMAND)} --reference <(printf 'Left mass.') --candidate - --json"
    done = subprocess.run(
        ["bash", "-c", pipe], input=b"Left mass.", capture_output=True, check=True
    )
    assert json.loads(done.stdout)["S"] == 0.0
    for wrong, says in ((b"\xff\xfeL", "not UTF-8"), (b"x" * 900_000, "longer than any report")):
        failed = subprocess.run(["bash", "-c", pipe], input=wrong, capture_output=True)
        assert failed.returncode == 1
        assert says in failed.stderr.decode()


def test_every_line_gives_one_result_in_order(score, tmp_path):
    pairs, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = {"id": "a", "reference": "Tortuous aorta.", "candidate": "The heart is normal."}
    pairs.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(good).encode() + b"\r\n\r\n{torn\n\xff\xfe\n[1]\n"
        + b"".join(
            json.dumps(line).encode() + b"\n"
            for line in (
                good | {"id": 7, "context": {"age": 70, "indication": None}, "rating": 3},
                {"id": "b", "reference": "x"},
                good | {"id": "c", "context": {"sex": "F"}},
                good | {"id": "d", "context": {"age": True}},
                good | {"id": "e", "candidate": 3},
                good | {"id": ""},
                good | {"id": "f", "candidate": ""},
                good | {"id": "\ud800", "candidate": "Aorte tortueuse \u2603"},
            )
        )
    )  # fmt: skip
    code, _, err = score("--pairs", pairs, "--out", out)
    found = lines(out)
    assert [(r["id"], r["line"]) for r in found] == [
        ("a", 1), (None, 3), (None, 4), (None, 5), (7, 6), ("b", 7), ("c", 8), ("d", 9), ("e", 10),
        (None, 11), ("f", 12), ("\ud800", 13),
    ]  # fmt: skip
    assert [r["error"]["code"] for r in found if "error" in r] == [
        "not_json", "not_utf8", "not_object", "missing_key", "bad_context", "bad_context",
        "bad_type", "bad_id",
    ]  # fmt: skip
    assert (found[0]["S"], found[4]["S"]) == (0.25, 0.0)
    assert (found[10]["scorable"], found[10]["reason"]) == (False, "empty_candidate")
    assert code == 1
    assert "4 pairs, 2 of them cannot be scored, 8 lines in error" in err
    assert "aorta" not in err


def test_unscorable_pairs_alone_are_no_error(score, tmp_path):
    pairs, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    pairs.write_text(json.dumps({"id": 1, "reference": "", "candidate": ""}))
    assert score("--pairs", pairs, "--out", out)[0] == 0
    assert lines(out)[0]["S"] is None
    pairs.write_text("")
    assert score("--pairs", pairs, "--out", out)[0] == 0
    assert lines(out) == []


def test_csv_goes_in_and_comes_out(score, tmp_path):
    pairs, out = tmp_path / "in.csv", tmp_path / "out.csv"
    pairs.write_bytes(
        b"\xef\xbb\xbfid,reference,candidate,age,site\r\n"
        b'a,"Tortuous ""aorta"".","The heart is normal.\r\nThe lungs are clear.",70,x\r\n'
        b"b,Tortuous aorta.,The heart is normal.,,x\r\n"
        b"c,short\r\nd,\xff,x,,x\r\ne,a,b,old,x\r\n"
    )
    assert score("--pairs", pairs, "--out", out)[0] == 1
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [(r["id"], r["S"], r["error_code"]) for r in rows] == [
        ("a", "0.0", ""), ("b", "0.25", ""), ("c", "", "wrong_columns"), ("d", "", "not_utf8"),
        ("e", "", "bad_context"),
    ]  # fmt: skip
    assert json.loads(rows[1]["evidence"])[0]["finding"] == "tortuous_aorta"
    pairs.write_text("id,report\n1,x\n")
    code, _, err = score("--pairs", pairs, "--out", out)
    assert code == 1
    assert "no column reference, candidate" in err


def test_a_line_without_end_is_one_error_and_the_next_line_is_read(score, tmp_path, monkeypatch):
    monkeypatch.setattr("negalign_train.severity.judges.pair_files.MAX_PAIR_BYTES", 200)
    pairs, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = json.dumps({"id": "a", "reference": LEFT, "candidate": LEFT})
    pairs.write_text('{"id": "' + "x" * 5000 + "\n" + good + "\n")
    assert score("--pairs", pairs, "--out", out)[0] == 1
    assert [r.get("error", {}).get("code") for r in lines(out)] == ["too_long", None]


def test_the_output_is_never_the_input_or_a_folder(score, tmp_path):
    pairs = tmp_path / "in.jsonl"
    pairs.write_text("{}")
    for out in (pairs, tmp_path):
        code, _, err = score("--pairs", pairs, "--out", out)
        assert code == 1
        assert "name a new file" in err
    assert pairs.read_text() == "{}"


def test_a_calibration_is_applied_and_named(score, tmp_path):
    path = tmp_path / "calibration.json"
    found = identity("rules", rules_version(), "test")
    scales = dict(found.categories) | {"wrong_location": CategoryScale(0.5, 1.0, "adopted")}
    found = replace(found, categories=scales)
    write_json(path, found.to_json())
    _, out, _ = score(
        "--reference", LEFT, "--candidate", RIGHT, "--json", "--calibration", path
    )  # fmt: skip
    result = json.loads(out)
    assert (result["S"], result["judge"]["calibration"]) == (0.25, found.digest)


def test_rules_need_neither_torch_nor_a_database():
    """In a fresh interpreter; also that a report on standard input is read."""
    program = (
        "import sys; from negalign_train.commands import cli\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    code = stop.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'sqlalchemy', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)), code, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "score", "--reference", "-", "--candidate", RIGHT,
         "--json"],
        input=LEFT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.split()[-2:] == ["[]", "0"]
    assert json.loads(done.stdout)["S"] == 0.5


def test_an_interrupted_run_leaves_no_half_file(tmp_path):
    pipe, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    os.mkfifo(pipe)
    out.write_text("before\n")
    process = subprocess.Popen(
        [*COMMAND, "--pairs", str(pipe), "--out", str(out)], stderr=subprocess.PIPE, text=True
    )
    with pipe.open("w") as stream:
        stream.write(json.dumps({"id": 1, "reference": LEFT, "candidate": LEFT}) + "\n")
        stream.flush()
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(".out*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing was written" in err
    assert out.read_text() == "before\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    pairs = tmp_path / "in.jsonl"
    line = json.dumps({"id": 1, "reference": LEFT, "candidate": RIGHT}) + "\n"
    pairs.write_text(line * 3000)
    done = subprocess.run(
        f"{' '.join(COMMAND)} --pairs {pairs} | head -n 1", shell=True, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["S"] == 0.5
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_without_a_reference_only_R3_and_R9_are_numbers_and_the_rest_is_null(score, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Comparison: none. Observations: nodule, lung, left.")
    report = "Right lung nodule. No nodule. Effusion increased since the prior study."
    code, out, _ = score("--candidate", report, "--prompt", prompt, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["without_reference"] is True
    assert (result["S"], result["Q"]) == (None, None)
    known = {key: value for key, value in result["severities"].items() if value is not None}
    assert known.keys() == {"R3", "R9"}
    assert known["R3"] > 0
    flags = {(flag["kind"], flag["id"]): flag for flag in result["flags"]}
    assert flags["prompt_contradicted", "R5"]["prompt_text"] == "nodule"
    assert flags["prompt_contradicted", "R8"]["severity"] is None
    assert flags["self_contradiction", "R3"]["conflict_sentence"] == "No nodule."


def test_the_table_of_a_report_alone_says_what_is_unknown(score):
    code, out, _ = score("--candidate", "[red]9 cm nodule in the right lung.")
    assert code == 0
    assert "R3 = 0.000, R9 = 0.000; the other severities, S and Q are unknown" in out
    assert "90 mm, where 0.5 to 30 are possible" in out
    assert "[red]9 cm nodule" in out.replace("\n", " ")
    code, out, _ = score("--candidate", "Small left effusion.")
    assert (code, out.splitlines()[-1]) == (0, "no flag")
    code, out, _ = score("--candidate", "Die Lunge ist frei. Kein Erguss.")
    assert code == 3
    assert "other_language" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--candidate", LEFT, "--judge", "nli:x"], "only the rules judge"),
        (["--candidate", LEFT, "--calibration", "x"], "only the rules judge"),
        (["--candidate", LEFT, "--reference", LEFT, "--prompt", "x"], "leave it out"),
        (["--candidate", "-", "--prompt", "-"], "can be standard input"),
        (["--prompt", "x"], "--candidate alone"),
        (["--pairs", "x", "--prompt", "x"], "leave it out"),
    ],
)
def test_options_that_need_a_reference_are_refused_without_one(score, arguments, says):
    code, out, err = score(*arguments)
    assert (code, out) == (2, "")
    assert says in err
