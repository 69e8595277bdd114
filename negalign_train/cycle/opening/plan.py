"""What a cycle is going to do, fixed before it starts and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from negalign_train.cycle.opening.base_model import resolve_model
from negalign_train.cycle.opening.declared import changed_keys, declared, recipe_keys
from negalign_train.feedback.store import FeedbackStore
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.registry.adapters import Registry
from negalign_train.registry.manifest import AdapterRecord, BaseSource
from negalign_train.report.result import read_result
from negalign_train.storage.fingerprint import base_digest, file_sha256, fingerprint
from negalign_train.storage.workspace import Workspace, read_json, write_json
from negalign_train.vocabulary.errors import CycleError, RecipeError

SUMMARY = "cycle.json"
PLAN = "plan.json"
SNAPSHOT = "snapshot.parquet"
GATE_FILE = "gate_record.json"
GATE = "gate"
"""Who promotes in the registry's log when the gate does."""


@dataclass(frozen=True)
class Plan:
    """The fixed facts of one cycle, ``plan.json``.

    ``recipe`` is what was declared, defaults filled in, and what the cycle goes by to its end:
    a release with another default changes nothing in a cycle that was begun. ``recipe_keys`` are
    the dotted keys that the file itself gave. Both leave the candidates out: one that cannot be
    trained may be taken out of an unfinished cycle, and each has an identity of its own.

    ``parent`` and ``approved`` are adapter ids (None: the base model). Events with an ingest
    sequence above ``after_sequence`` are this cycle's. ``base_folder`` is where the base lay on
    this machine; the published adapters hold its name only.
    """

    cycle: int
    seed: int
    created_at: str
    recipe: Mapping[str, Any]
    recipe_keys: tuple[str, ...]
    parent: str | None
    approved: str | None
    after_sequence: int
    base_name: str
    base_source: BaseSource
    base_revision: str | None
    base_folder: str
    base_digest: str
    cases_sha256: str | None

    @property
    def recipe_fingerprint(self) -> str:
        return fingerprint(self.recipe)

    @property
    def criteria_digest(self) -> str:
        """Of the gate's criteria as they were declared, before anything was trained."""
        return fingerprint(self.recipe["gate"])

    def changed_keys(self, recipe: CycleRecipe) -> list[str]:
        """The keys whose value in ``recipe`` is not the declared one; a key that neither file
        gives keeps the value it had.
        """
        return changed_keys(self.recipe, self.recipe_keys, recipe)


@dataclass(frozen=True)
class LocatedRecipe:
    """A recipe and the file it was read from, for the files it names beside it."""

    recipe: CycleRecipe
    path: Path

    def accelerate_config(self) -> Path:
        """The recipe's accelerate file: from the working directory, or any folder above the recipe.

        Raises:
            RecipeError: it lies in none of them.
        """
        launch_file = self.recipe.accelerate_config
        for root in (Path.cwd(), *self.path.resolve().parents):
            if (root / launch_file).is_file():
                return (root / launch_file).resolve()
        raise RecipeError(
            f"{self.path}: accelerate_config {launch_file} is neither in the working directory nor "
            "above the recipe; give a path that is"
        )


@dataclass(frozen=True)
class Context:
    """Everything the steps of one cycle share."""

    plan: Plan
    located: LocatedRecipe
    workspace: Workspace
    engine: Engine
    model_dir: Path

    @property
    def recipe(self) -> CycleRecipe:
        return self.located.recipe

    @property
    def folder(self) -> Path:
        return self.workspace.cycle_dir(self.plan.cycle)

    @property
    def registry(self) -> Registry:
        return Registry(self.workspace, self.engine)

    @property
    def store(self) -> FeedbackStore:
        return FeedbackStore(self.engine)

    @property
    def served_base(self) -> str:
        """What a server that this cycle talks to calls the base model."""
        local = self.plan.base_source == "local"
        return self.recipe.model.model_name_or_path if local else self.plan.base_name

    def adapter_dir(self, adapter_id: str | None) -> Path | None:
        """The folder of a published adapter, verified at every use; None for the bare base model.

        Raises:
            RegistryError: a file of it is missing, damaged or foreign.
        """
        if adapter_id is None:
            return None
        self.registry.verify(adapter_id)
        return self.registry.path(adapter_id)

    def candidate_dir(self, name: str) -> Path:
        return self.folder / "candidates" / name


def completed_cycles(workspace: Workspace) -> list[int]:
    """Numbers of the cycles whose summary is written."""
    folders = sorted((workspace.root / "cycles").glob("c[0-9][0-9][0-9][0-9]"))
    return [int(folder.name[1:]) for folder in folders if (folder / SUMMARY).is_file()]


def next_cycle(workspace: Workspace) -> int:
    """The unfinished cycle if there is one, else a new number."""
    return max(completed_cycles(workspace), default=0) + 1


def _last_sequence(workspace: Workspace, cycle: int) -> int:
    if cycle == 1:
        return 0
    return read_result(workspace.cycle_dir(cycle - 1) / SUMMARY).data.last_sequence


