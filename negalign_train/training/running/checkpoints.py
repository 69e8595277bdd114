"""Checkpoints marked when they are whole, and the newest whole one to go on from.

Trainer writes a checkpoint file by file and resumes from the highest number it finds: killed while
saving, it can never resume (transformers 5.23.0, trainer_utils.py ``get_last_checkpoint``). Here a
marker with every file's hash is written last, and a folder without it is moved aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from negalign_train.storage.fingerprint import file_sha256
from negalign_train.storage.workspace import read_json, write_json

MARKER = "COMPLETE.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def mark_complete(folder: Path, files: Iterable[Path], **facts: Any) -> None:
    """Writes the marker: the hash of each of ``files``, which lie in ``folder``, and ``facts``."""
    hashes = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    write_json(folder / MARKER, facts | {"files": hashes})


def is_complete(folder: Path) -> bool:
    """True if the marker is there and whole, and every file it names has its hash."""
    marker = folder / MARKER
    if not marker.is_file():
        return False
    try:
        files: dict[str, str] = read_json(marker)["files"]
    except (ValueError, KeyError, TypeError):  # cut or overwritten: not JSON, or not a marker
        return False
    return all(
        (folder / name).is_file() and file_sha256(folder / name) == digest
        for name, digest in files.items()
    )


def newest_complete(output_dir: Path, identity: str) -> Path | None:
    """The whole checkpoint of the most steps; newer ones that are partial, or that another run
    (other settings, data, seed or adapters) left here, become ``incomplete-...``.
    """
    matches = ((_CHECKPOINT.fullmatch(path.name), path) for path in output_dir.glob("checkpoint-*"))
    numbered = sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)
    for _, folder in numbered:
        if is_complete(folder) and read_json(folder / MARKER)["identity"] == identity:
            return folder
        folder.rename(_aside(folder))
    return None


def _aside(folder: Path) -> Path:
    """A free name: a run may die in the same place twice."""
    attempt = 1
    while (target := folder.with_name(f"incomplete-{folder.name}-{attempt}")).exists():
        attempt += 1
    return target


class CompleteMarker(TrainerCallback):
    """Writes the marker, with the run's identity, after Trainer has saved a checkpoint."""

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        assert args.output_dir is not None
        # Every process writes files of its own (its generator's state, under ZeRO its shard).
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            files = [path for path in folder.rglob("*") if path.is_file()]
            mark_complete(folder, files, identity=self.identity)
