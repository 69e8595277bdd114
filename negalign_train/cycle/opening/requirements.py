"""What each candidate needs to train on, and why there is too little of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from negalign_train.recipe.candidate import CandidateSettings
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.vocabulary.errors import CycleError

_SOURCES = {
    "pairs": "a pair needs a corrected report, an accepted and a rejected report of one case, or a "
    "thread that gets better",
    "labels": "a label needs an accepted report, a corrected one, or one whose severity is known",
    "prompts": "a prompt needs a case with an accepted or corrected report",
}


def check_candidates_have_data(
    recipe: CycleRecipe, cycle: int, counts: Mapping[str, Any], processes: int
) -> None:
    """Refuses a cycle in which a candidate has nothing to train on. The method decides what is
    needed: KTO runs on labels alone, GRPO on prompts alone.

    Args:
        counts: those of ``preferences.json``.
        processes: how many the launch file starts.

    Raises:
        CycleError: naming the candidate, what it lacks, and where the events went.
    """
    for candidate in recipe.candidates:
        lack = _lack(candidate, counts, processes)
        if lack is None:
            continue
        what, sentence = lack
        raise CycleError(
            f"cycle {cycle}: candidate {candidate.name} ({candidate.method}) needs {sentence}. "
            f"{_where_events_went(recipe, counts)}. Import more feedback ({_SOURCES[what]}), or "
            "take the candidate out of the recipe"
        )


def _lack(
    candidate: CandidateSettings, counts: Mapping[str, Any], processes: int
) -> tuple[str, str] | None:
    """What is missing, and in words; None where the candidate can train."""
    if candidate.method in ("dpo", "sft"):
        return None if counts["pairs"] else ("pairs", "preference pairs, and there is no pair")
    if candidate.method == "kto":
        if counts["label_groups"] >= 2:
            return None
        available = f"{counts['unpaired']} labels of {counts['label_groups']}"
        return "labels", f"labels of at least two case groups, and there are {available}"
    needed = prompts_of_a_step(candidate, processes)
    if counts["prompts"] >= needed:
        return None
    return "prompts", f"{needed} prompts for one step, and there are {counts['prompts']}"


def prompts_of_a_step(candidate: CandidateSettings, processes: int) -> int:
    """Distinct prompts of one GRPO step: TRL leaves out a step that it cannot fill (trl 1.16.0,
    trainer/utils.py, ``RepeatSampler``).
    """
    trainer = candidate.trainer
    accumulation = trainer.get("gradient_accumulation_steps", 1)
    steps = trainer.get("steps_per_generation") or accumulation
    rows = trainer["per_device_train_batch_size"] * processes * steps
    batch = trainer.get("generation_batch_size") or rows
    return max(1, int(batch) // int(trainer["num_generations"]))


def _where_events_went(recipe: CycleRecipe, counts: Mapping[str, Any]) -> str:
    share = recipe.preferences.held_out_fraction
    joined = ", cases of one prompt as one" if recipe.cases.joins_equal_prompts else ""
    went = [
        f"{counts['events_held_out']} are held out of training, since they belong to "
        f"{counts['groups_held_out']} of {counts['groups']} case groups "
        f"(preferences.held_out_fraction {share}{joined})"
    ]
    if counts["events_of_evaluation_cases"]:
        went.append(f"{counts['events_of_evaluation_cases']} belong to frozen evaluation cases")
    if counts["events_withdrawn"]:
        went.append(
            f"{counts['events_withdrawn']} share a study or a patient with cases of those kinds"
        )
    refused = ", ".join(f"{name} {count}" for name, count in counts["refused"].items())
    return (
        f"Of {counts['events']} new events, {counts['events_with_edit']} of them with an edit, "
        f"{'; '.join(went)}; {counts['events_trained']} are left, "
        f"{counts['events_trained_with_edit']} of them with an edit, and gave with replay "
        f"{counts['pairs']} pairs, {counts['unpaired']} labels and {counts['prompts']} prompts "
        f"(refused: {refused or 'nothing'})"
    )
