"""What names a judge, and what does not."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from negalign_train.recipe.judge_spec import (
    JudgeName,
    JudgeSpec,
    ServerAddress,
    is_local,
    is_public,
    parse_judge,
    server_address,
)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("rules", JudgeSpec("rules")),
        ("nli:models/deberta", JudgeSpec("nli", "models/deberta")),
        ("finetuned:a b/judge", JudgeSpec("finetuned", "a b/judge")),
        ("self", JudgeSpec("self")),
        ("self:embedded", JudgeSpec("self", "embedded")),
        ("self:base#adapter", JudgeSpec("self", "base#adapter")),
        ("radeval:green", JudgeSpec("radeval", "green")),
        ("encoder", JudgeSpec("encoder")),
        ("encoder:models/minilm", JudgeSpec("encoder", "models/minilm")),
        ("ensemble", JudgeSpec("ensemble")),
        ("ensemble:both.json", JudgeSpec("ensemble", "both.json")),
    ],
)
def test_a_spec_is_a_kind_and_a_place(text, spec):
    assert parse_judge(text) == spec


@pytest.mark.parametrize(
    "text",
    ["", "rule", "Rules", "rules:x", "nli", "nli:", "nli: ", " rules", "rules ", "finetuned",
     "self:", "self:#a", "ensemble:", "gpt-4", "nli:a\nb", "nli:" + "x" * 2000],
)  # fmt: skip
def test_anything_else_names_no_judge(text):
    with pytest.raises(ValueError, match=r"is none of: rules, |lacks the base"):
        parse_judge(text)


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("http://localhost:8000", ServerAddress("http://localhost:8000/v1")),
        ("http://localhost:8000/", ServerAddress("http://localhost:8000/v1")),
        ("http://Judge.lan/openai/v1/", ServerAddress("http://judge.lan/openai/v1")),
        ("https://[::1]:9/v1#org/M", ServerAddress("https://[::1]:9/v1", "org/M")),
    ],
)
def test_a_server_is_an_address_and_maybe_a_model(place, address):
    assert server_address(place) == address


def test_the_parts_of_an_address_are_what_a_client_connects_to():
    found = server_address("https://[::1]/v1")
    assert (found.host, found.port, found.path, found.is_https) == ("::1", 443, "/v1", True)
    assert server_address("http://h").port == 80


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("localhost:8000", "must be http"),
        ("ftp://h", "must be http"),
        ("http://", "must be http"),
        ("http://h:0", "must be http"),
        ("http://h:99999", "no URL"),
        ("http://h#", "model's name"),
        ("http://me:secret@h", "NEGALIGN_JUDGE_API_KEY"),
        ("http://h/v1?key=secret", "NEGALIGN_JUDGE_API_KEY"),
    ],
)
def test_a_wrong_address_is_refused_and_a_secret_in_it_is_not_repeated(place, says):
    with pytest.raises(ValueError, match=says) as error:
        server_address(place)
    assert "secret" not in str(error.value).replace("for a secret", "")


def test_only_this_machine_and_private_networks_are_local():
    local = ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "172.16.5.5", "fd00::1", "fe80::1%eth0",
             "::ffff:10.0.0.1"]  # fmt: skip
    public = ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "0.0.0.0", "172.32.0.1"]
    assert [is_local(address) for address in local] == [True] * len(local)
    assert [is_local(address) for address in public] == [False] * len(public)
    # A name is looked up when the connection is made, not before.
    assert [is_public(host) for host in ("8.8.8.8", "10.1.2.3", "judge.example.com")] == [
        True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["", "bleu", "GREEN", "green,radgraph"])
def test_radeval_has_three_metrics(place):
    with pytest.raises(ValueError, match=r"is none of: |radgraph, chexbert, green"):
        parse_judge(f"radeval:{place}")


def test_a_recipe_takes_no_judge_that_sees_some_categories_only():
    adapter = TypeAdapter[str](JudgeName)
    assert adapter.validate_python("encoder") == "encoder"
    with pytest.raises(ValidationError, match="a recipe needs a judge of all"):
        adapter.validate_python("radeval:green")
