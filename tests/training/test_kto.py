"""The weighted KTO trainer against the installed TRL, and the order of its rows."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import trl.trainer.utils
from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from negalign_train.training.policy.loading import load_policy, load_tokenizer
from negalign_train.training.reference.logps import add_unpaired_reference
from negalign_train.training.rows.batches import UnpairedRow
from negalign_train.training.rows.kto_rows import add_mismatched, arrange
from negalign_train.training.rows.tokenise import tokenise_unpaired
from negalign_train.training.settings.arguments import trainer_config
from negalign_train.training.trainers.kto import WeightedKTOTrainer
from negalign_train.vocabulary.errors import TrainingError
from negalign_train.vocabulary.records import UnpairedExample
from tests.tiny import (
    ExactLogProbs,
    adapter_gradients,
    compute_llama_exactly,
    make_pairs,
    make_unpaired,
    perturb,
    python_floats_as_float64,
    relative_difference,
    write_run,
)

KTO = {"name": "test", "method": "kto"}
# Desirable and undesirable rows of four different cases.
PLAIN = [replace(make_unpaired(make_pairs(4))[2 * i + i % 2], spans=()) for i in range(4)]


@pytest.fixture(autouse=True)
def _exact_llama(monkeypatch: pytest.MonkeyPatch) -> None:
    compute_llama_exactly(monkeypatch)


@pytest.fixture
def ours(base: Path, parent: Path, tmp_path: Path) -> Any:
    """``ours(examples, dtype=..., **trainer)``: our trainer on rows in the given order, as one
    batch.
    """

    def make(
        examples: list[UnpairedExample], dtype: str = "float64", **trainer: Any
    ) -> WeightedKTOTrainer:
        keys = {"per_device_train_batch_size": len(examples), **trainer}
        run = write_run(
            tmp_path / "run", base, dtype=dtype, parent_adapter_dir=parent,
            candidate=KTO, trainer=keys,
        )  # fmt: skip
        config, tokenizer, policy = trainer_config(run), load_tokenizer(base), load_policy(run)
        policy.to(getattr(torch, dtype))
        rows = tokenise_unpaired(tokenizer, examples)
        assert isinstance(config, KTOConfig)
        if config.loss_type == "kto":
            add_mismatched(rows, config.per_device_train_batch_size)
        add_unpaired_reference(policy, rows, run, 8, tokenizer.pad_token_id)
        built = WeightedKTOTrainer(policy, config, rows, tokenizer)
        perturb(policy, seed=11)
        return built

    return make


def loss_and_gradients(trainer: KTOTrainer) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    rows = [trainer.train_dataset[index] for index in range(len(trainer.train_dataset))]
    loss = trainer.compute_loss(trainer.model.train(), trainer.data_collator(rows))
    trainer.model.zero_grad()
    loss.backward()
    return loss.detach(), adapter_gradients(trainer.model)


def stock(
    base: Path,
    parent: Path,
    folder: Path,
    dtype: str = "float64",
    precomputed: bool = False,
    **trainer: Any,
) -> KTOTrainer:
    """TRL's own trainer; its reference is the parent, scored in every step or ``precomputed``."""
    keys = {"per_device_train_batch_size": len(PLAIN), **trainer}
    run = write_run(
        folder / "stock", base, dtype=dtype, parent_adapter_dir=parent,
        candidate=KTO, trainer=keys,
    )  # fmt: skip
    policy = load_policy(run).to(getattr(torch, dtype))
    dataset = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": example.prompt}],
                "completion": [{"role": "assistant", "content": example.completion}],
                "label": example.label,
            }
            for example in PLAIN
        ]
    )
    config = trainer_config(run)
    assert isinstance(config, KTOConfig)
    config.precompute_ref_log_probs = precomputed
    built = KTOTrainer(
        policy, args=config, train_dataset=dataset, processing_class=load_tokenizer(base)
    )
    perturb(policy, seed=11)
    return built


LOSSES: dict[str, dict[str, Any]] = {
    "kto": {"loss_type": "kto"},
    "kto-class-weights": {"loss_type": "kto", "desirable_weight": 1.5, "undesirable_weight": 0.5},
    "apo_zero_unpaired": {"loss_type": "apo_zero_unpaired"},
}


@pytest.mark.parametrize("precomputed", [False, True], ids=["live", "precomputed"])
@pytest.mark.parametrize("keys", LOSSES.values(), ids=LOSSES)
def test_weights_of_1_give_trls_loss_and_gradients(
    ours, base, parent, tmp_path, monkeypatch, keys, precomputed
):
    monkeypatch.setattr(trl.trainer.utils, "_ChunkedLogProbFunction", ExactLogProbs)
    with python_floats_as_float64():
        trls = stock(base, parent, tmp_path, precomputed=precomputed, **keys)
        expected, gradients = loss_and_gradients(trls)
    loss, actual = loss_and_gradients(ours(PLAIN, **keys))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    assert actual.keys() == gradients.keys()
    assert len(actual) == 2 * 2 * 7  # A and B, two layers, seven linear layers
    for name, gradient in gradients.items():
        assert relative_difference(actual[name], gradient) < 1e-9, name


