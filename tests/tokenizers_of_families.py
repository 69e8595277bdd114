"""Small tokenizers with the chat formats of four families of base models. Offline."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import GenerationConfig, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Family:
    """Its special tokens, ``eos_token``, what ends an assistant's turn, and the tokens that its
    generation config lists as EOS.
    """

    special: tuple[str, ...]
    eos: str
    end_of_turn: str
    listed: tuple[str, ...]
    template: str


FAMILIES = {
    "llama3": Family(
        special=("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                 "<|eom_id|>", "<|eot_id|>"),
        eos="<|end_of_text|>",
        end_of_turn="<|eot_id|>",
        listed=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        template="<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}"
        "<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n"
        "{% endif %}",
    ),
    "qwen": Family(
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|endoftext|>",
        end_of_turn="<|im_end|>",
        listed=("<|endoftext|>",),
        template="{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
    "gemma": Family(
        special=("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        eos="<eos>",
        end_of_turn="<end_of_turn>",
        listed=("<eos>", "<end_of_turn>"),
        template="<bos>{% for m in messages %}<start_of_turn>"
        "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
        "<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    ),
    "gpt2": Family(
        special=("<|endoftext|>",),
        eos="<|endoftext|>",
        end_of_turn="<|endoftext|>",
        listed=("<|endoftext|>",),
        template="{% for m in messages %}{{ m['role'] | capitalize }}: {{ m['content'] }}"
        "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}"
        "{% if add_generation_prompt %}Assistant: {% endif %}",
    ),
}  # fmt: skip


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    """One token per byte, the family's special tokens first, and its chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*family.special, *alphabet])}
    backend = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(family.special))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=family.special[0], eos_token=family.eos
    )
    tokenizer.chat_template = family.template
    return tokenizer


def generation_config_of(family: Family) -> GenerationConfig:
    """A list of EOS ids where the family has several, else the one."""
    tokenizer = tokenizer_of(family)
    ids = [tokenizer.vocab[token] for token in family.listed]
    return GenerationConfig(eos_token_id=ids if len(ids) > 1 else ids[0])
