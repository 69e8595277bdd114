"""Small generators from scratch: tokenizer, model and training loop, for the scripts beside it."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|user|>' if message['role'] == 'user' else '<|assistant|>' }}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL_TOKENS = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
IGNORED = -100


def build_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: whole words of the grammar, and still every byte of any other text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def build_model(vocab_size: int, hidden: int, layers: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        use_cache=True,
    )
    return LlamaForCausalLM(config)


Row = tuple[list[int], int]
"""Token ids of a chat, and where its completion starts."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. ``epochs`` passes with AdamW, warm-up and cosine decay."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    bf16: bool


def encode(tokenizer: PreTrainedTokenizerFast, prompts: list[str], reports: list[str]) -> list[Row]:
    prompt_ids = tokenizer(
        [f"<|user|>{prompt}<|assistant|>" for prompt in prompts], add_special_tokens=False
    )["input_ids"]
    report_ids = tokenizer([f"{r}<|end|>" for r in reports], add_special_tokens=False)["input_ids"]
    return [(p + r, len(p)) for p, r in zip(prompt_ids, report_ids, strict=True)]


def batches(
    rows: list[Row], batch_size: int, rng: random.Random
) -> Iterator[tuple[Tensor, Tensor]]:
    """Length-bucketed batches of input ids and labels (batch, length), in a seeded order."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i][0]) // 8, rng.random()))
    groups = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    rng.shuffle(groups)
    for group in groups:
        length = max(len(rows[i][0]) for i in group)
        ids = torch.zeros(len(group), length, dtype=torch.long)
        labels = torch.full((len(group), length), IGNORED)
        for row, i in enumerate(group):
            tokens, start = rows[i]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, start : len(tokens)] = torch.tensor(tokens[start:])
        yield ids, labels


def train_model(model: LlamaForCausalLM, rows: list[Row], schedule: Schedule) -> list[float]:
    """Trains on the completions. Returns the loss of every step, nats per token."""
    rng = random.Random(schedule.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=schedule.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=schedule.weight_decay,
    )
    total = schedule.epochs * math.ceil(len(rows) / schedule.batch_size)
    warmup = max(1, total // 20)
    losses: list[float] = []
    started = time.monotonic()
    for ids, labels in _passes(rows, schedule, rng):
        step = len(losses)
        scale = min(1.0, (step + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * step / total))
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * max(scale, 0.02)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=schedule.bf16):
            loss = model(input_ids=ids, attention_mask=ids != 0, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 50 == 0 or step + 1 == total:
            seconds = time.monotonic() - started
            print(f"step {step + 1}/{total}  loss {losses[-1]:.3f}  {seconds:.0f} s", flush=True)
    return losses


def _passes(
    rows: list[Row], schedule: Schedule, rng: random.Random
) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(schedule.epochs):
        yield from batches(rows, schedule.batch_size, rng)