@pytest.mark.parametrize("keys", LOSSES.values(), ids=LOSSES)
def test_weights_of_1_give_trls_loss_in_float32_with_its_own_kernel(
    ours, base, parent, tmp_path, keys
):
    expected, gradients = loss_and_gradients(stock(base, parent, tmp_path, "float32", **keys))
    loss, actual = loss_and_gradients(ours(PLAIN, "float32", **keys))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert actual.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert relative_difference(actual[name], gradient) < 1e-5, name


def test_weight_2_is_the_row_twice_and_weight_0_its_absence(ours):
    keys = {"loss_type": "apo_zero_unpaired"}  # no z0, which is a mean over unweighted rows
    weighted = [replace(PLAIN[0], weight=2.0), PLAIN[1], replace(PLAIN[2], weight=0.0)]
    loss, gradients = loss_and_gradients(ours(weighted, **keys))
    expected, expected_gradients = loss_and_gradients(ours([PLAIN[0], PLAIN[0], PLAIN[1]], **keys))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    for name, gradient in expected_gradients.items():
        assert relative_difference(gradients[name], gradient) < 1e-9


def test_token_weights_change_the_reward_of_a_row(ours):
    spanned = make_unpaired(make_pairs(4))[:1]
    loss, _ = loss_and_gradients(ours(spanned + PLAIN[1:]))
    plain, _ = loss_and_gradients(ours(PLAIN))
    assert abs(loss.item() - plain.item()) > 1e-3


def make_row(index: int, group: str, label: bool, ids: list[int] | None = None) -> UnpairedRow:
    return {
        "example_id": f"e{index}",
        "group": group,
        "prompt_ids": [index],
        "completion_ids": ids or [100 + index],
        "token_weights": [1.0],
        "label": label,
        "weight": 1.0,
    }


def blocks_of_one_class(count: int = 40) -> list[UnpairedRow]:
    """All desirable rows first, then all undesirable ones, two rows per case: TRL's unpairing."""
    rows = [make_row(i, f"g{i % count}", i < count) for i in range(2 * count)]
    return rows


def test_every_block_holds_both_classes():
    rows = arrange(blocks_of_one_class(), seed=3)
    labels = [[row["label"] for row in rows[at : at + 4]] for at in range(0, len(rows), 4)]
    assert all(set(block) == {True, False} for block in labels)


def test_a_rare_class_is_spread_over_the_epoch():
    rows = arrange([make_row(i, f"g{i}", i >= 4) for i in range(40)], seed=3)
    rare = [index for index, row in enumerate(rows) if not row["label"]]
    assert [index // 10 for index in rare] == [0, 1, 2, 3]


def test_neighbours_are_of_different_cases():
    rows = arrange(blocks_of_one_class(), seed=3)
    assert all(a["group"] != b["group"] for a, b in pairwise(rows))


def test_the_order_is_that_of_the_seed_and_keeps_every_row():
    rows = blocks_of_one_class()
    order = [row["example_id"] for row in arrange(rows, seed=3)]
    assert order == [row["example_id"] for row in arrange(rows, seed=3)]
    assert order != [row["example_id"] for row in arrange(rows, seed=4)]
    assert sorted(order) == sorted(row["example_id"] for row in rows)


def test_one_case_alone_is_refused():
    with pytest.raises(TrainingError, match="at least two cases"):
        arrange([make_row(0, "g", True), make_row(1, "g", False)], seed=3)


def test_completions_rotate_by_one_within_a_block():
    rows = [make_row(i, f"g{i}", True) for i in range(4)]
    add_mismatched(rows, block_size=2)
    assert [row["KL_completion_ids"] for row in rows] == [[101], [100], [103], [102]]


def test_a_last_block_of_one_row_takes_an_earlier_rows_completion():
    rows = [make_row(i, f"g{i}", True) for i in range(5)]
    add_mismatched(rows, block_size=4)
    assert rows[4]["KL_completion_ids"] == [103]


@pytest.mark.parametrize("seed", range(5))
def test_no_row_is_matched_with_its_own_case_or_text(seed):
    rng = random.Random(seed)
    rows = [
        make_row(i, f"g{rng.randrange(6)}", rng.random() < 0.5, [rng.randrange(4)])
        for i in range(23)
    ]
    rows = arrange(rows, seed)
    add_mismatched(rows, block_size=4)
    for row in rows:
        donors = [r for r in rows if r["completion_ids"] == row["KL_completion_ids"]]
        assert row["KL_completion_ids"] != row["completion_ids"]
        assert any(donor["group"] != row["group"] for donor in donors)
