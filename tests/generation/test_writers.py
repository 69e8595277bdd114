"""Who writes reports: this process, or a vLLM server, here a fake one on a thread."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import GenerationConfig

from negalign_train.generation.reports import Generated, Sampling, generate_reports
from negalign_train.generation.vllm_server import max_lora_rank, served_name
from negalign_train.generation.writers import report_writer
from negalign_train.recipe.gate import EvaluationSettings
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
from negalign_train.training.rows.tokenise import render_prompt
from negalign_train.vocabulary.errors import GateError
from tests.evaluation_support import save_adapter, save_base

PROMPTS = ["heart", "small left effusion", "lungs clear . heart normal .", "large", "heart"]


class FakeServer(ThreadingHTTPServer):
    """Answers as vLLM does. ``asked`` holds (path, body) of every POST in order of arrival."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.adapters: list[str] = []
        self.base = "tests/base"
        self.status: dict[str, int] = {}
        self.completion: dict[str, Any] | None = None
        self.delay_seconds = 0.0

    def handle_error(self, *_: Any) -> None:
        """Silent: a client that gave up leaves a broken pipe."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for asked, body in self.asked if asked == path]


class Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def answer(self, status: int, value: Any) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        cards = [{"id": "base", "root": self.server.base, "parent": None}]
        cards += [{"id": name, "root": "p", "parent": "base"} for name in self.server.adapters]
        self.answer(200, {"object": "list", "data": cards})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        if status := self.server.status.get(self.path):
            return self.answer(status, {"message": "a prompt that must not be repeated"})
        if self.path == "/v1/load_lora_adapter":
            self.server.adapters.append(body["lora_name"])
            return self.answer(200, "Success: LoRA adapter added successfully.")
        if self.path == "/v1/unload_lora_adapter":
            self.server.adapters.remove(body["lora_name"])
            return self.answer(200, "Success: LoRA adapter removed successfully.")
        # The longest prompt is answered last, so that order is ours to keep.
        time.sleep(self.server.delay_seconds + 0.002 * len(body["prompt"]))
        text = f" report of {len(body['prompt'])} tokens "
        reason = "length" if len(body["prompt"]) > 20 else "stop"
        return self.answer(
            200,
            self.server.completion
            or {
                "choices": [{"text": text, "finish_reason": reason}],
                "usage": {"completion_tokens": 7},
            },
        )


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    thread = threading.Thread(target=fake.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    fake.shutdown()
    thread.join()
    fake.server_close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return (
        save_adapter(base, folder / "c1" / "adapter", 0.2, seed=1),
        save_adapter(base, folder / "c2" / "adapter", 0.2, seed=2),
    )


def no_model() -> Any:
    raise AssertionError("a server needs no model here")


def settings(server: FakeServer, **overrides: Any) -> EvaluationSettings:
    rollouts = {"backend": "vllm_server", "server_url": server.url, "concurrency": 3} | overrides
    return EvaluationSettings.model_validate(
        {"batch_size": 2, "num_kl_cases": 1, "max_retention_cases": 0, "rollouts": rollouts}
    )


def write(
    server: FakeServer, base: Path, adapter: Path | None = None, **overrides: Any
) -> list[Generated]:
    sampling = overrides.pop("sampling", None)
    tokenizer = load_tokenizer(base)
    with report_writer(
        settings(server, **overrides), "tests/base", adapter, tokenizer, no_model
    ) as writer:
        return writer.write(PROMPTS, 12, sampling)


def test_reports_come_back_in_the_order_of_their_prompts(server, base):
    actual = write(server, base)
    lengths = [len(render_prompt(load_tokenizer(base), prompt)) for prompt in PROMPTS]
    assert [each.text for each in actual] == [f"report of {length} tokens" for length in lengths]
    assert [each.truncated for each in actual] == [length > 20 for length in lengths]
    assert {each.num_tokens for each in actual} == {7}
    # Greedy: equal prompts are asked once.
    assert len(server.bodies("/v1/completions")) == 4


def test_a_request_says_all_that_decides_the_report(server, base):
    write(server, base)
    tokenizer = load_tokenizer(base)
    by_prompt = {tuple(body["prompt"]): body for body in server.bodies("/v1/completions")}
    assert by_prompt[tuple(render_prompt(tokenizer, "large"))] == {
        "model": "base", "prompt": render_prompt(tokenizer, "large"), "max_tokens": 12,
        "stop_token_ids": [tokenizer.eos_token_id], "temperature": 0.0, "seed": 0, "n": 1,
        "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "skip_special_tokens": False,
    }  # fmt: skip


def test_a_server_stops_at_every_end_token_of_the_generation_config(server, base, tmp_path):
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    GenerationConfig(eos_token_id=[1, 4]).save_pretrained(folder)
    assert {tuple(b["stop_token_ids"]) for b in _bodies(server, folder)} == {(1, 4)}
    # A server that leaves the token it stopped at in the text does not make it a slip.
    server.completion = {
        "choices": [{"text": " clear <bot>", "finish_reason": "stop"}],
        "usage": {"completion_tokens": 2},
    }
    assert {each.text for each in write(server, folder)} == {"clear"}


def _bodies(server: FakeServer, folder: Path) -> list[dict[str, Any]]:
    write(server, folder)
    return server.bodies("/v1/completions")


def test_a_sample_has_a_seed_of_its_own_that_depends_on_its_place(server, base):
    write(server, base, sampling=Sampling(0.7, seed=5))
    first = server.bodies("/v1/completions")
    assert len(first) == len(PROMPTS)
    assert {body["temperature"] for body in first} == {0.7}
    assert sorted(body["seed"] for body in first) == [5_000_015 + i for i in range(5)]
    server.asked.clear()
    write(server, base, sampling=Sampling(0.7, seed=5), concurrency=1)
    again = {(tuple(b["prompt"]), b["seed"]) for b in server.bodies("/v1/completions")}
    assert again == {(tuple(b["prompt"]), b["seed"]) for b in first}


def test_each_adapter_has_a_name_of_its_own_and_is_unloaded(server, base, adapters):
    for adapter in adapters:
        write(server, base, adapter)
    loaded = server.bodies("/v1/load_lora_adapter")
    names = [body["lora_name"] for body in loaded]
    assert names == [served_name(adapter) for adapter in adapters]
    assert len(set(names)) == 2
    assert [body["lora_path"] for body in loaded] == [str(each) for each in adapters]
    assert [body["lora_name"] for body in server.bodies("/v1/unload_lora_adapter")] == names
    assert [body["model"] for body in server.bodies("/v1/completions")] == [names[0]] * 4 + [
        names[1]
    ] * 4
    assert server.adapters == []


def test_an_adapter_that_a_dead_run_left_loaded_is_used(server, base, adapters):
    server.adapters.append(served_name(adapters[0]))
    assert len(write(server, base, adapters[0])) == 5
    assert server.bodies("/v1/load_lora_adapter") == []


def test_another_base_is_refused(server, base):
    server.base = "another/base"
    with pytest.raises(GateError, match=r"serves another/base, the recipe's base is tests/base"):
        write(server, base)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/load_lora_adapter", 400, r"--max-lora-rank, .* needs --max-lora-rank 8\."),
        ("/v1/load_lora_adapter", 404, r"start it with --enable-lora"),
        ("/v1/completions", 500, r"status 500; look into the server's own log"),
    ],
)
def test_what_the_server_refuses_is_told_without_its_text(
    server, base, adapters, path, status, message
):
    server.status[path] = status
    with pytest.raises(GateError, match=message) as refused:
        write(server, base, adapters[0])
    assert "repeated" not in str(refused.value)
    assert "effusion" not in str(refused.value)


def test_an_answer_without_a_completion_is_refused(server, base):
    server.completion = {"choices": []}
    with pytest.raises(GateError, match="lacks choices"):
        write(server, base)


def test_a_slow_server_is_told_apart_from_a_dead_one(server, base):
    server.delay_seconds = 0.5
    with pytest.raises(GateError, match=r"within 0\.1 s; raise evaluation\.rollouts"):
        write(server, base, timeout_seconds=0.1)
    nowhere = "http://127.0.0.1:9"
    with pytest.raises(GateError, match=r"does not answer \(ConnectionRefusedError\); start it"):
        write(server, base, server_url=nowhere)


def test_the_model_in_this_process_writes_by_default(base):
    model, tokenizer = load_for_inference(base, None), load_tokenizer(base)
    plain = EvaluationSettings.model_validate(
        {"batch_size": 2, "num_kl_cases": 1, "max_retention_cases": 0}
    )
    with report_writer(plain, "tests/base", None, tokenizer, lambda: model) as writer:
        actual = writer.write(PROMPTS, 12, None)
    assert actual == generate_reports(model, tokenizer, PROMPTS, 12, 8)


def test_a_server_needs_an_address_and_only_a_server():
    keys: dict[str, Any] = {"batch_size": 2, "num_kl_cases": 1, "max_retention_cases": 0}
    for rollouts in ({"backend": "vllm_server"}, {"server_url": "http://localhost:8000"}):
        with pytest.raises(ValidationError, match="server_url goes with backend vllm_server"):
            EvaluationSettings.model_validate(keys | {"rollouts": rollouts})


@pytest.mark.parametrize(("rank", "allowed"), [(1, 1), (4, 8), (16, 16), (17, 32), (512, 512)])
def test_the_rank_a_server_must_allow_is_the_next_of_vllms(rank, allowed):
    assert max_lora_rank(rank) == allowed


def test_a_rank_above_vllms_is_refused():
    with pytest.raises(GateError, match="up to rank 512, not 513"):
        max_lora_rank(513)
