"""Reports from a vLLM server, over its OpenAI-compatible interface (vLLM 0.33, not run here).

The server is started by its owner, sees the same discs, and takes adapters at run time:

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE --enable-lora --max-lora-rank 16

Adapters are loaded under a name made from their content. A name used twice for two adapters would
be answered from the first one's prefix cache (vLLM 42125), which is a wrong report with no error.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from negalign_train.generation.reports import Generated, Sampling
from negalign_train.progress import Tick, no_tick
from negalign_train.recipe.gate import RolloutSettings
from negalign_train.storage.fingerprint import file_sha256, fingerprint
from negalign_train.storage.workspace import read_json
from negalign_train.training.rows.tokenise import render_prompt
from negalign_train.vocabulary.errors import GateError
from negalign_train.vocabulary.records import Prompt

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What ``--max-lora-rank`` may be (vLLM 0.33, config/lora.py)."""

_PLAIN_SAMPLING = {
    "n": 1, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
    "presence_penalty": 0.0, "frequency_penalty": 0.0, "skip_special_tokens": False,
}  # fmt: skip
"""Said in every request: vLLM would take the model's own generation_config (Qwen's penalises
repetition), and models would not be decoded alike. Control tokens in the middle of a report stay
visible: they are slips.
"""


@dataclass(frozen=True)
class Server:
    """A server's address, time limit and concurrency."""

    settings: RolloutSettings

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer to a GET, or to a POST of ``body``.

        Raises:
            GateError: no answer, an error, or no JSON. The message holds nothing that was sent.
        """
        url = f"{self.settings.server_url}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        # No proxy: what is sent holds report text, and goes to this server alone.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.settings.timeout_seconds) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            error.close()
            raise GateError(self._refused(path, error.code)) from None
        except TimeoutError as error:
            raise GateError(self._too_slow(path)) from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise GateError(self._too_slow(path)) from error
            raise GateError(
                f"the vLLM server {self.settings.server_url} does not answer "
                f"({type(reason).__name__}); start it, correct evaluation.rollouts.server_url, or "
                "set backend: generate"
            ) from error
        return _parsed(text, path) if text.startswith(b"{") else None

    def _too_slow(self, path: str) -> str:
        return (
            f"the vLLM server did not answer {path} within {self.settings.timeout_seconds:g} s; "
            "raise evaluation.rollouts.timeout_seconds, or lower its concurrency"
        )

    def _refused(self, path: str, status: int) -> str:
        hint = {
            400: "it refuses the request: is the adapter's rank within its --max-lora-rank, the "
            "prompt within its --max-model-len, and its folder visible to the server?",
            404: "it has no such path or model: start it with --enable-lora and "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True",
        }.get(status, "look into the server's own log")
        return f"the vLLM server answered {path} with status {status}; {hint}"


def _parsed(text: bytes, path: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise GateError(
            f"the vLLM server's answer to {path} is no JSON; is it an OpenAI-compatible server?"
        ) from error


@dataclass(frozen=True)
class ServedModel:
    """A model by the name under which the server has it."""

    server: Server
    name: str


def max_lora_rank(rank: int) -> int:
    """The smallest ``--max-lora-rank`` that takes adapters of ``rank``.

    Raises:
        GateError: vLLM takes none of that rank.
    """
    fitting = [allowed for allowed in LORA_RANKS if allowed >= rank]
    if not fitting:
        raise GateError(
            f"vLLM loads adapters up to rank {LORA_RANKS[-1]}, not {rank}; lower lora.r"
        )
    return fitting[0]


def served_name(adapter_dir: Path) -> str:
    """A name that no other adapter has: two files decide what an adapter is."""
    content = [
        file_sha256(adapter_dir / file)
        for file in ("adapter_config.json", "adapter_model.safetensors")
    ]
    return f"negalign-{fingerprint(content)[:16]}"


@contextmanager
def serving(
    settings: RolloutSettings, base_name: str, adapter_dir: Path | None
) -> Iterator[ServedModel]:
    """Loads the adapter into the server and unloads it at the end; None is the bare base.

    Raises:
        GateError: the server serves another base, or does not take the adapter.
    """
    server = Server(settings)
    base = _served_base(server, base_name)
    if adapter_dir is None:
        yield ServedModel(server, base)
        return
    name = served_name(adapter_dir)
    if name not in {str(card.get("id")) for card in _models(server)}:
        _load(server, name, adapter_dir)
    try:
        yield ServedModel(server, name)
    finally:
        server.ask("/v1/unload_lora_adapter", {"lora_name": name})


def _models(server: Server) -> list[Mapping[str, Any]]:
    try:
        return [dict(card) for card in server.ask("/v1/models")["data"]]
    except (KeyError, TypeError, ValueError) as error:
        raise GateError(
            "the vLLM server's list of models cannot be read; is it an OpenAI-compatible server?"
        ) from error


def _load(server: Server, name: str, adapter_dir: Path) -> None:
    needed = max_lora_rank(read_json(adapter_dir / "adapter_config.json")["r"])
    body = {"lora_name": name, "lora_path": str(adapter_dir.resolve())}
    try:
        server.ask("/v1/load_lora_adapter", body)
    except GateError as error:
        raise GateError(f"{error} This adapter needs --max-lora-rank {needed}.") from error


def _served_base(server: Server, base_name: str) -> str:
    """The id of the served base. Adapters name a parent, the base does not."""
    bases = [card for card in _models(server) if not card.get("parent")]
    if len(bases) != 1 or base_name not in (bases[0].get("root"), bases[0].get("id")):
        served = ", ".join(str(card.get("root") or card.get("id")) for card in bases) or "none"
        raise GateError(
            f"the vLLM server serves {served}, the recipe's base is {base_name}; start it with "
            "that one, or correct evaluation.rollouts.server_url"
        )
    return str(bases[0]["id"])


@dataclass(frozen=True)
class ServerWriter:
    """Asks for one report per request; the server batches what arrives together."""

    served: ServedModel
    tokenizer: PreTrainedTokenizerBase
    end_ids: Collection[int]

    def write(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        sampling: Sampling | None = None,
        tick: Tick = no_tick,
    ) -> list[Generated]:
        """One completion per prompt, in their order; greedy where ``sampling`` is None.

        A sample depends on its prompt's place and the seed, not on what is asked at the same time.
        Equal prompts of a greedy call are asked once.

        Raises:
            GateError: the server refuses, is too slow, or answers something else.
        """
        rows = [tuple(render_prompt(self.tokenizer, prompt)) for prompt in prompts]
        first_of = {row: number for number, row in reversed(list(enumerate(rows)))}
        numbers = range(len(rows)) if sampling is not None else first_of.values()
        # Longest first: they finish last.
        asked = sorted(((number, rows[number]) for number in numbers), key=lambda i: -len(i[1]))

        def ask(item: tuple[int, tuple[int, ...]]) -> Generated:
            number, row = item
            return self._ask(row, max_new_tokens, _decoding(sampling, number))

        with ThreadPoolExecutor(self.served.server.settings.concurrency) as pool:
            done: dict[int, Generated] = {}
            tick(0, len(asked))
            for (number, _), report in zip(asked, pool.map(ask, asked), strict=True):
                done[number] = report
                tick(len(done), len(asked))
        return [
            done[number if sampling is not None else first_of[row]]
            for number, row in enumerate(rows)
        ]

    def _ask(
        self, row: Sequence[int], max_new_tokens: int, decoding: Mapping[str, Any]
    ) -> Generated:
        body: dict[str, Any] = {
            "model": self.served.name,
            "prompt": list(row),
            "max_tokens": max_new_tokens,
            "stop_token_ids": sorted(self.end_ids),
        }
        answer = self.served.server.ask("/v1/completions", body | _PLAIN_SAMPLING | dict(decoding))
        try:
            choice, tokens = answer["choices"][0], int(answer["usage"]["completion_tokens"])
            text = self._without_end(str(choice["text"]))
            return Generated(text.strip(), tokens, choice["finish_reason"] == "length")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise GateError(
                "the vLLM server's answer to /v1/completions lacks choices[0].text, finish_reason "
                "or usage.completion_tokens; is it an OpenAI-compatible server?"
            ) from error

    def _without_end(self, text: str) -> str:
        """vLLM 0.33 leaves out the token it stopped at; one that does not is no model's slip."""
        for token in self.tokenizer.convert_ids_to_tokens(sorted(self.end_ids)):
            text = text.removesuffix(token)
        return text


def _decoding(sampling: Sampling | None, number: int) -> dict[str, Any]:
    """Temperature and the seed of one prompt, by its place."""
    if sampling is None:
        return {"temperature": 0.0, "seed": 0}
    return {
        "temperature": sampling.temperature,
        "seed": (sampling.seed * 1_000_003 + number) % 2**31,
    }
