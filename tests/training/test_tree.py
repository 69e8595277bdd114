"""Prefix trees: how they are built, packed, masked and scored, and which models take them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MambaConfig, MistralConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from negalign_train.training.forward.head import LogitTransform, add_completion_head, target_logps
from negalign_train.training.forward.packing import completion_logps, model_inputs, pack
from negalign_train.training.forward.tree import build_tree, common_prefix_length, tree_size
from negalign_train.training.forward.tree_choice import find_sharing
from negalign_train.training.forward.tree_mask import tree_mask
from negalign_train.training.rows.batches import TokenSequence, suffix_of
from negalign_train.training.rows.steps import (
    GlobalBatchSampler,
    MicroBatchLimits,
    Unit,
    micro_batches,
    plan_step,
)
from tests.tiny import compute_llama_exactly, relative_difference

IDS = st.lists(st.integers(0, 3), max_size=6)


def sequence(prompt: list[int], completion: list[int]) -> TokenSequence:
    return TokenSequence(prompt, completion, [1.0] * len(completion))


@given(st.lists(IDS, min_size=1, max_size=6))
def test_a_tree_holds_every_prefix_once_and_each_path_spells_its_sequence(sequences):
    tree = build_tree(sequences)
    prefixes = {tuple(each[:end]) for each in sequences for end in range(1, len(each) + 1)}
    assert len(tree) == tree_size(sequences) == len(prefixes)
    for each, path in zip(sequences, tree.paths, strict=True):
        assert tree.token_ids[path].tolist() == each
        assert tree.positions[path].tolist() == list(range(len(each)))
    for each, path in zip(sequences, tree.paths, strict=True):
        for other, nodes in zip(sequences, tree.paths, strict=True):
            shared = common_prefix_length(each, other)
            assert path[:shared].tolist() == nodes[:shared].tolist()
            assert not set(path[shared:]) & set(nodes[shared:])


@given(st.lists(IDS, min_size=1, max_size=6))
def test_a_node_sees_its_ancestors_and_itself_and_nothing_else(sequences):
    tree = build_tree(sequences)
    mask = tree_mask(torch.from_numpy(tree.ends)[None], torch.float32)[0, 0]
    ancestors = {
        int(node): set(path[: at + 1]) for path in tree.paths for at, node in enumerate(path)
    }
    for node in range(len(tree)):
        assert set(np.flatnonzero(mask[node] == 0)) == ancestors[node]
    assert set(mask.unique().tolist()) <= {0.0, torch.finfo(torch.float32).min}


@given(st.lists(IDS, min_size=1, max_size=6))
def test_inner_nodes_are_those_that_something_follows(sequences):
    tree = build_tree(sequences)
    followed = {int(node) for path in tree.paths for node in path[:-1]}
    assert set(np.flatnonzero(tree.inner())) == followed


def test_a_pair_is_one_row_without_its_last_tokens():
    chosen, rejected = sequence([5, 6], [7, 8, 9, 1]), sequence([5, 6], [7, 3, 1])
    batch = pack([chosen, rejected], pad_token_id=0, shared=True)
    # Depth first, smaller ids first; neither final token predicts anything.
    assert batch["input_ids"].tolist() == [[5, 6, 7, 3, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 3, 4]]
    assert batch["subtree_ends"].tolist() == [[6, 6, 6, 4, 6, 6]]


def test_the_row_at_the_fork_has_two_targets_and_shared_tokens_one_log_probability():
    chosen, rejected = sequence([5, 6], [7, 8, 1]), sequence([5, 6], [7, 3, 1])
    batch = pack([chosen, rejected], pad_token_id=0, shared=True)
    assert batch["scored_rows"].tolist() == [1, 2, 3, 4]
    targets = list(zip(batch["target_rows"].tolist(), batch["targets"].tolist(), strict=True))
    assert targets == [(0, 7), (1, 3), (2, 1), (1, 8), (3, 1)]
    assert batch["target_index"].tolist() == [[0, 3, 4], [0, 1, 2]]


def test_cancelled_tokens_do_not_reach_the_head():
    sides = [sequence([5, 6], [7, 8, 1]), sequence([5, 6], [7, 3, 1])]
    batch = pack([suffix_of(side, 1) for side in sides], pad_token_id=0, shared=True)
    assert batch["targets"].tolist() == [3, 1, 8, 1]
    assert batch["scored_rows"].tolist() == [2, 3, 4]  # of seven tokens of the pair, W + L - 1
    assert batch["token_weights"].tolist() == [[0, 1, 1], [0, 1, 1]]


def test_padding_sees_itself_alone_and_is_not_scored():
    pair = [sequence([5, 6], [7, 8, 1]), sequence([5, 6], [7, 8, 2])]
    batch = pack([*pair, sequence([9], [1])], pad_token_id=0, shared=True)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 0, 0, 0]]
    assert batch["subtree_ends"].tolist() == [[4, 4, 4, 4], [1, 2, 3, 4]]
    assert batch["scored_rows"].tolist() == [1, 2, 3, 4]


def test_texts_with_next_to_nothing_in_common_are_plain_rows():
    sides = [sequence([5], [6 + i, *range(10, 30)]) for i in range(2)]
    assert "subtree_ends" not in pack(sides, pad_token_id=0, shared=True)
    prompted = [sequence([5] * 8, each.completion_ids) for each in sides]
    assert "subtree_ends" in pack(prompted, pad_token_id=0, shared=True)


def test_plain_rows_need_no_mask_and_equal_completions_are_one_row():
    sides = [sequence([5], [7, 1]), sequence([5], [8, 1]), sequence([5], [7, 1])]
    batch = pack(sides, pad_token_id=0, shared=False)
    assert batch["input_ids"].tolist() == [[5, 7], [5, 8]]
    assert "subtree_ends" not in batch
    assert "position_ids" not in batch


CASES = {
    "middle edit": [sequence([5, 6, 7], [8, 9, 10, 1]), sequence([5, 6, 7], [8, 11, 12, 13, 1])],
    "single-token suffix": [sequence([5, 6], [8, 9, 1]), sequence([5, 6], [8, 9, 2])],
    "one is the beginning of the other": [sequence([5], [8, 9]), sequence([5], [8, 9, 10, 1])],
    "nothing in common": [sequence([5], [8, 9, 1]), sequence([6, 7], [9, 8, 2, 1])],
    "equal": [sequence([5], [8, 9, 1]), sequence([5], [8, 9, 1])],
    "no prompt": [sequence([], [8, 9, 1]), sequence([], [7, 9, 1])],
    "group of four": [sequence([5, 6], [8 + i // 2, 9, 3 + i, 1]) for i in range(4)],
    "several prompts": [sequence([p, 6], [8, 9 + i, 1][: 2 + i]) for p in (3, 4) for i in (0, 1)],
}


def tiny_llama(dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, pad_token_id=0,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config).to(dtype)  # type: ignore[arg-type]
    add_completion_head(model)
    model.lm_head.requires_grad_(False)
    return model


def logps_and_gradients(model: Any, sequences: Any, shared: bool) -> tuple[Any, Any]:
    """Log-probabilities, and the trunk's gradients of a sum with unequal factors."""
    batch = pack(sequences, pad_token_id=0, shared=shared)
    logps = completion_logps(model(**model_inputs(batch)), batch)
    model.zero_grad()
    (logps * torch.arange(1, len(logps) + 1)).sum().backward()
    actual = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return logps.detach(), {name: grad.clone() for name, grad in actual.items()}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_trees_give_the_log_probabilities_and_gradients_of_plain_rows(case, attention, monkeypatch):
    compute_llama_exactly(monkeypatch)
    model = tiny_llama()
    model.set_attn_implementation(attention)
    expected, gradients = logps_and_gradients(model, CASES[case], shared=False)
    logps, actual = logps_and_gradients(model, CASES[case], shared=True)
    # Eager attention takes its softmax in float32, whatever the model's dtype.
    tolerance = 1e-9 if attention == "sdpa" else 1e-5
    assert logps.tolist() == pytest.approx(expected.tolist(), rel=tolerance)
    assert actual.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert relative_difference(actual[name], gradient) < tolerance, name


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2), IDS.filter(len)), min_size=1, max_size=5))
def test_any_texts_score_the_same_in_trees_as_alone(texts):
    model = tiny_llama()
    sequences = [sequence([prompt] * prompt, [*ids, 15]) for prompt, ids in texts]
    batch = pack(sequences, pad_token_id=0, shared=True)
    with torch.no_grad():
        together = completion_logps(model(**model_inputs(batch)), batch)
        for each, logp in zip(sequences, together, strict=True):
            ids = torch.tensor([each.prompt_ids + each.completion_ids])
            logps = model(input_ids=ids).logits[0].log_softmax(dim=1)
            first = len(each.prompt_ids)
            alone = sum(logps[i - 1, ids[0, i]].item() for i in range(first, ids.shape[1]))
            assert logp.item() == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("tile_bytes", [1, 2**24])
