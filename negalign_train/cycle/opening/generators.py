"""Which events grade another model's reports than those of the recipe's base model.

Feedback on another model may teach this one (many start from reports of a larger model), but it is
not what this model wrote, so it never passes in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from negalign_train.cycle.opening.base_model import EMBEDDED
from negalign_train.cycle.opening.plan import Context
from negalign_train.vocabulary.errors import CycleError
from negalign_train.vocabulary.records import Event

_MAX_NAMED = 5


def _plain(name: str) -> str:
    return name.strip().replace("\\", "/").rstrip("/").casefold()


def same_base(one: str, other: str) -> bool:
    """Whether two names of a base model stand for one model: equal, or a hub id (``owner/model``)
    or bare name against a folder of the same last name. Two hub ids differ by their owners, too.
    """
    left, right = _plain(one), _plain(other)
    if left == right:
        return True
    hub_ids = left.count("/") == right.count("/") == 1
    return not hub_ids and PurePosixPath(left).name == PurePosixPath(right).name


def other_generators(context: Context, events: Iterable[Event]) -> Counter[str]:
    """How many events grade reports of each base model that is not the recipe's."""
    configured = context.recipe.model.model_name_or_path
    # A folder is what the user gave, and what its adapters and events are named after.
    own = {context.plan.base_name, configured, context.model_dir.as_posix()}
    if configured == EMBEDDED:
        own.add(EMBEDDED)
    bases = Counter(event.generator.base for event in events)
    return Counter(
        {base: n for base, n in bases.items() if not any(same_base(base, name) for name in own)}
    )


def in_words(others: Counter[str]) -> str:
    """The models with most events first, each with their number."""
    ordered = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ordered[_MAX_NAMED:])
    named = ", ".join(f"{base} {count}" for base, count in ordered[:_MAX_NAMED])
    return f"{named}, and {rest} of others" if rest else named


def refuse_other_generators(context: Context, events: Sequence[Event]) -> None:
    """Refuses events of another base where the recipe says so, before anything is frozen.

    Raises:
        CycleError: naming the models, with their events.
    """
    others = other_generators(context, events)
    if context.recipe.feedback.other_generators == "refuse" and others:
        raise CycleError(
            f"cycle {context.plan.cycle}: {others.total()} of {len(events)} new events grade "
            f"reports of another model than {context.plan.base_name}: {in_words(others)}. "
            "feedback.other_generators is refuse: set warn or accept to learn from them, or use a "
            "workspace with this model's feedback only"
        )
