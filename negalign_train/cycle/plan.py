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
from negalign_train.fingerprint import base_digest, fingerprint
from negalign_train.recipe import CycleRecipe, ModelSettings
from negalign_train.registry.adapters import Registry
from negalign_train.resources import data_path
from negalign_train.workspace import Workspace, read_json, write_json

EMBEDDED = "embedded"
SUMMARY = "cycle.json"


@dataclass(frozen=True)
class Plan:
    """The fixed facts of one cycle, ``plan.json``.

    ``parent`` and ``approved`` are adapter ids (None: the base model). Events with an ingest
    sequence above ``after_sequence`` are this cycle's.
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
    return fingerprint(recipe.model_dump(mode="json", by_alias=True))


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
        CycleError: the unfinished cycle was started with another recipe, seed or base model.
    """
    recipe = located.recipe
    located.accelerate_config()  # a wrong path is told now, not after the readers' work
    cycle = next_cycle(workspace)
    path = workspace.cycle_dir(cycle) / "plan.json"
    model_dir, base_name = resolve_model(recipe.model)
    digest = base_digest(model_dir)
    if path.is_file():
        plan = Plan(**read_json(path))
        _check_same(plan, path, recipe, seed, digest)
        return Context(plan, located, workspace, engine, model_dir)
    champion = Registry(workspace, engine).champion()
    if champion is not None and champion.base_digest != digest:
        raise CycleError(
            f"champion {champion.adapter_id} sits on another base model than "
            f"model.model_name_or_path {base_name}; use its base, or a new workspace"
        )
    parent = None if champion is None else champion.adapter_id
    plan = Plan(
        cycle=cycle,
        seed=seed,
        created_at=now,
        recipe_fingerprint=recipe_fingerprint(recipe),
        criteria_digest=criteria_digest(recipe.gate),
        parent=parent,
        approved=_approved(workspace, cycle),
        after_sequence=_last_sequence(workspace, cycle),
        base_name=base_name,
        base_digest=digest,
    )
    write_json(path, asdict(plan))
    return Context(plan, located, workspace, engine, model_dir)


def _approved(workspace: Workspace, cycle: int) -> str | None:
    """The anchor of ``reference: approved``: the first adapter this workspace promoted."""
    for earlier in range(1, cycle):
        summary = read_json(workspace.cycle_dir(earlier) / SUMMARY)
        if summary["decision"] == "promoted":
            return str(summary["champion"])
    return None


def _check_same(plan: Plan, path: Path, recipe: CycleRecipe, seed: int, digest: str) -> None:
    found = {
        "recipe": (plan.recipe_fingerprint, recipe_fingerprint(recipe)),
        "seed": (plan.seed, seed),
        "base model": (plan.base_digest, digest),
    }
    for what, (planned, given) in found.items():
        if planned != given:
            raise CycleError(
                f"{path.parent} was started with another {what}; finish it with the one it was "
                "started with, or delete the folder to start it anew"
            )
