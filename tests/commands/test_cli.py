"""The command line: what it prints, its exit codes, and that it stays light and offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from negalign_train.offline import go_offline
from negalign_train.preferences.files import write_pairs
from negalign_train.preferences.replay import COUNTS_FILE, PAIRS_FILE
from negalign_train.registry.adapters import Registry
from negalign_train.registry.lock import cycle_lock
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace, write_json
from tests.registries import RECORD
from tests.registry.test_weights import candidate

EventDict = Callable[..., dict[str, Any]]
Negalign = Callable[..., tuple[int, str, str]]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def log_file(tmp_path: Path, event_dict: EventDict) -> Path:
    """Two good lines, one of another schema, one torn."""
    lines = [event_dict(), event_dict(event_id="b", reader={"id": "r-7"}), {"schema": "x"}]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    return path


@pytest.fixture
def registry(workspace: Path, tmp_path: Path) -> Registry:
    """Adapters a (promoted, retired) and b (champion)."""
    place = Workspace(workspace)
    registry = Registry(place, open_database(place.database_url))
    source = candidate(tmp_path / "candidate")
    for name, parent in (("a", None), ("b", "a")):
        registry.publish(source, replace(RECORD, adapter_id=name, parent_id=parent))
        registry.promote(name, by="gate", reason="better")
    return registry


def test_import_reports_where_every_line_went_and_succeeds(
    negalign: Negalign, workspace: Path, log_file: Path
) -> None:
    code, out, _ = negalign("feedback", "import", log_file, "--workspace", workspace)
    assert code == 0
    assert out.splitlines() == [
        "read 4 = accepted 2 + duplicate 0 + quarantined 1 + incomplete 1",
        "  unknown_schema: 1",
        "  the last line was not complete yet; import the file again later",
        "new readers: r-03, r-7",
    ]


def test_import_sums_several_files_as_json(
    negalign: Negalign, workspace: Path, log_file: Path
) -> None:
    code, out, _ = negalign("feedback", "import", log_file, log_file, "-w", workspace, "--json")
    assert code == 0
    assert json.loads(out) == {
        "read": 8,
        "accepted": 2,
        "duplicate": 2,
        "quarantined": 2,
        "incomplete": 2,
        "newly_quarantined": 1,
        "released": 0,
        "reasons": {"unknown_schema": 2},
        "new_readers": ["r-03", "r-7"],
    }


@pytest.mark.parametrize("content", ["", "\n", "{broken\n", '{"schema": "other/1"}\n'])
def test_import_fails_where_no_line_is_an_event(
    negalign: Negalign, workspace: Path, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(content)
    code, _, err = negalign("feedback", "import", path, "-w", workspace)
    assert code == 1
    assert "no line could be read as an event" in err


def test_import_of_a_missing_file_imports_nothing(
    negalign: Negalign, workspace: Path, log_file: Path, tmp_path: Path
) -> None:
    code, _, err = negalign("feedback", "import", log_file, tmp_path / "no.jsonl", "-w", workspace)
    assert code == 1
    assert err.startswith("error: ")
    assert "No such file or directory" in err
    assert "Nothing was imported" in err
    assert not workspace.exists()


def test_stats_shows_readers_and_categories(
    negalign: Negalign, workspace: Path, log_file: Path
) -> None:
    negalign("feedback", "import", log_file, "-w", workspace)
    code, out, _ = negalign("feedback", "stats", "-w", workspace)
    assert code == 0
    assert out.splitlines()[:2] == [
        "2 events on 1 cases, 0 threads, 2 with an edit",
        "mean S 0.50 over 2 events with severities",
    ]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["r-03", "1", "50%", "0", "1", "0", "0.50", "38.5", "0"] in rows
    assert ["r-7", "1", "50%", "0", "1", "0", "0.50", "–", "0"] in rows
    assert ["wrong_location", "2", "0.500"] in rows
    assert ["embedded", "c0003-dpo-1f9a", "2", "100%"] in rows
    found = json.loads(negalign("feedback", "stats", "-w", workspace, "--json")[1])
    assert (found["events"], found["mean_severity"]) == (2, 0.5)
    assert found["grades"] == {"accept": 0, "partial": 2, "reject": 0}


def test_stats_of_marks_without_severities_count_the_marks_and_know_no_mean(
    negalign: Negalign, workspace: Path, tmp_path: Path, event_dict: EventDict
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps(event_dict(errors=[{"category": "wrong_location"}])) + "\n")
    negalign("feedback", "import", log, "-w", workspace)
    out = negalign("feedback", "stats", "-w", workspace)[1]
    assert out.splitlines()[1] == (
        "mean S – over 0 events with severities; the scorer prices the other 1 in a cycle"
    )
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["wrong_location", "1", "–"] in rows
    assert ["device_error", "0", "–"] in rows


def test_pairs_of_a_cycle_without_pairs_shows_that_nothing_is_known_of_them(
    negalign: Negalign, workspace: Path
) -> None:
    """A cycle of KTO on accepted reports alone has labels and no pair."""
    place = Workspace(workspace)
    folder = place.cycle_dir(1)
    folder.mkdir(parents=True)
    write_json(folder / COUNTS_FILE, {"pairs": 0, "unpaired": 70, "refused": {}})
    write_pairs(folder / PAIRS_FILE, [])
    code, out, _ = negalign("pairs", "-w", workspace)
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["unpaired", "70"] in rows
    assert ["pair weight: mean", "–"] in rows


def test_quarantine_lists_places_and_reasons(
    negalign: Negalign, workspace: Path, log_file: Path
) -> None:
    negalign("feedback", "import", log_file, "-w", workspace)
    [line] = json.loads(negalign("feedback", "quarantine", "-w", workspace, "--json")[1])
    assert (line["line_number"], line["reason"]) == (3, "unknown_schema")
    assert line["origin"] == str(log_file.resolve())
    assert "unknown_schema" in negalign("feedback", "quarantine", "-w", workspace)[1]


def test_export_writes_what_import_reads(
    negalign: Negalign, workspace: Path, log_file: Path, tmp_path: Path, event_dict: EventDict
) -> None:
    negalign("feedback", "import", log_file, "-w", workspace)
    path = tmp_path / "out.jsonl"
    assert negalign("feedback", "export", path, "-w", workspace)[0] == 0
    assert json.loads(path.read_text().splitlines()[0]) == event_dict()
    out = negalign("feedback", "import", path, "-w", workspace)[1]
    assert out.startswith("read 2 = accepted 0 + duplicate 2 ")


def test_no_command_prints_report_text(
    negalign: Negalign, workspace: Path, tmp_path: Path, event_dict: EventDict
) -> None:
    secret = "Mr Example has a pneumothorax"
    texts = {"prompt": secret, "completion": secret, "edited": secret + ".", "errors": []}
    values = [event_dict(**texts), event_dict(**texts | {"event_id": "b", "grade": secret})]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    printed = ""
    for command in (("import", path), ("stats",), ("stats", "--json"), ("quarantine",)):
        code, out, err = negalign("feedback", *command, "-w", workspace)
        assert code == 0
        printed += out + err
    assert "pneumothorax" not in printed
    assert "Example" not in printed


@pytest.mark.parametrize("command", [("feedback", "stats"), ("adapters", "list"), ("unlock",)])
def test_a_mistyped_workspace_is_an_error_and_is_not_created(
    negalign: Negalign, workspace: Path, command: tuple[str, ...]
) -> None:
    code, out, err = negalign(*command, "-w", workspace)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith(f"error: there is no workspace at {workspace}")
    assert not workspace.exists()


@pytest.mark.parametrize("content", [None, b""])
@pytest.mark.parametrize("command", [("feedback", "import", "LOG"), ("adapters", "list")])
def test_old_cycles_without_their_database_are_never_taken_for_a_new_workspace(
    negalign: Negalign,
    workspace: Path,
    log_file: Path,
    content: bytes | None,
    command: tuple[str, ...],
) -> None:
    (workspace / "cycles" / "c0001").mkdir(parents=True)
    if content is not None:
        (workspace / "negalign.db").write_bytes(content)
    words = [str(log_file) if word == "LOG" else word for word in command]
    code, out, err = negalign(*words, "-w", workspace)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"is {'missing' if content is None else 'empty'}, but {workspace} holds cycles" in err
    assert not (workspace / "negalign.db").exists() or content == b""


def test_a_database_url_replaces_the_file_in_the_workspace(
    negalign: Negalign, workspace: Path, log_file: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    places = ("-w", workspace, "--database-url", url)
    assert negalign("feedback", "import", log_file, *places)[0] == 0
    assert not workspace.exists()
    assert negalign("feedback", "stats", *places)[1].startswith("2 events")


def test_adapters_are_listed_shown_and_found(
    negalign: Negalign, workspace: Path, registry: Registry
) -> None:
    listed = json.loads(negalign("adapters", "list", "-w", workspace, "--json")[1])
    assert [(item["adapter_id"], item["state"]) for item in listed] == [
        ("a", "retired"),
        ("b", "promoted"),
    ]
    shown = json.loads(negalign("adapters", "show", "champion", "-w", workspace, "--json")[1])
    assert (shown["adapter_id"], shown["lineage"]) == ("b", ["b", "a"])
    assert [move["previous_id"] for move in shown["history"]] == ["a"]
    assert "promoted" in negalign("adapters", "list", "-w", workspace)[1]
    assert "b <- a" in negalign("adapters", "show", "b", "-w", workspace)[1]
    code, out, _ = negalign("adapters", "path", "champion", "-w", workspace)
    assert (code, out) == (0, f"{registry.path('b').resolve()}\n")


def test_a_candidate_that_the_gate_left_open_is_listed_as_inconclusive(
    negalign: Negalign, workspace: Path, registry: Registry, tmp_path: Path
) -> None:
    for name, outcome in (("c", "inconclusive: mean_S: not shown"), ("d", "rejected: kl_to_base")):
        source = candidate(tmp_path / name)
        registry.publish(source, replace(RECORD, adapter_id=name, parent_id="b"))
        registry.reject(name, outcome)
    out = negalign("adapters", "list", "-w", workspace)[1]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    states = {row[0]: row[1] for row in rows if len(row) > 1}
    assert (states["c"], states["d"]) == ("rejected (inconclusive)", "rejected")


def test_promote_and_rollback_move_the_champion(
    negalign: Negalign, workspace: Path, registry: Registry, tmp_path: Path
) -> None:
    registry.publish(
        candidate(tmp_path / "c"), replace(RECORD, adapter_id="c", parent_id="b", cycle=3)
    )
    arguments = ("-w", workspace, "--by", "anna", "--reason", "checked by hand")
    assert negalign("adapters", "promote", "c", *arguments)[1] == "champion: c\n"
    assert negalign("adapters", "rollback", *arguments)[1] == "champion: b\n"
    assert negalign("adapters", "rollback", "--to", "a", *arguments)[1] == "champion: a\n"
    assert [(move.changed_by, move.adapter_id) for move in registry.history()[2:]] == [
        ("anna", "c"),
        ("anna", "b"),
        ("anna", "a"),
    ]
    assert negalign("adapters", "rollback", "--to", "base", *arguments)[1] == (
        "champion: the base model\n"
    )
    assert negalign("adapters", "approve", "c", *arguments)[1] == "approved: c\n"
    listed = json.loads(negalign("adapters", "list", "-w", workspace, "--json")[1])
    assert [item["adapter_id"] for item in listed if item["aliases"] == ["approved"]] == ["c"]
    assert negalign("adapters", "approve", "base", *arguments)[1] == "approved: the base model\n"


def test_verify_names_the_damaged_file_and_goes_on(
    negalign: Negalign, workspace: Path, registry: Registry
) -> None:
    assert negalign("adapters", "verify", "-w", workspace)[:2] == (0, "a: whole\nb: whole\n")
    (registry.path("a") / "README.md").write_text("")
    code, out, err = negalign("adapters", "verify", "-w", workspace)
    assert (code, out) == (1, "b: whole\n")
    assert "README.md is damaged" in err
    code, out, _ = negalign("adapters", "path", "a", "-w", workspace)
    assert (code, out) == (1, "")


def test_unlock_refuses_while_the_cycle_runs_here(negalign: Negalign, workspace: Path) -> None:
    engine = open_database(Workspace(workspace).database_url)
    assert negalign("unlock", "-w", workspace)[1] == "the workspace is not locked\n"
    with cycle_lock(engine, 4):
        code, _, err = negalign("unlock", "-w", workspace)
    assert code == 75
    assert "cycle 4, since " in err
    assert "is running here" in err


def test_env_tells_versions_and_offline_settings(negalign: Negalign) -> None:
    found = json.loads(negalign("env", "--json")[1])
    assert found["HF_HUB_OFFLINE"] == "1"
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["trl"].startswith("1.")
    assert "negalign-train" in negalign("env")[1]


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("feedback",),
        *(("feedback", name) for name in ("import", "stats", "quarantine", "export")),
        ("adapters",),
        *(
            ("adapters", name)
            for name in ("list", "show", "path", "verify", "promote", "approve", "rollback")
        ),
        ("env",),
        ("unlock",),
    ],
)
def test_every_command_answers_help(negalign: Negalign, command: tuple[str, ...]) -> None:
    code, out, _ = negalign(*command, "--help")
    assert code == 0
    assert "Usage: negalign" in out


def test_an_unknown_option_is_refused(negalign: Negalign) -> None:
    assert negalign("feedback", "stats", "--workplace", "x")[0] == 2


_LIGHT = """
import sys
from negalign_train.commands import cli
sys.argv = ["negalign", *sys.argv[1:]]
try:
    cli.main()
except SystemExit as stopped:
    code = stopped.code
heavy = {"torch", "transformers", "trl", "peft", "datasets", "accelerate"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


@pytest.mark.parametrize(
    "command", [["--help"], ["env"], ["feedback", "import", "log.jsonl"], ["feedback", "stats"]]
)
def test_no_command_here_imports_torch(log_file: Path, command: list[str]) -> None:
    first = [sys.executable, "-m", "negalign_train.commands.cli", "feedback", "import", "log.jsonl"]
    subprocess.run(first, check=True, cwd=log_file.parent, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", _LIGHT, *command],
        check=False, cwd=log_file.parent, capture_output=True, text=True,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if not line.startswith("warning: log.jsonl")]
    assert (done.returncode, said) == (0, [])


def test_offline_is_the_default_and_the_user_s_choice_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "")
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY")
    go_offline()
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
