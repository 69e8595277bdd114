"""Decoding equals ``generate`` of transformers, and computes less."""

from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from negalign_train.generation.decode import (
    NO_PREFIX,
    decode_batch,
    greedy,
    left_padded,
    read_prefix,
    sampler,
)
from negalign_train.generation.kv_cache import RoomyLayer
from negalign_train.generation.packed_linear import packed_linears

VOCABULARY, END, PAD = 120, 1, 0
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": END,
    "pad_token_id": PAD,
}


def llama():
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def sliding():
    return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=7))


def learned_positions():
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, initializer_range=0.3,
            bos_token_id=None, eos_token_id=END, pad_token_id=PAD,
        )
    )  # fmt: skip


def alibi():
    return BloomForCausalLM(
        BloomConfig(
            vocab_size=VOCABULARY, hidden_size=64, n_layer=2, n_head=4, initializer_range=0.3,
            bos_token_id=None, eos_token_id=END, pad_token_id=PAD,
        )
    )  # fmt: skip


def softcaps_and_windows():
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=16, sliding_window=6))


def experts():
    return MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=4))


FAMILIES = {
    "llama": llama,
    "sliding window": sliding,
    "learned positions": learned_positions,
    "alibi": alibi,
    "softcaps and windows": softcaps_and_windows,
    "experts": experts,
}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    torch.manual_seed(3)
    return FAMILIES[request.param]().eval()


@pytest.fixture
def rows():
    """Twelve tokens in common, then 1 to 14 of each row's own; the last row is the second again."""
    drawn = torch.randint(5, VOCABULARY, (40,), generator=torch.Generator().manual_seed(1)).tolist()
    shared, own = drawn[:12], drawn[12:]
    some = [
        shared + own[start : start + size] for start, size in ((0, 3), (3, 14), (20, 1), (9, 8))
    ]
    return [*some, some[1]]


def by_generate(model, rows, limit):
    ids, mask = left_padded(rows, PAD)
    written = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=limit, do_sample=False
    )[:, ids.shape[1] :]
    texts = [row.tolist() for row in written]
    return [text[: text.index(END) + 1] if END in text else text for text in texts]


@torch.inference_mode()
def by_ours(model, rows, limit, choose=greedy):
    with packed_linears(model):
        return decode_batch(model, rows, choose, limit, [END], PAD, read_prefix(model, rows))


def test_greedy_tokens_are_those_of_generate(model, rows):
    expected = by_generate(model, rows, 30)
    assert by_ours(model, rows, 30) == expected
    assert len({len(text) for text in expected}) > 1 or len(expected[0]) == 30
    assert by_ours(model, rows[:1], 30) == expected[:1]


def test_what_all_prompts_begin_with_is_read_once_and_equal_prompts_too(rows):
    torch.manual_seed(3)
    model, read = llama().eval(), []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    by_ours(model, rows, 1)
    # The prefix, then the four distinct prompts with their own 1 to 14 tokens.
    assert read == [(1, 12), (4, 14)]


def test_models_that_padding_in_the_middle_would_change_read_no_prefix(rows):
    for make in (sliding, learned_positions):
        with torch.inference_mode():
            assert read_prefix(make(), rows) is NO_PREFIX
    with torch.inference_mode():
        assert read_prefix(llama(), rows).length == 12
        assert read_prefix(llama(), [rows[0], rows[0]]).length == len(rows[0]) - 1
        assert read_prefix(llama(), [rows[0], rows[1][1:]]) is NO_PREFIX
        assert read_prefix(llama(), rows[:1]) is NO_PREFIX


def test_finished_rows_leave_the_batch(model, rows):
    sizes = []

    def choose(logits, numbers, step):
        sizes.append(len(numbers))
        ends = torch.tensor([number <= step for number in numbers])
        return torch.where(ends, END, 7)

    written = by_ours(model, rows, 9, choose)
    assert written == [[7] * number + [END] for number in range(5)]
    assert sizes == [5, 4, 3, 2, 1]


def test_equal_prompts_are_sampled_each_with_its_own_numbers(rows):
    torch.manual_seed(3)
    model = llama().eval()
    uniforms = torch.rand(5, 20, generator=torch.Generator().manual_seed(0))
    written = by_ours(model, rows, 20, sampler(uniforms, 1.0))
    assert written[1] != written[4]
    alone = by_ours(model, [rows[4]], 20, sampler(uniforms[4:], 1.0))
    assert written[4] == alone[0]


def test_a_layer_writes_into_one_buffer_and_keeps_the_rows_it_is_asked_to():
    states = torch.arange(24.0).view(3, 1, 2, 4)
    layer = RoomyLayer((states, -states), rows=3, length=5, capacity=8)
    layer.place(torch.arange(3), 3, (states, -states))
    assert layer.keys[:, :, :3].count_nonzero() == 0  # masked, and finite
    buffer = layer.keys.data_ptr()
    new = torch.full((3, 1, 1, 4), 99.0)
    keys, values = layer.update(new, -new)
    assert keys.data_ptr() == buffer
    assert (layer.get_seq_length(), layer.get_mask_sizes(1)) == (6, (7, 0))
    assert torch.equal(keys[:, :, 3:5], states)
    assert torch.equal(values, -keys)
    layer.batch_select_indices(torch.tensor([0, 2]))
    assert layer.keys.data_ptr() == buffer
    assert torch.equal(layer.keys[:, :, 3:5], states[[0, 2]])
    assert layer.keys.shape == (2, 1, 6, 4)
