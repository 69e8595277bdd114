"""Questions to a model here or on a server: answers in order, reasons where none came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from negalign_train.generation.askers import AskSettings, ServerAsker, local_asker, server_asker
from negalign_train.generation.reports import Generated
from negalign_train.recipe.judge_spec import JudgeServerSettings, server_address
from negalign_train.storage.fingerprint import base_digest
from negalign_train.vocabulary.errors import DataError, RecipeError
from tests.judge_servers import ChatServer, chat_server

SERVER = JudgeServerSettings(timeout_seconds=5.0, retries=1, concurrency=3)


def asker_of(server: ChatServer, **overrides: Any) -> ServerAsker:
    settings = AskSettings(**{"max_new_tokens": 12, "temperature": 0.5} | overrides)
    return server_asker(server_address(server.url), settings, SERVER, wait=lambda _: None)


def test_a_server_s_answers_come_in_order_with_one_seed_each() -> None:
    with chat_server(lambda body: body["messages"][0]["content"].upper()) as server:
        asker = asker_of(server)
        assert asker.ask(["a", "b", "c"], seed=7) == [
            Generated(text, 0, truncated=False) for text in ("A", "B", "C")
        ]
        assert asker.name == f"{server.url}/v1#judge-model"
        sent = sorted(server.bodies, key=lambda body: body["seed"])
    assert [body["seed"] for body in sent] == [7, 8, 9]
    assert {(b["temperature"], b["max_tokens"], b["stream"]) for b in sent} == {(0.5, 12, False)}


def test_a_question_without_an_answer_has_a_reason_and_the_others_theirs() -> None:
    with chat_server(lambda body: 500 if body["messages"][0]["content"] == "b" else "x") as server:
        answers = asker_of(server).ask(["a", "b"], seed=0)
        assert len(server.bodies) == 3  # one more attempt
    assert answers == [Generated("x", 0, truncated=False), "model_no_answer"]


def test_an_address_outside_is_refused_and_an_unclear_model_too() -> None:
    with pytest.raises(RecipeError, match="use a local one"):
        server_asker(server_address("http://8.8.8.8:80"), AskSettings(), SERVER)
    with chat_server(lambda _: "x") as server:
        server.models = ["a", "b"]
        with pytest.raises(DataError, match="has 2 models; name one: URL#MODEL"):
            asker_of(server)
    with pytest.raises(DataError, match="gave no list of its models; start it"):
        asker_of(server)


def test_a_local_model_answers_alike_for_one_seed_and_refuses_what_does_not_fit(base: Path) -> None:
    asker = local_asker(base, None, AskSettings(max_new_tokens=8, batch_size=2))
    assert asker.name == f"{base.name}@{base_digest(base)[:12]}"
    questions = ["heart", "x" * 400, "lungs"]
    first, long, last = asker.ask(questions, seed=3)
    assert long == "model_too_long"
    assert isinstance(first, Generated)
    assert isinstance(last, Generated)
    assert asker.ask(questions, seed=3) == [first, long, last]
    assert asker.ask(questions, seed=4) != [first, long, last]
    assert asker.ask(["x" * 400], seed=3) == ["model_too_long"]
