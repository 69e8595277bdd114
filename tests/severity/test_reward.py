"""The GRPO reward: minus S, minus the length term; silence never pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from negalign_train.recipe.candidate import RewardSettings
from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.judges.uses.reward import RewardCounts, SeverityReward, format_term
from negalign_train.severity.pricing.score import score_report
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, SeverityScore

REFERENCE = "Small left pleural effusion. The heart is normal in size."
SETTINGS = RewardSettings(length_weight=0.5, length_slack=0.2, unscorable=-10.0)


def rewards(*completions: object, settings: RewardSettings = SETTINGS) -> list[float]:
    return SeverityReward(settings, RulesJudge())(
        prompts=[""] * len(completions),
        completions=completions,  # type: ignore[arg-type]
        reference=[REFERENCE] * len(completions),
        completion_ids=[[1]] * len(completions),
        trainer_state=None,
    )


def test_the_right_report_earns_zero_and_an_error_its_severity() -> None:
    wrong_side = REFERENCE.replace("left", "right")
    assert rewards(REFERENCE, wrong_side) == [0.0, -0.25]


def test_messages_and_text_earn_the_same() -> None:
    message = [{"role": "assistant", "content": REFERENCE.replace("Small", "Large")}]
    assert rewards(message) == rewards(REFERENCE.replace("Small", "Large")) == [-0.25]


def test_an_unscorable_completion_earns_the_worst_reward() -> None:
    assert rewards("", "qzx wvb kjp") == [-10.0, -10.0]


def test_length_beyond_the_slack_costs() -> None:
    """Ten words against twenty-two: 0.5 * (|22/10 - 1| - 0.2) = 0.5."""
    longer = REFERENCE + " The patient was seen in the department with two views of the chest."
    assert len(REFERENCE.split()) == 10
    ratio = len(longer.split()) / 10
    assert rewards(longer) == [pytest.approx(-0.5 * (ratio - 1 - 0.2))]
    free = RewardSettings(length_weight=0.0, length_slack=0.0, unscorable=-10.0)
    assert rewards(longer, settings=free) == [0.0]


def test_a_missing_or_empty_section_costs_its_share_of_the_format_term() -> None:
    """Both sections: 0; findings only, an empty impression: half; no heading at all: all of it."""
    strict = SETTINGS.model_copy(update={"format_weight": 0.4, "length_weight": 0.0})
    whole = f"Findings: {REFERENCE} Impression: Small left pleural effusion."
    assert format_term(strict, whole) == 0.0
    assert format_term(strict, f"Findings: {REFERENCE}") == 0.2
    assert format_term(strict, f"Findings: {REFERENCE}\nImpression:  ") == 0.2
    assert rewards(REFERENCE, whole, settings=strict) == [-0.4, 0.0]
    one = strict.model_copy(update={"required_sections": ("findings",)})
    assert format_term(one, REFERENCE) == 0.4
    assert format_term(SETTINGS, REFERENCE) == 0.0


def test_nothing_earns_less_than_what_cannot_be_scored() -> None:
    harsh = RewardSettings(length_weight=50.0, length_slack=0.0, unscorable=-9.0)
    assert rewards("No effusion.", "", settings=harsh) == [-9.0, -9.0]
    with pytest.raises(ValueError, match="less than or equal to -9"):
        RewardSettings(length_weight=0.0, length_slack=0.0, unscorable=-5.0)


def test_a_calibration_changes_the_price_of_an_error() -> None:
    def halved(score: SeverityScore) -> SeverityScore:
        return SeverityScore({name: s / 2 for name, s in score.severities.items()})

    reward = SeverityReward(SETTINGS, RulesJudge(), halved)
    wrong_side = REFERENCE.replace("left", "right")
    assert reward(prompts=[""], completions=[wrong_side], reference=[REFERENCE]) == [-0.125]


class Counting:
    """A judge that remembers what it was asked, and answers as it is told."""

    name, version = "counting", "1"

    def __init__(self, answers: Mapping[str, str | float] = {}) -> None:  # read only
        self.asked: list[list[str]] = []
        self.answers = answers

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        self.asked.append([pair.candidate for pair in pairs])
        return [self.answer(self.answers.get(pair.candidate, 0.0)) for pair in pairs]

    def answer(self, answer: str | float) -> Judgement:
        if isinstance(answer, str):
            return Judgement(self.name, self.version, None, answer)
        severities = dict.fromkeys(CATEGORIES, 0.0) | {"false_positive": answer}
        return Judgement(self.name, self.version, SeverityScore(severities))


PLAIN = RewardSettings(length_weight=0.0, length_slack=0.0, unscorable=-10.0)


def call(reward: SeverityReward, *completions: str, prompts: Sequence[str] = ()) -> list[float]:
    return reward(
        prompts=prompts or [""] * len(completions),
        completions=completions,
        reference=[REFERENCE] * len(completions),
    )


def test_a_batch_is_asked_at_once_and_a_text_seen_before_not_again() -> None:
    judge = Counting()
    reward = SeverityReward(PLAIN, judge)
    call(reward, "a", "b", "a")
    call(reward, "b")
    assert judge.asked == [["a", "b"]]
    long = "word " * 4000
    call(reward, long, long)
    call(reward, long)
    assert judge.asked[1:] == [[long], [long]]


def test_any_judge_gives_the_reward_and_what_it_cannot_score_is_counted() -> None:
    judge = Counting({"bad": 0.7, "odd": "too_long_for_model", "worse": "judge_bad_answer"})
    reward = SeverityReward(PLAIN, judge)
    assert call(reward, "good", "bad", "odd", "worse", "odd") == [0.0, -0.7, -10.0, -10.0, -10.0]
    assert reward.counts() == RewardCounts(5, {"too_long_for_model": 2, "judge_bad_answer": 1})
    assert reward.judge_label == "counting 1"


def test_a_judge_that_failed_pulls_nowhere_and_is_asked_again() -> None:
    judge = Counting({"a": 0.2, "b": 0.4, "lost": "judge_timeout"})
    reward = SeverityReward(PLAIN, judge)
    # The mean of the same prompt's others; another prompt's good reward does not count.
    earned = call(reward, "a", "b", "lost", "good", prompts=["p", "p", "p", "q"])
    assert earned == pytest.approx([-0.2, -0.4, -0.3, 0.0])
    judge.answers = {"lost": 0.9}
    assert call(reward, "lost", "a", prompts=["p", "p"]) == [-0.9, -0.2]
    assert reward.counts() == RewardCounts(6, {"judge_timeout": 1})


def test_a_judge_that_fails_on_most_reports_stops_the_run() -> None:
    judge = Counting(dict.fromkeys("abc", "judge_unreachable"))
    with pytest.raises(DataError, match=r"failed on 3 of 4 reports \(judge_unreachable 3\)"):
        call(SeverityReward(PLAIN, judge), "a", "b", "c", "good")


def test_trl_finds_a_name_for_its_log() -> None:
    assert SeverityReward(SETTINGS, RulesJudge()).__name__ == "negative_severity"


def test_a_weighted_category_counts_more_and_the_others_as_before() -> None:
    missed, invented = "Lungs are clear.", "No pleural effusion. Pneumothorax."
    settings = RewardSettings(
        category_weights={"false_negative": 2.0}, length_weight=0.0, length_slack=0.0, unscorable=-9
    )
    plain = settings.model_copy(update={"category_weights": {}})
    score = score_report(REFERENCE, missed)
    assert score is not None
    assert score.severities["false_negative"] > 0
    extra = score.severities["false_negative"]
    assert rewards(missed, settings=plain) == [-score.total]
    assert rewards(missed, settings=settings) == [pytest.approx(-score.total - extra)]
    control = {"reference": ["No pleural effusion."], "prompts": [""], "completions": [invented]}
    weighted, unweighted = (SeverityReward(each, RulesJudge()) for each in (settings, plain))
    assert weighted(**control) == unweighted(**control)


def test_a_category_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown categories \['misses'\]; known are"):
        RewardSettings(
            category_weights={"misses": 2.0}, length_weight=0.0, length_slack=0.0, unscorable=-9
        )


def test_age_and_indication_of_the_prompt_price_the_reward() -> None:
    def earned(prompt: object) -> list[float]:
        reward = SeverityReward(SETTINGS.model_copy(update={"length_weight": 0.0}), RulesJudge())
        return reward([prompt], ["Lingular pneumonia."], ["Lingular consolidation."])

    assert earned("Indication: fever. Write the report.") == [0.0]
    assert earned([{"role": "user", "content": "Indication: fever. Write the report."}]) == [0.0]
    assert earned("Write the report.") == [-0.0625]
