"""How many tokens a base can see."""

from __future__ import annotations

from typing import Any, Protocol


class ModelConfig(Protocol):
    """A config of transformers, as far as it is asked here."""

    def get_text_config(self, decoder: bool = ...) -> Any: ...


def context_length(config: ModelConfig) -> int | None:
    """The positions of the part that writes text (``text_config`` of a composite such as Gemma 3);
    None where the config names no limit, as those of models with ALiBi.
    """
    limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return None if limit is None else int(limit)
