"""From a spec, such as ``nli:DIR``, to a judge: the only place where one becomes the other.

A judge is opened without its weights, which come with the first report that it is asked about: its
name and version cost no more than reading its files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from negalign_train.recipe.judge_spec import (
    DEFAULT_SERVER,
    JudgeServerSettings,
    parse_judge,
    server_address,
)
from negalign_train.severity.judges.base import Judge
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.judges.server.judge import ServerJudge
from negalign_train.storage.fingerprint import base_digest, file_sha256, fingerprint
from negalign_train.vocabulary.errors import RecipeError
from negalign_train.vocabulary.resources import data_path

if TYPE_CHECKING:
    from negalign_train.severity.judges.self_judge import LoadedGenerator

DEFAULT_MEMBERS = ("rules", "self")
"""What ``ensemble`` without a file joins, by their mean: both need no folder of their own."""


@dataclass(frozen=True)
class GeneratorFolders:
    """A base model's folder, and that of the adapter on it (None: the bare base)."""

    model_dir: Path
    adapter_dir: Path | None = None


@dataclass(frozen=True)
class JudgeSetup:
    """What a spec leaves to those who open it.

    ``load_generator`` loads model and tokenizer for ``self``; ``own_generator`` is what ``self``
    means where nothing follows it. ``device`` is where a judge's model lives (None: the GPU if
    there is one), ``server`` how one on a server is asked.
    """

    load_generator: Callable[[Path, Path | None], LoadedGenerator] | None = None
    own_generator: GeneratorFolders | None = None
    device: str | None = None
    server: JudgeServerSettings = DEFAULT_SERVER


def open_judge(text: str, setup: JudgeSetup) -> Judge:
    """The judge that a spec names.

    Raises:
        RecipeError: no such spec, or it means nothing here.
        DataError: its files are missing or are not what the judge needs.
    """
    try:
        spec = parse_judge(text)
    except ValueError as error:
        raise RecipeError(str(error)) from None
    if spec.kind == "rules":
        return RulesJudge()
    if spec.kind == "ensemble":
        return _ensemble(spec.place, setup)
    if spec.kind == "server":
        return ServerJudge(server_address(spec.place), setup.server)
    # Heavy from here on: torch and transformers.
    if spec.kind == "encoder":
        return _encoder(spec.place, setup)
    if spec.kind == "nli":
        from negalign_train.severity.judges.nli import NliJudge  # noqa: PLC0415

        return NliJudge(Path(spec.place), device=setup.device)
    if spec.kind == "finetuned":
        from negalign_train.severity.judges.finetuned import FinetunedJudge  # noqa: PLC0415

        return FinetunedJudge(Path(spec.place), device=setup.device)
    if spec.kind == "radeval":
        from negalign_train.severity.judges.radeval.judge import RadevalJudge  # noqa: PLC0415

        return RadevalJudge(spec.place, setup.device)
    assert spec.kind == "self"  # parse_judge() knows the kinds
    return _self(spec.place, setup)


def _encoder(place: str, setup: JudgeSetup) -> Judge:
    from negalign_train.severity.judges.encoder.judge import EncoderJudge  # noqa: PLC0415
    from negalign_train.severity.judges.encoder.sentence_encoder import (  # noqa: PLC0415
        SentenceEncoder,
        installed_encoder,
    )

    folder = Path(place) if place else installed_encoder()
    return EncoderJudge(SentenceEncoder(folder, setup.device))


def _ensemble(place: str, setup: JudgeSetup) -> Judge:
    from negalign_train.severity.judges.ensemble import (  # noqa: PLC0415
        EnsembleJudge,
        EnsembleSpec,
        equal_weights,
        read_ensemble,
    )

    if place:
        settings = read_ensemble(Path(place))
    else:
        settings = EnsembleSpec("mean", DEFAULT_MEMBERS, equal_weights(len(DEFAULT_MEMBERS)))
    if any(member.partition(":")[0] == "ensemble" for member in settings.judges):
        raise RecipeError(f"{place}: an ensemble of ensembles; name its judges themselves")
    if any(member.partition(":")[0] == "radeval" for member in settings.judges):
        raise RecipeError(
            f"{place}: an ensemble joins nine severities, and a radeval metric sees some of them; "
            "leave it out"
        )
    members = [open_judge(member, setup) for member in settings.judges]
    return EnsembleJudge(members, settings.how, settings.weights)


def _self(place: str, setup: JudgeSetup) -> Judge:
    from negalign_train.severity.judges.self_judge import SelfJudge  # noqa: PLC0415

    folders = _folders(place) if place else setup.own_generator
    if folders is None or setup.load_generator is None:
        raise RecipeError(
            "judge self is a recipe's own generator, and there is no recipe here; give self:DIR, "
            "self:DIR#ADAPTER_DIR or self:embedded"
        )
    load, model_dir, adapter_dir = setup.load_generator, folders.model_dir, folders.adapter_dir
    digest = base_digest(model_dir)
    if adapter_dir is not None:
        digest = fingerprint([digest, _adapter_digest(adapter_dir)])

    def loaded() -> Any:
        return load(model_dir, adapter_dir)

    return SelfJudge(loaded, digest)


def _folders(place: str) -> GeneratorFolders:
    model, _, adapter = place.partition("#")
    model_dir = data_path("embedded") if model == "embedded" else Path(model)
    return GeneratorFolders(model_dir, Path(adapter) if adapter else None)


def _adapter_digest(adapter_dir: Path) -> str:
    path = adapter_dir / "adapter_model.safetensors"
    if not path.is_file():
        raise RecipeError(f"judge self: {adapter_dir} holds no adapter_model.safetensors")
    return file_sha256(path)