@pytest.mark.parametrize("with_entropies", [True, False])
def test_the_head_gives_autograds_gradient_tile_by_tile(
    softcap, tile_bytes, with_entropies, monkeypatch
):
    monkeypatch.setattr("negalign_train.training.forward.head._TILE_BYTES", {"cpu": tile_bytes})
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 11, bias=True).double().requires_grad_(False)
    rows = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    target_rows, targets = torch.tensor([0, 1, 1, 3]), torch.tensor([2, 5, 10, 0])
    factors = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    transform = LogitTransform(scale=0.7, softcap=softcap, temperature=1.3)
    logps, entropies = target_logps(head, rows, target_rows, targets, transform, with_entropies)
    (actual,) = torch.autograd.grad((logps * factors).sum(), rows)

    logits = 0.7 * head(rows)
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    every = (logits / 1.3).log_softmax(dim=1)
    expected = every[target_rows, targets]
    (gradient,) = torch.autograd.grad((expected * factors).sum(), rows)
    assert torch.allclose(logps, expected, rtol=1e-12)
    assert (entropies is not None) == with_entropies
    if entropies is not None:
        assert torch.allclose(entropies, -(every.exp() * every).sum(dim=1), rtol=1e-12)
    assert relative_difference(actual, gradient) < 1e-12
    assert actual[2].abs().max().item() == 0.0  # a row that predicts nothing scored


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    add_completion_head(model)
    model.get_base_model = lambda: model
    return model


