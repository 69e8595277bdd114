"""The weighted DPO trainer against the installed TRL, and what its weights do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import trl.trainer.utils
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from negalign_train.training.policy.loading import load_policy, load_tokenizer
from negalign_train.training.reference.logps import add_pair_reference
from negalign_train.training.rows.tokenise import tokenise_pairs
from negalign_train.training.settings.arguments import trainer_config
from negalign_train.training.trainers.dpo import WeightedDPOTrainer
from negalign_train.vocabulary.errors import TrainingError
from negalign_train.vocabulary.records import PreferencePair, WeightedSpan
from tests.tiny import (
    ExactLogProbs,
    adapter_gradients,
    compute_llama_exactly,
    make_pairs,
    perturb,
    python_floats_as_float64,
    relative_difference,
    write_run,
)

PLAIN = [replace(pair, chosen_spans=(), rejected_spans=()) for pair in make_pairs(4)]


@pytest.fixture(autouse=True)
def _exact_llama(monkeypatch: pytest.MonkeyPatch) -> None:
    compute_llama_exactly(monkeypatch)


@pytest.fixture
def ours(base: Path, parent: Path, tmp_path: Path) -> Any:
    """``ours(pairs, dtype=..., trainer=...)``: our trainer, its policy off its reference."""

    def make(pairs: list[PreferencePair], dtype: str = "float64", **trainer: Any) -> Any:
        keys = {"per_device_train_batch_size": max(2, len(pairs)), **trainer}
        run = write_run(
            tmp_path / "run", base, dtype=dtype, parent_adapter_dir=parent, trainer=keys
        )
        config, tokenizer, policy = trainer_config(run), load_tokenizer(base), load_policy(run)
        policy.to(getattr(torch, dtype))
        rows = tokenise_pairs(tokenizer, pairs)
        add_pair_reference(policy, rows, run, 8, tokenizer.pad_token_id)
        assert isinstance(config, DPOConfig)
        built = WeightedDPOTrainer(policy, config, rows, tokenizer)
        perturb(policy, seed=11)
        return built

    return make


def loss_and_gradients(trainer: DPOTrainer) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss of the whole dataset as one batch, and every adapter gradient."""
    rows = [trainer.train_dataset[index] for index in range(len(trainer.train_dataset))]
    batch = trainer.data_collator(rows)
    loss = trainer.compute_loss(trainer.model.train(), batch)
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
) -> DPOTrainer:
    """TRL's own trainer on the same pairs as conversational text; its reference is the parent,
    scored in every step or ``precomputed`` before the first.
    """
    run = write_run(folder / "stock", base, dtype=dtype, parent_adapter_dir=parent, trainer=trainer)
    config = trainer_config(run)
    assert isinstance(config, DPOConfig)
    config.precompute_ref_log_probs = precomputed
    policy = load_policy(run).to(getattr(torch, dtype))
    dataset = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": pair.prompt}],
                "chosen": [{"role": "assistant", "content": pair.chosen}],
                "rejected": [{"role": "assistant", "content": pair.rejected}],
            }
            for pair in PLAIN
        ]
    )
    built = DPOTrainer(
        policy,
        args=config,
        train_dataset=dataset,
        processing_class=load_tokenizer(base),
    )
    perturb(policy, seed=11)
    return built


LOSSES: list[dict[str, Any]] = [
    {"loss_type": ["sigmoid"]},
    {"loss_type": ["hinge"]},
    {"loss_type": ["ipo"]},
    {"loss_type": ["robust"], "label_smoothing": 0.1},
    {"loss_type": ["sigmoid_norm"]},
    {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]},
]


def names_of(keys: dict[str, Any]) -> str:
    return "+".join(keys["loss_type"])


@pytest.mark.parametrize("precomputed", [False, True], ids=["live", "precomputed"])
@pytest.mark.parametrize("keys", LOSSES, ids=names_of)
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


