"""What an accelerate launch file says, read without starting anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from negalign_train.recipe.strict import load_once
from negalign_train.vocabulary.errors import RecipeError


@dataclass(frozen=True)
class LaunchFile:
    """A launch file of accelerate. ``zero_stage`` is 0 without DeepSpeed."""

    path: Path
    num_processes: int
    zero_stage: int
    deepspeed_config: Path | None = None

    def arguments(self) -> list[str]:
        """Arguments of ``accelerate launch``. The DeepSpeed file is named by its whole path: the
        launch file names it from the repository's root, and the launch may start elsewhere.
        """
        named = ["--config_file", str(self.path)]
        if self.deepspeed_config is not None:
            named += ["--deepspeed_config_file", str(self.deepspeed_config)]
        return named


def read_launch_file(path: Path) -> LaunchFile:
    """Reads a launch file and the DeepSpeed file it names.

    Raises:
        RecipeError: one of them is missing, or is not what it should be.
    """
    written = _mapping(path, load_once)
    processes = written.get("num_processes", 1)
    section = written.get("deepspeed_config") or {}
    if "deepspeed_config_file" not in section:
        return LaunchFile(path, processes, section.get("zero_stage", 0))
    deepspeed = _beside(path, Path(section["deepspeed_config_file"]))
    stage = _mapping(deepspeed, json.loads).get("zero_optimization", {}).get("stage", 0)
    return LaunchFile(path, processes, stage, deepspeed)


def _mapping(path: Path, parse: Any) -> Mapping[str, Any]:
    try:
        written = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise RecipeError(f"{path}: cannot be parsed ({error}); fix the file") from error
    if not isinstance(written, Mapping):
        raise RecipeError(f"{path}: holds no mapping of keys; fix the file")
    return written


def _beside(path: Path, file: Path) -> Path:
    """``file`` from the working directory, or from any folder above the launch file."""
    for root in (Path.cwd(), *path.resolve().parents):
        if (root / file).is_file():
            return (root / file).resolve()
    raise RecipeError(
        f"{path}: deepspeed_config_file {file} is neither in the working directory nor above the "
        "launch file; give a path that is"
    )
