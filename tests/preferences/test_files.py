"""The training files: chat messages on disk, the same records back."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negalign_train.preferences.files import (
    read_pairs,
    read_prompts,
    read_unpaired,
    write_pairs,
    write_prompts,
    write_unpaired,
)
from negalign_train.vocabulary.records import (
    PreferencePair,
    Prompt,
    PromptExample,
    UnpairedExample,
    WeightedSpan,
)

CHAT: Prompt = (
    {"role": "system", "content": "You are a radiologist."},
    {"role": "user", "content": "Größe?"},
)
PROMPTS: list[Prompt] = ["Indication: cough.", CHAT, ({"role": "user", "content": "Cough."},)]
SPANS = (WeightedSpan(3, 9, 2.0),)


def pair(prompt: Prompt) -> PreferencePair:
    return PreferencePair(
        "p-1", "c-1", "g-1", 1, prompt, "Clear lungs.", "Left mass.", 0.5, 1.25, SPANS, ()
    )


@pytest.mark.parametrize("prompt", PROMPTS)
def test_records_come_back_as_they_were_text_as_text_and_messages_as_messages(
    tmp_path: Path, prompt: Prompt
) -> None:
    label = UnpairedExample("u-1", "c-1", "g-1", 1, prompt, "Clear.", True, 1.5, SPANS)
    question = PromptExample("c-1", "g-1", 1, prompt, "Clear.")
    write_pairs(tmp_path / "pairs.parquet", [pair(prompt)])
    write_unpaired(tmp_path / "unpaired.parquet", [label])
    write_prompts(tmp_path / "prompts.parquet", [question])
    assert read_pairs(tmp_path / "pairs.parquet") == [pair(prompt)]
    assert read_unpaired(tmp_path / "unpaired.parquet") == [label]
    assert read_prompts(tmp_path / "prompts.parquet") == [question]


def test_pairs_are_chat_messages_on_disk(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.parquet", [pair("Indication: cough.")])
    (row,) = pq.read_table(tmp_path / "pairs.parquet").to_pylist()
    assert row["prompt"] == [{"role": "user", "content": "Indication: cough."}]
    assert row["chosen"] == [{"role": "assistant", "content": "Clear lungs."}]
    assert row["rejected"] == [{"role": "assistant", "content": "Left mass."}]


@pytest.mark.parametrize("stored", ['"Indication: cough."', '[{"role": "user", "content": "x"}]'])
def test_files_of_older_cycles_are_read_for_replay(tmp_path: Path, stored: str) -> None:
    """They held a prompt as JSON and completions as text."""
    path = tmp_path / "pairs.parquet"
    row = {
        "pair_id": "p-1", "case_id": "c-1", "group": "g-1", "origin_cycle": 1, "prompt": stored,
        "chosen": "Clear lungs.", "rejected": "Left mass.", "delta_S": 0.5, "weight": 1.25,
        "chosen_spans": [{"start": 3, "end": 9, "weight": 2.0}], "rejected_spans": [],
    }  # fmt: skip
    pq.write_table(pa.Table.from_pylist([row]), path)
    prompt: Prompt = (
        "Indication: cough." if "cough" in stored else ({"role": "user", "content": "x"},)
    )
    assert read_pairs(path) == [pair(prompt)]


def test_an_empty_file_is_read_as_none(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.parquet", [])
    assert read_pairs(tmp_path / "pairs.parquet") == []
