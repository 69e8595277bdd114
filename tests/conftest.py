"""Fixtures shared by every room. Additive: extend, never change what a fixture returns."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from negalign_train.commands import cli
from negalign_train.feedback.store import FeedbackStore
from negalign_train.offline import go_offline
from negalign_train.registry.adapters import Registry
from negalign_train.registry.manifest import AdapterRecord
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.marks import has_unpriced_marks, marked_severities
from negalign_train.vocabulary.records import ErrorMark, Event, Generator, Reader, Source
from tests.postgresql import MISSING, URL_VARIABLE, running_server, server_programs
from tests.registries import RECORD
from tests.registry.test_weights import LORA_A, candidate

go_offline()  # before any test imports transformers, peft or datasets

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    # A shell starts what it puts into the background with Ctrl-C ignored; the commands that tests
    # interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

COMPLETION = "Findings: Small left pleural effusion. The heart is normal in size."
EDITED = "Findings: Small right pleural effusion. The heart is normal in size."

_EVENT_DICT: dict[str, Any] = {
    "schema": "negalign.feedback/1",
    "event_id": "ls-8812",
    "revision": 1,
    "case_id": "openi-1042",
    "thread_id": None,
    "turn": 1,
    "created_at": "2026-11-02T09:14:00Z",
    "prompt": "Indication: cough.",
    "completion": COMPLETION,
    "generator": {"base": "embedded", "adapter": "c0003-dpo-1f9a"},
    "grade": "partial",
    "errors": [{"category": "wrong_location", "severity": 0.5, "span": [10, 37], "comment": None}],
    "edited": EDITED,
    "reader": {"id": "r-03", "role": "radiologist", "seconds": 38.5, "saw_ai": True},
    "source": {"system": "label-studio", "ref": "task 8812"},
}


@pytest.fixture
def now() -> datetime:
    """The only clock of the tests."""
    return datetime(2026, 11, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def event_dict() -> Callable[..., dict[str, Any]]:
    """``event_dict(**overrides)``: one legal event as JSON (DESIGN 2.1), keys replaced."""

    def make(**overrides: Any) -> dict[str, Any]:
        return copy.deepcopy(_EVENT_DICT) | overrides

    return make


@pytest.fixture
def make_event() -> Callable[..., Event]:
    """``make_event(**overrides)``: one legal event, record fields replaced.

    Severities follow from grade and errors, as at import, unless they are given.
    """

    def make(**overrides: Any) -> Event:
        accepted = overrides.get("grade") == "accept"
        fields: dict[str, Any] = {
            "event_id": "ls-8812",
            "revision": 1,
            "case_id": "openi-1042",
            "created_at": "2026-11-02T09:14:00Z",
            "prompt": "Indication: cough.",
            "completion": COMPLETION,
            "grade": "partial",
            "reader": Reader("r-03", "radiologist", 38.5, True),
            "generator": Generator("embedded", "c0003-dpo-1f9a"),
            "source": Source("label-studio", "task 8812"),
            "errors": () if accepted else (ErrorMark("wrong_location", 0.5, (10, 37)),),
            "edited": None if accepted else EDITED,
        }
        fields |= overrides
        marks = fields["errors"]
        known = (marks and not has_unpriced_marks(marks)) or fields["grade"] == "accept"
        if "severities" not in fields and known:
            severities = marked_severities(marks)
            fields |= {"severities": severities, "severity_source": "reader"}
        return Event(**fields)

    return make


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL server: the one that NEGALIGN_TEST_DATABASE_URL names, or a private one."""
    if (url := os.environ.get(URL_VARIABLE)) is not None:
        yield url
        return
    programs = server_programs()
    if programs is None:
        pytest.skip(MISSING)
    # Not pytest's folder: a socket's path may have no more than 107 characters.
    with (
        tempfile.TemporaryDirectory(prefix="negalign-") as folder,
        running_server(Path(folder), programs) as url,
    ):
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'workspace' / 'negalign.db'}"
        return
    server: str = request.getfixturevalue("postgresql_url")
    schema = f"test_{uuid.uuid4().hex}"
    engine = create_engine(server, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    url = make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


@pytest.fixture
def negalign(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """``negalign("feedback", "stats")`` runs ``main`` and gives (exit code, stdout, stderr)."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "1")  # so that what main() sets is undone after the test

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["negalign", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        code = stopped.value.code
        out, err = capsys.readouterr()
        return (code if isinstance(code, int) else 0), out, err

    return run


@pytest.fixture(scope="session")
def two_cycles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """Folder of a workspace of two cycles, the base model's digests from before, the first run's
    results, the adapters' digests after it, the second run's results. Copy it to change it.

    Run once for all workers, by the one that asks first.
    """
    from tests.cycles import run_two_cycles  # noqa: PLC0415  heavy: torch, for those who ask

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    stored = folder / "two_cycles.pickle"
    with FileLock(folder / "two_cycles.lock"):
        if not stored.is_file():
            stored.write_bytes(pickle.dumps(run_two_cycles(folder / "two_cycles" / "workspace")))
    results: tuple[Any, ...] = pickle.loads(stored.read_bytes())
    return results


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny base model with random weights. Read-only."""
    from tests.tiny import write_tiny_model  # noqa: PLC0415  heavy: torch

    folder = tmp_path_factory.mktemp("base")
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def parent(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an adapter on ``base``. Read-only."""
    from tests.tiny import write_parent  # noqa: PLC0415  heavy: torch

    return write_parent(tmp_path_factory.mktemp("parent"), base)


@pytest.fixture
def registry(database_url: str, tmp_path: Path, now: datetime) -> Registry:
    workspace = Workspace(tmp_path / "workspace")
    return Registry(workspace, open_database(database_url), clock=lambda: now)


@pytest.fixture
def publish(registry: Registry, tmp_path: Path) -> Callable[..., AdapterRecord]:
    """``publish("x", parent_id=...)``: a new adapter with that id, its weights made from the id."""

    def make(adapter_id: str, **overrides: Any) -> AdapterRecord:
        weights = np.random.default_rng(list(adapter_id.encode())).random((2, 3), np.float32)
        folder = candidate(tmp_path / "candidates" / adapter_id, {LORA_A: weights})
        return registry.publish(folder, replace(RECORD, adapter_id=adapter_id, **overrides))

    return make


@pytest.fixture
def log(database_url: str, now: datetime) -> FeedbackStore:
    return FeedbackStore(database_url, clock=lambda: now)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Llama and TRL's head compute in float64 where the model is."""
    import trl.trainer.utils  # noqa: PLC0415  heavy: torch

    from tests.tiny import ExactLogProbs, compute_llama_exactly  # noqa: PLC0415

    compute_llama_exactly(monkeypatch)
    monkeypatch.setattr(trl.trainer.utils, "_ChunkedLogProbFunction", ExactLogProbs)
