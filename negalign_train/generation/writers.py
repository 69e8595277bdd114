"""Who writes the held-out reports: the model in this process, or a vLLM server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from negalign_train.generation.reports import Generated, Sampling, generate_reports
from negalign_train.generation.vllm_server import ServerWriter, serving
from negalign_train.progress import Tick, no_tick
from negalign_train.recipe.gate import EvaluationSettings
from negalign_train.training.rows.turns import end_tokens, read_generation_config
from negalign_train.vocabulary.records import Prompt


class ReportWriter(Protocol):
    """Writes reports with one model, a base and perhaps an adapter on it."""

    def write(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        sampling: Sampling | None = None,
        tick: Tick = no_tick,
    ) -> list[Generated]:
        """One completion per prompt, in their order; greedy where ``sampling`` is None."""
        ...


@dataclass(frozen=True)
class LocalWriter:
    """The model in this process, in length-sorted batches."""

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int
    with_entropy: bool = False

    def write(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        sampling: Sampling | None = None,
        tick: Tick = no_tick,
    ) -> list[Generated]:
        return generate_reports(
            self.model,
            self.tokenizer,
            prompts,
            max_new_tokens,
            self.batch_size,
            sampling,
            tick,
            with_entropy=self.with_entropy,
        )


@contextmanager
def report_writer(
    settings: EvaluationSettings,
    base_name: str,
    adapter_dir: Path | None,
    tokenizer: PreTrainedTokenizerBase,
    load: Callable[[], PreTrainedModel | PeftModel],
    *,
    with_entropy: bool = False,
) -> Iterator[ReportWriter]:
    """The writer that a recipe asks for; ``load`` is called where the model is needed here.

    ``tokenizer`` comes from the base model's folder. It and that folder's generation config decide
    where a report ends. ``with_entropy``: the model here measures it; a server does not say.

    Raises:
        GateError: the server does not answer, or serves another base than ``base_name``.
    """
    if settings.rollouts.backend == "generate":
        yield LocalWriter(load(), tokenizer, settings.batch_size, with_entropy)
        return
    with serving(settings.rollouts, base_name, adapter_dir) as served:
        generation_config = read_generation_config(Path(tokenizer.name_or_path))
        yield ServerWriter(served, tokenizer, end_tokens(tokenizer, generation_config))
