"""TRL's own trainers take what we export, and the files of a cycle, as they are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from negalign_train.preferences.files import write_pairs, write_unpaired
from negalign_train.training.policy.loading import load_tokenizer
from negalign_train.vocabulary.resources import data_path
from tests.tiny import make_pairs, make_unpaired

Negalign = Callable[..., tuple[int, str, str]]


@pytest.fixture
def exported(negalign: Negalign, tmp_path: Path) -> Callable[[str, str], Path]:
    """``exported("trl-kto", "x.jsonl")``: the sample log in that format."""
    place = tmp_path / "w"
    negalign("feedback", "import", data_path("sample_feedback.jsonl"), "-w", place)

    def export(format_name: str, file: str) -> Path:
        path = tmp_path / file
        code, _, err = negalign("feedback", "export", path, "--format", format_name, "-w", place)
        assert code == 0, err
        return path

    return export


def one_step(base: Path, path: Path, method: str, out: Path) -> Any:
    """One step of TRL's trainer on the first rows of a file, nothing done to them."""
    kind = "parquet" if path.suffix == ".parquet" else "json"
    rows = load_dataset(kind, data_files=str(path), split="train", cache_dir=str(out / "cache"))
    rows = rows.select(range(min(4, len(rows))))
    config_type, trainer_type = (
        (DPOConfig, DPOTrainer) if method == "dpo" else (KTOConfig, KTOTrainer)
    )
    config = config_type(
        output_dir=str(out), max_steps=1, per_device_train_batch_size=4, use_cpu=True, bf16=False,
        report_to=[], logging_steps=1, save_strategy="no", max_length=4096, learning_rate=1e-3,
        activation_checkpointing=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(base)
    trainer = trainer_type(
        model, args=config, train_dataset=rows, processing_class=load_tokenizer(base)
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    ("method", "format_name", "file"),
    [("dpo", "trl-preference", "pairs.parquet"), ("kto", "trl-kto", "labels.jsonl")],
)
def test_trl_trains_a_step_on_an_export(
    base: Path, tmp_path: Path, exported: Callable[[str, str], Path], method: str,
    format_name: str, file: str,
) -> None:  # fmt: skip
    trainer = one_step(base, exported(format_name, file), method, tmp_path / "out")
    assert trainer.state.global_step == 1
    assert math.isfinite(trainer.state.log_history[0]["loss"])
    assert len(trainer.train_dataset) == 4  # TRL filters rows it cannot use: none was


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_trl_trains_a_step_on_the_file_of_a_cycle(base: Path, tmp_path: Path, method: str) -> None:
    path, pairs = tmp_path / "cycle.parquet", make_pairs(4)
    if method == "dpo":
        write_pairs(path, pairs)
    else:
        write_unpaired(path, make_unpaired(pairs))
    trainer = one_step(base, path, method, tmp_path / "out")
    assert trainer.state.global_step == 1
    assert math.isfinite(trainer.state.log_history[0]["loss"])


def test_an_exported_pair_is_what_a_reader_corrected(
    exported: Callable[[str, str], Path],
) -> None:
    text = exported("trl-preference", "p.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) > 100
    for row in rows:
        assert [message["role"] for message in row["prompt"]] == ["user"]
        assert row["chosen"] != row["rejected"]
        assert [m["role"] for m in (*row["chosen"], *row["rejected"])] == ["assistant"] * 2


def test_what_trl_exports_the_importer_reads_back(
    negalign: Negalign, tmp_path: Path, exported: Callable[[str, str], Path]
) -> None:
    path, place = exported("trl-kto", "labels.jsonl"), tmp_path / "back"
    code, out, _ = negalign(
        "feedback", "import", path, "-w", place, "--set", "generator.base=x", "--set",
        "reader.id=r", "--set", "created_at=2026-11-02T00:00:00Z",
    )  # fmt: skip
    count = len(path.read_text().splitlines())
    assert code == 0
    assert out.startswith(f"read {count} = accepted {count} ")