def open_cycle(
    workspace: Workspace, engine: Engine, located: LocatedRecipe, seed: int, now: str
) -> Context:
    """The plan of the unfinished cycle, or of a new one.

    Raises:
        CycleError: the unfinished cycle was started with another recipe, seed, base model or case
            file; its parent is no longer champion; or the champion sits on another base.
        RegistryError: a file of the champion, or of the approved adapter, is damaged.
    """
    recipe = located.recipe
    located.accelerate_config()  # a wrong path is refused now, not after the readers' work
    cycle = next_cycle(workspace)
    folder = workspace.cycle_dir(cycle)
    base = resolve_model(recipe.model)
    registry = Registry(workspace, engine)
    champion, approved = registry.champion(), registry.approved()
    for trusted in filter(None, (champion, approved)):
        registry.verify(trusted.adapter_id)  # a damaged parent writes worse drafts: easy to beat
    new = Plan(
        cycle=cycle,
        seed=seed,
        created_at=now,
        recipe=declared(recipe),
        recipe_keys=recipe_keys(recipe),
        parent=None if champion is None else champion.adapter_id,
        approved=None if approved is None else approved.adapter_id,
        after_sequence=_last_sequence(workspace, cycle),
        base_name=base.name,
        base_source=base.source,
        base_revision=base.revision,
        base_folder=str(base.folder),
        base_digest=base_digest(base.folder),
        cases_sha256=None if recipe.cases.path is None else file_sha256(recipe.cases.path),
    )
    # Before the first drafts or events are frozen nothing depends on the plan yet.
    begun = any((folder / name).is_file() for name in ("drafts.parquet", SNAPSHOT))
    if begun:
        plan = read_plan(workspace, cycle)
        check_same(plan, recipe, seed, folder)
        _check_files(plan, new, folder)
        _check_champion(plan, champion)
        return Context(plan, _as_declared(plan, located), workspace, engine, base.folder)
    for alias, adapter in (("champion", champion), ("approved", approved)):
        if adapter is not None and adapter.base_digest != new.base_digest:
            raise CycleError(
                f"{alias} {adapter.adapter_id} sits on another base model than "
                f"model.model_name_or_path {base.name}; use its base, or a new workspace"
            )
    if cycle > 1 and (first := read_plan(workspace, 1)).seed != seed:
        raise CycleError(
            f"this workspace's cycles have seed {first.seed}, not {seed}; keep it (the split of "
            "held-out cases hangs on it), or use a new workspace"
        )
    write_json(folder / PLAN, asdict(new))
    return Context(new, located, workspace, engine, base.folder)


def read_plan(workspace: Workspace, cycle: int) -> Plan:
    """The plan of a cycle that was begun.

    Raises:
        CycleError: another release wrote it.
    """
    path = workspace.cycle_dir(cycle) / PLAN
    value = read_json(path)
    try:
        return Plan(**value | {"recipe_keys": tuple(value["recipe_keys"])})
    except (KeyError, TypeError) as error:
        raise CycleError(
            f"{path} was written by another release of negalign-train; finish the workspace with "
            "that release, or start a new one and import the feedback log there"
        ) from error


def check_same(plan: Plan, recipe: CycleRecipe, seed: int, folder: Path) -> None:
    """Refuses to go on with, or to report, a cycle under another recipe than it was made with."""
    if keys := plan.changed_keys(recipe):
        raise _another("recipe", folder, f" ({', '.join(keys)})")
    if plan.seed != seed:
        raise _another("seed", folder, f" ({plan.seed}, not {seed})")


def _check_files(plan: Plan, now: Plan, folder: Path) -> None:
    if plan.base_digest != now.base_digest:
        raise _another("base model", folder)
    if plan.cases_sha256 != now.cases_sha256:
        raise _another("case file", folder)


def _another(what: str, folder: Path, detail: str = "") -> CycleError:
    return CycleError(
        f"{folder} was started with another {what}{detail}; use the one it was started with, or a "
        "new workspace"
    )


def _as_declared(plan: Plan, located: LocatedRecipe) -> LocatedRecipe:
    """The recipe with the plan's values for what it does not give itself."""
    candidates = located.recipe.model_dump(mode="json", by_alias=True, include={"candidates"})
    try:
        recipe = CycleRecipe.model_validate(dict(plan.recipe) | candidates)
    except ValueError as error:
        raise CycleError(
            f"the plan of cycle {plan.cycle} no longer reads as a recipe; finish the cycle with "
            "the release that began it, or delete its folder to start it anew"
        ) from error
    return replace(located, recipe=recipe)


def _check_champion(plan: Plan, champion: AdapterRecord | None) -> None:
    """The champion may be the parent, or what this very cycle has just promoted."""
    current = None if champion is None else champion.adapter_id
    own = champion is not None and champion.cycle == plan.cycle
    if current != plan.parent and not own:
        back = "rollback --to base" if plan.parent is None else f"promote {plan.parent}"
        raise CycleError(
            f"cycle {plan.cycle} was started from {plan.parent or 'the base model'}, but the "
            f"champion is now {current or 'the base model'}: it was promoted or rolled back by "
            f"hand. Delete the folder of cycle {plan.cycle} to start it from there, or give the "
            f"place back with `negalign adapters {back} --reason WHY`"
        )
