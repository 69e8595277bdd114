"""KL per token and reference log-probabilities."""

import pytest
import torch

from negalign_train.evaluation import divergence as module
from negalign_train.evaluation.divergence import (
    _logps,
    divergence,
    load_beside_parent,
    reference_logps,
    tokenise_completions,
)
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
    vocabulary = model.config.vocab_size
    # Room for the two short completions (5 columns each), or for the longest alone.
    monkeypatch.setattr(module, "HEAD_CELLS", 2 * 5 * vocabulary)
    held: list[int] = []

    def counted(*args):
        held.append(len(args[1].ids))
        return _logps(*args)

    monkeypatch.setattr(module, "_logps", counted)
    cut = divergence(model, sequences, 8), reference_logps(model, sequences, 8)
    assert set(held) == {1, 2}
    assert cut[0].kl_to_parent == pytest.approx(whole[0].kl_to_parent, abs=1e-6)
    assert cut[0].kl_to_base == pytest.approx(whole[0].kl_to_base, abs=1e-6)
    assert cut[1] == pytest.approx(whole[1], abs=1e-6)
