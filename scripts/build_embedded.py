"""Train the embedded generator from the synthetic grammar, and write its provenance.

A small Llama and its tokenizer, from scratch, on reports of the careless writer
(`negalign_train/simulate/habits.py`): what is left to learn from readers are that writer's habits.
It neither reads feedback nor builds an adapter.

    python scripts/build_embedded.py --out data/embedded --seed 0
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.simulate.habits import Habits, careless_report
from negalign_train.storage.fingerprint import base_digest

DIGESTED = 1_000
"""Training texts that the provenance has the digest of."""


def training_texts(count: int, seed: int, habit_scale: float) -> list[tuple[str, str]]:
    """(prompt, report) of the generator's first ``count`` training cases."""
    # Stream "base" never meets the streams of feedback and evaluation cases (seeds differ).
    cases = synthetic_cases(0, count, seed=seed + 9_000_000)
    habits = Habits().scaled(habit_scale)
    return [
        (str(case.prompt), careless_report(case, habits, random.Random(case.case_id)))
        for case in cases
    ]


def digest_of(texts: Sequence[tuple[str, str]]) -> str:
    """SHA-256 of the first texts: what the grammar draws, whatever else it has come to hold."""
    lines = json.dumps(list(texts[:DIGESTED]))
    return hashlib.sha256(lines.encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reports", type=int, default=48_000)
    parser.add_argument("--habit-scale", type=float, default=1.5)
    parser.add_argument("--vocab-size", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    # Heavy: only for one who trains.
    import torch
    from generators.small import Schedule, build_model, build_tokenizer, encode, train_model

    torch.manual_seed(args.seed)
    started = time.monotonic()
    texts = training_texts(args.reports, args.seed, args.habit_scale)
    prompts, reports = [prompt for prompt, _ in texts], [report for _, report in texts]
    corpus = (f"{prompt} {report}" for prompt, report in texts)
    tokenizer = build_tokenizer(corpus, args.vocab_size)
    model = build_model(args.vocab_size, args.hidden, args.layers)
    schedule = Schedule(1, args.batch_size, args.lr, 0.01, args.seed, args.bf16)
    rows = encode(tokenizer, prompts, reports)
    losses = train_model(model, rows, schedule)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    provenance = {
        "schema": "negalign.provenance/1",
        "command": {key: str(value) for key, value in vars(args).items() if key != "out"},
        "licence": "Apache-2.0; trained from the synthetic grammar of this repository only",
        "texts_sha256": digest_of(texts),
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
