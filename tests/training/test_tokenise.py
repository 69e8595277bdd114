"""Token ids against TRL's own tokenisation, and where weights land."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trl.data_utils import _tokenize, common_prefix_length

from negalign_train.training.rows.batches import PairRow, TokenSequence
from negalign_train.training.rows.tokenise import (
    refuse_longer_than,
    render_prompt,
    tokenise_pairs,
    tokenise_unpaired,
)
from negalign_train.vocabulary.chat import prompt_messages
from negalign_train.vocabulary.errors import TrainingError
from negalign_train.vocabulary.records import PreferencePair, WeightedSpan
from tests.tiny import byte_tokenizer, make_pairs, make_unpaired

TOKENIZER = byte_tokenizer()
EOS = TOKENIZER.eos_token_id
PAIR = replace(make_pairs(1)[0], chosen="A right B.", rejected="A left B.")


def row_of(pair: PreferencePair) -> PairRow:
    return tokenise_pairs(TOKENIZER, [pair])[0]


def spans(*triples: tuple[int, int, float]) -> tuple[WeightedSpan, ...]:
    return tuple(WeightedSpan(*triple) for triple in triples)


@pytest.mark.parametrize("prompt", ["cough é", ({"role": "system", "content": "s"},
                                                {"role": "user", "content": "u"})])  # fmt: skip
def test_ids_are_those_trl_gives_the_same_conversational_row(prompt):
    messages = prompt_messages(prompt)
    row = row_of(replace(PAIR, prompt=prompt))
    prompt_ids = _tokenize(TOKENIZER, messages, add_generation_prompt=True)["input_ids"]
    for side in ("chosen", "rejected"):
        answer = [{"role": "assistant", "content": getattr(PAIR, side)}]
        full = _tokenize(TOKENIZER, messages + answer)["input_ids"]
        start = common_prefix_length(prompt_ids, full)
        assert row["prompt_ids"] == full[:start]
        assert row[side + "_ids"] == full[start:]  # type: ignore[literal-required]


def test_a_rendered_prompt_is_what_a_completion_continues():
    assert render_prompt(TOKENIZER, PAIR.prompt) == row_of(PAIR)["prompt_ids"]


def test_completions_end_with_one_eos_of_weight_1():
    row = row_of(replace(PAIR, chosen_spans=spans((0, 99, 3.0))))
    assert row["chosen_ids"].count(EOS) == 1
    assert row["chosen_ids"][-1] == EOS
    assert len(row["chosen_weights"]) == len(row["chosen_ids"]) == len(PAIR.chosen) + 1


def test_tokens_of_a_span_take_its_weight_and_the_largest_of_several():
    row = row_of(replace(PAIR, rejected_spans=spans((2, 6, 5.0), (4, 8, 0.5))))
    assert row["rejected_weights"] == [1, 1, 5, 5, 5, 5, 0.5, 0.5, 1, 1]


def test_the_common_prefix_weighs_1_on_both_sides():
    row = row_of(replace(PAIR, chosen_spans=spans((0, 7, 4.0)), rejected_spans=spans((0, 6, 2.0))))
    assert row["chosen_weights"] == [1, 1, 4, 4, 4, 4, 4, 1, 1, 1, 1]
    assert row["rejected_weights"] == [1, 1, 2, 2, 2, 2, 1, 1, 1, 1]


def test_offsets_count_characters_of_the_completion_not_bytes():
    pair = replace(PAIR, rejected="é left", rejected_spans=spans((2, 6, 5.0)))
    assert row_of(pair)["rejected_weights"] == [1, 1, 1, 5, 5, 5, 5, 1]


def test_a_completion_that_repeats_the_prompt_is_found_after_it():
    pair = replace(PAIR, prompt="left", rejected="left", rejected_spans=spans((0, 4, 5.0)))
    assert row_of(pair)["rejected_weights"] == [5, 5, 5, 5, 1]


def test_unpaired_rows_keep_label_weight_and_span_weights():
    example = replace(make_unpaired([PAIR])[1], weight=1.5, spans=spans((0, 1, 2.0)))
    row = tokenise_unpaired(TOKENIZER, [example])[0]
    assert row["label"] is False
    assert row["weight"] == 1.5
    assert row["token_weights"] == [2.0] + [1.0] * len(PAIR.rejected)
    assert row["completion_ids"] == row_of(PAIR)["rejected_ids"]


def test_a_label_that_is_not_a_boolean_is_refused():
    example = replace(make_unpaired([PAIR])[0], label=0.5)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=r"label 0\.5 is not true or false"):
        tokenise_unpaired(TOKENIZER, [example])


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_that_are_no_weights_are_refused(weight):
    with pytest.raises(TrainingError, match="example p0: weight"):
        row_of(replace(PAIR, weight=weight))
    with pytest.raises(TrainingError, match="example p0: weight"):
        row_of(replace(PAIR, chosen_spans=spans((0, 1, weight))))


def test_a_template_without_eos_is_refused():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("<|eos|>", "")
    with pytest.raises(TrainingError, match="does not end the assistant's turn"):
        tokenise_pairs(tokenizer, [PAIR])


def test_a_template_that_alters_the_completion_is_refused():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ message['content'] }}", "{{ message['content'] | upper }}"
    )
    with pytest.raises(TrainingError, match="alters the text of a completion"):
        tokenise_pairs(tokenizer, [PAIR])


def test_spans_survive_a_template_that_strips():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ message['content'] }}", "{{ message['content'] | trim }}"
    )
    pair = replace(PAIR, rejected="  left", rejected_spans=spans((2, 6, 5.0)))
    assert tokenise_pairs(tokenizer, [pair])[0]["rejected_weights"] == [5, 5, 5, 5, 1]


def test_a_sequence_over_the_limit_stops_the_run_and_is_named():
    sequences = [(f"p{i}", TokenSequence([1] * 5, [2] * i, [1.0] * i)) for i in range(9)]
    refuse_longer_than(13, sequences)
    with pytest.raises(TrainingError, match=r"3 examples exceed 10 tokens \(longest 13\): p6, p7"):
        refuse_longer_than(10, sequences)


def test_many_long_sequences_are_counted_but_not_all_named():
    sequences = [(f"p{i}", TokenSequence([1], [2], [1.0])) for i in range(9)]
    with pytest.raises(TrainingError, match=r"p4 and 4 more; raise trainer\.max_length"):
        refuse_longer_than(1, sequences)
