"""Which judge reads which source of cases."""

from __future__ import annotations

from negalign_train.simulate.mesh_reader import MeshJudge
from negalign_train.simulate.readers import GrammarJudge, Judge
from negalign_train.vocabulary.errors import RecipeError


def judge_for(source: str) -> Judge:
    """The judge of one case source.

    Raises:
        RecipeError: the source has no structured ground truth to judge from.
    """
    if source == "synthetic":
        return GrammarJudge()
    if source == "openi":
        return MeshJudge()
    raise RecipeError(
        f"feedback.source simulated needs cases with structured ground truth; {source} has none: "
        "use feedback.source log"
    )
