"""From ``nli:DIR`` to a judge. Heavy: imports torch for every judge but the rules."""

from __future__ import annotations

from pathlib import Path

from negalign_train.severity.judges.base import Judge
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.vocabulary.errors import RecipeError

SPECS = (
    "rules, nli:DIR, finetuned:DIR, self:DIR, self:DIR#ADAPTER_DIR, self:embedded, ensemble:FILE"
)


def parse_specs(judges: str) -> list[str]:
    """The comma-separated specs of an option, each once.

    Raises:
        RecipeError: one is empty, unknown, or comes twice.
    """
    specs = [part.strip() for part in judges.split(",")]
    for spec in specs:
        kind, colon, rest = spec.partition(":")
        right = spec == "rules" or (kind in ("nli", "finetuned", "self", "ensemble") and rest)
        if not right:
            raise RecipeError(f"judge {spec + colon * 0!r} is none of: {SPECS}")
    if len(set(specs)) != len(specs):
        raise RecipeError("a judge is named twice; name each once")
    return specs


def open_judge(spec: str) -> Judge:
    """The judge a spec names.

    Raises:
        RecipeError: no such spec.
        DataError: its files are missing or are not what the judge needs.
    """
    parse_specs(spec)
    if spec == "rules":
        return RulesJudge()
    from negalign_train.quiet import quieten

    quieten()
    kind, _, rest = spec.partition(":")
    if kind == "nli":
        from negalign_train.severity.judges.nli import NliJudge

        return NliJudge(Path(rest))
    if kind == "finetuned":
        from negalign_train.severity.judges.finetuned import FinetunedJudge

        return FinetunedJudge(Path(rest))
    if kind == "self":
        return _self_judge(rest)
    from negalign_train.severity.judges.ensemble import EnsembleJudge, read_ensemble

    settings = read_ensemble(Path(rest))
    if any(member.startswith("ensemble:") for member in settings.judges):
        raise RecipeError(f"{rest}: an ensemble of ensembles; name its judges themselves")
    return EnsembleJudge([open_judge(s) for s in settings.judges], settings.how, settings.weights)


def _self_judge(rest: str) -> Judge:
    from negalign_train.severity.judges.self_judge import SelfJudge
    from negalign_train.storage.fingerprint import base_digest, file_sha256, fingerprint
    from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
    from negalign_train.vocabulary.resources import data_path

    model, _, adapter = rest.partition("#")
    model_dir = data_path("embedded") if model == "embedded" else Path(model)
    adapter_dir = Path(adapter) if adapter else None
    loaded = load_for_inference(model_dir, adapter_dir)
    digest = base_digest(model_dir)
    if adapter_dir is not None:
        weights = file_sha256(adapter_dir / "adapter_model.safetensors")
        digest = fingerprint([digest, weights])
    return SelfJudge(loaded, load_tokenizer(model_dir), digest)
