"""What a judge that is a generator needs: the one way here to load base and adapter."""

from __future__ import annotations

from pathlib import Path

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.recipe.judge_spec import DEFAULT_SERVER, JudgeServerSettings
from negalign_train.severity.judges.base import Judge
from negalign_train.severity.judges.opening import GeneratorFolders, JudgeSetup, open_judge
from negalign_train.severity.judges.self_judge import LoadedGenerator
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
from negalign_train.training.rows.turns import special_strings


def judge_setup(
    own_generator: GeneratorFolders | None = None,
    dtype: str = "float32",
    device: str | None = None,
    server: JudgeServerSettings = DEFAULT_SERVER,
) -> JudgeSetup:
    """How judges are opened in this process.

    Args:
        own_generator: what ``self`` means; None outside a recipe.
        dtype: of the generator's weights.
        device: where judges' models live; None is the GPU if there is one.
        server: how judges on a server are asked.
    """

    def load(model_dir: Path, adapter_dir: Path | None) -> LoadedGenerator:
        model = load_for_inference(model_dir, adapter_dir, dtype, device)
        tokenizer = load_tokenizer(model_dir)
        return LoadedGenerator(model, tokenizer, special_strings(tokenizer))

    return JudgeSetup(load, own_generator, device, server)


def open_reward_judge(run: CandidateRun, device: str | None = None) -> Judge:
    """The judge of a run's reward; ``self`` is the parent, which wrote the drafts."""
    own = GeneratorFolders(run.model_dir, run.parent_adapter_dir)
    return open_judge(run.reward_judge, judge_setup(own, run.dtype, device, run.judge_server))
