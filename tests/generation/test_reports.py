"""Generation on held-out prompts."""

import pytest
import torch

from negalign_train.generation.decode import sampler
from negalign_train.generation.reports import Sampling, generate_reports
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
from negalign_train.training.rows.tokenise import render_prompt
from negalign_train.vocabulary.errors import GateError
from tests.evaluation_support import save_base

PROMPTS = ["heart", "small left effusion", "lungs clear . heart normal .", "large", "heart"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = save_base(tmp_path_factory.mktemp("base"))
    return load_for_inference(folder, None), load_tokenizer(folder)


def one_by_one(model, tokenizer, prompt, limit):
    """Greedy decoding without batching, padding or cache."""
    ids = render_prompt(tokenizer, prompt)
    start = len(ids)
    while len(ids) - start < limit and tokenizer.eos_token_id not in ids[start:]:
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    written = len(ids) - start
    if ids[-1] == tokenizer.eos_token_id:
        del ids[-1]
    return tokenizer.decode(ids[start:]).strip(), written


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_batches_give_what_one_prompt_at_a_time_gives_in_order(loaded, batch_size):
    model, tokenizer = loaded
    actual = generate_reports(model, tokenizer, PROMPTS, 12, batch_size)
    expected = [one_by_one(model, tokenizer, prompt, 12) for prompt in PROMPTS]
    assert [(each.text, each.num_tokens) for each in actual] == expected
    assert len({each.text for each in actual}) > 1


def test_report_without_an_end_token_is_truncated(loaded):
    model, tokenizer = loaded
    actual = generate_reports(model, tokenizer, PROMPTS, 12, 8)
    for prompt, each in zip(PROMPTS, actual, strict=True):
        assert each.truncated == (each.num_tokens == 12)
        ids = render_prompt(tokenizer, prompt)
        assert each.num_tokens >= 1
        assert len(ids) + each.num_tokens <= 64


def test_sampling_depends_on_its_seed_and_not_on_the_batch_size(loaded):
    model, tokenizer = loaded
    state = torch.random.get_rng_state()
    first, again, other = (
        generate_reports(model, tokenizer, PROMPTS, 12, batch_size, Sampling(1.5, seed))
        for batch_size, seed in ((8, 1), (2, 1), (8, 2))
    )
    assert first == again
    assert first != other
    assert torch.equal(torch.random.get_rng_state(), state)


def test_sampler_follows_the_distribution_and_the_temperature():
    logits = torch.tensor([0.5, 0.2, 0.3]).log().repeat(4000, 1)
    uniforms = torch.rand(4000, 1, generator=torch.Generator().manual_seed(0))
    shares = [
        torch.bincount(sampler(uniforms, t)(logits, range(4000), 0), minlength=3) / 4000
        for t in (1.0, 0.5)
    ]
    assert shares[0].tolist() == pytest.approx([0.5, 0.2, 0.3], abs=0.025)
    assert shares[1].tolist() == pytest.approx([25 / 38, 4 / 38, 9 / 38], abs=0.025)


def test_sampler_walks_the_cumulative_distribution():
    logits = torch.tensor([0.5, 0.2, 0.3]).log().repeat(4, 1)
    uniforms = torch.tensor([[0.0], [0.49], [0.51], [0.9999999]])
    assert sampler(uniforms, 1.0)(logits, range(4), 0).tolist() == [0, 0, 1, 2]


def test_low_temperature_is_greedy(loaded):
    model, tokenizer = loaded
    cold = generate_reports(model, tokenizer, PROMPTS, 12, 8, Sampling(1e-4, 0))
    assert cold == generate_reports(model, tokenizer, PROMPTS, 12, 8)


def test_temperature_of_zero_is_refused(loaded):
    model, tokenizer = loaded
    with pytest.raises(GateError, match="leave sampling out"):
        generate_reports(model, tokenizer, PROMPTS, 12, 8, Sampling(0.0, 0))


def test_no_prompt_gives_no_report(loaded):
    model, tokenizer = loaded
    assert generate_reports(model, tokenizer, [], 12, 8) == []


def test_prompt_that_does_not_fit_is_refused(loaded):
    model, tokenizer = loaded
    with pytest.raises(GateError, match=r"64 positions; lower model\.max_new_tokens"):
        generate_reports(model, tokenizer, PROMPTS, 60, 8)


def test_entropy_is_the_mean_over_a_reports_own_tokens(loaded):
    model, tokenizer = loaded
    measured = generate_reports(model, tokenizer, PROMPTS, 12, 8, with_entropy=True)
    plain = generate_reports(model, tokenizer, PROMPTS, 12, 8)
    assert [each.text for each in measured] == [each.text for each in plain]
    assert {each.entropy for each in plain} == {None}
    for prompt, each in zip(PROMPTS, measured, strict=True):
        ids = render_prompt(tokenizer, prompt)
        values = []
        for _ in range(each.num_tokens):
            probabilities = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
            values.append(float(torch.distributions.Categorical(probabilities).entropy()))
            ids.append(int(probabilities.argmax()))
        assert each.entropy == pytest.approx(sum(values) / len(values), rel=1e-4)
