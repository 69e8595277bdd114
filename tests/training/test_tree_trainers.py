"""The trainers on prefix trees: numbers of TRL and of plain batches, whatever the cut of a step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments
from trl import DPOConfig, KTOConfig

from negalign_train.training.forward.tree_choice import Sharing, plain
from negalign_train.training.policy.loading import load_policy, load_tokenizer
from negalign_train.training.reference.logps import add_pair_reference, add_unpaired_reference
from negalign_train.training.rows.kto_rows import add_mismatched, arrange
from negalign_train.training.rows.tokenise import tokenise_pairs, tokenise_unpaired
from negalign_train.training.run import train_candidate
from negalign_train.training.settings.arguments import dpo_objective, trainer_config
from negalign_train.training.trainers.dpo import WeightedDPOTrainer, cancels_common_prefix
from negalign_train.training.trainers.kto import WeightedKTOTrainer
from negalign_train.vocabulary.records import PreferencePair, WeightedSpan
from tests.tiny import (
    adapter_gradients,
    make_pairs,
    make_unpaired,
    perturb,
    relative_difference,
    write_run,
)
from tests.training import test_dpo as test_training_dpo

LOSSES = test_training_dpo.LOSSES
CANCELLING = [keys for keys in LOSSES if keys["loss_type"][0] in ("sigmoid", "hinge", "robust")]
CANCELLING = [keys for keys in CANCELLING if len(keys["loss_type"]) == 1]
ALONE = plain("asked for")
TREES = Sharing()

pytestmark = pytest.mark.usefixtures("exact")


@pytest.fixture
def pair_trainer(base: Path, parent: Path, tmp_path: Path) -> Callable[..., WeightedDPOTrainer]:
    """``pair_trainer(pairs, sharing, objective=..., **trainer)``: in float64, off its reference."""

    def make(
        pairs: list[PreferencePair],
        sharing: Sharing = TREES,
        objective: dict[str, Any] | None = None,
        **trainer: Any,
    ) -> WeightedDPOTrainer:
        keys = {"per_device_train_batch_size": max(2, len(pairs)), **trainer}
        run = write_run(
            tmp_path / "run", base, dtype="float64", parent_adapter_dir=parent,
            candidate={"objective": objective or {}}, trainer=keys,
        )  # fmt: skip
        config, tokenizer, policy = trainer_config(run), load_tokenizer(base), load_policy(run)
        policy.double()
        rows = tokenise_pairs(tokenizer, pairs)
        assert isinstance(tokenizer.pad_token_id, int)
        add_pair_reference(policy, rows, run, 8, tokenizer.pad_token_id, sharing)
        assert isinstance(config, DPOConfig)
        built = WeightedDPOTrainer(policy, config, rows, tokenizer, sharing=sharing)
        perturb(policy, seed=11)
        return built

    return make


@pytest.fixture
def unpaired_trainer(base: Path, parent: Path, tmp_path: Path) -> Callable[..., WeightedKTOTrainer]:
    """``unpaired_trainer(examples, sharing, **trainer)``: the same for KTO, rows arranged."""

    def make(examples: Any, sharing: Sharing = TREES, **trainer: Any) -> WeightedKTOTrainer:
        keys = {"per_device_train_batch_size": len(examples), **trainer}
        run = write_run(
            tmp_path / "run", base, dtype="float64", parent_adapter_dir=parent,
            candidate={"method": "kto"}, trainer=keys,
        )  # fmt: skip
        config, tokenizer, policy = trainer_config(run), load_tokenizer(base), load_policy(run)
        policy.double()
        rows = arrange(tokenise_unpaired(tokenizer, examples), 7, len(examples))
        add_mismatched(rows, len(examples))
        assert isinstance(tokenizer.pad_token_id, int)
        add_unpaired_reference(policy, rows, run, 8, tokenizer.pad_token_id, sharing)
        assert isinstance(config, KTOConfig)
        built = WeightedKTOTrainer(policy, config, rows, tokenizer, sharing=sharing)
        perturb(policy, seed=11)
        return built

    return make


def rows_of(trainer: Any) -> list[Any]:
    return [trainer.train_dataset[index] for index in range(len(trainer.train_dataset))]


def of_batch(trainer: Any, batch: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss of a batch, and every adapter gradient."""
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model.train(), batch)
    loss.backward()
    return loss.item(), {n: g.clone() for n, g in adapter_gradients(trainer.model).items()}


