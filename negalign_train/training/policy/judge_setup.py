"""What a judge that is a generator needs: the one way here to load base and adapter."""

from __future__ import annotations

from pathlib import Path

from negalign_train.severity.judges.opening import GeneratorFolders, JudgeSetup
from negalign_train.severity.judges.self_judge import LoadedGenerator
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer


def judge_setup(
    own_generator: GeneratorFolders | None = None,
    dtype: str = "float32",
    device: str | None = None,
) -> JudgeSetup:
    """How judges are opened in this process.

    Args:
        own_generator: what ``self`` means; None outside a recipe.
        dtype: of the generator's weights.
        device: where judges' models live; None is the GPU if there is one.
    """

    def load(model_dir: Path, adapter_dir: Path | None) -> LoadedGenerator:
        model = load_for_inference(model_dir, adapter_dir, dtype, device)
        return model, load_tokenizer(model_dir)

    return JudgeSetup(load, own_generator, device)
