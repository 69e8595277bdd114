"""The grammar: what it writes can be read back, and says what is true."""

from collections import Counter

import pytest

from negalign_train.cases.grammar import grammar
from negalign_train.cases.parse import parse_report, parse_sentence
from negalign_train.cases.synthetic import coded_observation, synthetic_case, synthetic_cases
from negalign_train.vocabulary.records import Finding
from negalign_train.vocabulary.taxonomy import finding_types

CASES = synthetic_cases(0, 400, seed=5)


def test_the_grammar_knows_every_finding_of_the_catalogue_and_at_least_forty():
    tables = grammar()
    known = {*tables.findings, *tables.devices, *tables.artefacts}
    assert known == {name for name, entry in finding_types().items() if not entry.further}
    assert len(tables.findings) >= 40


def test_every_phrase_of_every_finding_means_that_finding():
    for name, phrases in grammar().findings.items():
        assert len(phrases.noun_phrases) >= 2
        for noun in phrases.noun_phrases:
            statement = parse_sentence(f"{noun.capitalize()}.")
            assert statement is not None
            assert statement.finding == Finding(name)


def test_a_reference_read_back_states_exactly_the_ground_truth():
    for case in CASES:
        sentences = parse_report(case.reference)
        assert all(sentence.statement for sentence in sentences), case.case_id
        stated = {
            s.statement.finding
            for s in sentences
            if s.section == "findings" and s.statement and s.statement.finding
        }
        assert stated == set(case.findings), case.case_id


def test_sentence_offsets_point_at_the_sentence():
    for sentence in parse_report(CASES[3].reference):
        assert CASES[3].reference[sentence.start : sentence.end] == sentence.text


def test_the_same_index_and_seed_give_the_same_case_and_other_seeds_another():
    assert synthetic_case(7, 5) == CASES[7]
    assert synthetic_case(7, 6).prompt != CASES[7].prompt


def test_equal_prompts_share_a_group_and_others_do_not():
    groups = {case.group: case.prompt for case in CASES}
    assert all(groups[case.group] == case.prompt for case in CASES)


def test_the_prompt_codes_every_finding():
    for case in CASES[:50]:
        for finding in case.findings:
            assert coded_observation(finding) in case.prompt


def test_change_is_reported_only_where_there_is_a_prior_study():
    changed = [case for case in CASES if any(f.change for f in case.findings)]
    assert changed
    assert all(case.has_prior for case in changed)


def test_one_finding_is_said_in_many_ways():
    texts = Counter(
        sentence.text
        for case in synthetic_cases(0, 4000, seed=9)
        for sentence in parse_report(case.reference)
        if sentence.statement
        and sentence.statement.finding == Finding("cardiomegaly", degree="mild")
    )
    assert len(texts) >= 12


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (
            "New small left pleural effusion is seen.",
            Finding("pleural_effusion", side="left", degree="mild", change="new"),
        ),
        (
            "There is moderate atelectasis at both bases, unchanged from the prior study.",
            Finding(
                "atelectasis",
                side="bilateral", location="base", degree="moderate", change="stable",
            ),
        ),
        (
            "An ET tube ends within the right mainstem bronchus.",
            Finding("endotracheal_tube", location="right main bronchus"),
        ),
        ("A skin fold projects over the left lung.", Finding("skin_fold", side="left")),
    ],
)  # fmt: skip
def test_a_sentence_is_read_with_all_its_attributes(text, finding):
    statement = parse_sentence(text)
    assert statement is not None
    assert statement.finding == finding


def test_a_list_of_negatives_rules_out_each_member():
    statement = parse_sentence("There is no pneumothorax, consolidation or pleural effusion.")
    assert statement is not None
    assert statement.ruled_out == ("pneumothorax", "consolidation", "pleural_effusion")


@pytest.mark.parametrize("text", ["", "Blah.", "Small left pleural effussion.", "Small left"])
def test_what_the_grammar_cannot_write_is_not_understood(text):
    assert parse_sentence(text) is None
