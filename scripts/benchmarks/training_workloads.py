"""Models and examples of the training benchmark: shapes, edit geometries, clinician edits."""

from __future__ import annotations

import csv
import random
import re
import zlib
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.training_shapes import Shape, Workload
from negalign_train.training.forward.tree import common_prefix_length
from negalign_train.training.rows.batches import PairRow, TokenSequence, UnpairedRow
from negalign_train.training.rows.kto_rows import add_mismatched, arrange

PAD, EOS, FIRST_WORD = 0, 1, 3
LORA_RANK = 16


def make_model(shape: Shape, dtype: torch.dtype) -> LlamaForCausalLM:
    """A random model, the same for the same shape."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden,
        intermediate_size=shape.intermediate, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        max_position_embeddings=4_096, tie_word_embeddings=shape.tied,
        pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None,
    )  # fmt: skip
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(previous)


def lora_config() -> LoraConfig:
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return LoraConfig(
        task_type="CAUSAL_LM", r=LORA_RANK, lora_alpha=2 * LORA_RANK, lora_dropout=0.0,
        target_modules=targets,
    )  # fmt: skip


def make_tokenizer() -> PreTrainedTokenizerFast:
    """What TRL asks of a tokenizer when rows come tokenised: pad and end-of-sequence ids."""
    vocabulary = {"<pad>": PAD, "<eos>": EOS, "<unk>": 2}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>",
        chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}",
    )  # fmt: skip


def pair_rows(workload: Workload, steps: int) -> list[PairRow]:
    """Pairs of ``steps`` optimiser steps, those of a step of like length."""
    count = steps * workload.examples
    if workload.medec is not None:
        return _medec_pairs(Path(workload.medec), workload.shape.vocabulary, count)
    rng = random.Random(0)

    def words(length: int) -> list[int]:
        return [rng.randrange(FIRST_WORD, workload.shape.vocabulary) for _ in range(length)]

    rows = []
    for index in range(count):
        common, suffix = words(workload.common), words(workload.suffix - 1)
        other = [FIRST_WORD + (suffix[0] + 1) % 100, *words(workload.suffix - 2)][: len(suffix)]
        rows.append(
            _pair(index, words(workload.prompt), [*common, *suffix, EOS], [*common, *other, EOS])
        )
    return rows


def _pair(index: int, prompt: list[int], chosen: list[int], rejected: list[int]) -> PairRow:
    return {
        "example_id": f"p{index}",
        "prompt_ids": prompt,
        "chosen_ids": chosen,
        "rejected_ids": rejected,
        "chosen_weights": [1.0] * len(chosen),
        "rejected_weights": [1.0] * len(rejected),
        "weight": 1.0,
        "length": len(prompt) + max(len(chosen), len(rejected)),
        "shared": common_prefix_length(chosen, rejected),
    }


def _medec_pairs(path: Path, vocabulary: int, count: int) -> list[PairRow]:
    """Corrected and wrong texts of MEDEC behind one instruction; pieces of up to five letters stand
    in for a tokenizer's, which gives about 1.4 of them per word.
    """

    def encode(text: str) -> list[int]:
        pieces = re.findall(r"\w{1,5}|[^\w\s]", text)
        ids = [zlib.crc32(piece.encode()) % (vocabulary - FIRST_WORD) for piece in pieces]
        return [FIRST_WORD + each for each in ids] + [EOS]

    prompt = encode("Write the clinical note of the following case, with findings and plan.")[:-1]
    with path.open(encoding="utf-8", newline="") as stream:
        edited = [line for line in csv.DictReader(stream) if line["Error Flag"] == "1"]
    rows = [
        _pair(index, prompt, encode(line["Corrected Text"]), encode(line["Text"]))
        for index, line in enumerate(edited)
    ]
    rows = [row for row in rows if row["length"] <= 512]
    chosen = random.Random(0).sample(rows, count)
    return sorted(chosen, key=lambda row: row["length"])


def unpaired_rows(workload: Workload, steps: int) -> list[UnpairedRow]:
    """Both texts of each case as rows, in KTO's order, each with its mismatched completion."""
    pairs = pair_rows(replace(workload, examples=workload.examples // 2), steps)
    rows: list[UnpairedRow] = [
        {
            "example_id": f"{pair['example_id']}-{label}",
            "group": pair["example_id"],
            "prompt_ids": pair["prompt_ids"],
            "completion_ids": ids,
            "token_weights": [1.0] * len(ids),
            "label": label,
            "weight": 1.0,
        }
        for pair in pairs
        for label, ids in ((True, pair["chosen_ids"]), (False, pair["rejected_ids"]))
    ]
    arranged = arrange(rows, 0, workload.examples)
    add_mismatched(arranged, workload.examples)
    return arranged


def rollout_sequences(workload: Workload, steps: int) -> list[TokenSequence]:
    """Groups of sampled completions, in order."""
    rng = random.Random(0)
    top = workload.shape.vocabulary
    sequences = []
    for _ in range(steps * workload.examples // workload.group):
        prompt = [rng.randrange(FIRST_WORD, top) for _ in range(workload.prompt)]
        for _ in range(workload.group):
            ids = [rng.randrange(FIRST_WORD, top) for _ in range(workload.suffix - 1)]
            sequences.append(TokenSequence(prompt, [*ids, EOS], [1.0] * workload.suffix))
    return sequences
