"""Decoding speed in tokens a second: ours against `generate` of transformers, and a server.

python scripts/bench_decoding.py --json out.json

Every arm writes as many tokens for a prompt, 40 to 120, and their greedy tokens are compared first.
Weights are random: speed does not depend on them. With --server a llama.cpp or vLLM server is
measured beside them, through the server backend that recipes use.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import environment

END, PAD = 1, 0
SHARED, OWN = 24, (40, 90)
"""Tokens that all prompts begin with (a system message), and of their own."""
WRITTEN = (40, 120)
"""Tokens of a report, each length as likely as another."""


@dataclass(frozen=True)
class Shape:
    """A Llama architecture with one matrix as embedding and head."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int


SHAPES = {
    "2M": Shape(1_024, 192, 512, 4, 6, 6),  # the embedded generator
    "45M": Shape(32_000, 512, 1_664, 8, 8, 8),
    "135M": Shape(49_152, 576, 1_536, 30, 9, 3),  # SmolLM2-135M
}


@dataclass(frozen=True)
class Workload:
    """Prompts as token ids and how many tokens each answer has."""

    prompts: tuple[tuple[int, ...], ...]
    lengths: tuple[int, ...]


Arm = Callable[[Workload], list[list[int]]]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for name in options.shapes:
        model = build(SHAPES[name], options.dtype)
        for batch in options.batches:
            work = workload(SHAPES[name].vocabulary, batch, options.seed)
            row = measure(arms_of(model), work, options.repeats)
            rows.append({"shape": name, "batch": batch, "dtype": options.dtype, **row})
            print(_line(rows[-1]), flush=True)
    if options.server is not None:
        rows += [server_row(options, batch) for batch in options.batches]
    report = {"schema": "negalign.bench_decoding/1", "environment": environment(), "rows": rows}
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\n{_table(rows)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--json", type=Path, help="where the report goes")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument(
        "--batches", nargs="+", type=int, default=[1, 8, 36], help="prompts at once"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each arm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--server", help="address of a llama.cpp server, http://localhost:8080")
    parser.add_argument("--server-model", type=Path, help="its base as a folder, for the tokenizer")
    return parser


def workload(vocabulary: int, batch: int, seed: int) -> Workload:
    """Random prompts with a common beginning; the same arguments give the same ones."""
    rng = random.Random(seed)
    shared = [rng.randrange(5, vocabulary) for _ in range(SHARED)]
    prompts = [
        (*shared, *(rng.randrange(5, vocabulary) for _ in range(rng.randint(*OWN))))
        for _ in range(batch)
    ]
    return Workload(tuple(prompts), tuple(rng.randint(*WRITTEN) for _ in range(batch)))


def build(shape: Shape, dtype: str) -> Any:
    """A model with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        eos_token_id=END,
    )
    model = LlamaForCausalLM(config).to(getattr(torch, dtype)).eval()
    model.generation_config.eos_token_id = None  # every answer has the workload's length
    return model


def arms_of(model: Any) -> dict[str, Arm]:
    return {
        "generate": lambda work: by_generate(model, work, None),
        "generate static": lambda work: by_generate(model, work, "static"),
        "ours": lambda work: by_ours(model, work),
    }


def by_generate(model: Any, work: Workload, cache: str | None) -> list[list[int]]:
    """`generate` until the longest answer is written; each row is stopped at its own length."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    from negalign_train.generation.decode import left_padded

    ids, mask = left_padded(work.prompts, PAD)
    start, lengths = ids.shape[1], torch.tensor(work.lengths)

    class Written(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            return input_ids.shape[1] - start >= lengths

    extra = {} if cache is None else {"cache_implementation": cache, "disable_compile": True}
    with torch.inference_mode():
        written = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=max(work.lengths), do_sample=False,
            pad_token_id=PAD, stopping_criteria=StoppingCriteriaList([Written()]), **extra,
        )[:, start:]  # fmt: skip
    return [row[:length].tolist() for row, length in zip(written, work.lengths, strict=True)]


def by_ours(model: Any, work: Workload) -> list[list[int]]:
    """As ``generate_reports`` decodes one batch; a row's last token is END instead."""
    import torch

    from negalign_train.generation.decode import decode_batch, greedy, read_prefix
    from negalign_train.generation.packed_linear import packed_linears

    lengths = torch.tensor(work.lengths)

    def choose(logits: Any, numbers: Sequence[int], step: int) -> Any:
        ends = lengths[list(numbers)] == step + 1
        return torch.where(ends, END, greedy(logits, numbers, step))

    with torch.inference_mode(), packed_linears(model):
        prefix = read_prefix(model, work.prompts)
        longest = max(work.lengths)
        return decode_batch(model, work.prompts, choose, longest, [END], PAD, prefix)


def measure(arms: dict[str, Arm], work: Workload, repeats: int) -> dict[str, Any]:
    """Tokens a second of each arm, arms in turn, medians; the first round is checked, not timed."""
    texts = {name: arm(work) for name, arm in arms.items()}
    tokens = sum(work.lengths)
    alike = sum(
        a == b
        for ours, theirs in zip(texts["ours"], texts["generate"], strict=True)
        for a, b in zip(ours[:-1], theirs[:-1], strict=True)
    )
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, arm in arms.items():
            start = time.perf_counter()
            arm(work)
            seconds[name].append(time.perf_counter() - start)
    rates = {name: tokens / statistics.median(each) for name, each in seconds.items()}
    return {
        "tokens": tokens,
        "tokens_per_second": rates,
        "ratio": rates["ours"] / max(rates["generate"], rates["generate static"]),
        "greedy_tokens_alike": alike / (tokens - len(work.lengths)),
    }


def server_row(options: argparse.Namespace, batch: int) -> dict[str, Any]:
    """A server's tokens a second through the recipe's own server backend; texts end where its
    model ends them, at most where the workload does.
    """
    from negalign_train.generation.vllm_server import ServedModel, Server, ServerWriter
    from negalign_train.recipe.gate import RolloutSettings
    from negalign_train.training.policy.loading import load_tokenizer
    from negalign_train.training.rows.turns import end_tokens, read_generation_config

    if options.server_model is None:
        raise SystemExit("--server needs --server-model, the base's folder, for its tokenizer")
    tokenizer = load_tokenizer(options.server_model)
    settings = RolloutSettings(
        backend="vllm_server", server_url=options.server, concurrency=batch, timeout_seconds=600.0
    )
    server = Server(settings)
    name = str(server.ask("/v1/models")["data"][0]["id"])
    ends = end_tokens(tokenizer, read_generation_config(options.server_model))
    writer = ServerWriter(ServedModel(server, name), tokenizer, ends)
    work = workload(len(tokenizer), batch, options.seed)
    rng = random.Random(options.seed)
    words = ["effusion", "cardiomegaly", "right", "left", "small", "cough", "female", "lobe"]
    prompts = [
        "Write a long chest radiograph report. " + " ".join(rng.choices(words, k=len(each) // 2))
        for each in work.prompts
    ]
    rates = []
    for _ in range(options.repeats + 1):
        start = time.perf_counter()
        with ThreadPoolExecutor(batch) as pool:
            done = list(
                pool.map(lambda i: writer.write([prompts[i]], work.lengths[i]), range(batch))
            )
        tokens = sum(report.num_tokens for reports in done for report in reports)
        rates.append(tokens / (time.perf_counter() - start))
    rate = statistics.median(rates[1:])
    row = {"shape": name, "batch": batch, "dtype": "server", "tokens_per_second": {"server": rate}}
    print(_line(row), flush=True)
    return row


def _line(row: dict[str, Any]) -> str:
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in row["tokens_per_second"].items())
    return f"{row['shape']}, batch {row['batch']}, {row['dtype']}: tokens a second: {rates}"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["tokens_per_second"]))
    lines = [
        f"| Model | Batch | {' | '.join(names)} | ours over the better `generate` | greedy alike |",
        "|---|---|" + "---:|" * (len(names) + 2),
    ]
    for row in rows:
        rates = [row["tokens_per_second"].get(name) for name in names]
        cells = ["" if rate is None else f"{rate:,.0f}" for rate in rates]
        cells.append(f"{row['ratio']:.2f}" if "ratio" in row else "")
        cells.append(f"{row['greedy_tokens_alike']:.2%}" if "ratio" in row else "")
        lines.append(f"| {row['shape']} | {row['batch']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
