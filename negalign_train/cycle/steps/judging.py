"""The judges that a recipe names, opened for one cycle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from negalign_train.cycle.opening.plan import Context
from negalign_train.progress import Progress, silent
from negalign_train.recipe.candidate import CandidateSettings
from negalign_train.recipe.judge_spec import JudgeServerSettings
from negalign_train.severity.judges.base import Judge, Judgement, ReportPair
from negalign_train.severity.judges.opening import GeneratorFolders, open_judge
from negalign_train.severity.judges.uses.asking import judge_all, refuse_speechless
from negalign_train.training.policy.judge_setup import judge_setup
from negalign_train.vocabulary.errors import CycleError, DataError


@dataclass(frozen=True)
class _Named:
    """Everything that decides which judge a spec means in a cycle."""

    spec: str
    own_generator: GeneratorFolders
    dtype: str
    server: JudgeServerSettings

    def open(self) -> Judge:
        setup = judge_setup(self.own_generator, self.dtype, server=self.server)
        return open_judge(self.spec, setup)


def _named(context: Context, spec: str) -> _Named:
    """``self`` is the model that wrote the drafts: the parent, whatever is trained from it."""
    recipe, adapter_dir = context.recipe, context.adapter_dir(context.plan.parent)
    own = GeneratorFolders(context.model_dir, adapter_dir)
    return _Named(spec, own, recipe.model.dtype, recipe.severity.server)


@lru_cache(maxsize=2)
def _opened(named: _Named) -> Judge:
    """First and second judge of a cycle stay open: their weights are loaded once."""
    return named.open()


def first_judge(context: Context) -> Judge:
    """``severity.judge``: fills severities, and scores what the gate decides on."""
    return _opened(_named(context, context.recipe.severity.judge))


def second_judge(context: Context) -> Judge | None:
    """``gate.second_judge``."""
    spec = context.recipe.gate.second_judge
    return None if spec is None else _opened(_named(context, spec))


def reward_judge_spec(context: Context, candidate: CandidateSettings) -> str | None:
    """What names the judge of a candidate's reward; None where it has none."""
    if candidate.reward is None:
        return None
    return candidate.reward.judge or context.recipe.severity.judge


def reward_judge(context: Context, candidate: CandidateSettings) -> Judge | None:
    """The judge of a candidate's reward, to be named: the launched process opens its own."""
    spec = reward_judge_spec(context, candidate)
    return None if spec is None else _named(context, spec).open()


def check_judges(context: Context) -> None:
    """Asks every judge of the recipe for one report of our own words: a judge that cannot answer
    shows now, and not after hours of drafting.

    Raises:
        DataError, RecipeError: naming the recipe's key.
    """
    named = {"severity.judge": first_judge(context)}
    if (second := second_judge(context)) is not None:
        named["gate.second_judge"] = second
    known = {judge.version for judge in named.values()}
    for candidate in context.recipe.candidates:
        judge = reward_judge(context, candidate)
        if judge is not None and judge.version not in known:
            named[f"candidate {candidate.name}: reward.judge"] = judge
    for key, judge in named.items():
        refuse_speechless(judge, key)


def judgements(
    context: Context, judge: Judge, pairs: Sequence[ReportPair], progress: Progress = silent
) -> list[Judgement]:
    """The judge's answers, in order.

    Raises:
        CycleError: the judge failed on most of them; what was done before stays.
    """
    try:
        return judge_all(judge, pairs, progress=progress)
    except DataError as error:
        raise CycleError(f"cycle {context.plan.cycle}: {error}") from error
