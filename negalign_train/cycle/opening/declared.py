"""What of a recipe a cycle declares before it starts, and how another recipe differs from it.

The candidates are left out: one that cannot be trained may be taken out of an unfinished cycle, and
each has an identity of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from negalign_train.recipe.cycle import CycleRecipe


def declared(recipe: CycleRecipe) -> dict[str, Any]:
    """Everything but the candidates, defaults filled in, as JSON."""
    value: dict[str, Any] = recipe.model_dump(mode="json", by_alias=True, exclude={"candidates"})
    return value


def recipe_keys(recipe: CycleRecipe) -> tuple[str, ...]:
    """The dotted keys that the recipe's file gives, less the candidates."""
    dump = recipe.model_dump(mode="json", by_alias=True, exclude={"candidates"}, exclude_unset=True)
    return tuple(sorted(_flat(dump)))


def changed_keys(
    then: Mapping[str, Any], written_keys: Iterable[str], recipe: CycleRecipe
) -> list[str]:
    """The keys whose value in ``recipe`` is not the one declared ``then``, of those that either
    file gives: a key that neither gives keeps the value it had, whatever the default is now.
    """
    before, now = _flat(then), _flat(declared(recipe))
    absent = object()
    return sorted(
        key
        for key in {*written_keys, *recipe_keys(recipe)}
        if before.get(key, absent) != now.get(key, absent)
    )


def _flat(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones; an empty section is a value."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= _flat(item, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = item
    return flat
