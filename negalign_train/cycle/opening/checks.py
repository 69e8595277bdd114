"""What is looked at before anything else of a cycle: settings that training would refuse."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from negalign_train.cycle.opening.plan import LocatedRecipe
from negalign_train.recipe.candidate import MAX_SEED, CandidateRun, CandidateSettings
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.recipe.launch_file import read_launch_file
from negalign_train.training.settings.arguments import trainer_config
from negalign_train.training.settings.combinations import refuse_clashes, setup_of
from negalign_train.vocabulary.errors import CycleError, RecipeError

_NOWHERE = Path("nowhere")
_MAX_NAMED = 20


def check_recipe(located: LocatedRecipe, seed: int) -> None:
    """Refuses a seed that training cannot take, a ``trainer`` section that TRL refuses, and
    settings that do not go together, before a model is fetched or a report read.

    Raises:
        RecipeError: naming the candidate and the key.
    """
    if not 0 <= seed <= MAX_SEED:
        raise RecipeError(f"seed {seed} is not in [0, {MAX_SEED}]; choose one that is")
    launch = read_launch_file(located.accelerate_config())
    for candidate in located.recipe.candidates:
        run = trial_run(located.recipe, candidate, seed, launch.num_processes)
        refuse_clashes(candidate.name, setup_of(run, trainer_config(run), launch.zero_stage))


def trial_run(
    recipe: CycleRecipe, candidate: CandidateSettings, seed: int, processes: int
) -> CandidateRun:
    """A run with the recipe's settings and no files.

    TRL sets GRPO's batch against the processes there are, and here is one: it gets the rows of all.
    """
    if candidate.method == "grpo":
        rows = candidate.trainer["per_device_train_batch_size"] * processes
        keys = candidate.trainer | {"per_device_train_batch_size": rows}
        candidate = candidate.model_copy(update={"trainer": keys})
    return CandidateRun(
        candidate=candidate,
        model_dir=_NOWHERE,
        base_digest="",
        base_name=recipe.model.model_name_or_path,
        dtype=recipe.model.dtype,
        quantisation=recipe.model.quantisation,
        max_new_tokens=recipe.model.max_new_tokens,
        parent_adapter_dir=None,
        earlier_adapter_dir=None if candidate.continues is None else _NOWHERE,
        pairs_path=_NOWHERE,
        unpaired_path=_NOWHERE,
        prompts_path=_NOWHERE,
        output_dir=_NOWHERE,
        seed=seed,
    )


def check_readers(recipe: CycleRecipe, in_log: Iterable[str]) -> None:
    """Refuses a trust for a reader whom neither the log nor the simulated panel knows: the reader
    who was meant would keep full weight.

    Raises:
        CycleError: naming them, the nearest names, and the readers there are.
    """
    known = set(in_log)
    if recipe.feedback.source == "simulated":
        panel = range(1, recipe.feedback.readers.num_readers + 1)
        known |= {f"sim-reader-{number}" for number in panel}
    unknown = sorted(recipe.preferences.reader_trust.keys() - known)
    if not unknown:
        return
    named = []
    for reader in unknown:
        near = difflib.get_close_matches(reader, sorted(known), n=1)
        named.append(f"{reader} (did you mean {near[0]}?)" if near else reader)
    listed = ", ".join(sorted(known)[:_MAX_NAMED]) or "nobody"
    more = f" and {len(known) - _MAX_NAMED} more" if len(known) > _MAX_NAMED else ""
    raise CycleError(
        f"preferences.reader_trust names {', '.join(named)}, who graded nothing in the log; its "
        f"readers are {listed}{more}. Correct the id, or take it out"
    )
