"""Train the embedded generator from the synthetic grammar, and write its provenance.

A small Llama and its tokenizer, from scratch, on reports of the careless writer
(`negalign_train/simulate/habits.py`): what is left to learn from readers are that writer's habits.
It neither reads feedback nor builds an adapter.

    python scripts/build_embedded.py --out data/embedded --seed 0
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.fingerprint import base_digest, file_sha256
from negalign_train.records import Case
from negalign_train.resources import data_path
from negalign_train.simulate.habits import Habits, careless_report

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|user|>' if message['role'] == 'user' else '<|assistant|>' }}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL_TOKENS = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
IGNORED = -100


def build_tokenizer(texts: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
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
    return PreTrainedTokenizerFast(
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


def encode(
    tokenizer: PreTrainedTokenizerFast, cases: list[Case], reports: list[str]
) -> list[tuple[list[int], int]]:
    """Token ids of each chat, and where its completion starts."""
    prompts = [f"<|user|>{case.prompt}<|assistant|>" for case in cases]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    report_ids = tokenizer([f"{r}<|end|>" for r in reports], add_special_tokens=False)["input_ids"]
    return [(p + r, len(p)) for p, r in zip(prompt_ids, report_ids, strict=True)]


def batches(
    rows: list[tuple[list[int], int]], batch_size: int, rng: random.Random
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


def train(
    model: LlamaForCausalLM, rows: list[tuple[list[int], int]], args: argparse.Namespace
) -> list[float]:
    """One pass with AdamW, warm-up and cosine decay. Returns the loss of every step, nats/token."""
    rng = random.Random(args.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01
    )
    total = math.ceil(len(rows) / args.batch_size)
    warmup = max(1, total // 20)
    losses = []
    started = time.monotonic()
    for step, (ids, labels) in enumerate(batches(rows, args.batch_size, rng)):
        scale = min(1.0, (step + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * step / total))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * max(scale, 0.02)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reports", type=int, default=60_000)
    parser.add_argument("--habit-scale", type=float, default=1.5)
    parser.add_argument("--vocab-size", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    started = time.monotonic()
    # Stream "base" never meets the streams of feedback and evaluation cases (seeds differ).
    cases = synthetic_cases(0, args.reports, seed=args.seed + 9_000_000)
    habits = Habits().scaled(args.habit_scale)
    reports = [careless_report(case, habits, random.Random(case.case_id)) for case in cases]
    corpus = (f"{case.prompt} {report}" for case, report in zip(cases, reports, strict=True))
    tokenizer = build_tokenizer(corpus, args.vocab_size)
    model = build_model(args.vocab_size, args.hidden, args.layers)
    losses = train(model, encode(tokenizer, cases, reports), args)
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = 1
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    provenance = {
        "schema": "negalign.provenance/1",
        "command": {key: str(value) for key, value in vars(args).items() if key != "out"},
        "licence": "Apache-2.0; trained from the synthetic grammar of this repository only",
        "grammar_sha256": file_sha256(data_path("grammar.yaml")),
        "base_digest": base_digest(args.out),
        "parameters": model.num_parameters(),
        "torch": torch.__version__,
        "loss_first": round(losses[0], 4),
        "loss_last_50_mean": round(sum(losses[-50:]) / len(losses[-50:]), 4),
        "seconds": round(time.monotonic() - started),
    }
    (args.out / "PROVENANCE.json").write_text(json.dumps(provenance, indent=2) + "\n")
    print(json.dumps(provenance, indent=2))


if __name__ == "__main__":
    main()
