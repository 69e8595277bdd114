"""Parquet files of pairs, unpaired examples and prompts: what training reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from negalign_train.storage.workspace import read_parquet, write_parquet
from negalign_train.vocabulary.records import (
    PreferencePair,
    Prompt,
    PromptExample,
    UnpairedExample,
    WeightedSpan,
)

_SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("weight", pa.float64())]))
_KEYS = [
    ("case_id", pa.string()),
    ("group", pa.string()),
    ("origin_cycle", pa.int32()),
    ("prompt", pa.string()),  # JSON: a string, or a list of {role, content}
]
_PAIRS = pa.schema(
    [
        ("pair_id", pa.string()),
        *_KEYS,
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("delta_S", pa.float64()),
        ("weight", pa.float64()),
        ("chosen_spans", _SPANS),
        ("rejected_spans", _SPANS),
    ]
)
_UNPAIRED = pa.schema(
    [
        ("example_id", pa.string()),
        *_KEYS,
        ("completion", pa.string()),
        ("label", pa.bool_()),
        ("weight", pa.float64()),
        ("spans", _SPANS),
    ]
)
_PROMPTS = pa.schema([*_KEYS, ("reference", pa.string())])


def _row(record: PreferencePair | UnpairedExample | PromptExample) -> dict[str, Any]:
    return asdict(record) | {"prompt": json.dumps(record.prompt, ensure_ascii=False)}


def _prompt(text: str) -> Prompt:
    value = json.loads(text)
    return value if isinstance(value, str) else tuple(value)


def _spans(items: list[dict[str, Any]]) -> tuple[WeightedSpan, ...]:
    return tuple(WeightedSpan(**item) for item in items)


def write_pairs(path: Path, pairs: Sequence[PreferencePair]) -> None:
    write_parquet(path, [_row(pair) for pair in pairs], _PAIRS)


def read_pairs(path: Path) -> list[PreferencePair]:
    return [
        PreferencePair(
            **row
            | {
                "prompt": _prompt(row["prompt"]),
                "chosen_spans": _spans(row["chosen_spans"]),
                "rejected_spans": _spans(row["rejected_spans"]),
            }
        )
        for row in read_parquet(path)
    ]


def write_unpaired(path: Path, examples: Sequence[UnpairedExample]) -> None:
    write_parquet(path, [_row(example) for example in examples], _UNPAIRED)


def read_unpaired(path: Path) -> list[UnpairedExample]:
    return [
        UnpairedExample(**row | {"prompt": _prompt(row["prompt"]), "spans": _spans(row["spans"])})
        for row in read_parquet(path)
    ]


def write_prompts(path: Path, prompts: Sequence[PromptExample]) -> None:
    write_parquet(path, [_row(prompt) for prompt in prompts], _PROMPTS)


def read_prompts(path: Path) -> list[PromptExample]:
    return [PromptExample(**row | {"prompt": _prompt(row["prompt"])}) for row in read_parquet(path)]
