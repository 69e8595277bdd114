"""A random two-layer model with a word tokenizer, and adapters on it, for the evaluation tests."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from negalign_train.vocabulary.records import CATEGORIES, ScoredReport, SeverityScore

WORDS = ["heart", "normal", "small", "large", "effusion", "left", "right", "clear", "lungs", "."]
_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<user> {{ m['content'] }}{% else %}"
    " {{ m['content'] }}<eos>{% endif %}{% endfor %}{% if add_generation_prompt %} <bot>{% endif %}"
)


def save_base(folder: Path, seed: int = 0) -> Path:
    """A base model folder: 2 layers of width 32, word-level tokenizer, chat template."""
    vocabulary = {
        w: i for i, w in enumerate(["<pad>", "<eos>", "<unk>", "<user>", "<bot>", *WORDS])
    }
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<bot>"],
        chat_template=_TEMPLATE,
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def save_adapter(base: Path, folder: Path, scale: float, seed: int = 1) -> Path:
    """A LoRA adapter whose B matrices are drawn with standard deviation ``scale``."""
    torch.manual_seed(seed)
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(base),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=scale)
    model.save_pretrained(folder)
    return folder


def report(case, severities=None, text="Clear.", **overrides):
    """A scored report; ``severities`` by category name, None where it could not be scored."""
    assert severities is None or set(severities) <= set(CATEGORIES)
    fields = {
        "case_id": case,
        "group": f"g-{case}",
        "completion": text,
        "num_tokens": 3,
        "truncated": False,
        "score": None
        if severities is None
        else SeverityScore(dict.fromkeys(CATEGORIES, 0.0) | severities),
    }
    return ScoredReport(**(fields | overrides))