def of_step(trainer: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the whole dataset as one optimiser step, as Trainer runs it."""
    trainer.model.zero_grad()
    loss = trainer.training_step(trainer.model, trainer._micro_batches(rows_of(trainer)))
    return loss.item(), {n: g.clone() for n, g in adapter_gradients(trainer.model).items()}


def assert_equal(actual: Any, expected: Any, tolerance: float = 1e-9) -> None:
    assert actual[0] == pytest.approx(expected[0], rel=tolerance)
    assert actual[1].keys() == expected[1].keys()
    assert len(actual[1]) == 28
    for name, gradient in expected[1].items():
        assert relative_difference(actual[1][name], gradient) < tolerance, name


def named(keys: dict[str, Any]) -> str:
    return "+".join(keys["loss_type"])


@pytest.mark.parametrize("keys", CANCELLING, ids=named)
def test_suffixes_alone_give_trls_loss_and_gradients(pair_trainer, base, parent, tmp_path, keys):
    stock = test_training_dpo.stock(base, parent, tmp_path, "float64", **keys)
    expected = of_batch(stock, stock.data_collator(rows_of(stock)))
    trainer = pair_trainer(test_training_dpo.PLAIN, **keys)
    batch = trainer.collate_pairs(rows_of(trainer), suffix_only=True)
    assert_equal(of_batch(trainer, batch), expected)
    whole = trainer.collate_pairs(rows_of(trainer), suffix_only=False)
    left_out = sum(row["shared"] for row in rows_of(trainer))
    assert left_out == 4 * len("Effusion 0 on the ")
    assert len(whole["scored_rows"]) - len(batch["scored_rows"]) == left_out


def test_only_losses_of_the_margin_cancel_the_common_prefix(base, tmp_path):
    def cancels(objective: dict[str, Any] | None = None, **trainer: Any) -> bool:
        candidate = {"objective": objective or {}}
        run = write_run(tmp_path / "run", base, candidate=candidate, trainer=trainer)
        config = trainer_config(run)
        assert isinstance(config, DPOConfig)
        return cancels_common_prefix(dpo_objective(config))

    assert [named(keys) for keys in LOSSES if cancels(**keys)] == ["sigmoid", "hinge", "robust"]
    assert cancels({"target": {}}, loss_type=["bfpo"])
    assert cancels({"offset": {"scale": 1.0}})
    assert not cancels({"dpop_lambda": 5.0})  # reads the chosen side alone


SHAPED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"offset": {"scale": 1.0}}, {"loss_type": ["sigmoid"]}),
    ({"target": {"severity_range": 3.0}}, {"loss_type": ["bfpo"]}),
    ({"dpop_lambda": 5.0}, {"loss_type": ["sigmoid"]}),
    ({"target": {}, "dpop_lambda": 5.0}, {"loss_type": ["bfpo", "sft"]}),
]


@pytest.mark.parametrize(("objective", "keys"), SHAPED, ids=["odpo", "bfpo", "dpop", "all"])
def test_trees_give_the_step_of_plain_batches_under_a_shaped_margin(pair_trainer, objective, keys):
    severer = [
        replace(pair, delta_S=0.25 * (index + 1), weight=1.0 + index % 3)
        for index, pair in enumerate(threads())
    ]
    expected = of_step(pair_trainer(severer, ALONE, objective, **keys))
    plain = of_step(
        pair_trainer([replace(each, delta_S=0.5) for each in severer], ALONE, objective, **keys)
    )
    trees = pair_trainer(severer, TREES, objective, **keys)
    assert_equal(of_step(trees), expected)
    trees.state.global_step = 3  # a step that is not logged, whose common prefixes are left out
    assert_equal(of_step(trees), expected)
    reads_delta_S = "offset" in objective or "target" in objective
    assert (abs(plain[0] - expected[0]) > 1e-3) == reads_delta_S


def threads() -> list[PreferencePair]:
    """Eight weighted pairs with weighted spans; the last four are further turns of the first four
    prompts, and one of them stands twice.
    """
    pairs = [replace(pair, weight=0.5 + 0.25 * i) for i, pair in enumerate(make_pairs(4))]
    turns = [
        replace(
            pair, pair_id=f"{pair.pair_id}-2", chosen=pair.rejected, rejected=pair.rejected[:-3],
            chosen_spans=(), rejected_spans=(WeightedSpan(3, 6, 3.0), WeightedSpan(30, 34, 0.0)),
        )
        for pair in pairs
    ]  # fmt: skip
    return pairs + turns


@pytest.mark.parametrize("keys", LOSSES, ids=named)
def test_trees_give_the_step_of_plain_batches_with_token_weights(pair_trainer, keys):
    trees = pair_trainer(threads(), **keys)
    assert trees._micro_batches(rows_of(trees))[0]["input_ids"].shape[0] == 4  # a row per prompt
    alone = pair_trainer(threads(), ALONE, **keys)
    assert alone._micro_batches(rows_of(alone))[0]["input_ids"].shape[0] == 12  # one per text
    expected = of_step(alone)
    assert_equal(of_step(trees), expected)
    trees.state.global_step = 3  # a step that is not logged, whose common prefixes are left out
    assert_equal(of_step(trees), expected)


def cuts(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The dataset as one step, cut in several ways."""
    actual = {"whole": of_step(trainer)}
    for tokens in (1, 130):
        trainer.max_micro_batch_tokens = tokens
        actual[f"{tokens} tokens"] = of_step(trainer)
    trainer.max_micro_batch_tokens = None
    for processes in (2, 3):
        monkeypatch.setattr(TrainingArguments, "world_size", processes)
        steps = []
        for process in range(processes):
            monkeypatch.setattr(TrainingArguments, "process_index", process)
            steps.append(of_step(trainer))
        loss = sum(step[0] for step in steps) / processes
        gradients = {n: torch.stack([step[1][n] for step in steps]).mean(0) for n in steps[0][1]}
        actual[f"{processes} processes"] = (loss, gradients)
    return actual


@pytest.mark.parametrize("keys", [LOSSES[0], LOSSES[2], LOSSES[5]], ids=named)
def test_a_dpo_step_does_not_depend_on_its_cut(pair_trainer, monkeypatch, keys):
    trainer = pair_trainer([*threads(), make_pairs(5)[4]], **keys)
    actual = cuts(trainer, monkeypatch)
    for other in actual.values():
        assert_equal(other, actual["whole"])


def test_a_kto_step_does_not_depend_on_its_cut(unpaired_trainer, monkeypatch):
    trainer = unpaired_trainer(make_unpaired(make_pairs(4)), loss_type="apo_zero_unpaired")
    actual = cuts(trainer, monkeypatch)
    for other in actual.values():
        assert_equal(other, actual["whole"])


def test_z0_is_that_of_the_step_however_it_is_cut(unpaired_trainer):
    trainer = unpaired_trainer(make_unpaired(make_pairs(4)))
    perturb(trainer.model, seed=11, scale=-0.1)  # to the other side of the reference
    rows = rows_of(trainer)
    expected = of_batch(trainer, trainer._collate(rows))
    z0 = trainer._reference_point(trainer.model, [trainer._collate(rows)])
    assert z0.item() > 0.0
    for tokens in (None, 1, 150):
        trainer.max_micro_batch_tokens = tokens
        assert_equal(of_step(trainer), expected)


def test_kto_trees_give_the_step_of_plain_batches(unpaired_trainer):
    examples = make_unpaired(make_pairs(4))
    trees, alone = unpaired_trainer(examples), unpaired_trainer(examples, ALONE)
    assert_equal(of_step(trees), of_step(alone))
    batch = trees._micro_batches(rows_of(trees))[0]
    assert batch["input_ids"].shape[0] == 4  # an edited text and its original are one row
    assert batch["mismatched"]["input_ids"].shape[0] == 4


def test_both_texts_of_a_case_fall_into_one_block_apart_from_each_other(base):
    examples = make_unpaired(make_pairs(8))
    rows = arrange(tokenise_unpaired(load_tokenizer(base), examples), seed=3, block_size=8)
    for start in (0, 8):
        groups = [row["group"] for row in rows[start : start + 8]]
        assert len(set(groups)) == 4
        assert groups[:4] == groups[4:]
        labels = [row["label"] for row in rows[start : start + 8]]
        assert labels == [True, False] * 2 + [False, True] * 2


@pytest.mark.parametrize("block_size", [2, 3, 5, 8, 64])
def test_blocks_keep_every_row_and_apart_of_cases_whatever_their_size(base, block_size):
    pairs = make_pairs(9)
    examples = [*make_unpaired(pairs), *make_unpaired([replace(pairs[0], pair_id="turn")])][:19]
    rows = arrange(tokenise_unpaired(load_tokenizer(base), examples), 5, block_size)
    assert sorted(row["example_id"] for row in rows) == sorted(e.example_id for e in examples)
    assert all(a["group"] != b["group"] for a, b in pairwise(rows))


def train(folder: Path, base: Path, **overrides: Any) -> dict[str, Any]:
    run = write_run(folder, base, **overrides)
    train_candidate(run)
    metrics: dict[str, Any] = json.loads((run.output_dir / "metrics.json").read_text())
    return metrics


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_run_says_how_completions_were_computed_and_ends_the_same(base, tmp_path, capsys, method):
    keys = {"method": method, "batching": {"share_prefixes": False}}
    alone = train(tmp_path / "alone", base, candidate=keys)
    assert "one by one, batching.share_prefixes is false" in capsys.readouterr().out
    assert alone["sharing"] == "plain"
    assert alone["sharing_reason"] == "batching.share_prefixes is false"
    keys = {"method": method, "batching": {"max_tokens": 100}}
    trees = train(tmp_path / "trees", base, candidate=keys)
    assert (trees["sharing"], trees["sharing_reason"]) == ("tree", None)
    for name in ("loss_start", "loss_end", "logps/chosen_end", "rewards/margins"):
        assert trees[name] == pytest.approx(alone[name], rel=2e-3)


def test_accumulation_is_a_larger_step(base, tmp_path):
    keys = {"train_sampling_strategy": "random", "num_train_epochs": 2}
    batch, turns = "per_device_train_batch_size", "gradient_accumulation_steps"
    whole = train(tmp_path / "whole", base, trainer={**keys, batch: 6, turns: 1})
    cut = train(tmp_path / "cut", base, trainer={**keys, batch: 2, turns: 3})
    assert whole["num_steps"] == cut["num_steps"] == 4  # the second of each epoch has two pairs
    for name in ("loss_start", "loss_end", "rewards/margins"):
        assert cut[name] == pytest.approx(whole[name], rel=1e-3)
