"""How many tokens a base can see."""

from __future__ import annotations

from transformers import PretrainedConfig


def context_length(config: PretrainedConfig) -> int | None:
    """The positions of the part that writes text (``text_config`` of a composite such as Gemma 3);
    None where the config names no limit, as those of models with ALiBi.
    """
    limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return None if limit is None else int(limit)
