"""Train the embedded generator from the synthetic grammar, and write its provenance.

A small Llama and its tokenizer, from scratch, on reports of the careless writer
(`negalign_train/simulate/habits.py`): what is left to learn from readers are that writer's habits.
It neither reads feedback nor builds an adapter.

    python scripts/build_embedded.py --out data/embedded --seed 0
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import torch
from small_generator import Schedule, build_model, build_tokenizer, encode, train_model

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.fingerprint import base_digest, file_sha256
from negalign_train.resources import data_path
from negalign_train.simulate.habits import Habits, careless_report


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
    torch.manual_seed(args.seed)
    started = time.monotonic()
    # Stream "base" never meets the streams of feedback and evaluation cases (seeds differ).
    cases = synthetic_cases(0, args.reports, seed=args.seed + 9_000_000)
    habits = Habits().scaled(args.habit_scale)
    reports = [careless_report(case, habits, random.Random(case.case_id)) for case in cases]
    corpus = (f"{case.prompt} {report}" for case, report in zip(cases, reports, strict=True))
    tokenizer = build_tokenizer(corpus, args.vocab_size)
    model = build_model(args.vocab_size, args.hidden, args.layers)
    schedule = Schedule(1, args.batch_size, args.lr, 0.01, args.seed, args.bf16)
    rows = encode(tokenizer, [str(case.prompt) for case in cases], reports)
    losses = train_model(model, rows, schedule)
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
