"""From frozen events to training files, over cycles: joins, threads, needs, and where events go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from negalign_train.cycle.opening.plan import Context, LocatedRecipe
from negalign_train.cycle.opening.requirements import prompts_of_a_step
from negalign_train.cycle.run import _training_files_and_cases
from negalign_train.cycle.steps.evaluate import held_out
from negalign_train.cycle.steps.feedback import freeze_events
from negalign_train.cycle.steps.preferences import build
from negalign_train.cycle.steps.split import held_out_of_log, read_split
from negalign_train.preferences.files import read_pairs, read_prompts, read_unpaired
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.severity.judges.rules import rules_version
from negalign_train.severity.pricing.calibration import identity
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import CycleError
from negalign_train.vocabulary.records import Event
from negalign_train.vocabulary.resources import data_path
from tests.cycles import ROOT, plan_of

RECIPE = ROOT / "recipes" / "log" / "cycle.yaml"
WRONG = "Findings: Small left pleural effusion."
RIGHT = "Findings: Small right pleural effusion."
ROOT_PROMPT = "Indication: cough."
CRITIQUE = (
    {"role": "user", "content": ROOT_PROMPT},
    {"role": "assistant", "content": WRONG},
    {"role": "user", "content": "It is on the right."},
)
NOTHING = 1.0e-9
"""A share that holds none of so few groups out; a recipe refuses 0 without evaluation cases."""
KTO = {
    "beta": 0.1, "learning_rate": 1.0e-4, "max_steps": 2, "per_device_train_batch_size": 4,
}  # fmt: skip
GRPO = KTO | {
    "num_generations": 4, "gradient_accumulation_steps": 2,
}  # fmt: skip
REWARD = {"length_weight": 0.0, "length_slack": 0.0, "unscorable": -9.0}
CANDIDATES: dict[str, dict[str, Any]] = {
    "kto": {"name": "k", "method": "kto", "trainer": KTO},
    "grpo": {"name": "g", "method": "grpo", "trainer": GRPO, "reward": REWARD},
}

Make = Callable[..., Event]


def recipe_of(held_out: float, candidate: str | None = None, **cases: Any) -> CycleRecipe:
    data = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    data["preferences"]["held_out_fraction"] = held_out
    data["cases"] |= cases
    if candidate is not None:
        data["candidates"] = [CANDIDATES[candidate]]
    return CycleRecipe.model_validate(data)


def cycle_of(root: Path, recipe: CycleRecipe, cycle: int, events: Sequence[Event]) -> Context:
    """Cycle number ``cycle`` with its events frozen."""
    place = Workspace(root)
    engine = open_database(place.database_url)
    plan = plan_of(recipe, cycle=cycle)
    context = Context(plan, LocatedRecipe(recipe, RECIPE), place, engine, data_path("embedded"))
    calibration = identity("rules", rules_version(), "test")
    freeze_events(context, list(enumerate(events, start=1)), calibration)
    return context


def rejects(make_event: Make, count: int, **fields: Any) -> list[Event]:
    return [
        make_event(
            event_id=f"e{n}", case_id=f"c{n}", grade="reject", completion=WRONG, edited=RIGHT,
            **{"prompt": f"Indication: {n}."} | fields,
        )
        for n in range(count)
    ]  # fmt: skip


def turn(make_event: Make, number: int, **fields: Any) -> Event:
    return make_event(
        **{"event_id": f"t{number}", "case_id": "case", "thread_id": "t", "turn": number,
           "completion": WRONG, "edited": None, "prompt": ROOT_PROMPT if number == 1 else CRITIQUE}
        | fields
    )  # fmt: skip


def test_fifty_patients_with_one_prompt_are_fifty_groups_and_fifty_pairs_of_their_own(
    tmp_path: Path, make_event: Make
) -> None:
    events = rejects(make_event, 50, prompt="Write the report.")
    context = cycle_of(tmp_path, recipe_of(0.3), 1, events)
    counts = build(context)
    split = read_split(context, 1)
    held = {event.case_id for event in events if not split.trains(event.case_id)}
    assert counts["groups"] == 50
    assert counts["events_held_out"] == len(held) > 5
    trained = read_pairs(context.folder / "pairs.parquet")
    assert len(trained) == 20  # one text is chosen at most 20 times
    assert counts["refused"] == {"cap_chosen": 50 - len(held) - 20}
    assert not {pair.case_id for pair in trained} & held


def test_studies_of_one_patient_are_on_one_side(tmp_path: Path, make_event: Make) -> None:
    events = [
        make_event(event_id=f"e{n}", case_id=f"c{n}", patient_id=f"p{n // 4}", completion=WRONG)
        for n in range(80)
    ]
    context = cycle_of(tmp_path, recipe_of(0.4), 1, events)
    build(context)
    split = read_split(context, 1)
    sides: dict[str | None, set[bool]] = {}
    for event in events:
        sides.setdefault(event.patient_id, set()).add(split.trains(event.case_id))
    assert len(sides) == 20
    assert all(len(side) == 1 for side in sides.values())
    assert {True, False} == {side for some in sides.values() for side in some}


@pytest.mark.parametrize("kind", ["study_id", "patient_id"])
def test_a_case_id_of_two_studies_is_neither_trained_nor_evaluated_on_until_it_is_corrected(
    tmp_path: Path, make_event: Make, kind: str
) -> None:
    """Also where the second study comes in a later cycle, and for held-out cases."""
    recipe = recipe_of(0.5)
    names = [f"p{n}" for n in range(12)]

    def studies(number: int, **fields: Any) -> list[Event]:
        return [
            make_event(
                **{"event_id": f"{name}-{number}", "case_id": name, kind: f"{name}-s{number}",
                   "prompt": "Write the report.", "completion": WRONG} | fields
            )
            for name in names
        ]  # fmt: skip

    accepted: dict[str, Any] = {"grade": "accept", "completion": RIGHT, "edited": None}
    build(cycle_of(tmp_path, recipe, 1, studies(1, edited=RIGHT)))
    second = cycle_of(tmp_path, recipe, 2, [*studies(2, **accepted), *rejects(make_event, 20)])
    counts = build(second)
    refused = counts["refused"]
    assert isinstance(refused, dict)
    assert refused["case_of_two_studies"] == 12
    used = {pair.case_id for pair in read_pairs(second.folder / "pairs.parquet")}
    used |= {label.case_id for label in read_unpaired(second.folder / "unpaired.parquet")}
    used |= {case.case_id for case in held_out_of_log(second).distinct()}
    assert used
    assert not used & set(names)
    corrected = studies(2, **accepted | {"revision": 2, kind: None})
    third = cycle_of(tmp_path, recipe, 3, [*corrected, *rejects(make_event, 40)[20:]])
    build(third)
    assert {case.case_id for case in held_out_of_log(third).distinct()} & set(names)


def test_patient_who_turns_out_to_be_held_out_is_withdrawn_from_training_and_replay(
    tmp_path: Path, make_event: Make
) -> None:
    recipe = recipe_of(0.5)
    first = cycle_of(tmp_path, recipe, 1, rejects(make_event, 12))
    build(first)
    split = read_split(first, 1)
    held = next(f"c{n}" for n in range(12) if not split.trains(f"c{n}"))
    trained = next(f"c{n}" for n in range(12) if split.trains(f"c{n}"))
    links = [
        make_event(event_id=f"link-{case}", case_id=case, patient_id="p", grade="accept")
        for case in (held, trained, "new")
    ]
    more = [e for e in rejects(make_event, 40) if e.case_id not in split.groups]
    second = cycle_of(tmp_path, recipe, 2, [*links, *more])
    counts = build(second)
    after = read_split(second, 2)
    assert [after.fate(case) for case in (held, trained, "new")] == [
        "held_out", "withdrawn", "held_out",
    ]  # fmt: skip
    assert counts["events_withdrawn"] == 1
    files = read_unpaired(second.folder / "unpaired.parquet")
    assert files
    assert not {example.case_id for example in files} & {held, trained, "new"}
    judged = {case.case_id for case in held_out_of_log(second).distinct()}
    assert trained not in judged
    assert held in judged


def test_thread_over_two_cycles_gives_its_pair_once_under_the_first_prompt(
    tmp_path: Path, make_event: Make
) -> None:
    recipe = recipe_of(NOTHING)
    first = cycle_of(tmp_path, recipe, 1, [turn(make_event, 1), *rejects(make_event, 3)])
    build(first)
    answer = turn(make_event, 2, completion=RIGHT, grade="accept")
    second = cycle_of(tmp_path, recipe, 2, [answer, *(rejects(make_event, 6)[3:])])
    build(second)
    third = cycle_of(tmp_path, recipe, 3, rejects(make_event, 20)[6:])
    build(third)
    pairs = {
        context.plan.cycle: [
            (pair.prompt, pair.chosen, pair.rejected, pair.origin_cycle)
            for pair in read_pairs(context.folder / "pairs.parquet")
            if pair.case_id == "case"
        ]
        for context in (first, second, third)
    }
    made = (ROOT_PROMPT, RIGHT, WRONG, 2)
    assert pairs[1] == []
    assert pairs[2] == [made]
    assert pairs[3] in ([], [made])  # replayed at most, never made again
    labels = read_unpaired(second.folder / "unpaired.parquet")
    assert {x.prompt for x in labels if x.case_id == "case"} == {ROOT_PROMPT}
    prompts = read_prompts(second.folder / "prompts.parquet")
    assert [(x.prompt, x.reference) for x in prompts if x.case_id == "case"] == [
        (ROOT_PROMPT, RIGHT)
    ]


def test_held_out_case_of_a_thread_over_two_cycles_is_judged_under_its_first_prompt(
    tmp_path: Path, make_event: Make
) -> None:
    recipe = recipe_of(0.5)
    others = rejects(make_event, 20)
    threads = [
        (turn(make_event, 1, event_id=f"a{n}", case_id=f"k{n}"),
         turn(make_event, 2, event_id=f"b{n}", case_id=f"k{n}", completion=RIGHT, grade="accept"))
        for n in range(10)
    ]  # fmt: skip
    build(cycle_of(tmp_path, recipe, 1, [*(one for one, _ in threads), *others]))
    second = cycle_of(tmp_path, recipe, 2, [two for _, two in threads])
    build(second)
    found = held_out_of_log(second)
    of_threads = [case for case in found.by_cycle[2] if case.case_id.startswith("k")]
    assert of_threads
    assert {(case.prompt, case.reference) for case in of_threads} == {(ROOT_PROMPT, RIGHT)}
    assert all(case.case_id.startswith("c") for case in found.by_cycle[1])
    names = [case.case_id for case in found.distinct()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("candidate", ["kto", "grpo"])
def test_kto_runs_on_labels_alone_and_grpo_on_prompts_alone(
    tmp_path: Path, make_event: Make, candidate: str
) -> None:
    events = [
        make_event(event_id=f"e{n}", case_id=f"c{n}", grade="accept", completion=RIGHT)
        for n in range(10)
    ]
    context = cycle_of(tmp_path, recipe_of(0.1, candidate), 1, events)
    counts = build(context)
    assert counts["pairs"] == 0
    assert counts["unpaired"] == counts["prompts"] == counts["events_trained"]
    assert read_pairs(context.folder / "pairs.parquet") == []


@pytest.mark.parametrize(
    ("candidate", "fields", "lack"),
    [
        (None, {"edited": WRONG}, r"candidate dpo \(dpo\) needs preference pairs, and there is no"),
        ("kto", {"case_id": "c"}, r"candidate k \(kto\) needs labels of at least two case"),
        ("grpo", {"case_id": "c"}, r"candidate g \(grpo\) needs 2 prompts for one step"),
    ],
)
def test_a_candidate_without_data_is_named_with_what_it_lacks(
    tmp_path: Path, make_event: Make, candidate: str | None, fields: dict[str, Any], lack: str
) -> None:
    events = [
        make_event(**{"event_id": f"e{n}", "case_id": f"c{n}", "completion": WRONG} | fields)
        for n in range(4)
    ]
    with pytest.raises(CycleError, match=lack):
        build(cycle_of(tmp_path, recipe_of(NOTHING, candidate), 1, events))


def test_a_log_whose_prompts_are_all_one_case_says_that_they_are_held_out(
    tmp_path: Path, make_event: Make
) -> None:
    events = rejects(make_event, 30, prompt="Write the report.")
    recipe = recipe_of(0.999, equal_prompts="same_case")
    with pytest.raises(CycleError) as told:
        build(cycle_of(tmp_path, recipe, 1, events))
    assert (
        "Of 30 new events, 30 of them with an edit, 30 are held out of training, since they belong "
        "to 1 of 1 case groups (preferences.held_out_fraction 0.999, cases of one prompt as one); "
        "0 are left, 0 of them with an edit"
    ) in str(told.value)


def test_a_log_of_one_case_group_says_that_nothing_is_left_to_hold_out(
    tmp_path: Path, make_event: Make
) -> None:
    events = rejects(make_event, 30, prompt="Write the report.")
    context = cycle_of(tmp_path, recipe_of(NOTHING, equal_prompts="same_case"), 1, events)
    build(context)
    with pytest.raises(CycleError, match=r"all 30 events of the log are one case group.*distinct"):
        held_out(context)


def test_counts_say_where_every_event_went_and_why_a_severity_is_unknown(
    tmp_path: Path, make_event: Make
) -> None:
    bare: dict[str, Any] = {"errors": (), "grade": "reject", "completion": WRONG}
    events = [
        *rejects(make_event, 20),
        make_event(event_id="same", case_id="same", edited=WRONG, **bare),
        make_event(event_id="none", case_id="none", edited=None, **bare),
        make_event(event_id="blind", case_id="blind", edited=f"{WRONG[:-1]} is seen.", **bare),
    ]
    counts = build(cycle_of(tmp_path, recipe_of(0.3), 1, events))
    assert counts["events"] == 23
    assert counts["events_with_edit"] == 21
    where = ("events_trained", "events_held_out", "events_of_evaluation_cases", "events_withdrawn")
    assert sum(int(str(counts[name])) for name in where) == 23
    assert counts["severities_unknown"] == 3
    assert counts["severities_unknown_because"] == {"no_reference": 2, "scorer_found_nothing": 1}


def test_candidates_that_change_in_an_unfinished_cycle_are_held_against_what_is_built(
    tmp_path: Path, make_event: Make
) -> None:
    events = [
        make_event(event_id=f"e{n}", case_id=f"c{n}", grade="accept", completion=RIGHT)
        for n in range(6)
    ]
    build(cycle_of(tmp_path, recipe_of(NOTHING, "kto"), 1, events))
    changed = cycle_of(tmp_path, recipe_of(NOTHING), 1, events)
    with pytest.raises(CycleError, match="needs preference pairs"):
        _training_files_and_cases(changed)
    assert (changed.folder / "snapshot.parquet").is_file()  # earlier candidates were trained on it


def test_a_log_that_is_too_thin_is_not_frozen(tmp_path: Path, make_event: Make) -> None:
    thin = cycle_of(tmp_path, recipe_of(NOTHING), 1, [make_event(edited=None)])
    with pytest.raises(CycleError, match="needs preference pairs"):
        _training_files_and_cases(thin)
    kept = {path.name for path in thin.folder.iterdir()}
    assert kept == {"pairs.parquet", "unpaired.parquet", "prompts.parquet"}  # written anew


def test_a_step_of_grpo_needs_prompts_for_all_processes() -> None:
    (candidate,) = recipe_of(NOTHING, "grpo").candidates
    assert [prompts_of_a_step(candidate, processes) for processes in (1, 4)] == [2, 8]


def test_a_revised_event_is_not_replayed_as_it_was(tmp_path: Path, make_event: Make) -> None:
    recipe = recipe_of(NOTHING)
    recipe = recipe.model_copy(
        update={"preferences": recipe.preferences.model_copy(update={"replay_fraction": 1.0})}
    )
    old = make_event(event_id="e", case_id="e", completion=WRONG, edited="Findings: Clear lungs.")
    build(cycle_of(tmp_path, recipe, 1, [old]))
    new = make_event(event_id="e", case_id="e", revision=2, completion=WRONG, edited=RIGHT)
    counts = build(cycle_of(tmp_path, recipe, 2, [new]))
    assert (counts["pairs"], counts["replay_no_longer_valid"]) == (1, 3)
    third = cycle_of(tmp_path, recipe, 3, rejects(make_event, 10))
    build(third)
    replayed = [p for p in read_pairs(third.folder / "pairs.parquet") if p.origin_cycle < 3]
    assert [(pair.chosen, pair.origin_cycle) for pair in replayed] == [(RIGHT, 2)]
