"""Parquet files of pairs, unpaired examples and prompts: what training reads.

Prompts and completions are chat messages, so that TRL's own trainers take the files as they are
(``datasets.load_dataset("parquet", ...)``) and render them by the chat template.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from negalign_train.storage.workspace import read_parquet, write_parquet
from negalign_train.vocabulary.chat import (
    completion_messages,
    prompt_messages,
    prompt_of_messages,
)
from negalign_train.vocabulary.records import (
    PreferencePair,
    PromptExample,
    UnpairedExample,
    WeightedSpan,
)

_SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("weight", pa.float64())]))
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_KEYS = [
    ("case_id", pa.string()),
    ("group", pa.string()),
    ("origin_cycle", pa.int32()),
    ("prompt", _MESSAGES),
    ("prompt_is_text", pa.bool_()),  # text is one user message
]
_PAIRS = pa.schema(
    [
        ("pair_id", pa.string()),
        *_KEYS,
        ("chosen", _MESSAGES),
        ("rejected", _MESSAGES),
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
        ("completion", _MESSAGES),
        ("label", pa.bool_()),
        ("weight", pa.float64()),
        ("spans", _SPANS),
    ]
)
_PROMPTS = pa.schema([*_KEYS, ("reference", pa.string())])


_COMPLETIONS = ("chosen", "rejected", "completion")


def conversation(record: PreferencePair | UnpairedExample | PromptExample) -> dict[str, Any]:
    """The fields of a record with prompt and completions as chat messages."""
    row = asdict(record)
    texts = {name: completion_messages(row[name]) for name in _COMPLETIONS if name in row}
    return row | texts | {"prompt": prompt_messages(record.prompt)}


def _row(record: PreferencePair | UnpairedExample | PromptExample) -> dict[str, Any]:
    return conversation(record) | {"prompt_is_text": isinstance(record.prompt, str)}


def _texts(row: dict[str, Any]) -> dict[str, Any]:
    """Prompt and completions of a row as records hold them."""
    is_text = row.pop("prompt_is_text")
    prompt = prompt_of_messages(row["prompt"], is_text=is_text)
    completions = {name: row[name][0]["content"] for name in _COMPLETIONS if name in row}
    return row | completions | {"prompt": prompt}


def _rows_with_texts(path: Path) -> list[dict[str, Any]]:
    rows = read_parquet(path)
    if rows and "prompt_is_text" not in rows[0]:
        return [_texts_of_old_row(row) for row in rows]
    return [_texts(row) for row in rows]


def _texts_of_old_row(row: dict[str, Any]) -> dict[str, Any]:
    """Cycles of older releases, which later ones replay: a prompt was JSON, a completion text."""
    value = json.loads(row["prompt"])
    return row | {"prompt": value if isinstance(value, str) else tuple(value)}


def _spans(items: list[dict[str, Any]]) -> tuple[WeightedSpan, ...]:
    return tuple(WeightedSpan(**item) for item in items)


def write_pairs(path: Path, pairs: Sequence[PreferencePair]) -> None:
    write_parquet(path, [_row(pair) for pair in pairs], _PAIRS)


def read_pairs(path: Path) -> list[PreferencePair]:
    return [
        PreferencePair(
            **row
            | {
                "chosen_spans": _spans(row["chosen_spans"]),
                "rejected_spans": _spans(row["rejected_spans"]),
            }
        )
        for row in _rows_with_texts(path)
    ]


def write_unpaired(path: Path, examples: Sequence[UnpairedExample]) -> None:
    write_parquet(path, [_row(example) for example in examples], _UNPAIRED)


def read_unpaired(path: Path) -> list[UnpairedExample]:
    rows = _rows_with_texts(path)
    return [UnpairedExample(**row | {"spans": _spans(row["spans"])}) for row in rows]


def write_prompts(path: Path, prompts: Sequence[PromptExample]) -> None:
    write_parquet(path, [_row(prompt) for prompt in prompts], _PROMPTS)


def read_prompts(path: Path) -> list[PromptExample]:
    return [PromptExample(**row) for row in _rows_with_texts(path)]
