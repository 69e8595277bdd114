"""Where a recipe's base model lies on this machine, and what its adapters call it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from negalign_train.recipe.cycle import ModelSettings
from negalign_train.registry.manifest import BaseSource
from negalign_train.vocabulary.errors import RecipeError
from negalign_train.vocabulary.resources import data_path

EMBEDDED = "embedded"
EMBEDDED_NAME = "negalign-embedded"


@dataclass(frozen=True)
class BaseModel:
    """A base model: ``folder`` is its place here, ``name`` what a published adapter calls it. A hub
    id loads anywhere, at its ``revision``; of a local folder only the last part of the path is
    published, since the path means nothing on another machine.
    """

    folder: Path
    name: str
    source: BaseSource
    revision: str | None = None


def resolve_model(settings: ModelSettings) -> BaseModel:
    """The base model of a recipe.

    Raises:
        RecipeError: neither a folder, nor ``embedded``, nor a hub id that can be had.
    """
    name = settings.model_name_or_path
    if name == EMBEDDED:
        return BaseModel(data_path("embedded"), EMBEDDED_NAME, "embedded")
    if Path(name).is_dir():
        folder = Path(name).resolve()
        return BaseModel(folder, folder.name, "local")
    try:
        snapshot = snapshot_download(
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
    # The snapshot's folder is called by its commit: the very weights that are trained on.
    return BaseModel(Path(snapshot), name, "hub", Path(snapshot).name)
