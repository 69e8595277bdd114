"""KL per token and reference log-probabilities."""

import weakref
from collections import Counter

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    CohereForCausalLM,
    Gemma2ForCausalLM,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from negalign_train.evaluation import divergence as module
from negalign_train.evaluation.divergence import (
    Sequences,
    _logps,
    divergence,
    load_beside_parent,
    reference_logps,
    tokenise_completions,
)
from negalign_train.recipe.estimate import HEAD_CELLS
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
from negalign_train.training.rows.tokenise import render_prompt
from negalign_train.vocabulary.errors import GateError
from tests.evaluation_support import save_adapter, save_base

PROMPTS = ["heart", "small left effusion", "lungs clear ."]
COMPLETIONS = ["heart normal .", "large", "lungs clear . small right effusion ."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    base = save_base(root / "base")
    return {
        "base": base,
        "parent": save_adapter(base, root / "parent", 0.2, seed=1),
        "candidate": save_adapter(base, root / "candidate", 0.5, seed=2),
    }


@pytest.fixture(scope="module")
def sequences(folders):
    return tokenise_completions(load_tokenizer(folders["base"]), PROMPTS, COMPLETIONS)


def logps_of(folders, name):
    """Log-probabilities (tokens, vocabulary) of every completion token, one row at a time."""
    adapter = None if name == "base" else folders[name]
    model, tokenizer = (
        load_for_inference(folders["base"], adapter),
        load_tokenizer(folders["base"]),
    )
    rows, targets = [], []
    for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
        start = render_prompt(tokenizer, prompt)
        done = tokenizer(completion, add_special_tokens=False)["input_ids"] + [1]
        with torch.no_grad():
            logits = model(torch.tensor([start + done])).logits[0]
        rows.append(logits[len(start) - 1 : -1].log_softmax(-1))
        targets += done
    return torch.cat(rows), torch.tensor(targets)


def kl(p, q):
    return float((p.exp() * (p - q)).sum(-1).mean())


@pytest.mark.parametrize("batch_size", [1, 8])
def test_divergence_equals_the_sum_over_the_vocabulary_row_by_row(folders, sequences, batch_size):
    model = load_beside_parent(folders["base"], folders["candidate"], folders["parent"])
    found = divergence(model, sequences, batch_size)
    candidate, parent, base = (logps_of(folders, n)[0] for n in ("candidate", "parent", "base"))
    assert found.kl_to_parent == pytest.approx(kl(candidate, parent), abs=1e-5)
    assert found.kl_to_base == pytest.approx(kl(candidate, base), abs=1e-5)
    assert found.num_tokens == len(candidate) == 14
    assert found.kl_to_base > 0.01
    assert model.active_adapter == "default"
    assert divergence(model, sequences, batch_size) == found


def test_without_a_parent_adapter_the_parent_is_the_base(folders, sequences):
    found = divergence(
        load_beside_parent(folders["base"], folders["candidate"], None), sequences, 8
    )
    assert found.kl_to_parent == found.kl_to_base > 0


def test_parent_against_itself_is_zero(folders, sequences):
    model = load_beside_parent(folders["base"], folders["parent"], folders["parent"])
    assert divergence(model, sequences, 8).kl_to_parent == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("name", ["base", "candidate"])
def test_reference_logps_are_the_mean_over_tokens(folders, sequences, name):
    model = load_for_inference(folders["base"], None if name == "base" else folders[name])
    logps, targets = logps_of(folders, name)
    expected = float(logps[torch.arange(len(targets)), targets].mean())
    for batch_size in (1, 8):
        assert reference_logps(model, sequences, batch_size) == pytest.approx(expected, abs=1e-5)


def test_nothing_to_measure_is_an_error(folders):
    model = load_for_inference(folders["base"], None)
    empty = tokenise_completions(load_tokenizer(folders["base"]), [], [])
    with pytest.raises(GateError, match="at least one held-out case"):
        reference_logps(model, empty, 8)


def test_a_small_bound_on_the_logits_changes_no_figure(folders, sequences, monkeypatch):
    model = load_beside_parent(folders["base"], folders["candidate"], folders["parent"])
    whole = divergence(model, sequences, 8), reference_logps(model, sequences, 8)
    # Room for four tokens' log-probabilities, and for one row in a forward.
    monkeypatch.setattr(module, "HEAD_CELLS", 4 * model.config.vocab_size)
    monkeypatch.setattr(module, "_FORWARD_TOKENS", 1)
    held: list[int] = []

    def counted(*args):
        held.append(len(args[1]))
        return _logps(*args)

    monkeypatch.setattr(module, "_logps", counted)
    cut = divergence(model, sequences, 8), reference_logps(model, sequences, 8)
    assert max(held) == 4
    assert cut[0].kl_to_parent == pytest.approx(whole[0].kl_to_parent, abs=1e-6)
    assert cut[0].kl_to_base == pytest.approx(whole[0].kl_to_base, abs=1e-6)
    assert cut[1] == pytest.approx(whole[1], abs=1e-6)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        (Gemma2ForCausalLM, {"final_logit_softcapping": 3.0, "head_dim": 8}),
        (CohereForCausalLM, {"logit_scale": 0.3}),
        (GraniteForCausalLM, {"logits_scaling": 4.0}),
    ],
)
def test_logits_are_those_of_the_whole_model_with_its_scale_and_cap(family, changes):
    torch.manual_seed(0)
    config = family.config_class(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, initializer_range=0.5, pad_token_id=0,
        eos_token_id=1, bos_token_id=2, **changes,
    )  # fmt: skip
    model = family(config).eval()
    prompt, done = (5, 6, 7), (9, 10, 1)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + done])).logits[0, 2:5]
    expected = logits.log_softmax(-1)[torch.arange(3), torch.tensor(done)].mean()
    actual = reference_logps(model, Sequences((prompt,), (done,), 0), 1)
    assert actual == pytest.approx(float(expected), abs=1e-5)


def test_a_large_vocabulary_is_never_held_whole():
    """1,200 tokens of a vocabulary of 128,000 are 614 MB a tensor; the head alone is 4 MB."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128_000, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(LlamaForCausalLM(config), lora).eval()
    with torch.no_grad():
        model.get_parameter(
            "base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight"
        ).normal_()
    prompts = tuple((5, 6, number) for number in range(12))
    done = tuple(tuple(range(10, 110)) for _ in prompts)
    held = Sequences(prompts, done, 0)
    with PeakOf() as memory:
        divergence(model, held, 100)
        reference_logps(model, held, 100)
    # Six tensors of HEAD_CELLS, and a few of the trunk.
    assert 2 * 4 * HEAD_CELLS < memory.peak < 6 * 4 * HEAD_CELLS + 5e6


class PeakOf(TorchDispatchMode):
    """The most bytes that tensors made inside held at one time; views count as what they view."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.alive = 0
        self.counts: Counter[int] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            # The head's packed weights are no log-probabilities.
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
                self._hold(tensor)
        return result

    def _hold(self, tensor):
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if not self.counts[place]:
            self.alive += size
            self.peak = max(self.peak, self.alive)
        self.counts[place] += 1
        weakref.finalize(tensor, self._drop, place, size)

    def _drop(self, place, size):
        self.counts[place] -= 1
        if not self.counts[place]:
            self.alive -= size
