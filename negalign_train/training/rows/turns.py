"""Where an assistant's turn ends: one rule for training, drafting, the gate and GRPO.

A tokenizer's ``eos_token`` alone is not it. Llama 3 ends a turn with ``<|eot_id|>`` and a text with
``<|end_of_text|>``; a base whose ``eos_token`` is ``<|endoftext|>`` may be trained on ChatML's
``<|im_end|>``; Gemma's is ``<end_of_turn>`` beside ``<eos>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from negalign_train.vocabulary.errors import TrainingError

_QUESTION, _ANSWER = "Any effusion?", "No effusion."


ALTERED = (
    "the chat template alters the text of a completion, so that span weights cannot be placed; "
    "use a base whose template renders the assistant's content unchanged"
)


def rendered(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[dict[str, str]],
    add_generation_prompt: bool = False,
) -> str:
    """A conversation as the chat template writes it.

    Raises:
        TrainingError: the template refuses it, as Gemma's refuses a system role.
    """
    try:
        text = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise TrainingError(
            f"the base's chat template refuses a conversation of the roles {roles} "
            f"({type(error).__name__}); write the prompts in roles that it takes, or use another "
            "chat_template.jinja"
        ) from error
    assert isinstance(text, str)
    return text


def special_strings(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """What this tokenizer takes for one of its control tokens wherever it stands in a text."""
    added = tokenizer.added_tokens_decoder.values()
    special = {token.content for token in added if token.special}
    special.update(str(token) for token in tokenizer.all_special_tokens)
    # A mark of the template that is not flagged as special, as in some conversions of ChatML.
    template = tokenizer.chat_template
    written = template if isinstance(template, str) else "".join((template or {}).values())
    special.update(
        token.content
        for token in added
        if len(token.content) > 2 and not token.content.isalnum() and token.content in written
    )
    return tuple(sorted(token for token in special if token.strip()))


def _tail(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that the chat template writes after an assistant's text."""
    question = {"role": "user", "content": _QUESTION}
    text = rendered(tokenizer, [question, {"role": "assistant", "content": _ANSWER}])
    if _ANSWER not in text:
        raise TrainingError(ALTERED)
    rest = text[text.rfind(_ANSWER) + len(_ANSWER) :].lstrip()
    ids: list[int] = tokenizer(rest, add_special_tokens=False)["input_ids"]
    return ids


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token with which the chat template ends the assistant's turn.

    Raises:
        TrainingError: there is none, so that a model would never learn to stop.
    """
    ids = _tail(tokenizer)
    marks = {tokenizer.convert_tokens_to_ids(token) for token in special_strings(tokenizer)}
    if not ids or ids[0] not in marks:
        raise TrainingError(
            "the chat template does not end the assistant's turn with a special token (the "
            f"tokenizer's eos_token is {tokenizer.eos_token!r}), so the model would never learn to "
            "stop; fix chat_template.jinja of the base"
        )
    return ids[0]


def end_tokens(
    tokenizer: PreTrainedTokenizerBase, generation_config: GenerationConfig | None
) -> frozenset[int]:
    """All tokens at which a completion ends: the template's end of turn, the tokenizer's EOS, and
    every EOS of the model's generation config.

    Raises:
        TrainingError: the chat template does not end the assistant's turn.
    """
    listed = None if generation_config is None else generation_config.eos_token_id
    several = [] if listed is None else [listed] if isinstance(listed, int) else list(listed)
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return frozenset([end_of_turn(tokenizer), *own, *several])


def read_generation_config(model_dir: Path) -> GenerationConfig:
    """The model's own: ``generation_config.json``, else what its config says."""
    if (model_dir / "generation_config.json").is_file():
        own: GenerationConfig = GenerationConfig.from_pretrained(model_dir, local_files_only=True)
        return own
    config = AutoConfig.from_pretrained(model_dir, local_files_only=True, trust_remote_code=False)
    return GenerationConfig.from_model_config(config)
