"""What a cycle is going to do, fixed before it starts and never changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from sqlalchemy import Engine

from negalign_train.errors import CycleError, RecipeError
from negalign_train.evaluation.gate import criteria_digest
from negalign_train.feedback.store import FeedbackStore
from negalign_train.fingerprint import base_digest, file_sha256, fingerprint
from negalign_train.recipe import CycleRecipe, ModelSettings, SeveritySettings
from negalign_train.registry.adapters import Registry
from negalign_train.registry.manifest import AdapterRecord
from negalign_train.resources import data_path
from negalign_train.workspace import Workspace, read_json, write_json

EMBEDDED = "embedded"
SUMMARY = "cycle.json"
PLAN = "plan.json"
_FROZEN = {
    "recipe_fingerprint": "recipe",
    "seed": "seed",
    "base_digest": "base model",
    "cases_sha256": "case file",
}


@dataclass(frozen=True)
class Plan:
    """The fixed facts of one cycle, ``plan.json``.

    ``parent`` and ``approved`` are adapter ids (None: the base model). Events with an ingest
    sequence above ``after_sequence`` are this cycle's. ``recipe_fingerprint`` leaves the candidates
    out: one that cannot be trained may be taken out of an unfinished cycle.
    """

    cycle: int
    seed: int
    created_at: str
    recipe_fingerprint: str
    criteria_digest: str
    parent: str | None
    approved: str | None
    after_sequence: int
    base_name: str
    base_digest: str
    cases_sha256: str | None


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
        given = self.recipe.accelerate_config
        for root in (Path.cwd(), *self.path.resolve().parents):
            if (root / given).is_file():
                return (root / given).resolve()
        raise RecipeError(
            f"{self.path}: accelerate_config {given} is neither in the working directory nor "
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

    def adapter_dir(self, adapter_id: str | None) -> Path | None:
        """The folder of a published adapter; None for the bare base model."""
        return None if adapter_id is None else self.registry.path(adapter_id)

    def candidate_dir(self, name: str) -> Path:
        return self.folder / "candidates" / name


def resolve_model(settings: ModelSettings) -> tuple[Path, str]:
    """The base model's folder, and the name its adapters carry.

    Raises:
        RecipeError: neither a folder, nor ``embedded``, nor a hub id that can be had.
    """
    name = settings.model_name_or_path
    if name == EMBEDDED:
        return data_path("embedded"), "negalign-embedded"
    if Path(name).is_dir():
        return Path(name).resolve(), name
    try:
        folder = snapshot_download(
            name,
            revision=settings.revision,
            allow_patterns=["*.json", "*.safetensors", "*.jinja", "tokenizer.model"],
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, ValueError) as error:
        raise RecipeError(
            f"model.model_name_or_path {name!r} is no folder and cannot be had from the hub "
            f"({type(error).__name__}); give a local folder, or download it first with "
            "HF_HUB_OFFLINE=0"
        ) from error
    return Path(folder), name


def recipe_fingerprint(recipe: CycleRecipe) -> str:
    """Of everything but the candidates, which training checks against its own results."""
    dump = recipe.model_dump(mode="json", by_alias=True, exclude={"candidates"})
    if recipe.severity == SeveritySettings():
        # Added after the first release, whose cycles go on.
        del dump["severity"]
    return fingerprint(dump)


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
    summary = read_json(workspace.cycle_dir(cycle - 1) / SUMMARY)
    return int(summary["data"]["last_sequence"])


def open_cycle(
    workspace: Workspace, engine: Engine, located: LocatedRecipe, seed: int, now: str
) -> Context:
    """The plan of the unfinished cycle, or of a new one.

    Raises:
        CycleError: the unfinished cycle was started with another recipe, seed, base model or case
            file; its parent is no longer champion; or the champion sits on another base.
    """
    recipe = located.recipe
    located.accelerate_config()  # a wrong path is told now, not after the readers' work
    cycle = next_cycle(workspace)
    folder = workspace.cycle_dir(cycle)
    model_dir, base_name = resolve_model(recipe.model)
    registry = Registry(workspace, engine)
    champion = registry.champion()
    new = Plan(
        cycle=cycle,
        seed=seed,
        created_at=now,
        recipe_fingerprint=recipe_fingerprint(recipe),
        criteria_digest=criteria_digest(recipe.gate),
        parent=None if champion is None else champion.adapter_id,
        approved=None if champion is None else registry.lineage(champion.adapter_id)[-1].adapter_id,
        after_sequence=_last_sequence(workspace, cycle),
        base_name=base_name,
        base_digest=base_digest(model_dir),
        cases_sha256=None if recipe.cases.path is None else file_sha256(recipe.cases.path),
    )
    # Before the first drafts or events are frozen nothing depends on the plan yet.
    begun = any((folder / name).is_file() for name in ("drafts.parquet", "snapshot.parquet"))
    if begun:
        plan = Plan(**read_json(folder / PLAN))
        check_same(plan, new, folder)
        _check_champion(plan, champion)
        return Context(plan, located, workspace, engine, model_dir)
    if champion is not None and champion.base_digest != new.base_digest:
        raise CycleError(
            f"champion {champion.adapter_id} sits on another base model than "
            f"model.model_name_or_path {base_name}; use its base, or a new workspace"
        )
    if cycle > 1 and (first := read_plan(workspace, 1)).seed != seed:
        raise CycleError(
            f"this workspace's cycles have seed {first.seed}, not {seed}; keep it (the split of "
            "held-out cases hangs on it), or use a new workspace"
        )
    write_json(folder / PLAN, asdict(new))
    return Context(new, located, workspace, engine, model_dir)


def read_plan(workspace: Workspace, cycle: int) -> Plan:
    return Plan(**read_json(workspace.cycle_dir(cycle) / PLAN))


def check_same(plan: Plan, given: Plan, folder: Path) -> None:
    """Refuses to go on with, or to report, a cycle under another recipe than it was made with."""
    for name, what in _FROZEN.items():
        if getattr(plan, name) != getattr(given, name):
            raise CycleError(
                f"{folder} was started with another {what}; use the one it was started with, or "
                "a new workspace"
            )


def _check_champion(plan: Plan, champion: AdapterRecord | None) -> None:
    """The champion may be the parent, or what this very cycle has just promoted."""
    current = None if champion is None else champion.adapter_id
    own = champion is not None and champion.cycle == plan.cycle
    if current != plan.parent and not own:
        raise CycleError(
            f"cycle {plan.cycle} was started from {plan.parent or 'the base model'}, but the "
            f"champion is now {current or 'the base model'}: it was promoted or rolled back by "
            f"hand. Delete the folder of cycle {plan.cycle} to start it from there, or give the "
            "champion back with `negalign adapters rollback`"
        )