SMALL: dict[str, Any] = {
    "initializer_range": 0.2,
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [LlamaConfig(**SMALL), MistralConfig(**SMALL, sliding_window=100),
     GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2)],
    ids=lambda config: config.model_type,
)  # fmt: skip
def test_models_that_follow_mask_and_positions_take_trees(config):
    actual = find_sharing(model_of(config), longest=60, pad_token_id=0)
    assert (actual.mode, actual.reason) == ("tree", None)


def test_a_window_shorter_than_the_longest_example_takes_none():
    model = model_of(MistralConfig(**SMALL, sliding_window=50))
    actual = find_sharing(model, longest=60, pad_token_id=0)
    assert actual.mode == "plain"
    assert actual.reason == (
        "sliding_attention of 50 tokens is shorter than the longest example (60)"
    )


def test_a_recurrent_model_takes_none():
    config = MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4)
    assert find_sharing(model_of(config), longest=60, pad_token_id=0).mode == "plain"


def test_a_model_that_ignores_the_mask_is_found_out():
    model = model_of(LlamaConfig(**SMALL))
    inner = model.model.forward

    def forward(
        *args: Any, attention_mask: Any = None, position_ids: Any = None, **rest: Any
    ) -> Any:
        return inner(*args, **rest)

    model.model.forward = forward
    actual = find_sharing(model, longest=60, pad_token_id=0)
    assert actual.mode == "plain"
    assert "feels its neighbour" in str(actual.reason)


def test_a_model_that_ignores_positions_is_found_out():
    model = model_of(LlamaConfig(**SMALL))
    inner = model.model.forward
    model.model.forward = lambda *args, position_ids=None, **rest: inner(*args, **rest)
    actual = find_sharing(model, longest=60, pad_token_id=0)
    assert actual.mode == "plain"
    assert "positions are not followed" in str(actual.reason)


UNITS = [Unit((i,), tokens) for i, tokens in enumerate([50, 10, 40, 30, 20])]


def test_micro_batches_hold_units_of_like_length_up_to_the_budget_padding_counted():
    assert micro_batches(UNITS, MicroBatchLimits(8, max_tokens=100)) == [[0, 2], [3, 4, 1]]
    assert micro_batches(UNITS, MicroBatchLimits(8, max_tokens=1)) == [[0], [2], [3], [4], [1]]
    assert micro_batches(UNITS, MicroBatchLimits(2)) == [[0, 2], [3, 4], [1]]


def test_processes_share_a_steps_tokens_and_take_as_many_turns():
    plan = plan_step(UNITS, 2, MicroBatchLimits(1))
    assert plan == [[[0], [4], [1]], [[2], [3], []]]
    assert plan_step(UNITS[:1], 3, MicroBatchLimits(1)) == [[[0]], [[]], [[]]]


@given(st.lists(st.integers(1, 90), min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 9))
def test_a_plan_holds_every_example_once(lengths, processes, max_examples):
    units = [Unit((index,), tokens) for index, tokens in enumerate(lengths)]
    for limits in (MicroBatchLimits(max_examples), MicroBatchLimits(max_examples, 120)):
        plan = plan_step(units, processes, limits)
        planned = sorted(example for cut in plan for batch in cut for example in batch)
        assert planned == list(range(len(lengths)))
        assert len({len(cut) for cut in plan}) == 1


def test_the_sampler_sees_every_row_once_and_drops_none():
    sampler = GlobalBatchSampler(torch.utils.data.SequentialSampler(range(7)), 7, batch_size=3)
    assert list(sampler) == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(sampler) == 3