@pytest.mark.parametrize("keys", LOSSES, ids=names_of)
def test_weights_of_1_give_trls_loss_in_float32_with_its_own_kernel(
    ours, base, parent, tmp_path, keys
):
    expected, gradients = loss_and_gradients(stock(base, parent, tmp_path, "float32", **keys))
    loss, actual = loss_and_gradients(ours(PLAIN, dtype="float32", **keys))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert actual.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert relative_difference(actual[name], gradient) < 1e-5, name


def test_weight_2_is_the_pair_twice_and_weight_0_is_its_absence(ours):
    weighted = [replace(PLAIN[0], weight=2.0), PLAIN[1], replace(PLAIN[2], weight=0.0)]
    copies = [PLAIN[0], PLAIN[0], PLAIN[1]]
    loss, gradients = loss_and_gradients(ours(weighted))
    expected, expected_gradients = loss_and_gradients(ours(copies))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    for name, gradient in expected_gradients.items():
        assert relative_difference(gradients[name], gradient) < 1e-9


def test_one_pair_alone_keeps_its_weight(ours):
    loss, _ = loss_and_gradients(ours([replace(PLAIN[0], weight=3.0)]))
    single, _ = loss_and_gradients(ours([PLAIN[0]]))
    assert loss.item() == pytest.approx(3 * single.item(), rel=1e-9)


def test_token_weights_enter_policy_and_reference_alike(ours, tmp_path):
    pair = make_pairs(1)[0]
    trainer = ours([pair])
    row = trainer.train_dataset[0]
    assert max(row["chosen_weights"]) == 5.0
    perturb(trainer.model, seed=11, scale=-0.05)  # back onto the reference
    loss, _ = loss_and_gradients(trainer)
    assert loss.item() == pytest.approx(0.6931471805599453, rel=1e-9)


def test_struck_only_words_left_standing_have_exactly_no_gradient(ours, monkeypatch):
    pair = make_pairs(1)[0]
    end = pair.rejected_spans[0].end
    standing = WeightedSpan(end, len(pair.rejected), 0.0)
    trainer = ours([replace(pair, rejected_spans=(*pair.rejected_spans, standing))])
    seen: list[torch.Tensor] = []
    forward = trainer.model.forward

    def recording(**inputs: torch.Tensor) -> torch.Tensor:
        target_logps: torch.Tensor = forward(**inputs)
        target_logps.retain_grad()
        seen.append(target_logps)
        return target_logps

    monkeypatch.setattr(trainer.model, "forward", recording)
    loss_and_gradients(trainer)
    assert seen[0].grad is not None
    row = trainer.train_dataset[0]
    batch = trainer.data_collator([row])
    # Rows of the index: chosen, rejected, and the same unweighted.
    rejected = batch["target_index"][3, : len(row["rejected_ids"])]
    gradient = seen[0].grad[rejected]
    weights = torch.tensor(row["rejected_weights"])
    shared = row["shared"]
    assert (weights == 0).sum().item() == len(pair.rejected) - end
    assert gradient[weights == 0].abs().max().item() == 0.0
    assert gradient[:shared].abs().max().item() < 1e-15  # one node for both sides: it cancels
    scored = gradient[shared:]
    weights = weights[shared:]
    assert (scored[weights > 0].abs() > 0).all()
    assert torch.allclose(scored / scored[-1], weights.double())


def test_a_dropped_weight_column_stops_the_run(ours):
    trainer = ours(PLAIN)
    batch = trainer.data_collator([trainer.train_dataset[0]])
    del batch["weight"]
    with pytest.raises(TrainingError, match="weight column did not reach the loss"):
        trainer.compute_loss(trainer.model, batch)


def test_trls_copy_of_the_adapter_is_gone(ours):
    assert list(ours(PLAIN).model.peft_config) == ["default"]


def test_the_epochs_order_depends_on_seed_and_epoch_alone(ours):
    sampler = ours(make_pairs(8))._get_train_sampler()
    first = list(sampler)
    torch.manual_seed(123)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert sorted(sampler) == list(range(8))
    assert list(sampler) != first
