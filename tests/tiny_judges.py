"""Small random judges built in code, as ``save_pretrained`` leaves them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers.processors import TemplateProcessing
from transformers import DebertaConfig, DebertaForSequenceClassification, DebertaModel

from tests.tiny import byte_tokenizer

NLI_LABELS = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}


def pair_tokenizer():
    """One token per byte; a pair is ``a <eos> b <eos>``."""
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|eos|>", pair="$A <|eos|> $B <|eos|>", special_tokens=[("<|eos|>", 1)]
    )
    return tokenizer


def config(labels: dict[int, str] = NLI_LABELS, positions: int = 512) -> DebertaConfig:
    return DebertaConfig(
        vocab_size=len(byte_tokenizer()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=positions,
        pad_token_id=0,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        type_vocab_size=0,
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
    )


def write_nli(folder: Path, labels: dict[int, str] = NLI_LABELS, positions: int = 512) -> Path:
    """A random three-way classifier with the architecture of ``microsoft/deberta-large-mnli``."""
    torch.manual_seed(0)
    DebertaForSequenceClassification(config(labels, positions)).save_pretrained(folder)
    pair_tokenizer().save_pretrained(folder)
    return folder


def write_encoder(folder: Path, positions: int = 512) -> Path:
    """The bare encoder, without a head."""
    torch.manual_seed(1)
    DebertaModel(config(positions=positions)).save_pretrained(folder)
    pair_tokenizer().save_pretrained(folder)
    return folder
