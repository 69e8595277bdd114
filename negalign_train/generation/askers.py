"""Questions to a model in this process or behind a chat endpoint: one answer each, or a reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from negalign_train.generation.reports import Generated, Sampling
from negalign_train.generation.writers import LocalWriter
from negalign_train.recipe.context_length import context_length
from negalign_train.recipe.judge_spec import JudgeServerSettings, ServerAddress, is_public
from negalign_train.severity.judges.server.endpoint import Endpoint, EndpointError
from negalign_train.storage.fingerprint import base_digest
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
from negalign_train.training.rows.tokenise import render_prompt
from negalign_train.vocabulary.errors import DataError, RecipeError

Answer = Generated | str
"""What a model wrote, or a key of ``elicitation.ELICITATION_REFUSALS``."""
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class AskSettings:
    """``max_new_tokens`` of an answer; ``temperature`` 0 is greedy; ``batch_size`` questions are
    answered together.
    """

    max_new_tokens: int = 256
    temperature: float = 0.8
    batch_size: int = 8


class Asker(Protocol):
    """A model that answers. ``name`` says which, and goes into the data."""

    @property
    def name(self) -> str: ...

    def ask(self, questions: Sequence[str], seed: int) -> list[Answer]:
        """One answer per question, in order. The same seed, the same answers of a local model."""
        ...


@dataclass(frozen=True)
class LocalAsker:
    """A model in this process."""

    name: str
    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    settings: AskSettings

    def ask(self, questions: Sequence[str], seed: int) -> list[Answer]:
        answers: list[Answer] = ["model_too_long"] * len(questions)
        fitting = [at for at, question in enumerate(questions) if self._fits(question)]
        if not fitting:
            return answers
        settings = self.settings
        writer = LocalWriter(self.model, self.tokenizer, settings.batch_size)
        sampling = Sampling(settings.temperature, seed) if settings.temperature > 0 else None
        written = writer.write([questions[at] for at in fitting], settings.max_new_tokens, sampling)
        for at, answer in zip(fitting, written, strict=True):
            answers[at] = answer
        return answers

    def _fits(self, question: str) -> bool:
        limit = context_length(self.model.config)
        used = len(render_prompt(self.tokenizer, question)) + self.settings.max_new_tokens
        return limit is None or used <= limit


def local_asker(model_dir: Path, adapter_dir: Path | None, settings: AskSettings) -> LocalAsker:
    """A base model's folder, and an adapter on it.

    Raises:
        TrainingError: a folder is missing or is not what it should be.
    """
    model = load_for_inference(model_dir, adapter_dir)
    adapter = "" if adapter_dir is None else f"#{adapter_dir.name}"
    name = f"{model_dir.name}@{base_digest(model_dir)[:12]}{adapter}"
    return LocalAsker(name, model, load_tokenizer(model_dir), settings)


@dataclass(frozen=True)
class ServerAsker:
    """A model behind an OpenAI-compatible chat endpoint on this machine or its network."""

    name: str
    endpoint: Endpoint
    model: str
    settings: AskSettings
    server: JudgeServerSettings
    wait: Callable[[float], None] = time.sleep

    def ask(self, questions: Sequence[str], seed: int) -> list[Answer]:
        with ThreadPoolExecutor(self.server.concurrency) as pool:
            places = range(seed, seed + len(questions))
            return list(pool.map(self._ask, questions, places))

    def _ask(self, question: str, seed: int) -> Answer:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": self.settings.temperature,
            "seed": seed % 2**31,
            "max_tokens": self.settings.max_new_tokens,
            "stream": False,
        }
        for attempt in range(self.server.retries + 1):
            if attempt:
                self.wait(_WAIT_SECONDS * 2 ** (attempt - 1))
            try:
                return Generated(self.endpoint.chat(body).strip(), 0, truncated=False)
            except EndpointError as error:
                if not error.again:
                    break
        return "model_no_answer"


def server_asker(
    address: ServerAddress,
    settings: AskSettings,
    server: JudgeServerSettings,
    wait: Callable[[float], None] = time.sleep,
) -> ServerAsker:
    """A model by its address; the only one of its server where the address names none.

    Raises:
        RecipeError: the address is outside this machine and its private networks.
        DataError: the server gives no list of models, or has several.
    """
    if is_public(address.host):
        raise RecipeError(
            f"the server {address.host} is outside this machine and its private networks, and "
            "reports would leave them; use a local one"
        )
    endpoint = Endpoint(address, server)
    model = address.model
    if model is None:
        try:
            models = endpoint.models()
        except EndpointError as error:
            raise DataError(
                f"the server {address.url} gave no list of its models; start it, or name the "
                "model: URL#MODEL"
            ) from error
        if len(models) != 1:
            raise DataError(
                f"the server {address.url} has {len(models)} models; name one: URL#MODEL"
            )
        model = models[0]
    return ServerAsker(f"{address.url}#{model}", endpoint, model, settings, server, wait)
